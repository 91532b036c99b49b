"""Private generators of loaders: found where they stand, captured once, put back."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, RandomSampler, Sampler, Subset, TensorDataset
from tqdm import tqdm

from mlflow_pt_eval.errors import StateMismatch
from mlflow_pt_eval.state import capture_generators, find_generators, first_difference, restore_generators

DATA = TensorDataset(torch.arange(10))


class Augmented(TensorDataset):
    """Has generators of its own, and transforms with theirs."""

    def __init__(self, seed):
        super().__init__(torch.arange(10))
        self.rng = np.random.default_rng(seed)
        self.old = np.random.RandomState(seed)
        self.transforms = [Jitter(seed), Jitter(seed + 1)]
        self.system = random.SystemRandom()


class Jitter:
    """A transform with a generator."""

    def __init__(self, seed):
        self.python = random.Random(seed)


class Shuffled(Sampler):
    """A sampler with NumPy's generator, as many are written."""

    def __init__(self):
        self.rng = np.random.default_rng(3)

    def __iter__(self):
        return iter(self.rng.permutation(10).tolist())


class Together:
    """Two loaders that advance together, as `zip`, but begin anew."""

    def __init__(self, *loaders):
        self.loaders = loaders

    def __iter__(self):
        return zip(*self.loaders, strict=True)

    def __len__(self):
        return min(map(len, self.loaders))


def loader(dataset=DATA):
    """Return a loader with a generator of its own."""
    return DataLoader(dataset, shuffle=True, generator=torch.Generator().manual_seed(1))


FOUND = [
    (DataLoader(DATA, shuffle=True), set()),
    (loader(), {"generator"}),
    (DataLoader(DATA, sampler=RandomSampler(DATA, generator=torch.Generator())), {"sampler.generator"}),
    (
        DataLoader(DATA, batch_sampler=BatchSampler(RandomSampler(DATA, generator=torch.Generator()), 2, False)),
        {"batch_sampler.sampler.generator"},
    ),
    (DataLoader(DATA, sampler=Shuffled()), {"sampler.rng"}),
    (Together(loader(), loader()), {"loaders.0.generator", "loaders.1.generator"}),
    (
        DataLoader(Augmented(0)),
        {"dataset.rng", "dataset.old", "dataset.transforms.0.python", "dataset.transforms.1.python"},
    ),
    (
        DataLoader(ConcatDataset([Subset(Augmented(0), [1]), DATA])),
        {f"dataset.datasets.0.dataset.{name}" for name in ("rng", "old", "transforms.0.python", "transforms.1.python")},
    ),
    (tqdm(DataLoader(DATA, sampler=Shuffled()), disable=True), {"iterable.sampler.rng"}),
    ([1, 2], set()),
    (iter([]), set()),
]


@pytest.mark.parametrize(("holder", "places"), FOUND)
def test_generators_are_found_each_once(holder, places):
    """The loader's generator is its sampler's too; it counts once."""
    assert set(find_generators(holder)) == places


def test_finding_and_capturing_draw_nothing():
    """Asking leaves every generator as it was."""
    own = loader(Augmented(0))
    before = capture_generators(own)
    assert first_difference(before, capture_generators(own)) is None


def numbers(own):
    """Draw from each generator of an Augmented loader."""
    data = own.dataset
    return [
        *(data.rng.random(), data.rng.integers(9, dtype=np.int32), data.old.standard_normal()),
        *(transform.python.gauss(0, 1) for transform in data.transforms),
        *torch.rand(3, generator=own.generator).tolist(),
    ]


def test_generators_go_on_in_another_process():
    """A new loader, built the same, draws what the old one would have drawn, cached halves included."""
    old, new = loader(Augmented(0)), loader(Augmented(5))
    numbers(old)
    states = capture_generators(old)
    then = numbers(old)
    restore_generators(new, states)
    assert numbers(new) == then


@pytest.mark.parametrize(
    "other", [DataLoader(DATA), DataLoader(DATA, sampler=Shuffled()), DataLoader(DATA, generator=None)]
)
def test_a_generator_that_is_gone_is_named(other):
    """A loader that was built otherwise would go on with other numbers."""
    with pytest.raises(StateMismatch, match="private generators at generator when"):
        restore_generators(other, capture_generators(loader()))


def test_nothing_is_restored_if_one_is_gone():
    """First the check, then the change."""
    rich, poor = loader(Augmented(0)), DataLoader(Augmented(1))
    before = capture_generators(poor)
    with pytest.raises(StateMismatch):
        restore_generators(poor, capture_generators(rich))
    assert first_difference(before, capture_generators(poor)) is None


def test_a_generator_of_another_library_is_no_substitute():
    """The name alone doesn't make it the same generator."""
    old, new = DataLoader(Augmented(0)), DataLoader(Augmented(0))
    new.dataset.rng = torch.Generator()
    with pytest.raises(StateMismatch, match=r"dataset\.rng"):
        restore_generators(new, capture_generators(old))
