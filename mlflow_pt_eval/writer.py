"""The background writer: one thread, one job in flight, one more at hand, and a pump that runs in between.

A job holds the caller's kept buffer until it has been run; the pump sends what jobs have left behind. A pump that
finds the server away (`StoreUnavailable`) is run again later; any other failure is raised at the caller's next
`raise_failure`, never only logged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from mlflow_pt_eval.errors import StoreUnavailable

_LONGEST_PAUSE = 30.0  # seconds between two tries while the server is away


@dataclass(frozen=True)
class Job:
    """Something to write; *pinned* jobs are never replaced by a newer one."""

    label: str
    run: Callable[[], None]
    pinned: bool = False


class Writer:
    """Runs jobs, and *pump* at least every *interval* seconds, on a thread of its own."""

    def __init__(self, pump: Callable[[], None], *, interval: float = 1.0) -> None:
        self._pump, self._interval = pump, interval
        self._changed = threading.Condition()
        self._queued: Job | None = None
        self._running = False
        self._closing = False
        self._pumping = False
        self._poked = False
        self._failure: BaseException | None = None
        self._outage: StoreUnavailable | None = None
        self._pause, self._next_try = interval, 0.0
        self._thread = threading.Thread(target=self._work, name="mlflow_pt_eval-writer", daemon=True)
        self._thread.start()

    @property
    def outage(self) -> StoreUnavailable | None:
        """Why the last pump could not send, or None."""
        return self._outage

    def make_room(self, *, wait: bool, pinned: bool) -> tuple[bool, str | None]:
        """Get the kept buffer free for a new job: (whether it is, the label of the job that was replaced for it).

        A queued job that has not begun is replaced, unless it is pinned or the caller waits (or is pinned) itself.
        """
        with self._changed:
            if wait or pinned:
                self._changed.wait_for(self._is_free)
                return True, None
            if self._queued is not None and not self._queued.pinned and not self._running:
                replaced, self._queued = self._queued.label, None
                return True, replaced
            return self._is_free(), None

    def submit(self, job: Job) -> None:
        """Hand over a job; `make_room` has said that there is room."""
        with self._changed:
            if not self._is_free():
                raise RuntimeError("a job was submitted while the buffer was in use")
            self._queued = job
            self._changed.notify_all()

    def poke(self) -> None:
        """Have the pump run now."""
        with self._changed:
            self._poked = True
            self._changed.notify_all()

    def drain(self, timeout: float) -> bool:
        """Wait until every job is done and a pump has sent everything; False if that did not happen in time."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._poked, self._next_try, self._pause = True, 0.0, self._interval
            self._changed.notify_all()
            return self._changed.wait_for(self._is_drained, max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """End the thread; a job that is running is finished first."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def raise_failure(self) -> None:
        """Raise what went wrong in the background since the last call, if anything did."""
        with self._changed:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _is_free(self) -> bool:
        return self._queued is None and not self._running

    def _is_drained(self) -> bool:
        idle = self._is_free() and not self._pumping and not self._poked
        return idle and (self._outage is None or self._failure is not None)

    def _work(self) -> None:
        while self._step():
            pass

    def _step(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._queued or self._closing or self._poked, timeout=self._wait())
            if self._closing and self._queued is None:
                return False
            job, self._queued = self._queued, None
            self._running, self._poked, self._pumping = job is not None, False, True
        if job is not None:
            self._attempt(job.run)
            with self._changed:
                self._running = False
                self._changed.notify_all()
        if job is not None or time.monotonic() >= self._next_try:
            self._attempt(self._pump_once)
        with self._changed:
            self._pumping = False
            self._changed.notify_all()
        return True

    def _wait(self) -> float:
        # While the server is away, only wake up for the next try.
        return max(self._next_try - time.monotonic(), 0.01) if self._outage is not None else self._interval

    def _pump_once(self) -> None:
        if time.monotonic() < self._next_try:
            return
        try:
            self._pump()
        except StoreUnavailable as error:
            self._outage, self._next_try = error, time.monotonic() + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        else:
            self._outage, self._next_try, self._pause = None, 0.0, self._interval

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            with self._changed:
                # The first failure is the cause of those after it.
                self._failure = self._failure or error
