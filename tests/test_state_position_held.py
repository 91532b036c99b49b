"""What a loader draws from and the run's `state` holds: put back to the epoch's beginning, and then where it was."""

from __future__ import annotations

import pytest
import torch
from test_state_position import LENGTH, Augmenting, Plain, seed, stored
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, Sampler

from mlflow_pt_eval.errors import StateMismatch
from mlflow_pt_eval.state import Positioned, capture_rng, first_difference


class Hidden(Sampler):
    """Draws from a generator that stands too deep to be found."""

    def __init__(self):
        self.deep = [{"generator": torch.Generator().manual_seed(5)}]

    def __len__(self):
        return LENGTH

    def __iter__(self):
        yield from torch.randperm(LENGTH, generator=self.deep[0]["generator"]).tolist()

    def state_dict(self):
        return {"generator": self.deep[0]["generator"].get_state()}

    def load_state_dict(self, state):
        self.deep[0]["generator"].set_state(state["generator"])


class Counting(Hidden):
    """Shuffles by the number of the epochs it has begun."""

    def __init__(self):
        self.epoch = 0

    def __iter__(self):
        order = torch.randperm(LENGTH, generator=torch.Generator().manual_seed(self.epoch))
        self.epoch += 1
        yield from order.tolist()

    def state_dict(self):
        return {"epoch": self.epoch}

    def load_state_dict(self, state):
        self.epoch = state["epoch"]


class Placed(Counting):
    """Goes on where it was, by itself, and begins anew after its end."""

    def __init__(self):
        self.epoch = 0  # here the place

    def __iter__(self):
        while self.epoch < LENGTH:
            self.epoch += 1
            yield self.epoch - 1
        self.epoch = 0


class Asked(Placed):
    """Goes on from a place only if a state that was loaded asks for it, once."""

    def __init__(self):
        super().__init__()
        self.next = None

    def __iter__(self):
        self.epoch, self.next = self.next or 0, None
        while self.epoch < LENGTH:
            self.epoch += 1
            yield self.epoch - 1

    def load_state_dict(self, state):
        self.next = state["epoch"]


class Reads(Plain):
    """A data set that counts what was read of it, and shows the count."""

    reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return torch.tensor([index, self.reads])

    def state_dict(self):
        return {"reads": self.reads}

    def load_state_dict(self, state):
        self.reads = state["reads"]


class Noisy(Hidden, IterableDataset):
    """A stream with a generator that stands too deep."""

    def __iter__(self):
        for index in range(LENGTH):
            yield torch.tensor([index, torch.rand((), generator=self.deep[0]["generator"])])


class Owner:
    """Is the generator's, and stands itself in an attribute of the sampler's."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(3)

    state_dict = Hidden.state_dict
    load_state_dict = Hidden.load_state_dict

    @property
    def deep(self):
        return [{"generator": self.generator}]


class Owned(Hidden):
    """Holds what holds the generator."""

    def __init__(self):
        self.owner = Owner()

    @property
    def deep(self):
        return self.owner.deep


def sampled(kind, **options):
    def build():
        sampler = kind()
        return DataLoader(Augmenting(), 4, sampler=sampler, **options), sampler

    return build


def read():
    data = Reads()
    return DataLoader(data, 4, shuffle=True), data


def streamed():
    data = Noisy()
    return DataLoader(data, 4), data


def owned():
    sampler = Owned()
    return DataLoader(Plain(), 4, sampler=sampler), sampler.owner


BUILDS = {
    "hidden": sampled(Hidden),
    "hidden, workers": sampled(Hidden, num_workers=2),
    "counting": sampled(Counting),
    "counting, workers": sampled(Counting, num_workers=1),
    "placed": sampled(Placed),
    "asked": sampled(Asked),
    "data set": read,
    "stream": streamed,
    "owned": owned,
}


@pytest.mark.filterwarnings("ignore:an IterableDataset has no position")
@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("stop", [(0, 1), (0, 3), (1, 2)], ids=str)
def test_a_loader_goes_on_exactly_with_parts_that_are_in_the_state(name, stop):
    """In the epoch that was cut, and in the one after it."""
    seed(0)
    loader, part = BUILDS[name]()
    whole, saved = [], None
    for epoch in range(3):
        position = Positioned(loader, stateful={"part": part})
        for count, batch in enumerate(position, 1):
            whole.append((epoch, count, batch))
            if (epoch, count) == stop:
                saved = stored((part.state_dict(), position.state(), capture_rng()))
    seed(99)
    loader, part = BUILDS[name]()
    state, place, rng = saved
    part.load_state_dict(state)
    rest = []
    if (name, stop) == ("asked", (1, 2)):
        # At an epoch's beginning its state is the end of the one before, from where it would go on.
        with pytest.raises(StateMismatch, match="the loader ends after 0"):
            Positioned(loader, stateful={"part": part}).resume(place, rng)
        return
    for epoch in range(stop[0], 3):
        position = Positioned(loader, stateful={"part": part})
        if epoch == stop[0]:
            position.resume(place, rng)
        rest += [(epoch, position.consumed, batch) for batch in position]
    assert first_difference(rest, [entry for entry in whole if entry[:2] > stop]) is None


def test_a_module_is_no_place_in_an_epoch():
    """A loader that holds the model does not copy its weights in each epoch."""
    data = Plain()
    data.model = nn.Linear(2, 2)
    assert Positioned(DataLoader(data, 4), stateful={"model": data.model})._held == {}


def test_a_checkpoint_from_before_is_taken():
    """It has no such states."""
    loader, part = BUILDS["counting"]()
    position = Positioned(loader, stateful={"part": part})
    batches = [next(iter(position))]
    saved = stored((position.state(), capture_rng()))
    del saved[0]["before"]["held"]
    loader, part = BUILDS["counting"]()
    again = Positioned(loader, stateful={"part": part})
    again.resume(*saved)
    assert len(batches) + len(list(again)) == 6
