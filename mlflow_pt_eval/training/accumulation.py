"""Gradients that wait for a step of the optimizer: no checkpoint holds them, so one waits until they are used."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from mlflow_pt_eval.signals import Watch
from mlflow_pt_eval.training.progress import Progress

_LONGEST = 256  # batches that a checkpoint waits
_log = logging.getLogger("mlflow_pt_eval")


class Accumulation:
    """Knows whether an optimizer has stepped in the last batch, and puts checkpoints off until one has."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.updates = 0  # steps that optimizers have done
        self._optimizers: list[Optimizer] = []
        self._hooks: list[Any] = []
        self._waits = self._says = True
        self._stepped_in: int | None = None  # how many batches had been done when an optimizer last stepped
        self._owed: int | None = None  # since which step a checkpoint is put off

    def watch(self, state: Mapping[str, Any], *, waits: bool, says: bool) -> None:
        """Watch the optimizers of *state*. Processes that agree on a step to save at cannot *wait*."""
        self._waits, self._says = waits, says
        found = (_core(part) for part in state.values() if isinstance(part, Optimizer))
        self._optimizers = [optimizer for optimizer in found if optimizer is not None]
        self._hooks = [each.register_step_post_hook(self._note) for each in self._optimizers]

    def _note(self, *_: Any) -> None:
        self.updates += 1
        self._stepped_in = self._progress.step

    @property
    def owes(self) -> bool:
        """Whether a checkpoint has been put off."""
        return self._owed is not None

    def may_save(self, watch: Watch | None) -> bool:
        """Say whether a checkpoint that is due may be made after this batch, or is put off.

        The second half of a signal's grace is for the saving.
        """
        step, owed = self._progress.step, self._owed
        self._owed = None
        if not self._is_pending():
            return True
        is_pressed = watch is not None and watch.signum is not None and watch.seconds_left < watch.grace_seconds / 2
        since = step if owed is None else owed
        if self._waits and not is_pressed and step - since < _LONGEST:
            self._owed = since
            return False
        if self._says:
            _log.warning(
                "the checkpoint at step %d is made between two steps of the optimizer: the gradients gathered since "
                "the last one are not in it, so that a resume from it is not exact",
                step,
            )
        return True

    def _is_pending(self) -> bool:
        if not self._optimizers or self._stepped_in == self._progress.step - 1:
            return False
        groups = (group for each in self._optimizers for group in each.param_groups)
        return any(parameter.grad is not None for group in groups for parameter in group["params"])

    def close(self) -> None:
        """Let go of the optimizers."""
        for hook in self._hooks:
            hook.remove()


def _core(optimizer: Optimizer) -> Optimizer | None:
    """Return the optimizer that does the steps: a wrapper (Accelerate's, a Lookahead) may be one in name alone.

    None of one that cannot be watched.
    """
    while not hasattr(optimizer, "_optimizer_step_post_hooks"):
        inner = getattr(optimizer, "optimizer", None)
        if not isinstance(inner, Optimizer):
            return None
        optimizer = inner
    return optimizer
