"""Waiting for other processes of a training, and saying which of them it is that does not come."""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import Any

from mlflow_pt_eval.distributed.board import Board
from mlflow_pt_eval.errors import Interrupted, RankFailed
from mlflow_pt_eval.processes import process_start

_SHORTEST, _LONGEST = 0.0005, 0.05  # seconds between two looks at the board
_LONG = 30.0  # seconds of waiting after which it is said, once, for whom
_MANY = 64  # processes; more of them look more seldom
_SILENCE = 120.0  # without a sign of life from a process on another host, it is taken to be gone
_log = logging.getLogger("mlflow_pt_eval")


def spread(seconds: float, size: int) -> float:
    """Return the time between two looks of one of *size* processes: all together look no more often than 64 would.

    >>> spread(0.1, 2), spread(0.1, 1024)
    (0.1, 1.6)
    """
    return seconds * max(1.0, size / _MANY)


class Others:
    """What one thread knows of the other processes: a *board* of its own, and who was last seen when."""

    def __init__(self, board: Board, rank: int, size: int, patience: float) -> None:
        self.board, self.rank, self.size, self.patience = board, rank, size, patience
        self._longest = spread(_LONGEST, size) if rank else _LONGEST  # rank 0 is alone in waiting for the others
        self._who: dict[int, dict[str, Any]] = {}
        self._beats: dict[int, tuple[Any, float]] = {}
        self._has_said = False

    def another(self) -> Others:
        """Return the same for another thread."""
        return Others(self.board.another(), self.rank, self.size, self.patience)

    def introduce(self) -> None:
        """Say which process this is."""
        me = {"host": socket.gethostname(), "pid": os.getpid(), "born": process_start(os.getpid())}
        self.board.put(f"who/{self.rank}", me)

    def expect(
        self,
        keys: list[str],
        rank: int,
        *,
        patient: bool = False,
        ending: bool = False,
        leaving: bool = False,
        place: str = "",
    ) -> str:
        """Wait for any of *keys*, which *rank* puts up; return the first of them that is there.

        RankFailed, naming it, if that process is gone, has failed, or (unless *patient*) takes longer than the
        process group's timeout; the same if another has failed meanwhile, and, unless all are *ending* by a signal,
        Interrupted if one has. *leaving*: also one that has failed may still put it up, until it is gone. A long wait
        at a *place* is said.
        """
        began, pause, looked = time.monotonic(), _SHORTEST, 0.0
        while True:
            for key in keys:
                if self.board.has(key):
                    return key
            now = time.monotonic()
            if now - looked > 10 * self._longest:
                looked = now
                if leaving:
                    self._check_alive(rank)
                else:
                    self.check(rank, ending=ending)
            if place and not patient and not self._has_said and now - began > _LONG:
                self._has_said = True
                _log.warning(
                    "rank %d has waited %g s for rank %d at %s, and will for %g s: every rank opens the TrainingRun, "
                    "does the same epochs and leaves the block",
                    *(self.rank, _LONG, rank, place, self.patience),
                )
            if not patient and now - began > self.patience:
                raise RankFailed(
                    f"rank {rank} of {self.size} did not answer within {self.patience:g} s, the process group's "
                    "timeout: it hangs, or does something else than the others."
                )
            time.sleep(pause)
            pause = min(2 * pause, self._longest)

    def until_stored(self, seconds: float) -> None:
        """Wait until rank 0 has finished or is gone, however it ends, and for so long at most."""
        deadline = time.monotonic() + seconds
        try:
            while not self.board.has("finished") and not self.gone(0) and time.monotonic() < deadline:
                time.sleep(self._longest)
        except RankFailed:
            return  # the store went with it

    def check(self, rank: int, *, ending: bool = False) -> None:
        """Raise if a process has left before its time (by a signal: unless all are *ending*), or if *rank* is gone."""
        left = self.board.take("left")
        if left is not None and left["rank"] != self.rank:
            if left["signum"] is None:
                raise RankFailed(self.said(left))
            if not ending:
                raise Interrupted(left["signum"])
        self._check_alive(rank)

    def _check_alive(self, rank: int) -> None:
        if rank != self.rank and (how := self.gone(rank)):
            raise RankFailed(how)

    def said(self, left: dict[str, Any]) -> str:
        """Return the line about a process that has said that it failed."""
        return f"rank {left['rank']} of {self.size} failed ({left['why']}); its own output says more."

    def gone(self, rank: int) -> str:
        """Say how it is known that a process is gone; '' if it isn't known."""
        who = self._who.get(rank) or self.board.take(f"who/{rank}")
        if who is None:
            return ""
        self._who[rank] = who
        if who["host"] == socket.gethostname():
            gone = process_start(who["pid"]) != who["born"]
            return f"rank {rank} of {self.size} (process {who['pid']}) is gone without a word." if gone else ""
        beat, now = self.board.take(f"beat/{rank}"), time.monotonic()
        before, since = self._beats.get(rank, (None, now))
        if beat != before or rank not in self._beats:
            since = now
        self._beats[rank] = (beat, since)
        silent = now - since > _SILENCE
        return f"rank {rank} of {self.size} on {who['host']} was silent for {_SILENCE:g} s." if silent else ""
