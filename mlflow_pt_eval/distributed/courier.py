"""Storing a sharded state: each process its own file, when rank 0 says so; rank 0 waits before it ends a checkpoint."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mlflow_pt_eval.distributed.alive import Others
from mlflow_pt_eval.errors import RankFailed, StoreUnavailable
from mlflow_pt_eval.names import CheckpointName

_PAUSE = 0.02  # seconds between two looks at the board
_LOOK = 0.5  # seconds between two looks whether a process is gone


class Courier:
    """What the processes tell one another of files on their way to the store; any thread may call it."""

    def __init__(self, others: Others) -> None:
        self._others = others
        self._lock = threading.Lock()
        self._said: list[str] = []

    # --- rank 0 -------------------------------------------------------------------------------
    def say(self, name: str, *, store: bool) -> None:
        """Say whether the others store their parts of the checkpoint *name*, or let them go."""
        with self._lock:
            self._others.board.put(f"word/{name}", store)
            self._said.append(name)

    def until_stored(self, name: str, is_over: Callable[[], bool]) -> None:
        """Wait until each of the others has stored its part of *name*.

        StoreUnavailable if one cannot reach the store, or *is_over* says that nobody waits any more; RankFailed,
        naming it, if one is gone.
        """
        for rank in range(1, self._others.size):
            looked = time.monotonic()
            while not self._is_stored(name, rank):
                if is_over():
                    raise StoreUnavailable(f"rank {rank} has not stored its part of the checkpoint {name} yet.")
                if time.monotonic() - looked > _LOOK:
                    looked = time.monotonic()
                    self._check(rank)
                time.sleep(_PAUSE)
        self._clear(name)

    def _is_stored(self, name: str, rank: int) -> bool:
        key = f"stored/{name}/{rank}"
        with self._lock:
            why = self._others.board.take(key)
            if why:
                self._others.board.drop(key)
                raise StoreUnavailable(f"rank {rank} could not store its part of the checkpoint {name}: {why}")
            return why is not None

    def _check(self, rank: int) -> None:
        with self._lock:
            how = self._others.gone(rank)
        if how:
            raise RankFailed(f"{how} Its part of the last checkpoint is not stored.")

    def _clear(self, name: str) -> None:
        """Remove the notes that everybody has read: the others go through their parts in the order of names."""
        with self._lock:
            for rank in range(1, self._others.size):
                self._others.board.drop(f"stored/{name}/{rank}")
            read = [old for old in self._said if _order(old) <= _order(name)]
            for old in read:
                self._others.board.drop(f"word/{old}")
            self._said = [old for old in self._said if old not in read]

    # --- the others ---------------------------------------------------------------------------
    def word(self, name: str) -> bool | None:
        """Return what rank 0 has said of *name*; None for nothing yet."""
        with self._lock:
            said: bool | None = self._others.board.take(f"word/{name}")
        return said

    def tell(self, name: str, why: str = "") -> None:
        """Tell rank 0 that this process's part of *name* is stored, or why it is not yet."""
        with self._lock:
            self._others.board.put(f"stored/{name}/{self._others.rank}", why)


def _order(name: str) -> CheckpointName:
    parsed = CheckpointName.parse(name)
    assert parsed is not None
    return parsed
