"""Signal handlers that last only in this process: a forked child gets back those that were there before.

A handler of ours in a child would keep `Process.terminate()` from ending it, and `multiprocessing.Pool` from closing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

_installed: list[OwnHandlers] = []  # the innermost last
_mask = threading.local()  # what the forking thread had blocked before


class OwnHandlers:
    """One handler for several signals, from now until `put_back`; for the main thread only."""

    def __init__(self, handler: Callable[[int, FrameType | None], None], signums: Iterable[signal.Signals]) -> None:
        self._before: dict[signal.Signals, Any] = {}
        _installed.append(self)
        for signum in signums:
            self._before[signum] = signal.signal(signum, handler)

    def put_back(self) -> None:
        """Put the handlers before back."""
        self._restore()
        if self in _installed:  # a child that leaves the block that its parent entered has none
            _installed.remove(self)

    def _restore(self) -> None:
        for signum, previous in self._before.items():
            signal.signal(signum, previous)


def _before_fork() -> None:
    # Blocked until the child has its own handlers: what comes before would be lost to it.
    handled = {signum for own in _installed for signum in own._before}
    _mask.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, handled)


def _in_parent() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.blocked)


def _in_child() -> None:
    handled = {signum for own in _installed for signum in own._before}
    while _installed:
        _installed.pop()._restore()
    if handled and _forked_by_a_loader():
        # Ctrl-C in a terminal, or a scheduler's word, comes to all: the training needs the workers' batches until it
        # has come to a place to save at, and ends them then. (SIGTERM they handle themselves.)
        for signum in handled & {signal.SIGINT, signal.SIGUSR1}:
            signal.signal(signum, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.blocked)


def _forked_by_a_loader() -> bool:
    """Say whether this child was just made by a DataLoader, to be one of its workers."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module != __name__ and not module.startswith("multiprocessing."):
            return module.startswith(("torch.utils.data.", "torchdata."))
        frame = frame.f_back
    return False


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
