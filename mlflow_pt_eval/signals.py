"""The flag that loops poll: a signal asks for an end, the training chooses the place within a grace period.

`watching()` installs the handlers. After a first signal `pending()` says which it was, and `check()` raises
`Interrupted` where ending loses nothing: when the watch was told so (`Watch.safe`), or when the grace is over.
A second signal ends at once, unless a launcher passes on what the process has got already (`Watch.echo_seconds`).
All of it concerns this process only: a child that it forks has no watch and the handlers from before.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mlflow_pt_eval.errors import Interrupted
from mlflow_pt_eval.forks import OwnHandlers
from mlflow_pt_eval.processes import is_caught

_log = logging.getLogger("mlflow_pt_eval")


class Watch:
    """What is known of the signals of one training."""

    def __init__(self, grace_seconds: float) -> None:
        self.grace_seconds = grace_seconds
        self.echo_seconds = 0.0  # what comes within this time after the first signal counts as the same one
        self.signum: int | None = None
        self.safe = False
        self.done = False  # the training is over, and is being stored
        self.expired = False
        self._received = 0.0
        self._timer: threading.Timer | None = None
        self._sending, self._over = threading.Lock(), False
        self._missed: int | None = None

    @property
    def seconds_left(self) -> float:
        """How much of the grace is left; all of it while no signal has come."""
        return self.grace_seconds - (0.0 if self.signum is None else time.monotonic() - self._received)

    def receive(self, signum: int) -> None:
        """Take a signal: the first starts the grace, any later one (or the end of the grace) ends at once."""
        if self._over:
            self._missed = signum if self.signum is None else None  # a first one is for the handlers that come back
            return
        if self.signum is not None:
            if not self.expired and time.monotonic() - self._received < self.echo_seconds:
                return
            raise Interrupted(self.signum)
        self.signum, self._received = signum, time.monotonic()
        second = f"another one in {self.echo_seconds:g} s or later" if self.echo_seconds else "a second signal"
        what = "all is trained, what is left is stored" if self.done else "the training ends at the next checkpoint"
        _log.warning(
            "%s received: %s, in %g s at the latest; %s ends it now",
            *(signal.Signals(signum).name, what, self.grace_seconds, second),
        )
        self._timer = threading.Timer(self.grace_seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def _expire(self) -> None:
        self.expired = True
        assert self.signum is not None
        self.send(self.signum)

    def send(self, signum: int) -> None:
        """Send the main thread a signal, which wakes it where it waits, too; none once our handlers go."""
        main = threading.main_thread().ident
        with self._sending:
            if not self._over and main is not None:
                signal.pthread_kill(main, signum)

    def disarm(self) -> None:
        """Stop the clock: the end is under way."""
        if self._timer is not None:
            self._timer.cancel()

    def end(self) -> None:
        """Take and send nothing any more."""
        self._over = True
        self.disarm()
        with self._sending:
            pass  # what was just being sent has come

    def pass_on(self) -> None:
        """Give what came too late for this watch to whoever handles signals now."""
        if self._missed is not None:
            signal.raise_signal(self._missed)


_current: Watch | None = None


def is_watching() -> bool:
    """Say whether signals are watched for a training now."""
    return _current is not None


def pending() -> int | None:
    """Return the number of the signal that asks the training to end, or None."""
    return None if _current is None else _current.signum


def check() -> None:
    """Raise `Interrupted` if a signal is pending and nothing would be lost by ending here."""
    watch = _current
    if watch is not None and watch.signum is not None and (watch.safe or watch.expired):
        raise Interrupted(watch.signum)


def request(signum: int) -> None:
    """Have a watched training act as if the signal had come: for what notices by itself that it should end."""
    watch = _current
    if watch is not None:
        watch.send(signum)


def _handled() -> list[signal.Signals]:
    # Not what is ignored, as by a job in a shell script's background, nor what is handled outside Python (None).
    alone = (signal.SIG_IGN, None)
    wanted = [signum for signum in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(signum) not in alone]
    # SIGUSR1 is what schedulers send ahead of a time limit, unless the program has a use of its own for it.
    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL and not is_caught(signal.SIGUSR1):
        wanted.append(signal.SIGUSR1)
    return wanted


@contextmanager
def watching(grace_seconds: float) -> Iterator[Watch]:
    """Watch for SIGTERM, SIGINT and SIGUSR1 while the block runs; the handlers before are put back after it.

    Only a process's main thread can do so; elsewhere one warning says that signals are left alone.
    """
    global _current
    watch, handlers, outer = Watch(grace_seconds), None, _current
    if threading.current_thread() is threading.main_thread():

        def handler(signum: int, frame: FrameType | None) -> None:
            watch.receive(signum)

        handlers = OwnHandlers(handler, _handled())
        _current = watch
    else:
        _log.warning("the training runs outside the main thread: signals cannot be watched, so they end it at once")
    try:
        yield watch
    finally:
        watch.end()
        if handlers is not None:
            handlers.put_back()
        _current = outer
        watch.pass_on()


@contextmanager
def ending_truly() -> Iterator[None]:
    """Let SIGTERM raise `Interrupted` in the block, for what it has begun to be marked; then it ends the process.

    A handler that is there already stays: a training's watch, or the program's own. Main thread only.
    """
    alone = threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL or is_caught(signal.SIGTERM):
        yield
        return

    came: list[int] = []

    def handler(signum: int, frame: FrameType | None) -> None:
        came.append(signum)
        raise Interrupted(signum)

    handlers = OwnHandlers(handler, [signal.SIGTERM])
    try:
        yield
    finally:
        handlers.put_back()
        for signum in came:
            signal.raise_signal(signum)


@contextmanager
def held() -> Iterator[None]:
    """Keep SIGINT or SIGTERM until the block is done, which would be worse cut in two; a second one ends it at once.

    They go to whoever handles them outside the block. Main thread only, and for short blocks.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    came: list[int] = []

    def handler(signum: int, frame: FrameType | None) -> None:
        came.append(signum)
        if len(came) > 1:
            handlers.put_back()
            signal.raise_signal(signum)

    alone = (signal.SIG_IGN, None)
    handlers = OwnHandlers(handler, [s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) not in alone])
    try:
        yield
    finally:
        handlers.put_back()
        if len(came) == 1:
            signal.raise_signal(came[0])


def _forget() -> None:
    global _current
    _current = None


os.register_at_fork(after_in_child=_forget)
