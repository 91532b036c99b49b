"""When to save, what to keep, when to stop: pure decisions whose only memory is the history."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mlflow_pt_eval.errors import BadInput, MetricNotLogged
from mlflow_pt_eval.names import CheckpointName, Mode
from mlflow_pt_eval.records import EpochRecord, History, improves

# Resume walks back to an older checkpoint if the newest is damaged, so there always is one.
NEWEST_KEPT = 2


def check_mode(owner: str, mode: str) -> None:
    """Raise BadInput unless *mode* is 'max' or 'min'."""
    if mode not in ("max", "min"):
        raise BadInput(f"{owner} got mode={mode!r}; it is 'max' (larger is better) or 'min' (smaller is better).")


def check_whole(owner: str, name: str, value: Any, least: int = 1) -> int:
    """Return *value*, such as NumPy's integers, too, as an int; BadInput unless it is whole and at least *least*."""
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise BadInput(f"{owner} got {name}={value!r}; it is a whole number of at least {least}.")
    return number


def is_finite(value: object) -> bool:
    """Say whether *value* is a real number, and a finite one."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def check_monitor(owner: str, monitor: object) -> None:
    """Raise BadInput unless *monitor* is a metric's key."""
    if not isinstance(monitor, str):
        raise BadInput(f"{owner} got monitor={monitor!r}; it is the key of a metric, such as 'val_loss'.")


@dataclass(frozen=True, kw_only=True)
class ModelCheckpoint:
    """When to save a checkpoint, and which to keep.

    `every_n_epochs=2` saves after epochs 1, 3, 5 …; with `monitor` the `save_top_k` best epochs are kept (ties keep
    the earlier; -1 keeps all), without it the newest `save_top_k`. `save_last` saves at each of those epochs whether
    or not it is among the best, and keeps the newest. `every_n_steps` and `every_seconds` save inside
    `run.batches`, too. `when_busy`: if the one before is still being written, 'skip' lets the newer replace what has
    not been begun and goes on, 'wait' holds the loop. A clean end always saves the last epoch.
    """

    monitor: str | None = None
    mode: Mode = "max"
    every_n_epochs: int = 1
    every_n_steps: int | None = None
    every_seconds: float | None = None
    save_top_k: int = 1
    save_last: bool = True
    when_busy: Literal["skip", "wait"] = "skip"

    def __post_init__(self) -> None:
        check_mode("ModelCheckpoint", self.mode)
        if self.monitor is not None:
            check_monitor("ModelCheckpoint", self.monitor)
        check_whole("ModelCheckpoint", "every_n_epochs", self.every_n_epochs)
        check_whole("ModelCheckpoint", "save_top_k", self.save_top_k, least=-1)
        if self.every_n_steps is not None:
            check_whole("ModelCheckpoint", "every_n_steps", self.every_n_steps)
        if self.every_seconds is not None and not (is_finite(self.every_seconds) and self.every_seconds > 0):
            raise BadInput(
                f"ModelCheckpoint got every_seconds={self.every_seconds!r}; it is a time above 0 in seconds."
            )
        if self.when_busy not in ("skip", "wait"):
            raise BadInput(f"ModelCheckpoint got when_busy={self.when_busy!r}; it is 'skip' or 'wait'.")

    @property
    def saves_inside_epochs(self) -> bool:
        """Whether it may save between two batches."""
        return self.every_n_steps is not None or self.every_seconds is not None

    def should_save(self, history: History) -> bool:
        """Say whether the history's last epoch is to be saved."""
        if not history or not self._fits(history[-1]):
            return False
        return self.save_last or history[-1].epoch in self._top(history)

    def should_save_step(self, step: int, seconds_since_save: float) -> bool:
        """Say whether to save now that *step* batches are done, *seconds_since_save* after the last save."""
        if self.every_n_steps is not None and step % self.every_n_steps == 0:
            return True
        return self.every_seconds is not None and seconds_since_save >= self.every_seconds

    def keep(self, history: History) -> set[int]:
        """Return the epochs whose checkpoints this policy wants kept."""
        fitting = [record.epoch for record in history if self._fits(record)]
        kept = self._top(history)
        return kept | set(fitting[-1:]) if self.save_last else kept

    def _fits(self, record: EpochRecord) -> bool:
        return (record.epoch + 1) % self.every_n_epochs == 0

    def _top(self, history: History) -> set[int]:
        fitting = [record for record in history if self._fits(record)]
        if self.save_top_k == -1:
            return {record.epoch for record in fitting}
        if self.monitor is None:
            return {record.epoch for record in fitting[max(len(fitting) - self.save_top_k, 0) :]}
        return {record.epoch for record in _ranked(fitting, self.monitor, self.mode, self.save_top_k)}


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Stop once *monitor* has not improved by more than *min_delta* in *patience* epochs that logged it."""

    monitor: str
    mode: Mode
    patience: int
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        check_mode("EarlyStopping", self.mode)
        check_monitor("EarlyStopping", self.monitor)
        check_whole("EarlyStopping", "patience", self.patience)
        if not (is_finite(self.min_delta) and self.min_delta >= 0):
            raise BadInput(f"EarlyStopping got min_delta={self.min_delta!r}; it is a finite number of at least 0.")

    def should_stop(self, history: History) -> str | None:
        """Return the reason to stop after the history's last epoch, or None."""
        best: float | None = None
        waited = 0
        for record in history:
            if self.monitor not in record.metrics:
                continue
            if improves(record.metrics[self.monitor], best, self.mode, self.min_delta):
                best, waited = record.metrics[self.monitor], 0
            else:
                waited += 1
        if waited < self.patience:
            return None
        than = "no finite value" if best is None else f"the best is {best:.6g}"
        return f"{self.monitor} has not improved for {waited} epochs ({than})"


def _ranked(records: Sequence[EpochRecord], monitor: str, mode: Mode, count: int) -> list[EpochRecord]:
    """Return the *count* best records with a finite value, best first; ties keep the earlier first."""
    left = History(tuple(records))
    ranked: list[EpochRecord] = []
    while len(ranked) < count and (best := left.best(monitor, mode)) is not None:
        ranked.append(best)
        left = History(tuple(record for record in left if record is not best))
    return ranked


def to_keep(
    policies: Iterable[ModelCheckpoint],
    history: History,
    stored: Collection[CheckpointName],
    pinned_epochs: Collection[int] = (),
) -> set[CheckpointName]:
    """Return which of the stored checkpoints stay: what any policy keeps, what is pinned, and the newest two.

    A better epoch that is not stored, or not yet, takes nothing away: until it is, the best of the stored ones stays.
    """
    held = stored_part(history, stored)
    epochs = set(pinned_epochs).union(*(policy.keep(held) for policy in policies))
    going_on = newest(stored)
    return {name for name in stored if name in going_on or (name.complete and name.epoch in epochs)}


def stored_part(history: History, stored: Collection[CheckpointName]) -> History:
    """Return the epochs of *history* whose end is stored."""
    held = {name.epoch for name in stored if name.complete}
    return History(tuple(record for record in history if record.epoch in held))


def newest(stored: Collection[CheckpointName], count: int = NEWEST_KEPT) -> set[CheckpointName]:
    """Return what a resume may need: the newest *count* complete checkpoints, and the partial ones after them.

    Of those at most *count*, too. A partial one that is older than a finished epoch's is never gone on from.
    """
    complete = sorted(name for name in stored if name.complete)[-count:]
    partial = sorted(name for name in stored if not name.complete and not any(name < end for end in complete))
    return {*complete, *partial[-count:]}


def missing_monitors(history: History, monitors: Iterable[tuple[str, str]]) -> list[str]:
    """Return a line for each (owner, key) whose key no epoch has logged."""
    return [
        f"{owner} monitors {key!r}, but {_span(history)} logged: {', '.join(history.keys()) or 'nothing'}. "
        f"Log it with run.log({key}=...), or change monitor."
        for owner, key in monitors
        if not history.logged(key)
    ]


def require_monitors(history: History, monitors: Iterable[tuple[str, str]]) -> None:
    """Raise MetricNotLogged if something monitors a key that no epoch has logged."""
    missing = missing_monitors(history, monitors) if history else ()
    if missing:
        raise MetricNotLogged(" ".join(missing))


def _span(history: History) -> str:
    return f"epoch {history[0].epoch}" if len(history) == 1 else f"epochs {history[0].epoch} to {history[-1].epoch}"
