"""Gradients that wait for a step of the optimizer: no checkpoint holds them, so none is made between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch.optim import Optimizer

from mlflow_pt_eval.training.progress import Progress


class Accumulation:
    """Knows whether the optimizers of *state* have stepped in the last batch; *progress* says which that is."""

    def __init__(self, state: Mapping[str, Any], progress: Progress) -> None:
        self._progress = progress
        self._optimizers = [part for part in state.values() if isinstance(part, Optimizer)]
        self._stepped_in: int | None = None  # how many batches had been done when an optimizer last stepped
        self._hooks = [each.register_step_post_hook(self._note) for each in self._optimizers]

    def _note(self, *_: Any) -> None:
        self._stepped_in = self._progress.step

    def is_pending(self) -> bool:
        """Say whether, after a batch, there are gradients that no optimizer has used yet."""
        if not self._optimizers or self._stepped_in == self._progress.step - 1:
            return False
        return any(parameter.grad is not None for parameter in _parameters(self._optimizers))

    def close(self) -> None:
        """Let go of the optimizers."""
        for hook in self._hooks:
            hook.remove()


def _parameters(optimizers: Iterable[Optimizer]) -> Iterable[Any]:
    return (parameter for each in optimizers for group in each.param_groups for parameter in group["params"])
