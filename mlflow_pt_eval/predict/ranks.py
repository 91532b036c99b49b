"""The processes of a job, as torch.distributed has them: they fail together, and put their shares together in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from mlflow_pt_eval.errors import BadInput, RankFailed, first_line


@dataclass(frozen=True)
class Ranks:
    """This process's number, and how many there are; every method is called by all of them."""

    rank: int
    size: int

    @classmethod
    def current(cls) -> Ranks:
        """Return the initialised process group; BadInput where there is none."""
        if not dist.is_available() or not dist.is_initialized():
            raise BadInput("distributed=True needs torch.distributed: call init_process_group first, under torchrun.")
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this is the process that speaks for all of them."""
        return self.rank == 0

    def failed(self, *, here: bool) -> list[int]:
        """Return the ranks that failed."""
        flags = self._each(torch.tensor([int(here)]))
        return [rank for rank, flag in enumerate(flags.tolist()) if flag]

    def from_first(self, value: torch.Tensor) -> torch.Tensor:
        """Return rank 0's *value*, a tensor of the same shape and dtype everywhere."""
        moved = value.to(_device())
        with _coming_together():
            dist.broadcast(moved, 0)
        return moved.cpu()

    def gather(self, mine: torch.Tensor) -> torch.Tensor:
        """Return every rank's rows, in the order of ranks; their numbers may differ, down to none."""
        lengths = self._each(torch.tensor([len(mine)])).tolist()
        whole = torch.empty((sum(lengths), *mine.shape[1:]), dtype=mine.dtype, device=_device())
        for rank, part in enumerate(whole.split(lengths)):
            if rank == self.rank:
                part.copy_(mine)
            if len(part):
                with _coming_together():
                    dist.broadcast(part, rank)
        return whole.cpu()

    def _each(self, mine: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(mine, device=_device()) for _ in range(self.size)]
        with _coming_together():
            dist.all_gather(parts, mine.to(_device()))
        return torch.cat(parts).cpu()


@contextmanager
def agreed(ranks: Ranks | None) -> Iterator[None]:
    """End the block on every rank if it fails on one: no rank waits for one that has given up.

    The failing rank raises its own error, the others RankFailed, which names it.
    """
    if ranks is None:
        yield
        return
    try:
        yield
    except Exception:
        ranks.failed(here=True)
        raise
    if gone := ranks.failed(here=False):
        raise RankFailed(f"rank {', '.join(map(str, gone))} of {ranks.size} failed; its own output says why.")


@contextmanager
def _coming_together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # a rank that is gone, or a timeout of the process group
        raise RankFailed(f"the processes of this job did not come together: {first_line(error)}") from error


def _device() -> torch.device:
    """Return where the process group's tensors have to be."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
