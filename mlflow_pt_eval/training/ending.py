"""How a training ended, and what that means for its run and for the process."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mlflow_pt_eval.errors import Interrupted
from mlflow_pt_eval.tracking.runs import Status


class SignalExit(SystemExit):
    """The exit of a process whose training a signal has ended; a training around it knows by it why it ends, too."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


@dataclass(frozen=True)
class Ending:
    """An end: the run's status, the signal if one caused it, and the error if one did."""

    status: Status
    signum: int | None = None
    error: BaseException | None = None

    @property
    def clean(self) -> bool:
        """Whether the training came to its end by itself."""
        return self.status == "FINISHED"

    @property
    def signal_name(self) -> str | None:
        """The signal's name, such as SIGTERM."""
        return None if self.signum is None else signal.Signals(self.signum).name

    def traceback(self) -> str:
        """Return the error's traceback as text."""
        return "".join(traceback.format_exception(self.error)) if self.error is not None else ""


def ending_of(error: BaseException | None) -> Ending:
    """Say what the exception that left the block (None: none did) means."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return Ending("FINISHED")
    if isinstance(error, Interrupted | SignalExit):
        return Ending("KILLED", error.signum, error)
    if isinstance(error, KeyboardInterrupt):
        return Ending("KILLED", signal.SIGINT, error)
    return Ending("FAILED", error=error)


@contextmanager
def leaving() -> Iterator[None]:
    """End the process as `leave` says where an interruption comes while the training is opened or ended."""
    try:
        yield
    except Interrupted as cut:
        raise leave(cut.signum) from None


def leave(signum: int) -> BaseException:
    """Return what to raise after an interruption: an exit with 128 + signum, or in a notebook a KeyboardInterrupt.

    An interactive session is to stay usable, so it is not asked to exit.
    """
    if hasattr(sys, "ps1") or "ipykernel" in sys.modules:
        return KeyboardInterrupt(f"the training was ended by {signal.Signals(signum).name}")
    return SignalExit(signum)
