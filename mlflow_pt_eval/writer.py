"""The background writer: one thread that saves, one that sends.

The saving thread runs one job at a time, with one more at hand; a job uses the caller's kept buffer until it is done.
The sending thread runs the *pump*, which sends what jobs have left on disk. A pump that finds the server away
(`StoreUnavailable`) is run again later; any other failure is raised at the caller's next `raise_failure`, never only
logged.
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
    """Something to save; *pinned* jobs are never replaced by a newer one."""

    label: str
    run: Callable[[], None]
    pinned: bool = False


class Writer:
    """Runs jobs, and *pump* after each and at least every *interval* seconds, on two threads of its own."""

    def __init__(self, pump: Callable[[], None], *, interval: float = 1.0) -> None:
        self._pump, self._interval = pump, interval
        lock = threading.RLock()
        # One for each who waits: the loop, which hands over jobs while training waits, is to wake nobody in vain.
        self._changed, self._to_save, self._to_send = (threading.Condition(lock) for _ in range(3))
        self._queued: Job | None = None
        self._saving = False
        self._due = False  # something waits for the pump
        self._pumping = False
        self._closing = False
        self._failure: BaseException | None = None
        self._outage: StoreUnavailable | None = None
        self._pause, self._next_try = interval, 0.0
        # Daemons: a process that is ended at once must not wait for a server that is away.
        self._threads = [
            threading.Thread(target=self._save_loop, name="mlflow_pt_eval-save", daemon=True),
            threading.Thread(target=self._send_loop, name="mlflow_pt_eval-send", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def outage(self) -> StoreUnavailable | None:
        """Why the last pump could not send, or None."""
        return self._outage

    @property
    def is_free(self) -> bool:
        """Whether no job uses the kept buffer, or is about to."""
        with self._changed:
            return self._is_free()

    def make_room(self, *, wait: bool) -> tuple[bool, str | None]:
        """Get the kept buffer free for a new job: (whether it is, the label of the job that was replaced for it).

        Without *wait*, a queued job that has not begun is replaced unless it is pinned; with it, nothing is.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(self._is_free)
            elif self._queued is not None and not self._queued.pinned and not self._saving:
                replaced, self._queued = self._queued.label, None
                return True, replaced
            return self._is_free(), None

    def submit(self, job: Job) -> None:
        """Hand over a job; `make_room` has said that there is room."""
        with self._changed:
            if not self._is_free():
                raise RuntimeError("a job was submitted while the buffer was in use")
            self._queued = job
            self._to_save.notify()

    def drain(self, timeout: float, *, on_slow: Callable[[], None] | None = None) -> bool:
        """Wait until every job is done and a pump has sent everything; False if that did not happen in time.

        With *on_slow*, which is then called once, the time counts only while the server is away: one that is slow
        gets all that it needs.
        """
        done = self._drain(timeout)
        if on_slow is not None and not done and self._outage is None:
            on_slow()
            while not done and self._outage is None:
                done = self._drain(timeout)
        return done

    def _drain(self, timeout: float) -> bool:
        with self._changed:
            self._due, self._next_try, self._pause = True, 0.0, self._interval
            self._to_send.notify()
            return self._changed.wait_for(self._is_drained, timeout)

    def close(self) -> None:
        """End both threads; a job that is queued or running is finished first."""
        with self._changed:
            self._closing = True
            self._to_save.notify()
            self._to_send.notify()
        for thread in self._threads:
            thread.join()

    def raise_failure(self) -> None:
        """Raise what went wrong in the background since the last call, if anything did."""
        with self._changed:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _is_free(self) -> bool:
        return self._queued is None and not self._saving

    def _is_drained(self) -> bool:
        return self._is_free() and not self._due and not self._pumping

    def _save_loop(self) -> None:
        while True:
            with self._changed:
                self._to_save.wait_for(lambda: self._queued or self._closing)
                if self._queued is None:
                    return
                job, self._queued, self._saving = self._queued, None, True
            self._attempt(job.run)
            with self._changed:
                self._saving, self._due = False, True
                self._changed.notify_all()
                self._to_send.notify()

    def _send_loop(self) -> None:
        while True:
            with self._changed:
                self._to_send.wait_for(self._should_send, timeout=self._sleep())
                if self._closing and self._is_free():
                    return
                if time.monotonic() < self._next_try:
                    continue
                self._due, self._pumping = False, True
            self._attempt(self._pump_once)
            with self._changed:
                self._pumping = False
                self._changed.notify_all()

    def _should_send(self) -> bool:
        return (self._closing and self._is_free()) or (self._due and time.monotonic() >= self._next_try)

    def _sleep(self) -> float:
        # While the server is away, only wake up for the next try.
        return max(self._next_try - time.monotonic(), 0.01) if self._outage is not None else self._interval

    def _pump_once(self) -> None:
        try:
            self._pump()
        except StoreUnavailable as error:
            self._outage, self._due = error, True
            self._next_try = time.monotonic() + self._pause
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
