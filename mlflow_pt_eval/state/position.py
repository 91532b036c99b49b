"""Where a training is in its loader, so that it can go on from the middle of an epoch exactly."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from torch.utils.data import DataLoader

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.state.codec import encode
from mlflow_pt_eval.state.decoding import decode
from mlflow_pt_eval.state.differences import first_difference
from mlflow_pt_eval.state.forward import can_start_anew, discard, is_map_style, is_one_way, keeps_workers, start_later
from mlflow_pt_eval.state.generators import capture_generators, find_held, restore_generators
from mlflow_pt_eval.state.rng import capture_rng, preserved_rng, restore_rng
from mlflow_pt_eval.state.tree import is_stateful

Skip = Literal["exact", "sampler"]


class Positioned:
    """A loader (or any iterable of batches) that knows its position and can resume it.

    `for batch in Positioned(loader): ...`, with `state()` between two batches. To go on in another process, build the
    same loader and, before iterating, call `resume(state, rng)` in the epoch that the state was taken in, or
    `follow(state)` in the one after it.

    The generators are put back to where they were before `iter(loader)`, the iterator is built, and the batches that
    were consumed are skipped at once: without workers in the sampler, without loading; with workers by loading and
    discarding, as this alone is exact when workers draw random numbers. `skip="sampler"` is for workers that draw
    none: nothing is loaded in vain. What the loader holds of *stateful* (a sampler with a state, say) goes the same
    way: put back to the epoch's beginning, and in the end what it is when `resume` is called. A stream whose loader
    has `state_dict()` and `load_state_dict()` (torchdata's StatefulDataLoader) is resumed by them; they don't hold the
    random numbers of workers.
    """

    def __init__(self, loader: Any, *, skip: Skip = "exact", stateful: Mapping[str, Any] | None = None) -> None:
        if skip not in ("exact", "sampler"):
            raise BadInput(f"skip is {skip!r}: use 'exact' or 'sampler'.")
        self.loader = loader
        self.skip = skip
        self._held = find_held(loader, stateful or {})
        self.consumed = 0
        self.exhausted = False
        self._before: Mapping[str, Any] | None = None
        self._iterator: Iterator[Any] | None = None
        _warn_of_workers(loader)

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch; TypeError where the loader doesn't know it."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        """Yield the epoch's batches; after `resume`, those that are left of it."""
        iterator, self._iterator = self._iterator, None
        if iterator is None:
            self.consumed, self.exhausted = 0, False
            self._before = self._capture()
            iterator = iter(self.loader)
        for batch in iterator:
            self.consumed += 1
            yield batch
        self.exhausted = True

    @property
    def can_resume(self) -> bool:
        """Whether a position that is taken now could be gone on from in another process."""
        return self.exhausted or self._own_state() or not is_one_way(self.loader)

    def state(self) -> dict[str, Any]:
        """Return the position as a small tree of one's own for `weights_only=True`; to be taken between two batches.

        A batch counts as consumed once it was handed out. Warns if the iterable could not be resumed here.
        """
        if not self.can_resume:
            warnings.warn(_ONE_WAY.format(kind=type(self.loader).__name__), stacklevel=2)
        return {
            "consumed": self.consumed,
            "exhausted": self.exhausted,
            "length": _length(self.loader),
            "before": None if self.exhausted else self._before,
            "generators": capture_generators(self.loader),
            "loader": copy.deepcopy(encode(self.loader.state_dict(), name="the loader")) if self._own_state() else None,
            "workers_kept": keeps_workers(self.loader),
        }

    def resume(self, position: Mapping[str, Any], rng: Mapping[str, Any], *, strict: bool = True) -> None:
        """Go on in the epoch in which *position* was taken: iterating then yields the batches that were left.

        *rng* is the global generators' state at that moment (`capture_rng`); it and the loader's private generators
        are put back last. BadInput for an iterator that cannot start anew; StateMismatch if the loader ends before
        the position or lacks a generator that it had; *strict* as in `restore_rng`.
        """
        self._check(position)
        self.consumed, self.exhausted = position["consumed"], position["exhausted"]
        self._before = position["before"]
        if self.exhausted:
            self._enter_next_epoch(position)
            self._iterator = iter(())
        elif self._before is not None:
            now = self._states()
            self._iterator = self._continued(position, self._before)
            there = self._states()
            self._load({name: state for name, state in now.items() if first_difference(there[name], state) is not None})
        restore_generators(self.loader, position["generators"])
        restore_rng(rng, strict=strict)

    def follow(self, position: Mapping[str, Any], *, generators: bool = True) -> None:
        """Begin the epoch after the one in which *position* was taken: the loader is what it was at its end.

        The global generators stay as they are, without *generators* the loader's own do, too.
        """
        own = position["generators"] if generators else capture_generators(self.loader)
        with preserved_rng():
            self._enter_next_epoch(position)
        restore_generators(self.loader, own)

    def _own_state(self) -> bool:
        """Say whether the loader's own state_dict is the way to resume it."""
        if not is_stateful(self.loader):
            return False
        if not is_map_style(self.loader):
            return True
        # Replaying is exact where torchdata's way is not: it asks a sampler for its order a second time, and starts
        # the workers' generators anew. But what a data set or a sampler keeps beside its order only its state holds.
        parts = (self.loader.dataset, self.loader.sampler, self.loader.batch_sampler)
        return any(map(is_stateful, parts)) and (self.loader.num_workers == 0 or self.skip == "sampler")

    def _check(self, position: Mapping[str, Any]) -> None:
        """Refuse what cannot be resumed, and say what cannot be exact, before anything is changed."""
        if position["before"] is not None and position["loader"] is None and not can_start_anew(self.loader):
            raise BadInput(_ONE_WAY.format(kind=type(self.loader).__name__))
        length = _length(self.loader)
        if None not in (length, position["length"]) and length != position["length"]:
            warnings.warn(
                f"the loader has {length} batches, but had {position['length']} when the checkpoint was made: "
                "resuming cannot be exact with another data set or batch size.",
                stacklevel=3,
            )

    def _continued(self, position: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[Any]:
        """Return the iterator over the batches that were left, with generators anywhere."""
        if position["loader"] is not None and self._own_state():
            self.loader.load_state_dict(decode(position["loader"]))
            self._put_back(before)
            return iter(self.loader)
        if before["workers_kept"] and keeps_workers(self.loader):
            iter(self.loader)  # the workers that were running already: starting them draws numbers, restarting doesn't
        return self._skipped(before)

    def _skipped(self, before: Mapping[str, Any]) -> Iterator[Any]:
        """Return an iterator that was started as then, past the consumed batches."""
        if is_map_style(self.loader) and (self.loader.num_workers == 0 or self.skip == "sampler"):
            self._put_back(before)
            late = start_later(self.loader, self.consumed)
            if late is not None:
                return late
        if isinstance(self.loader, DataLoader) and not is_map_style(self.loader) and self.consumed:
            warnings.warn(_ITERABLE.format(count=self.consumed), stacklevel=4)
        self._put_back(before)
        iterator = iter(self.loader)
        discard(iterator, self.consumed)
        return iterator

    def _capture(self) -> dict[str, Any]:
        """Return what building the loader's iterator and drawing its batches depends on."""
        return {
            "rng": capture_rng(),
            "generators": capture_generators(self.loader),
            "held": self._states(),
            "workers_kept": keeps_workers(self.loader) and getattr(self.loader, "_iterator", None) is not None,
        }

    def _put_back(self, before: Mapping[str, Any]) -> None:
        """Put everything back to where it was before the iterator was built."""
        self._load(before.get("held", {}))  # which older checkpoints have not
        restore_rng(before["rng"], strict=False)
        restore_generators(self.loader, before["generators"])

    def _states(self) -> dict[str, Any]:
        return {name: copy.deepcopy(encode(part.state_dict(), name=name)) for name, part in self._held.items()}

    def _load(self, states: Mapping[str, Any]) -> None:
        for name, state in states.items():
            if name in self._held:
                self._held[name].load_state_dict(decode(copy.deepcopy(state)))

    def _enter_next_epoch(self, position: Mapping[str, Any]) -> None:
        """Make the loader one that has finished an epoch, with generators anywhere."""
        own = position["loader"] is not None and self._own_state()
        if own:
            self.loader.load_state_dict(decode(position["loader"]))
        # A DataLoader with a state of its own takes it when it is iterated next, and would draw one seed more for it;
        # one that keeps its workers draws a seed when it starts them. The epoch that follows did neither.
        if (own and isinstance(self.loader, DataLoader)) or (position["workers_kept"] and keeps_workers(self.loader)):
            iter(self.loader)


def _length(loader: Any) -> int | None:
    """Return the number of batches where asking is free of side effects, else None."""
    if isinstance(loader, DataLoader) and not is_map_style(loader):
        return None  # a DataLoader that was asked warns when its IterableDataset turns out longer
    try:
        return len(loader)
    except TypeError:
        return None


def _warn_of_workers(loader: Any) -> None:
    """Say what keeps a loader with workers from being resumed exactly."""
    if keeps_workers(loader):
        warnings.warn(
            "persistent_workers=True: where the workers draw random numbers, a resumed run draws others. "
            "Use persistent_workers=False if it has to be exact.",
            stacklevel=3,
        )
    if isinstance(loader, DataLoader) and loader.num_workers > 0 and not getattr(loader, "in_order", True):
        warnings.warn(
            "in_order=False: the order of batches depends on timing, so no resumed run is exact. Use in_order=True.",
            stacklevel=3,
        )


_ONE_WAY = (
    "a mid-epoch checkpoint of a {kind} cannot be resumed: it is an iterator, which cannot be started anew. "
    "Pass the loader itself, a list, a generator function's fresh generator, or an object whose __iter__ starts over."
)
_ITERABLE = (
    "an IterableDataset has no position to go back to: {count} batches are loaded and dropped. This is exact if "
    "nothing else draws from the generators that it draws from. Give the loader a state_dict() (torchdata's "
    "StatefulDataLoader has one) to avoid it."
)
