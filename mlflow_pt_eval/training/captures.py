"""Capturing a training at a boundary: the state for rank 0's checkpoint, and each process's own share of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from mlflow_pt_eval.distributed import Ranks
from mlflow_pt_eval.names import CheckpointName
from mlflow_pt_eval.state import Stateful, capture_norms, capture_rng, capture_state, tree_bytes
from mlflow_pt_eval.training.batches import Batches
from mlflow_pt_eval.training.progress import Progress
from mlflow_pt_eval.training.recorder import Snapshot


class Captures:
    """What a checkpoint is made of."""

    def __init__(self, state: Mapping[str, Stateful], progress: Progress, batches: Batches) -> None:
        self.rng: dict[str, Any] | None = None  # at the boundary between two epochs
        self.epoch_rng: dict[str, Any] | None = None  # when the epoch began
        self._state, self._progress, self._batches = state, progress, batches

    def begin_epoch(self) -> None:
        """Note the random states of an epoch's beginning."""
        self.epoch_rng, self.rng = self.rng or capture_rng(), None

    def name(self, *, complete: bool) -> CheckpointName:
        """Return the name of a checkpoint that is made now."""
        progress = self._progress
        epoch = progress.history[-1].epoch if complete else progress.epoch
        return CheckpointName(epoch=epoch, step=progress.step, complete=complete)

    def share(self) -> bytes:
        """Return what this process adds to rank 0's state."""
        progress = self._progress
        share = {
            "step": progress.step,
            "rng": self.rng or capture_rng(),
            "position": self._batches.position(),
            "epoch_rng": self.epoch_rng,
            "account": {**progress.state(), "step": progress.step},
            "norms": capture_norms(self._state["model"]),
        }
        return tree_bytes(share)

    def snapshot(self, ranks: Ranks, *, complete: bool, ended: bool = False) -> Snapshot:
        """Return the state at this boundary, live until the recorder has copied it.

        *ended*: the shares of the other processes are those from the end of their batches.
        """
        progress, name = self._progress, self.name(complete=complete)
        account = {
            "epoch": name.epoch,
            "step": progress.step,
            "loss": progress.loss(),
            "rng": [self.rng or capture_rng()],
            "progress": {
                **progress.state(),
                "complete": complete,
                # One entry a rank, like `rng`.
                "ranks": [{"position": self._batches.position(), "epoch_rng": self.epoch_rng}],
            },
        }
        collect = partial(ranks.collect, str(name), epoch=name.epoch, ended=ended)
        state = capture_state(self._state)
        return Snapshot(name, account, state, progress.history, collect if ranks.several else None)
