"""The loop's account: which epoch, which step, what was logged. No MLflow, no disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import EPOCH_MEAN_SUFFIX, TRAIN_LOSS, VAL_LOSS, check_metric_key
from mlflow_pt_eval.records import EpochRecord, History


class Mean:
    """The mean of what a key logged in one epoch, summed in order in double precision.

    One-element tensors are kept and read when the mean is asked for, so that adding one never waits for a device.
    """

    __slots__ = ("_unread", "count", "total")

    def __init__(self, total: float = 0.0, count: int = 0) -> None:
        self.total, self.count = total, count
        self._unread: list[Any] = []

    def add(self, value: Any) -> None:
        """Take one more value."""
        if type(value) is float and not self._unread:
            self.total += value
            self.count += 1
        else:
            self._unread.append(value)

    def state(self) -> list[float | int]:
        """Return [sum, count] so far."""
        unread, self._unread = self._unread, []
        for value in unread:
            self.total += float(value)
        self.count += len(unread)
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
        self._log: dict[str, float] = {}
        self.means: dict[str, Mean] = {}
        self._log_keys: set[str] = set()
        self._step_keys: set[str] = set()

    def begin_epoch(self, epoch: int) -> None:
        """Open an epoch; a half-done one keeps what it had logged."""
        self.epoch, self.epoch_open = epoch, True
        self.uses_batches = self.in_batches = False

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Take `run.log`'s values: the last value of an epoch wins."""
        for key, value in metrics.items():
            self._own(key, self._log_keys, self._step_keys, "log")
            self._log[key] = number(key, value)

    def mean(self, key: str) -> Mean:
        """Return the epoch's mean of one of `run.log_step`'s keys."""
        mean = self.means.get(key)
        if mean is None:
            self._own(key, self._step_keys, self._log_keys, "log_step")
            mean = self.means[key] = Mean()
        return mean

    def _own(self, key: str, mine: set[str], others: set[str], way: str) -> None:
        if key in mine:
            return
        check_metric_key(key)
        if key in others:
            other = "log_step" if way == "log" else "log"
            raise BadInput(f"{key!r} was logged by run.{other} before and now by run.{way}; choose one, or two names.")
        mine.add(key)

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

    def end_epoch(self) -> EpochRecord:
        """Close the epoch: its record joins the history."""
        record = self.record()
        self.history = self.history.plus(record)
        self.epoch, self.epoch_open = self.epoch + 1, False
        self._log, self.means = {}, {}
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
            "means": {key: mean.state() for key, mean in self.means.items()},
            "log_keys": sorted(self._log_keys),
            "step_keys": sorted(self._step_keys),
        }

    def restore(self, state: Mapping[str, Any], *, history: History, epoch: int, step: int) -> None:
        """Take up a checkpoint's account; *epoch* is the one to do next, or to go on with."""
        self.history, self.epoch, self.step = history, epoch, step
        self._log = dict(state["log"])
        self.means = {key: Mean(float(total), int(count)) for key, (total, count) in state["means"].items()}
        self._log_keys, self._step_keys = set(state["log_keys"]), set(state["step_keys"])


def number(key: str, value: Any) -> float:
    """Return a metric's value as a float: a number or a one-element tensor or array; BadInput otherwise."""
    if isinstance(value, str | bytes):
        raise BadInput(f"{key!r} was logged as {value!r}; a metric is a number.")
    try:
        # `item` reads a tensor that requires gradients without torch's warning about it.
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError) as error:
        shape = getattr(value, "shape", None)
        what = f"a {type(value).__name__}" + (f" of shape {tuple(shape)}" if shape is not None else "")
        raise BadInput(f"{key!r} was logged as {what}; a metric is one number: log its mean.") from error


def step_value(key: str, value: Any) -> Any:
    """Return a step's value as a float, or, if it lies on a device, as a copy there that can be read later."""
    device = getattr(value, "device", None)
    if getattr(device, "type", "cpu") == "cpu" or value.numel() != 1:
        return number(key, value)
    return value.detach().clone()
