"""Ways to get a loader's iterator past the batches that were consumed already."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from mlflow_pt_eval.errors import StateMismatch


def is_map_style(loader: object) -> bool:
    """Say whether *loader* is a DataLoader that asks a sampler which items to load."""
    return isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset)


def keeps_workers(loader: object) -> bool:
    """Say whether *loader* keeps its workers from one epoch to the next."""
    return isinstance(loader, DataLoader) and loader.num_workers > 0 and loader.persistent_workers


def is_one_way(iterable: object) -> bool:
    """Say whether *iterable* is an iterator whose beginning is lost as soon as it is built.

    A generator's is not: its function can build a new one, which starts with its first batch.
    """
    return isinstance(iterable, Iterator) and not inspect.isgenerator(iterable)


def can_start_anew(iterable: object) -> bool:
    """Say whether iterating *iterable* begins with its first batch."""
    if inspect.isgenerator(iterable):
        return inspect.getgeneratorstate(iterable) == inspect.GEN_CREATED
    return not is_one_way(iterable)


def discard(iterator: Iterator[Any], count: int) -> None:
    """Take *count* items; StateMismatch if there are fewer."""
    missing = object()
    for number in range(count):
        if next(iterator, missing) is missing:
            raise _too_short(count, number)


def start_later(loader: DataLoader[Any], count: int) -> Iterator[Any] | None:
    """Return a map-style loader's iterator with *count* batches skipped in its sampler, none of them loaded.

    The sampler draws exactly what it drew when those batches were loaded. None, with generators possibly advanced,
    if the loader's own `__iter__` (of a subclass) doesn't start the sampler when it is called.
    """
    name = "sampler" if loader.batch_sampler is None else "batch_sampler"
    late = _Late(getattr(loader, name), count)
    # Not by setattr, which DataLoader refuses: its iterator takes the sampler from here while it is built, no later.
    vars(loader)[name] = late
    try:
        iterator = iter(loader)
    finally:
        vars(loader)[name] = late.sampler
    return iterator if late.skip() else None


class _Late:
    """A sampler whose next iteration leaves out its first *count* items."""

    def __init__(self, sampler: Any, count: int) -> None:
        self.sampler = sampler
        self.count = count
        self._started: Iterator[Any] | None = None

    def __len__(self) -> int:
        return len(self.sampler)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sampler, name)  # a subclass of DataLoader may ask for `batch_size` and the like

    def __iter__(self) -> Iterator[Any]:
        # Some samplers draw here, some with the first item. Either has to come when it would come without us,
        # before or after the loader draws the seed of its workers: so start now, and skip when the first is asked for.
        self._started = iter(self.sampler)
        return self._items(self._started)

    def skip(self) -> bool:
        """Skip now, if that hasn't happened yet; False if nobody has begun to iterate."""
        if self._started is not None:
            count, self.count = self.count, 0
            discard(self._started, count)
        return self._started is not None

    def _items(self, items: Iterator[Any]) -> Iterator[Any]:
        self.skip()
        yield from items


def _too_short(count: int, number: int) -> StateMismatch:
    return StateMismatch(
        f"the checkpoint was made after {count} batches of an epoch, but the loader ends after {number}. "
        "Resume with the data set, the batch size and the sampler that it had then."
    )
