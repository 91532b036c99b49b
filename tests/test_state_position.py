"""`Positioned`: after a resume the batches and every random number are those of the uninterrupted run."""

from __future__ import annotations

import io
import random
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    WeightedRandomSampler,
)

from mlflow_pt_eval.errors import BadInput, StateMismatch
from mlflow_pt_eval.state import Positioned, capture_generators, capture_rng, first_difference, restore_rng

LENGTH = 23  # with batches of 4: five whole ones and a ragged one


class Plain(Dataset):
    """Its item is its index."""

    loads = 0

    def __len__(self):
        return LENGTH

    def __getitem__(self, index):
        self.loads += 1
        return torch.tensor([float(index)])


class Augmenting(Plain):
    """Draws from every global generator and from one of its own."""

    def __init__(self):
        self.rng = np.random.default_rng(5)

    def __getitem__(self, index):
        drawn = [random.random(), np.random.rand(), torch.rand(()).item(), self.rng.random()]  # noqa: NPY002
        return torch.tensor([float(index), *drawn], dtype=torch.float64)


class Stream(IterableDataset):
    """A stream that draws from Python's generator."""

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        for index in range(worker.id if worker else 0, LENGTH, worker.num_workers if worker else 1):
            yield torch.tensor([index, random.random()], dtype=torch.float64)


class Eager(Sampler):
    """Draws all its numbers when it is iterated, from the global generator, as many samplers do."""

    def __iter__(self):
        return iter(torch.randperm(LENGTH).tolist())

    def __len__(self):
        return LENGTH


class Lazy(Sampler):
    """Shuffles batch by batch, with a generator of its own."""

    def __init__(self):
        self.rng = np.random.default_rng(2)

    def __iter__(self):
        for start in range(0, LENGTH, 5):
            batch = list(range(start, min(start + 5, LENGTH)))
            self.rng.shuffle(batch)
            yield batch

    def __len__(self):
        return 5


class Shifted(DataLoader):
    """A subclass whose `__iter__` is a generator: it starts the sampler with the first batch only."""

    def __iter__(self):
        for batch in super().__iter__():
            yield batch + 1


def private():
    return torch.Generator().manual_seed(11)


MAP_LOADERS = {
    "in order": lambda data, **o: DataLoader(data, 4, **o),
    "shuffled": lambda data, **o: DataLoader(data, 4, shuffle=True, **o),
    "private generator": lambda data, **o: DataLoader(data, 4, shuffle=True, generator=private(), **o),
    "drop last": lambda data, **o: DataLoader(data, 4, shuffle=True, drop_last=True, **o),
    "no batches": lambda data, **o: DataLoader(data, None, shuffle=True, **o),
    "batch of one": lambda data, **o: DataLoader(data, shuffle=True, **o),
    "weighted": lambda data, **o: DataLoader(data, 4, sampler=WeightedRandomSampler([1.0] * LENGTH, 20), **o),
    "replacement": lambda data, **o: DataLoader(
        data, 4, sampler=RandomSampler(data, replacement=True, num_samples=80, generator=private()), **o
    ),
    "sampler": lambda data, **o: DataLoader(data, 4, sampler=Eager(), **o),
    "batch sampler": lambda data, **o: DataLoader(data, batch_sampler=Lazy(), **o),
    "batch sampler around": lambda data, **o: DataLoader(data, batch_sampler=BatchSampler(Eager(), 3, True), **o),
    "subclass": lambda data, **o: Shifted(data, 4, shuffle=True, **o),
    "prefetching": lambda data, **o: DataLoader(
        data, 4, shuffle=True, **({"prefetch_factor": 4} if o.get("num_workers") else {}), **o
    ),
}


def seed(number):
    random.seed(number), np.random.seed(number), torch.manual_seed(number)  # noqa: NPY002


def body(batch, noise=True):
    """Stand for a training's step, with dropout and the like."""
    if noise:
        torch.rand(3), random.random(), np.random.rand()  # noqa: NPY002
    return batch


def stored(tree):
    """Store and load as a checkpoint is."""
    file = io.BytesIO()
    torch.save(tree, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def end_state(loader):
    """Return all the randomness that the rest of a training depends on."""
    return {"rng": [capture_rng()], "private": capture_generators(loader)}


def uninterrupted(build, stops, *, epochs=2, skip="exact"):
    """Train some epochs; return the batches of each, the checkpoints taken at *stops*, and the end's randomness."""
    seed(0)
    loader, epoch_batches, checkpoints = build(), [], {}
    for epoch in range(epochs):
        position, batches = Positioned(loader, skip=skip), []
        for batch in position:
            batches.append(body(batch))
            if (epoch, len(batches)) in stops:
                checkpoints[epoch, len(batches)] = stored({"position": position.state(), "rng": capture_rng()})
        checkpoints[epoch, "end"] = stored({"position": position.state(), "rng": capture_rng()})
        epoch_batches.append(batches)
    return epoch_batches, checkpoints, end_state(loader)


def resumed(build, checkpoint, epoch, *, epochs=2, skip="exact"):
    """Go on from a checkpoint as a new process does; return the batches that were left, and the end's randomness."""
    seed(99)
    loader, position, rest = build(), None, []
    for number in range(epoch, epochs):
        position = Positioned(loader, skip=skip)
        if number == epoch:
            position.resume(checkpoint["position"], checkpoint["rng"])
        rest.append([body(batch) for batch in position])
    return rest, end_state(loader)


def check(build, stops, *, skip="exact"):
    """Compare a run cut at each stop with the whole one."""
    whole, checkpoints, end = uninterrupted(build, stops, skip=skip)
    for epoch, count in stops:
        rest, rest_end = resumed(build, checkpoints[epoch, count], epoch, skip=skip)
        left = [whole[epoch][count:], *whole[epoch + 1 :]]
        assert first_difference(rest, left) is None, (epoch, count)
        assert first_difference(rest_end, end) is None, (epoch, count)


@pytest.mark.parametrize("data", [Plain, Augmenting], ids=["plain", "augmenting"])
@pytest.mark.parametrize("name", MAP_LOADERS)
def test_without_workers_every_loader_goes_on_exactly(name, data):
    """From the first batch, the middle, the ragged last; in the first epoch and in a later one."""
    check(lambda: MAP_LOADERS[name](data()), [(0, 1), (0, 3), (0, 5), (1, 2), (1, 5)])


@pytest.mark.parametrize(("name", "workers"), [*((name, 2) for name in MAP_LOADERS), ("shuffled", 1), ("in order", 1)])
def test_with_workers_that_draw_every_loader_goes_on_exactly(name, workers):
    """Also before each worker has made its first batch."""
    check(lambda: MAP_LOADERS[name](Augmenting(), num_workers=workers), [(0, 1), (1, 5)])


@pytest.mark.parametrize("name", MAP_LOADERS)
def test_with_workers_that_draw_nothing_the_sampler_can_be_skipped(name):
    """Nothing is loaded in vain; order and random numbers in the main process are the same."""
    check(lambda: MAP_LOADERS[name](Plain(), num_workers=2), [(0, 1), (1, 5)], skip="sampler")


def test_skipped_batches_are_not_loaded_without_workers():
    """Going on from the end of a long epoch takes no time."""
    whole, checkpoints, _ = uninterrupted(lambda: DataLoader(Plain(), 4, shuffle=True), [(0, 4)])
    data = Plain()
    position = Positioned(DataLoader(data, 4, shuffle=True))
    position.resume(checkpoints[0, 4]["position"], checkpoints[0, 4]["rng"])
    assert data.loads == 0
    assert first_difference(list(position), whole[0][4:]) is None
    assert data.loads == LENGTH - 16


class Counted(Plain):
    """Counts across processes."""

    def __init__(self):
        self.count = torch.zeros(1, dtype=torch.int64).share_memory_()

    def __getitem__(self, index):
        self.count += 1
        return torch.tensor([index])


def test_skipped_batches_are_not_loaded_by_workers_when_told_so():
    """That is what skip="sampler" is for."""
    _, checkpoints, _ = uninterrupted(lambda: DataLoader(Plain(), 4, num_workers=1), [(0, 4)], skip="sampler")
    data = Counted()
    position = Positioned(DataLoader(data, 4, num_workers=1), skip="sampler")
    position.resume(checkpoints[0, 4]["position"], checkpoints[0, 4]["rng"])
    assert len(list(position)) == 2
    assert data.count == LENGTH - 16


def test_a_resumed_loader_is_as_it_was_built():
    """Its own sampler is in place again, for the epochs that follow and for everyone who looks."""
    _, checkpoints, _ = uninterrupted(lambda: DataLoader(Plain(), 4), [(0, 2)])
    loader = DataLoader(Plain(), 4)
    sampler = loader.batch_sampler
    position = Positioned(loader)
    position.resume(checkpoints[0, 2]["position"], checkpoints[0, 2]["rng"])
    assert loader.batch_sampler is sampler
    assert (len(list(position)), len(list(position)), len(position)) == (4, 6, 6)


def test_it_can_be_cut_and_resumed_again_and_again():
    """Each checkpoint of a resumed epoch knows where the epoch began."""

    def build():
        return DataLoader(Augmenting(), 4, shuffle=True)

    whole, checkpoints, end = uninterrupted(build, [(0, 1)], epochs=1)
    checkpoint, got = checkpoints[0, 1], whole[0][:1]
    for _ in range(4):
        seed(50)
        loader = build()
        position = Positioned(loader)
        position.resume(checkpoint["position"], checkpoint["rng"])
        got.append(body(next(iter(position))))
        checkpoint = stored({"position": position.state(), "rng": capture_rng()})
    rest, rest_end = resumed(build, checkpoint, 0, epochs=1)
    assert first_difference([*got, *rest[0]], whole[0]) is None
    assert first_difference(rest_end, end) is None


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_whose_batches_are_all_done_yields_nothing_more(workers):
    """A checkpoint taken in the validation goes on with the validation."""

    def build():
        return DataLoader(Augmenting(), 4, shuffle=True, generator=private(), num_workers=workers)

    whole, checkpoints, end = uninterrupted(build, [])
    rest, rest_end = resumed(build, checkpoints[0, "end"], 0)
    assert first_difference(rest, [[], whole[1]]) is None
    assert first_difference(rest_end, end) is None


def followed(build, checkpoint, *, skip="exact"):
    """Begin the second epoch in a new process, from a checkpoint at the end of the first."""
    seed(99)
    loader = build()
    position = Positioned(loader, skip=skip)
    restore_rng(checkpoint["rng"])
    position.follow(checkpoint["position"])
    return [body(batch) for batch in position], end_state(loader)


@pytest.mark.parametrize(("name", "workers"), [*((name, 0) for name in MAP_LOADERS), ("private generator", 2)])
def test_the_next_epoch_begins_exactly(name, workers):
    """Private generators are where the last epoch left them; the global ones are not touched."""

    def build():
        return MAP_LOADERS[name](Augmenting(), num_workers=workers)

    whole, checkpoints, end = uninterrupted(build, [])
    batches, batches_end = followed(build, checkpoints[0, "end"])
    assert first_difference(batches, whole[1]) is None
    assert first_difference(batches_end, end) is None


def test_a_loader_left_early_begins_its_next_epoch_exactly():
    """`break` ends an epoch too."""

    def build():
        return DataLoader(Augmenting(), 4, shuffle=True, generator=private())

    seed(0)
    loader = build()
    first = Positioned(loader)
    for batch in first:
        body(batch)
        if first.consumed == 2:
            break
    checkpoint = stored({"position": first.state(), "rng": capture_rng()})
    second = [body(batch) for batch in Positioned(loader)]
    assert first_difference(followed(build, checkpoint)[0], second) is None


# --- workers that are kept ----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:persistent_workers=True")
@pytest.mark.parametrize("skip", ["exact", "sampler"])
@pytest.mark.parametrize("name", ["shuffled", "private generator", "sampler"])
def test_kept_workers_that_draw_nothing_go_on_exactly(name, skip):
    """Starting them draws a seed, which a run that has them already does not: order would shift by it."""

    def build():
        return MAP_LOADERS[name](Plain(), num_workers=2, persistent_workers=True)

    check(build, [(0, 2), (1, 3)], skip=skip)
    whole, checkpoints, end = uninterrupted(build, [], skip=skip)
    batches, batches_end = followed(build, checkpoints[0, "end"], skip=skip)
    assert first_difference(batches, whole[1]) is None
    assert first_difference(batches_end, end) is None
    rest, rest_end = resumed(build, checkpoints[0, "end"], 0, skip=skip)
    assert first_difference(rest, [[], whole[1]]) is None
    assert first_difference(rest_end, end) is None


def test_kept_workers_are_warned_of():
    """What cannot be exact is said as soon as it can be seen."""
    with pytest.warns(UserWarning, match="persistent_workers=True: where the workers draw"):
        Positioned(DataLoader(Plain(), num_workers=1, persistent_workers=True))
    with pytest.warns(UserWarning, match="in_order=False"):
        Positioned(DataLoader(Plain(), num_workers=1, in_order=False))


# --- streams ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:an IterableDataset has no position")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_is_wound_forward(workers):
    """By loading; exact where only its own data draws from its generator, or where workers do."""

    def run(position):
        return [body(batch, noise=False) for batch in position]

    def build():
        return DataLoader(Stream(), 4, num_workers=workers)

    seed(0)
    first = Positioned(build())
    whole = []
    for batch in first:
        whole.append(batch)
        if first.consumed == 3:
            checkpoint = stored({"position": first.state(), "rng": capture_rng()})
    end = capture_rng()
    seed(99)
    second = Positioned(build())
    second.resume(checkpoint["position"], checkpoint["rng"])
    assert first_difference(run(second), whole[3:]) is None
    assert first_difference(capture_rng(), end) is None


def test_winding_a_stream_forward_is_said_once():
    """It takes time, and may not be exact."""
    first = Positioned(DataLoader(Stream(), 4))
    next(iter(first))
    second = Positioned(DataLoader(Stream(), 4))
    with pytest.warns(UserWarning, match="IterableDataset has no position to go back to: 1 batches are loaded") as said:
        second.resume(first.state(), capture_rng())
    assert len(said) == 1


class Own:
    """A loader that keeps its position itself, across epochs, with an order that depends on the epoch."""

    def __init__(self):
        self.epoch, self.next, self.starts = 0, 0, 0

    def state_dict(self):
        return {"epoch": np.int64(self.epoch), "next": self.next}

    def load_state_dict(self, state):
        self.epoch, self.next = state["epoch"], state["next"]

    def __iter__(self):
        self.starts += 1
        while self.next < 5:
            self.next += 1
            yield torch.tensor([self.epoch, self.next * (-1) ** self.epoch])
        self.epoch, self.next = self.epoch + 1, 0


def test_a_loader_with_a_state_of_its_own_is_resumed_by_it():
    """Nothing is wound forward."""
    check(Own, [(0, 1), (0, 4), (1, 2)])
    whole, checkpoints, _ = uninterrupted(Own, [])
    assert first_difference(followed(Own, checkpoints[0, "end"])[0], whole[1]) is None


class OwnStream(IterableDataset):
    """A stream that can say where it is."""

    def __init__(self):
        self.next = 0

    def __iter__(self):
        while self.next < LENGTH:
            self.next += 1
            yield torch.tensor([self.next])
        self.next = 0

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        self.next = state["next"]


def stateful(dataset, **options):
    torchdata = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")
    return torchdata.StatefulDataLoader(dataset, 4, **options)


class Remembering(Plain):
    """Has a state of its own, which items depend on."""

    def __init__(self):
        self.given = 0

    def __getitem__(self, index):
        self.given += 1
        return torch.tensor([index, self.given])

    def state_dict(self):
        return {"given": self.given}

    def load_state_dict(self, state):
        self.given = state["given"]


STATEFUL = {
    "remembering": lambda **o: stateful(Remembering(), shuffle=True, **o),
    "in order": lambda **o: stateful(Augmenting(), **o),
    "shuffled": lambda **o: stateful(Augmenting(), shuffle=True, **o),
    "private generator": lambda **o: stateful(Augmenting(), shuffle=True, generator=private(), **o),
    "sampler": lambda **o: stateful(Augmenting(), sampler=Eager(), **o),
    "stream": lambda **o: stateful(OwnStream(), **o),
}


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata's own call
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", STATEFUL)
def test_torchdatas_loader_goes_on_exactly(name, workers):
    """Streams and data sets with a state by theirs; all else by replaying, exact for any sampler and worker."""

    def build():
        return STATEFUL[name](num_workers=workers)

    check(build, [(0, 1), (0, 5), (1, 3)])
    whole, checkpoints, end = uninterrupted(build, [])
    batches, batches_end = followed(build, checkpoints[0, "end"])
    assert first_difference(batches, whole[1]) is None
    assert first_difference(batches_end, end) is None


# --- anything that can be iterated -----------------------------------------------------------------


def test_a_list_is_wound_forward():
    """It needs no more than to be counted."""
    check(lambda: [torch.tensor([i]) for i in range(7)], [(0, 1), (0, 7), (1, 3)])


def batches():
    for i in range(7):
        yield torch.tensor([i, torch.rand(()).item()])


class Fresh:
    """Starts a generator that draws each time it is iterated."""

    def __iter__(self):
        return batches()


def test_an_object_that_starts_over_is_wound_forward():
    """With the random numbers that its first batches drew."""
    check(Fresh, [(0, 3), (1, 1)])


def test_a_generator_that_has_not_begun_is_wound_forward():
    """It begins with the first batch, as it did then."""
    first = Positioned(batches())
    whole = []
    for batch in first:
        whole.append(batch)
        if first.consumed == 3:
            checkpoint = stored({"position": first.state(), "rng": capture_rng()})
    second = Positioned(batches())
    second.resume(checkpoint["position"], checkpoint["rng"])
    assert first_difference(list(second), whole[3:]) is None


ONE_WAY = {
    "an iterator": lambda: iter([1, 2, 3]),
    "zip": lambda: zip([1, 2], [3, 4], strict=True),
    "a loader's iterator": lambda: iter(DataLoader(Plain(), 4)),
}


def begun():
    generator = batches()
    next(generator)
    return generator


@pytest.mark.parametrize("name", [*ONE_WAY, "a generator that has begun"])
def test_what_cannot_start_anew_is_refused_with_what_to_do(name):
    """Before anything is changed: its beginning is lost."""
    first = Positioned([1, 2, 3])
    next(iter(first))
    second = Positioned(ONE_WAY.get(name, begun)())
    before = capture_rng()
    with pytest.raises(BadInput, match="cannot be started anew. Pass the loader itself"):
        second.resume(first.state(), capture_rng())
    assert first_difference(before, capture_rng()) is None


@pytest.mark.parametrize("name", ONE_WAY)
def test_what_cannot_start_anew_is_warned_of_at_the_checkpoint(name):
    """Not only when it is too late."""
    position = Positioned(ONE_WAY[name]())
    next(iter(position))
    with pytest.warns(UserWarning, match="cannot be started anew"):
        position.state()


def test_an_iterator_that_is_used_up_needs_no_warning():
    """The epoch's batches are all done: there is nothing to go back for."""
    position = Positioned(iter([1, 2]))
    list(position)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        position.state()
    assert caught == []


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:the loader has")
@pytest.mark.parametrize(
    ("build", "skip"),
    [
        (lambda: DataLoader(Plain(), 12), "exact"),
        (lambda: DataLoader(Plain(), 12, num_workers=1), "exact"),
        (lambda: DataLoader(Plain(), 12, num_workers=1), "sampler"),
        (lambda: [1, 2], "exact"),
    ],
)
def test_a_loader_that_ends_before_the_position_is_an_error(build, skip):
    """Another data set or another batch size."""
    _, checkpoints, _ = uninterrupted(lambda: DataLoader(Plain(), 4), [(0, 4)])
    with pytest.raises(StateMismatch, match=r"made after 4 batches of an epoch, but the loader ends after 2\."):
        Positioned(build(), skip=skip).resume(checkpoints[0, 4]["position"], checkpoints[0, 4]["rng"])


def test_another_length_is_warned_of():
    """It cannot be exact, so it is said."""
    _, checkpoints, _ = uninterrupted(lambda: DataLoader(Plain(), 4), [(0, 2)])
    with pytest.warns(UserWarning, match="the loader has 8 batches, but had 6"):
        Positioned(DataLoader(Plain(), 3)).resume(checkpoints[0, 2]["position"], checkpoints[0, 2]["rng"])


def test_a_missing_generator_is_an_error():
    """The loader was built otherwise."""
    _, checkpoints, _ = uninterrupted(lambda: DataLoader(Plain(), 4, shuffle=True, generator=private()), [(0, 2)])
    with pytest.raises(StateMismatch, match="private generators"):
        Positioned(DataLoader(Plain(), 4)).resume(checkpoints[0, 2]["position"], checkpoints[0, 2]["rng"])


def test_skip_is_one_of_two_words():
    """A typo fails before the first batch."""
    with pytest.raises(BadInput, match="skip is 'fast'"):
        Positioned([], skip="fast")


def test_a_loader_without_a_length_has_none():
    """As for `len` of the loader itself."""
    assert len(Positioned([1, 2])) == 2
    with pytest.raises(TypeError):
        len(Positioned(iter([])))


def test_a_position_before_the_first_batch_is_the_beginning():
    """Nothing was consumed."""

    def build():
        return DataLoader(Augmenting(), 4, shuffle=True, generator=private())

    seed(0)
    first = Positioned(build())
    checkpoint = stored({"position": first.state(), "rng": capture_rng()})
    whole = list(first)
    seed(9)
    second = Positioned(build())
    second.resume(checkpoint["position"], checkpoint["rng"])
    assert first_difference(list(second), whole) is None


def test_iterating_is_what_iterating_the_loader_is():
    """Same batches, same random numbers, as often as one likes."""
    seed(0)
    bare = DataLoader(Augmenting(), 4, shuffle=True)
    expected = [list(bare), list(bare)]
    end = capture_rng()
    seed(0)
    position = Positioned(DataLoader(Augmenting(), 4, shuffle=True))
    assert first_difference([list(position), list(position)], expected) is None
    assert first_difference(capture_rng(), end) is None


def test_the_state_draws_nothing_and_is_small():
    """It is taken while the training waits."""
    position = Positioned(DataLoader(Augmenting(), 4, shuffle=True, generator=private()))
    next(iter(position))
    before = end_state(position.loader)
    file = io.BytesIO()
    torch.save(position.state(), file)
    assert len(file.getvalue()) < 60_000
    assert first_difference(end_state(position.loader), before) is None
