"""The processes of a training as the rest of the package sees them; of one process there is nobody to ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_pt_eval.distributed.courier import Courier
    from mlflow_pt_eval.distributed.stopping import Ask


class Ranks:
    """One process among `size`, the `rank`-th; rank 0 alone talks to MLflow and decides what has to be decided.

    The methods, where nothing else is said, are called by every process in the same order.
    """

    rank = 0
    size = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that talks to MLflow."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there is any other process."""
        return self.size > 1

    def begin(self, step: Callable[[], int]) -> None:
        """Begin to listen to the others beside the loop; *step* says how many batches it has done."""

    def meet(self, place: str, mine: Any, merge: Callable[[list[Any]], Any], *, patient: bool = False) -> Any:
        """Wait for all, let rank 0 *merge* what they say (plain data, in the order of ranks); return that everywhere.

        *patient* waits for as long as the others live, otherwise the process group's timeout is the limit.
        RankFailed names who is gone or did not answer; Interrupted if one was ended by a signal.
        """
        return merge([mine])

    def send(self, data: bytes | None) -> bytes:
        """Return rank 0's *data* everywhere, of any size."""
        assert data is not None
        return data

    # --- inside an epoch, where the processes need not be at the same step -------------------
    def due(self, step: int) -> Ask | None:
        """Return what all have agreed to do now that this process has done *step* batches; costs nothing else."""
        return None

    def ask_to_save(self) -> None:
        """Have all processes save at one step soon; called by any of them."""

    # --- the shares of a checkpoint ------------------------------------------------------------
    def post(self, name: str, share: bytes, *, epoch: int, ended: bool = False) -> None:
        """Hand in this process's share of a checkpoint; *ended*: that at the end of its batches in *epoch*.

        An empty one says that it has none of this checkpoint.
        """

    def collect(self, name: str, *, epoch: int, ended: bool = False, late: bool = False) -> list[bytes]:
        """Return the shares of all processes but rank 0, which asks, on any one thread.

        *late* ones are handed in some time after the boundary, by another thread than the loop's.
        """
        return []

    def pass_over(self, name: str) -> None:
        """Let the shares of a checkpoint go that rank 0 does not save."""

    def courier(self) -> Courier | None:
        """Return what the processes talk through of files that each stores itself; None if there is only one."""
        return None

    # --- the end --------------------------------------------------------------------------------
    @property
    def stopped_by(self) -> int | None:
        """The signal that all have agreed to end by, or that has ended one of them."""
        return None

    def culprit(self) -> str | None:
        """Say which other process has failed, and why, if one has said so or is gone."""
        return None

    def leave(self, why: str, signum: int | None) -> None:
        """Tell the others that this process ends before its time; called by it alone."""

    def finish(self, outcome: Any) -> None:
        """Tell the others, as rank 0, that all is stored."""

    def outcome(self) -> Any:
        """Wait, for as long as rank 0 lives, until it has called `finish`; return what it said."""
        return None

    def until_stored(self, seconds: float) -> None:
        """Wait until rank 0 has called `finish` or is gone, for so long at most."""

    def close(self) -> None:
        """End what runs beside the training."""


class Alone(Ranks):
    """A training in one process."""
