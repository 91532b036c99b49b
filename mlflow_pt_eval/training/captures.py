"""Capturing a training at a boundary: the state for rank 0's checkpoint, and each process's own share of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlflow_pt_eval.distributed import Ranks
from mlflow_pt_eval.names import CheckpointName, shard_file
from mlflow_pt_eval.state import (
    Buffers,
    Flags,
    Stateful,
    capture_flags,
    capture_norms,
    capture_rng,
    capture_state,
    other_flags,
    take_shard,
    tree_bytes,
)
from mlflow_pt_eval.training.batches import Batches
from mlflow_pt_eval.training.payload import Contribution, Snapshot
from mlflow_pt_eval.training.progress import Progress


@dataclass(frozen=True)
class Left:
    """What a training was when its loop over epochs was left; all of it owned."""

    state: dict[str, Any]
    rng: dict[str, Any]
    flags: Flags
    position: dict[str, Any] | None


class Captures:
    """What a checkpoint is made of."""

    def __init__(self, state: Mapping[str, Stateful], progress: Progress, batches: Batches) -> None:
        self.rng: dict[str, Any] | None = None  # at the boundary between two epochs
        self.epoch_rng: dict[str, Any] | None = None  # when the epoch began
        self.sharded = False  # whether each process holds its own part of the state
        self.began: Flags | None = None  # what the script had set of its modules when the training was opened
        self._left: Left | None = None
        self._state, self._progress, self._batches = state, progress, batches

    def begin_epoch(self) -> None:
        """Note the random states of an epoch's beginning."""
        self.epoch_rng, self.rng = self.rng or capture_rng(), None

    def name(self, *, complete: bool) -> CheckpointName:
        """Return the name of a checkpoint that is made now."""
        progress = self._progress
        epoch = progress.history[-1].epoch if complete else progress.epoch
        return CheckpointName(epoch=epoch, step=progress.step, complete=complete)

    def leave(self) -> Left:
        """Return a copy of the state as it is now."""
        state = Buffers().copy(capture_state(self._state))
        return Left(state, capture_rng(), capture_flags(self._state), self._batches.position())

    @contextmanager
    def standing_for(self, left: Left | None) -> Iterator[None]:
        """Have *left* (None: nothing) stand for the live objects, which may have changed since."""
        self._left = left
        try:
            yield
        finally:
            self._left = None

    def end_epoch(self) -> None:
        """Note the random states of an epoch's end."""
        self.rng = capture_rng() if self._left is None else self._left.rng

    def share(self) -> bytes:
        """Return what this process adds to rank 0's state."""
        return tree_bytes(self._share())

    def _share(self) -> dict[str, Any]:
        progress = self._progress
        return {
            "step": progress.step,
            "rng": self.rng or capture_rng(),
            "position": self._batches.position(),
            "epoch_rng": self.epoch_rng,
            "account": {**progress.state(), "step": progress.step},
            "norms": capture_norms(self._state["model"]),
        }

    def contribution(self, ranks: Ranks, *, complete: bool) -> Contribution:
        """Return the same with this process's part of a sharded state, live until it has been copied."""
        _, shard = take_shard(capture_state(self._state))
        file = shard_file(ranks.rank, ranks.size)
        return Contribution(self.name(complete=complete), self._share(), shard, file)

    def live(self, ranks: Ranks) -> dict[str, Any]:
        """Return what this process copies at a boundary."""
        state = capture_state(self._state)
        if not self.sharded:
            return state
        rest, shard = take_shard(state)
        return {"state": rest, "shard": shard.tensors} if ranks.is_first else shard.tensors

    def snapshot(self, ranks: Ranks, *, complete: bool, ended: bool = False) -> Snapshot:
        """Return the state at this boundary, live until the recorder has copied it.

        *ended*: the shares of the other processes are those from the end of their batches.
        """
        progress, name, left = self._progress, self.name(complete=complete), self._left
        flags = capture_flags(self._state) if left is None else left.flags
        position = self._batches.position() if left is None else left.position
        account = {
            "epoch": name.epoch,
            "step": progress.step,
            "loss": progress.loss(),
            "rng": [self.rng or capture_rng()],
            "progress": {
                **progress.state(),
                "complete": complete,
                "flags": flags,
                "flags_began": other_flags(self.began or flags, than=flags),
                # One entry a rank, like `rng`.
                "ranks": [{"position": position, "epoch_rng": self.epoch_rng}],
            },
        }
        collect = partial(ranks.collect, str(name), epoch=name.epoch, ended=ended, late=self.sharded)
        state, shard = capture_state(self._state) if left is None else left.state, None
        if self.sharded:
            state, shard = take_shard(state)
        return Snapshot(name, account, state, progress.history, collect if ranks.several else None, shard)
