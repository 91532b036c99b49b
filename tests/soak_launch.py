"""Starting the disturbed training: forked from a zygote, or as a process of its own."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from soak_training import Spec

_SCRIPT = Path(__file__).with_name("soak_training.py")


class Child:
    """A training at work, named by a descriptor: a signal can't hit another process that got its number."""

    def __init__(self, pid: int) -> None:
        self._sending = threading.Lock()
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        try:
            self._descriptor: int | None = os.pidfd_open(pid)
        except ProcessLookupError:  # it has ended already
            self._descriptor = None

    def send(self, signum: int) -> None:
        """Send a signal, if the process is still there."""
        with self._sending, contextlib.suppress(ProcessLookupError):
            if self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, signum)

    def wait(self, seconds: float) -> int | None:
        """Return the exit code, or minus the signal that killed it; None if it has not ended in time."""
        try:
            status = self._ended.get(timeout=max(seconds, 0.0))
        except queue.Empty:
            return None
        self._ended.put(status)
        return status

    def ended(self, code: int) -> None:
        """Take note of the end."""
        with self._sending:
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = None
        self._ended.put(code)


class Zygote:
    """The process that forks the trainings."""

    def __init__(self) -> None:
        command = [sys.executable, str(_SCRIPT), "zygote"]
        # A group of its own: Ctrl-C is for the one who counts.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def start(self, spec: Spec) -> Child:
        """Fork a training; only one at a time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(spec.to_json() + "\n")
        self._process.stdin.flush()
        child = Child(int(self._process.stdout.readline()))
        threading.Thread(target=self._wait, args=(child,), daemon=True).start()
        return child

    def _wait(self, child: Child) -> None:
        assert self._process.stdout is not None
        child.ended(os.waitstatus_to_exitcode(int(self._process.stdout.readline())))

    def close(self) -> None:
        """End the zygote."""
        with self._process as process:  # which closes its pipes, and waits for it
            assert process.stdin is not None
            process.stdin.close()


def start_fresh(spec: Spec) -> Child:
    """Start a training as anybody would: a new interpreter."""
    process = subprocess.Popen([sys.executable, str(_SCRIPT), spec.to_json()], start_new_session=True)
    child = Child(process.pid)
    threading.Thread(target=lambda: child.ended(process.wait()), daemon=True).start()
    return child


@contextmanager
def zygote() -> Iterator[Zygote]:
    """Run a zygote."""
    running = Zygote()
    try:
        yield running
    finally:
        running.close()
