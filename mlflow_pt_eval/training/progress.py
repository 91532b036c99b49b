"""The loop's account: which epoch, which step, what was logged. No MLflow, no disk."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import EPOCH_MEAN_SUFFIX, TRAIN_LOSS, VAL_LOSS, check_metric_key
from mlflow_pt_eval.records import EpochRecord, History, MeanOf


class Mean:
    """The mean of what a key logged in one epoch, summed in order in double precision.

    One-element tensors are kept and read when the mean is asked for, so that adding one never waits for a device.
    """

    __slots__ = ("_unread", "count", "total")

    def __init__(self, total: float = 0.0, count: float = 0) -> None:
        self.total, self.count = total, count
        self._unread: list[tuple[Any, float]] = []

    def add(self, value: Any, count: float = 1) -> None:
        """Take one more value, which counts *count* times."""
        if type(value) is float and not self._unread:
            self.total += value * count
            self.count += count
        else:
            self._unread.append((value, count))

    def state(self) -> list[float]:
        """Return [sum, count] so far."""
        unread, self._unread = self._unread, []
        for value, count in unread:
            self.total += float(value) * count
            self.count += count
        return [self.total, self.count]

    def value(self) -> float:
        """Return the mean."""
        total, count = self.state()
        return float(total) / count


class Progress:
    """Where the training stands; everything in `state()` comes back by `restore()`."""

    def __init__(self) -> None:
        self.history = History()
        self.epoch = 0  # the one to do next, or in progress
        self.step = 0  # batches completed since the run began
        self.epoch_open = False
        self.uses_batches = False  # in this epoch
        self.in_batches = False  # at this moment
        self.logged_outside = False  # whether `log` was called while no epoch was open
        self.logged_at: int | None = None  # the step behind which `log` was called last in this epoch
        self.stop_reason: str | None = None
        self._log: dict[str, float] = {}
        self._counts: dict[str, float | None] = {}  # of how many samples each of those is a mean, where that is known
        self._means: dict[str, Mean] = {}
        self.taken: list[Mapping[str, float]] = []  # of `run.log_step`, not yet in the means
        self._log_keys: set[str] = set()
        self.step_keys: set[str] = set()

    def begin_epoch(self, epoch: int) -> None:
        """Open an epoch; a half-done one keeps what it had logged."""
        self.epoch, self.epoch_open = epoch, True
        self.uses_batches = self.in_batches = False
        self.logged_at = None

    def rewind(self) -> None:
        """Go back to the beginning of an epoch that was cut, until its batches go on."""
        self.step = self.history[-1].step if self.history else 0
        self._log, self._counts, self._means = {}, {}, {}

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Take `run.log`'s values: the last value of an epoch wins."""
        for key, value in metrics.items():
            value, count = counted(key, value)
            value = number(key, value)
            self._own(key, self._log_keys, self.step_keys, "log")
            self._log[key], self._counts[key] = value, count
        if not self.in_batches:
            self.logged_at = self.step

    def own_step_keys(self, keys: Iterable[str]) -> None:
        """Note names that `run.log_step` uses."""
        for key in keys:
            self._own(key, self.step_keys, self._log_keys, "log_step")

    def add(self, key: str, value: Any, count: float = 1) -> None:
        """Add to the epoch's mean of one of `run.log_step`'s keys, behind what was taken before."""
        self.means.setdefault(key, Mean()).add(value, count)

    @property
    def means(self) -> dict[str, Mean]:
        """The epoch's means of `run.log_step`'s keys."""
        self.settle()
        return self._means

    def settle(self) -> None:
        """Add what was taken to the means."""
        means = self._means
        for metrics in self.taken:
            for key, value in metrics.items():
                if key not in means:
                    means[key] = Mean()
                means[key].add(value)
        self.taken.clear()

    def _own(self, key: str, mine: set[str], others: set[str], way: str) -> None:
        if key in mine:
            return
        check_metric_key(key)
        if way == "log_step":
            check_metric_key(key + EPOCH_MEAN_SUFFIX)
        if key in others:
            other = "log_step" if way == "log" else "log"
            raise BadInput(f"{key!r} was logged by run.{other} before and now by run.{way}; choose one, or two names.")
        self._refuse_if_mean(key, way)
        mine.add(key)

    def _refuse_if_mean(self, key: str, way: str) -> None:
        """Refuse a key under which the mean of another one is logged, or whose own mean has another's name."""
        step_key = key.removesuffix(EPOCH_MEAN_SUFFIX)
        mean = key + EPOCH_MEAN_SUFFIX
        if step_key != key and step_key in self.step_keys:
            mean = key
        elif way == "log" or mean not in self._log_keys | self.step_keys:
            return
        else:
            step_key = key
        raise BadInput(
            f"{mean!r} is the key under which the mean of run.log_step's {step_key!r} over the epoch is logged: give "
            "one of them another name."
        )

    def record(self) -> EpochRecord:
        """Return the epoch's record as it stands: `log`'s values and the means of `log_step`'s."""
        means = {key: mean.value() for key, mean in self.means.items() if mean.state()[1]}
        return EpochRecord(self.epoch, self.step, {**means, **self._log})

    def logged_so_far(self) -> dict[str, float]:
        """Return what `log` has taken in the epoch in progress."""
        return dict(self._log)

    def logged_at_epoch(self) -> dict[str, float]:
        """Return what MLflow gets at step = epoch: `log`'s values, and each mean as `<key>_epoch`."""
        means = {key + EPOCH_MEAN_SUFFIX: mean.value() for key, mean in self.means.items() if mean.state()[1]}
        return {**means, **self._log}

    def said(self) -> dict[str, Any]:
        """Return what this process has to say about the epoch, for `agree`."""
        return {
            "log": {key: [value, self._counts.get(key)] for key, value in self._log.items()},
            "means": {key: mean.state() for key, mean in self.means.items()},
            "step": self.step,
        }

    def heard(self, agreed: Mapping[str, Any]) -> None:
        """Take what all processes agree on in the place of one's own."""
        self._log = {key: value for key, (value, _) in agreed["log"].items()}
        self._counts = {key: count for key, (_, count) in agreed["log"].items()}
        self._means = {key: Mean(total, count) for key, (total, count) in agreed["means"].items()}
        self._log_keys.update(self._log)
        self.step_keys.update(self._means)
        self.step = agreed["step"]

    def end_epoch(self) -> EpochRecord:
        """Close the epoch: its record joins the history."""
        record = self.record()
        self.history = self.history.plus(record)
        self.epoch, self.epoch_open = self.epoch + 1, False
        self._log, self._counts, self._means = {}, {}, {}
        return record

    def loss(self) -> float | None:
        """Return the textbook's `loss`: `val_loss` if it was logged, else the mean `train_loss`, else None."""
        record = self.record() if self.epoch_open else (self.history[-1] if self.history else None)
        metrics = {} if record is None else record.metrics
        return metrics.get(VAL_LOSS, metrics.get(TRAIN_LOSS))

    def state(self) -> dict[str, Any]:
        """Return the account of the epoch in progress as plain data; the history stands in the manifest."""
        return {
            "log": dict(self._log),
            "counts": {key: count for key, count in self._counts.items() if count is not None},
            "means": {key: mean.state() for key, mean in self.means.items()},
            "log_keys": sorted(self._log_keys),
            "step_keys": sorted(self.step_keys),
            "stop_reason": self.stop_reason,
        }

    def restore(self, state: Mapping[str, Any] | None, *, history: History, epoch: int, step: int) -> None:
        """Take up a checkpoint's account (None: that of an epoch's beginning); *epoch* is the one to do, or go on with.

        *step* is the checkpoint's; where the account names one of its own, that counts.
        """
        self.history, self.epoch, self.step = history, epoch, step
        self.taken.clear()
        if state is None:
            return
        self.step = state.get("step", step)
        self._log = dict(state["log"])
        self._counts = dict(state.get("counts", {}))
        self._means = {key: Mean(float(total), count) for key, (total, count) in state["means"].items()}
        self._log_keys, self.step_keys = set(state["log_keys"]), set(state["step_keys"])
        self.stop_reason = state.get("stop_reason")


def counted(key: str, value: Any) -> tuple[Any, float | None]:
    """Return a logged value and its count: that of a pair `(value, count)`, or what `validate`'s means know of it."""
    if type(value) is not tuple:
        return value, value.count if type(value) is MeanOf else None
    if len(value) != 2:
        raise BadInput(f"{key!r} was logged as a tuple of {len(value)}; a metric is one number, or (value, count).")
    count = number(f"{key}'s count", value[1])
    if not (math.isfinite(count) and count >= 0):
        raise BadInput(f"{key!r} was logged with the count {count}; it says of how many samples the value is the mean.")
    return value[0], count


def number(key: str, value: Any) -> float:
    """Return a metric's value as a float: a number or a one-element tensor or array; BadInput otherwise."""
    if isinstance(value, str | bytes):
        raise BadInput(f"{key!r} was logged as {value!r}; a metric is a number.")
    if getattr(value, "is_meta", False):
        raise BadInput(f"{key!r} was logged as a tensor on the meta device, which has no value; log one that has.")
    try:
        # `item` reads a tensor that requires gradients without torch's warning about it.
        return float(value.item() if hasattr(value, "item") else value)
    except OverflowError as error:
        raise BadInput(f"{key!r} was logged as an int that is too large for a float; log its logarithm.") from error
    except (TypeError, ValueError, RuntimeError) as error:
        shape = getattr(value, "shape", None)
        what = f"a {type(value).__name__}" + (f" of shape {tuple(shape)}" if shape is not None else "")
        raise BadInput(f"{key!r} was logged as {what}; a metric is one number: log its mean.") from error


def step_value(key: str, value: Any) -> Any:
    """Return a step's value as a float, or, if it lies on a device, as a copy there that can be read later."""
    if hasattr(value, "full_tensor"):  # a sharded one, such as clip_grad_norm_ gives: read here, with all processes
        value = value.full_tensor()
    device = getattr(value, "device", None)
    if getattr(device, "type", "cpu") in ("cpu", "meta") or value.numel() != 1:
        return number(key, value)
    return value.detach().clone()
