"""What a training is told to do at its boundaries: policies, `RegisterBest`, and the user's own callbacks."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from mlflow_pt_eval.class_names import check_class_names
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.exporting.factory import Factory
from mlflow_pt_eval.exporting.inputs import check_example
from mlflow_pt_eval.names import (
    CHALLENGER,
    TAG_MONITORS,
    VAL_ACCURACY,
    CheckpointName,
    Mode,
    Outputs,
    check_alias,
    check_model_name,
)
from mlflow_pt_eval.policies import (
    EarlyStopping,
    ModelCheckpoint,
    check_mode,
    check_monitor,
    missing_monitors,
    require_monitors,
    stored_part,
    to_keep,
)
from mlflow_pt_eval.records import EpochRecord, History

if TYPE_CHECKING:
    from mlflow_pt_eval.training.run import TrainingRun

_log = logging.getLogger("mlflow_pt_eval")
HOOKS = ("on_train_start", "on_epoch_end", "on_train_end")


class Callback(Protocol):
    """A callback of the user's own: any of these methods, each called on the loop's thread.

    `on_epoch_end` comes before the epoch is committed, so what it logs belongs to the epoch, and it may call
    `run.stop(reason)`.
    """

    def on_train_start(self, run: TrainingRun) -> None:
        """Called when the run is open and, on a resume, everything is restored."""

    def on_epoch_end(self, run: TrainingRun, record: EpochRecord) -> None:
        """Called after each epoch with what it logged."""

    def on_train_end(self, run: TrainingRun) -> None:
        """Called at a clean end, before the best model is registered."""


@dataclass(frozen=True)
class RegisterBest:
    """Register the weights of the best epoch by *monitor* as a version of the model *name*, once, at the end.

    `input_example`: a batch that the model takes, a tensor or array of shape (N, …), or a tuple or dict of them,
    without labels. Other batches may differ from it in N, and in what the model's code leaves free, such as the length
    of texts. A dict's parts are keywords, or it is given whole to a `forward(self, batch)`.
    `outputs` says what the model returns. `on_interrupt=True` registers at an interrupted or failed end, too.
    `factory` ('package.module:callable') and `factory_kwargs` build the model where torch.export refuses it, or fixes a
    length that the model leaves free.
    """

    name: str
    monitor: str = field(default=VAL_ACCURACY, kw_only=True)
    mode: Mode = field(default="max", kw_only=True)
    input_example: Any = field(kw_only=True)
    alias: str = field(default=CHALLENGER, kw_only=True)
    outputs: Outputs = field(default="logits", kw_only=True)
    on_interrupt: bool = field(default=False, kw_only=True)
    class_names: tuple[str, ...] | None = field(default=None, kw_only=True)
    factory: str | None = field(default=None, kw_only=True)
    factory_kwargs: dict[str, Any] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_model_name(self.name)
        check_alias(self.alias)
        check_mode("RegisterBest", self.mode)
        check_monitor("RegisterBest", self.monitor)
        if self.outputs not in ("logits", "probabilities"):
            raise BadInput(f"RegisterBest got outputs={self.outputs!r}; it is 'logits' or 'probabilities'.")
        if self.class_names is not None:
            check_class_names(self.class_names)
        if self.factory is not None:
            Factory(self.factory, dict(self.factory_kwargs or {}))
        check_example(self.input_example)

    @property
    def described(self) -> dict[str, Any]:
        """What is said of the model, as `register` and `take_candidate` take it."""
        return {
            "input_example": self.input_example,
            "outputs": self.outputs,
            "class_names": self.class_names,
            "factory": self.factory,
            "factory_kwargs": self.factory_kwargs,
        }

    def best(self, history: History) -> EpochRecord | None:
        """Return the epoch whose weights are to be registered."""
        return history.best(self.monitor, self.mode)


class Plan:
    """The callbacks of one training, sorted by what they do."""

    def __init__(self, callbacks: Iterable[Any]) -> None:
        everything = list(callbacks)
        self.checkpoints = [c for c in everything if isinstance(c, ModelCheckpoint)] or [ModelCheckpoint()]
        self.stopping = [c for c in everything if isinstance(c, EarlyStopping)]
        self.registering = [c for c in everything if isinstance(c, RegisterBest)]
        ours = (ModelCheckpoint, EarlyStopping, RegisterBest)
        self.own = [_checked(c) for c in everything if not isinstance(c, ours)]

    @property
    def saves_inside_epochs(self) -> bool:
        """Whether a checkpoint may be due between two batches."""
        return any(policy.saves_inside_epochs for policy in self.checkpoints)

    @property
    def waits(self) -> bool:
        """Whether the loop waits for the one before rather than skipping a checkpoint."""
        return any(policy.when_busy == "wait" for policy in self.checkpoints)

    def should_save(self, history: History) -> bool:
        """Say whether a policy wants the history's last epoch saved."""
        return any(policy.should_save(history) for policy in self.checkpoints)

    def should_save_step(self, step: int, seconds_since_save: float) -> bool:
        """Say whether a policy wants a checkpoint between two batches."""
        return any(policy.should_save_step(step, seconds_since_save) for policy in self.checkpoints)

    def is_best(self, history: History) -> bool:
        """Say whether the history's last epoch is the one that would be registered."""
        return any((best := r.best(history)) is not None and best.epoch == history[-1].epoch for r in self.registering)

    def stop_reason(self, history: History) -> str | None:
        """Return the first reason to stop that a policy has."""
        return next((reason for policy in self.stopping if (reason := policy.should_stop(history))), None)

    def keep(self, history: History, stored: Collection[CheckpointName]) -> set[CheckpointName]:
        """Return which stored checkpoints stay."""
        held = stored_part(history, stored)
        pinned = {best.epoch for r in self.registering if (best := r.best(held)) is not None}
        return to_keep(self.checkpoints, history, stored, pinned)

    def monitors(self) -> Iterator[tuple[str, str]]:
        """Yield (who monitors, what) for everything that does."""
        monitoring: list[ModelCheckpoint | EarlyStopping | RegisterBest] = [*self.checkpoints, *self.stopping]
        for callback in [*monitoring, *self.registering]:
            if callback.monitor is not None:
                yield type(callback).__name__, callback.monitor

    def tags(self) -> dict[str, str]:
        """Return the tag that notes whose best epochs are kept, for when the checkpoints are pruned."""
        keeping: list[ModelCheckpoint | RegisterBest] = [*self.checkpoints, *self.registering]
        monitors = sorted({(c.monitor, c.mode) for c in keeping if c.monitor is not None})
        return {TAG_MONITORS: json.dumps(monitors)}

    def warn_of_missing(self, history: History) -> None:
        """Warn once for each monitored key that the first epoch did not log."""
        for line in missing_monitors(history, self.monitors()):
            if len(history) == 1:
                _log.warning("%s", line)

    def require(self, history: History) -> None:
        """Raise MetricNotLogged if something monitors a key that was never logged."""
        require_monitors(history, self.monitors())

    def call(self, hook: str, *arguments: Any) -> None:
        """Call one hook of each of the user's callbacks that has it."""
        for callback in self.own:
            method = getattr(callback, hook, None)
            if method is not None:
                method(*arguments)


def _checked(callback: Any) -> Callback:
    if isinstance(callback, type) or not any(callable(getattr(callback, hook, None)) for hook in HOOKS):
        raise BadInput(f"{callback!r} is not a callback: it is an object with any of the methods {', '.join(HOOKS)}.")
    return cast(Callback, callback)
