"""The loader inside an epoch: its position for checkpoints, and a progress bar for people."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tqdm import tqdm

from mlflow_pt_eval.state import Positioned, Skip, capture_generators, first_difference, restore_generators

__all__ = ["Batches", "Skip"]
_log = logging.getLogger("mlflow_pt_eval")


@dataclass(frozen=True)
class _Pending:
    """A position to go on from, until the epoch's loader is there."""

    position: Mapping[str, Any]
    rng: Mapping[str, Any]
    partial: bool


class Batches:
    """Iterates the loaders of a training; the first of each epoch has a position that is saved and resumed."""

    def __init__(self, progress_bar: bool | Literal["auto"]) -> None:
        # A log file gets no bar: there it would be thousands of lines.
        self._shows = sys.stderr.isatty() if progress_bar == "auto" else progress_bar
        self._current: Positioned | None = None
        self._pending: _Pending | None = None
        self._ended: Mapping[str, Any] | None = None  # the first loader's generators at the end of the epoch before
        self._carried: bool | None = None  # whether this epoch's first loader began with those; None: nobody knows
        self._began: Mapping[str, Any] | None = None  # where it began, if nobody knows
        self._further: list[Any] = []  # an epoch's other loaders, in the order of their first use
        self._further_states: list[Mapping[str, Any]] = []  # those of the epoch before, or of the checkpoint
        self._puts_back = False  # whether these are to be put back
        self._has_said = self._has_said_one_way = self._has_said_empty = False

    def hide(self) -> None:
        """Show no bar: one for all processes is enough."""
        self._shows = False

    def resume(self, position: Mapping[str, Any] | None, rng: Mapping[str, Any], *, partial: bool) -> None:
        """Have the next epoch's loader go on from a checkpoint's position: in the middle of it, or after it."""
        self._current, self._further, self._ended = None, [], None
        self._pending = None if position is None else _Pending(position["first"], rng, partial)
        self._further_states = [] if position is None else list(position["further"])
        self._puts_back = True

    def first(self, loader: Iterable[Any], skip: Skip, epoch: int, state: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the batches of the epoch's first loader, from the pending position on; it may draw from *state*."""
        self._current = Positioned(loader, skip=skip, stateful=state)
        pending, self._pending = self._pending, None
        here = capture_generators(loader)
        self._carried, self._began = None, None
        if pending is not None and pending.partial:
            self._carried, self._began = pending.position.get("carried", True), pending.position.get("began")
            self._current.resume(pending.position, pending.rng)
        elif pending is not None:
            self._carried = _is_carried(pending.position, here)
            self._current.follow(pending.position, generators=self._carried)
        elif self._ended is not None:
            self._carried = first_difference(self._ended, here) is None
        else:
            self._began = here
        yield from self._shown(self._current, f"epoch {epoch}", self._current.consumed)
        if self._current is not None and not self._current.consumed and not self._has_said_empty:
            self._has_said_empty = True
            used_up = "is used up: it" if isinstance(loader, Iterator) else "is empty: it"
            _log.warning(
                "the %s that run.batches got in epoch %d %s gave no batch, and nothing was trained; give a DataLoader, "
                "or anything else that begins anew each time that it is iterated",
                *(type(loader).__name__, epoch, used_up),
            )

    def end_epoch(self) -> None:
        """Note where the epoch has left its loaders, and let go of those that the next one may not use."""
        self._ended = None if self._current is None else capture_generators(self._current.loader)
        self._further_states, self._further, self._puts_back = self._states_of_further(), [], False

    def further(self, loader: Iterable[Any], *, inside: bool = False) -> Iterator[Any]:
        """Yield the batches of another loader in the same epoch, which starts anew after a resume.

        *inside*: while the first is still being iterated.
        """
        if inside and not self._has_said:
            self._has_said = True
            _log.warning(
                "run.batches stands inside the loop over another run.batches: after a resume in the middle of an epoch "
                "its loader begins anew. Where both advance together, such as by zip, such a resume is not exact."
            )
        if not any(loader is known for known in self._further):
            if self._puts_back and len(self._further) < len(self._further_states):
                restore_generators(loader, self._further_states[len(self._further)])
            self._further.append(loader)
        yield from self._shown(loader, "further", 0)

    def can_resume(self) -> bool:
        """Say whether a checkpoint that is made now could be resumed; where not, that is said once."""
        current = self._current
        if current is None or current.can_resume:
            return True
        if not self._has_said_one_way:
            self._has_said_one_way = True
            _log.warning(
                "no checkpoint is made in the middle of this epoch, since a %s cannot be gone through a second time to "
                "where it was: a resume begins the epoch anew; give run.batches a DataLoader",
                type(current.loader).__name__,
            )
        return False

    def position(self) -> dict[str, Any] | None:
        """Return the loaders' positions: where the first is, and the private generators of the others."""
        first = self._first_position()
        if first is None:
            return None
        return {"first": first, "further": self._states_of_further()}

    def _states_of_further(self) -> list[Mapping[str, Any]]:
        met = [capture_generators(loader) for loader in self._further]
        return [*met, *self._further_states[len(met) :]]

    def _first_position(self) -> dict[str, Any] | None:
        # If this epoch has no loader yet, the position is still that of the epoch before.
        if self._current is not None:
            return {**self._current.state(), "carried": self._carried, "began": self._began}
        return None if self._pending is None else dict(self._pending.position)

    def _shown(self, batches: Iterable[Any], label: str, done: int) -> Iterable[Any]:
        if not self._shows:
            return batches
        return _with_bar(batches, label, done)


def _is_carried(position: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Say whether a loader that is used epoch after epoch goes on with its generators, as at *position*.

    If the script seeds them in each epoch, or builds the loader anew, they are left alone. In its first epoch nobody
    could know: there the loader goes on if it has been built (*here*) as it was then.
    """
    carried, began = position.get("carried", True), position.get("began")
    return first_difference(began, here) is None if carried is None else bool(carried)


def _with_bar(batches: Iterable[Any], label: str, done: int) -> Iterator[Any]:
    columns, rows = _size()
    bar = tqdm(
        batches,
        label,
        _length(batches),
        initial=done,
        leave=False,
        unit="batch",
        file=sys.stderr,
        ncols=columns,
        nrows=rows,
    )

    def make_way(record: logging.LogRecord) -> bool:
        bar.clear()  # a warning gets a line of its own; the next batch draws the bar again, below it
        return True

    _log.addFilter(make_way)
    try:
        yield from bar
    finally:
        _log.removeFilter(make_way)
        bar.close()


def _size() -> tuple[int | None, int | None]:
    """Return columns and rows for a terminal that says it has none, where tqdm would draw nothing; else None, None."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # not a terminal: a notebook, a file
        return None, None
    return (None, None) if size.columns and size.lines else (80, 24)


def _length(batches: Any) -> int | None:
    try:
        return len(batches)
    except TypeError:  # a loader over a stream has the method, but no length
        return None
