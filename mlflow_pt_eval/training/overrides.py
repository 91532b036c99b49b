"""A rehearsal: a training that runs as it is, but in a store of its own, resumed and ended where someone else says.

`mlflow-pt-eval verify-resume` rehearses a script. Outside of it `current()` is None, and nothing here is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mlflow_pt_eval.tracking.outbox import staging_in

if TYPE_CHECKING:
    from mlflow_pt_eval.training.opening import Opening, Wanted
    from mlflow_pt_eval.training.session import Session


class Rehearsal(Protocol):
    """What a rehearsal decides and sees; every method is called on the loop's thread."""

    @property
    def tracking_uri(self) -> str:
        """The store that every run goes to, whatever the script has chosen."""

    @property
    def staging(self) -> Path:
        """The folder that stands for the working directory where staging is meant."""

    def adapted(self, session: Session, wanted: Wanted) -> Wanted:
        """Return what is opened instead of what the script asked for; called before anything of ours has drawn."""

    def opened(self, session: Session, opening: Opening) -> None:
        """Called when the run is open and restored."""

    def after_batch(self, session: Session) -> None:
        """Called after the boundary between two batches: what is due there is submitted."""

    def after_epoch(self, session: Session) -> None:
        """Called after the boundary between two epochs: what is due there is submitted."""

    def ended(self, session: Session) -> None:
        """Called after a clean end, when everything is stored and the random states are the user's again."""


_current: ContextVar[Rehearsal | None] = ContextVar("mlflow_pt_eval_rehearsal", default=None)


def current() -> Rehearsal | None:
    """Return the rehearsal that this code runs in, or None."""
    return _current.get()


@contextmanager
def rehearsing(rehearsal: Rehearsal) -> Iterator[None]:
    """Have the trainings of the block be rehearsed."""
    token = _current.set(rehearsal)
    try:
        with staging_in(rehearsal.staging):
            yield
    finally:
        _current.reset(token)
