"""Several processes: meeting at the ends of epochs, handing over what is large, leaving without hurting others."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from mlflow_pt_eval.distributed.alive import Others
from mlflow_pt_eval.distributed.board import Board
from mlflow_pt_eval.distributed.courier import Courier
from mlflow_pt_eval.distributed.ranks import Alone, Ranks
from mlflow_pt_eval.distributed.shares import Shares
from mlflow_pt_eval.distributed.stopping import Ask, Stopping
from mlflow_pt_eval.errors import BadInput, PtEvalError, RankFailed, first_line

_PIECE = 64 << 20  # bytes a broadcast
_trainings = itertools.count()  # all processes count the same


class Together(Ranks):
    """This process among several, as the default process group has them."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        board = Board.of_the_group(f"mlflow_pt_eval/{next(_trainings)}")
        self._others = Others(board, self.rank, self.size, _patience())
        self._others.introduce()
        self._met = 0
        self._shares = Shares(self._others, self._others.another())
        self._stopping: Stopping | None = None

    def begin(self, step: Callable[[], int]) -> None:
        """Begin to listen to the others beside the loop; *step* says how many batches it has done."""
        self._stopping = Stopping(self._others.another(), step)

    def meet(self, place: str, mine: Any, merge: Callable[[list[Any]], Any], *, patient: bool = False) -> Any:
        """See `Ranks.meet`."""
        self._met += 1
        number, board = self._met, self._others.board
        if not self.is_first:
            board.put(f"up/{number}/{self.rank}", [place, mine])
            board.drop(f"up/{number - 1}/{self.rank}")
            return board.take(self._others.expect([f"down/{number}"], 0, patient=patient, place=place))
        said = [[place, mine]]
        for rank in range(1, self.size):
            here = self._others.expect([f"up/{number}/{rank}"], rank, patient=patient, place=place)
            said.append(board.take(here))
        for rank, (there, _) in enumerate(said):
            if there != place:
                raise RankFailed(
                    f"rank 0 is at {place}, rank {rank} at {there}: every process has to do the same epochs, and to "
                    "leave the loop at the same one; run.stop(reason) ends them all."
                )
        merged = merge([value for _, value in said])
        board.put(f"down/{number}", merged)
        board.drop(f"down/{number - 1}")  # whoever has come here has read it
        return merged

    def send(self, data: bytes | None) -> bytes:
        """See `Ranks.send`: by broadcasts in a gloo group that lives for this alone."""
        size = self.meet("the sending of a checkpoint", None if data is None else len(data), lambda said: said[0])
        whole = torch.empty(size, dtype=torch.uint8)
        if data is not None:
            whole.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        try:
            group = dist.new_group(backend="gloo", timeout=timedelta(seconds=self._others.patience))
            for piece in whole.split(_PIECE):
                dist.broadcast(piece, 0, group=group)
            dist.destroy_process_group(group)
        except RuntimeError as error:
            self._others.check(0)
            raise RankFailed(f"the checkpoint could not be sent to all processes: {first_line(error)}") from error
        return whole.numpy().tobytes()

    def due(self, step: int) -> Ask | None:
        """See `Ranks.due`."""
        stopping = self._stopping
        return stopping.due(step) if stopping is not None and stopping.active else None

    def ask_to_save(self) -> None:
        """See `Ranks.ask_to_save`."""
        if self._stopping is not None:
            self._stopping.want_save()

    def post(self, name: str, share: bytes, *, epoch: int, ended: bool = False) -> None:
        """See `Ranks.post`."""
        if ended:
            self._shares.post_end(epoch, share)
        else:
            self._shares.post(name, share)

    def collect(self, name: str, *, epoch: int, ended: bool = False, late: bool = False) -> list[bytes]:
        """See `Ranks.collect`."""
        return self._shares.collect(name, epoch=epoch, ended=ended, late=late)

    def pass_over(self, name: str) -> None:
        """See `Ranks.pass_over`."""
        self._shares.pass_over(name)

    def courier(self) -> Courier:
        """See `Ranks.courier`."""
        return Courier(self._others.another())

    @property
    def stopped_by(self) -> int | None:
        """See `Ranks.stopped_by`."""
        if self._stopping is not None and self._stopping.agreed_signal is not None:
            return self._stopping.agreed_signal
        left = self._left()
        return None if left is None else left["signum"]

    def culprit(self) -> str | None:
        """See `Ranks.culprit`."""
        left = self._left()
        if left is not None:
            return self._others.said(left) if left["rank"] != self.rank and left["signum"] is None else None
        try:
            return next(filter(None, map(self._others.gone, range(self.size))), None)
        except PtEvalError as error:
            return str(error)

    def leave(self, why: str, signum: int | None) -> None:
        """See `Ranks.leave`."""
        try:
            self._others.board.claim("left", {"rank": self.rank, "why": why, "signum": signum})
        except RankFailed:
            return  # nobody can be told any more

    def finish(self, outcome: Any) -> None:
        """See `Ranks.finish`."""
        self._others.board.put("finished", outcome)

    def outcome(self) -> Any:
        """See `Ranks.outcome`."""
        return self._others.board.take(self._others.expect(["finished"], 0, patient=True))

    def until_stored(self, seconds: float) -> None:
        """See `Ranks.until_stored`."""
        self._others.until_stored(seconds)

    def close(self) -> None:
        """See `Ranks.close`."""
        if self._stopping is not None:
            self._stopping.close()

    def _left(self) -> dict[str, Any] | None:
        try:
            left: dict[str, Any] | None = self._others.board.take("left")
        except RankFailed:
            return None
        return left


def current() -> Ranks:
    """Return the processes that this one trains with, by torch.distributed; BadInput if it should be there and isn't.

    Called by all of them, once for each training.
    """
    ready = dist.is_available() and dist.is_initialized()
    wanted = os.environ.get("WORLD_SIZE", "1")
    if not ready and wanted != "1":
        raise BadInput(
            f"this is one of {wanted} processes (WORLD_SIZE={wanted}), but torch.distributed is not initialised: call "
            "torch.distributed.init_process_group() before TrainingRun, or train without torchrun."
        )
    if not ready or dist.get_world_size() == 1:
        return Alone()
    return Together()


def _patience() -> float:
    """Return the process group's timeout in seconds: how long processes wait for one another."""
    store: Any = dist.distributed_c10d._get_default_store()
    return float(store.timeout.total_seconds())
