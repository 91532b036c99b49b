"""A loader that is read without its iterator gives the very batches that its iterator gives."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler, Subset, TensorDataset

from mlflow_pt_eval.data.items import batches_of

X = torch.arange(22.0).reshape(11, 2)
Pair = namedtuple("Pair", "x y")


class Made(Dataset):
    """Makes each of eleven samples by *make*."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return self.make(index)


class Together(Made):
    """Gives the samples of a batch at once, which a loader prefers."""

    def __getitem__(self, index):
        raise AssertionError("one by one")

    def __getitems__(self, indices):
        return [self.make(index) for index in indices]


def assert_same(one, other):
    """Compare two batches, their types and every bit of them."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    else:
        assert one == other


LOADERS = {
    "tensors": lambda: DataLoader(Made(lambda i: (X[i], torch.tensor(i))), 4),
    "whole numbers": lambda: DataLoader(Made(lambda i: (X[i], i)), 4),
    "fractions": lambda: DataLoader(Made(lambda i: (X[i], i / 2)), 4),
    "text": lambda: DataLoader(Made(lambda i: (X[i], f"class {i}")), 4),
    "arrays": lambda: DataLoader(Made(lambda i: (X[i].numpy(), i % 2 == 0)), 4),
    "named": lambda: DataLoader(Made(lambda i: Pair(X[i], i)), 4),
    "lists": lambda: DataLoader(Made(lambda i: [X[i], i]), 4),
    "mappings": lambda: DataLoader(Made(lambda i: {"x": X[i], "labels": i}), 4),
    "nested": lambda: DataLoader(Made(lambda i: ((X[i], {"a": X[i]}), i)), 4),
    "single": lambda: DataLoader(Made(lambda i: X[i]), 4),
    "at once": lambda: DataLoader(Together(lambda i: (X[i], i)), 4),
    "a part": lambda: DataLoader(Subset(Made(lambda i: (X[i], i)), [7, 1, 2, 9, 3]), 2),
    "another collate": lambda: DataLoader(Made(lambda i: (X[i], i)), 4, collate_fn=lambda items: items[::-1]),
    "drop_last": lambda: DataLoader(Made(lambda i: (X[i], i)), 4, drop_last=True),
    "without batches": lambda: DataLoader(Made(lambda i: (X[i], i)), None),
    "workers": lambda: DataLoader(Made(lambda i: (X[i], i)), 4, num_workers=1),
    "random numbers": lambda: DataLoader(Made(lambda i: (X[i] + torch.rand(2), i)), 4),
    "a generator": lambda: DataLoader(Made(lambda i: (X[i], i)), 4, generator=torch.Generator().manual_seed(1)),
    "in random order": lambda: DataLoader(TensorDataset(X), 4, sampler=RandomSampler(X)),
    "no loader": lambda: [(X, torch.arange(11))],
}


@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_batches_are_those_of_the_iterator(make):
    """To the last bit, and with the same random numbers drawn, before and between the samples."""
    found = []
    for read in (iter, batches_of):
        torch.manual_seed(5)
        loader = make()
        generator = getattr(loader, "generator", None)
        batches = list(read(loader))
        found.append((batches, torch.rand(1), None if generator is None else torch.rand(1, generator=generator)))
    assert_same(*found)


def test_samples_that_do_not_go_together_are_refused_in_the_same_words():
    """Tuples of different lengths."""
    loader = DataLoader(Made(lambda i: (X[i], i)[: 1 + i % 2]), 4)
    said = []
    for read in (iter, batches_of):
        with pytest.raises(RuntimeError) as caught:
            next(read(loader))
        said.append(str(caught.value))
    assert said[0] == said[1]
