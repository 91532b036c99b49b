"""Gradients that wait for a step of the optimizer: no checkpoint holds them, so one waits until they are used."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from operator import attrgetter
from typing import Any
from weakref import ref

from torch import Tensor
from torch.optim import Optimizer

from mlflow_pt_eval.signals import Watch
from mlflow_pt_eval.training.progress import Progress

_LONGEST = 256  # batches that a checkpoint waits
Mark = tuple[ref[Tensor], int]
_grad, _version = attrgetter("grad"), attrgetter("_version")
_log = logging.getLogger("mlflow_pt_eval")


class Accumulation:
    """Knows which gradients wait for a step, and puts checkpoints off until the optimizers have done theirs."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.updates = 0  # steps that optimizers have done
        self._optimizers: list[Optimizer] = []
        self._hooks: list[Any] = []
        self._waits = self._says = True
        self._stepped_in: dict[Optimizer, int] = {}  # how many batches had been done when each last stepped
        self._seen: dict[Optimizer, list[Mark]] = {}  # gradients, as that step has used them or as they were seen since
        self._owed: int | None = None  # since which step a checkpoint is put off

    def watch(self, state: Mapping[str, Any], *, waits: bool, says: bool) -> None:
        """Watch the optimizers of *state*. Processes that agree on a step to save at cannot *wait*."""
        self._waits, self._says = waits, says
        found = (_core(part) for part in state.values() if isinstance(part, Optimizer))
        self._optimizers = [optimizer for optimizer in found if optimizer is not None]
        self._hooks = [each.register_step_post_hook(self._note) for each in self._optimizers]

    def _note(self, optimizer: Optimizer, *_: Any) -> None:
        self.updates += 1
        step = self._progress.step
        since = step - self._stepped_in.get(optimizer, 0)
        self._stepped_in[optimizer] = step
        if since > 1 or (since == 0 and optimizer in self._seen):
            self._seen[optimizer] = _marks(optimizer)
        else:  # it steps in every batch: to look at its gradients each time would cost more than all the rest
            self._seen.pop(optimizer, None)

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
        """Say whether gradients wait: those that have changed since the last step of their optimizer.

        One that has stepped in this batch awaits none. Of one that used to step in every batch, and has not now, the
        next batch tells whether its gradients grow or are only left over.
        """
        done = self._progress.step - 1
        stepped = [each for each in self._optimizers if self._stepped_in.get(each) == done]
        used = {id(gradient) for each in stepped for gradient in _gradients(each)}
        for found, version in (mark for marks in self._seen.values() for mark in marks):
            gradient = found()
            if gradient is not None and gradient._version == version:
                used.add(id(gradient))
        for each in self._optimizers:
            if each not in stepped and each not in self._seen:
                self._seen[each] = _marks(each)
        return any(id(gradient) not in used for each in self._optimizers for gradient in _gradients(each))

    def close(self) -> None:
        """Let go of the optimizers."""
        for hook in self._hooks:
            hook.remove()


def _gradients(optimizer: Optimizer) -> list[Tensor]:
    groups = optimizer.param_groups
    return [gradient for group in groups for gradient in map(_grad, group["params"]) if gradient is not None]


def _marks(optimizer: Optimizer) -> list[Mark]:
    """Return what changes with each gradient that is written to, or replaced: one that is freed leaves its address."""
    gradients = _gradients(optimizer)
    try:
        return list(zip(map(ref, gradients), map(_version, gradients), strict=True))
    except RuntimeError:  # inference tensors count no writes
        return []


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
