"""Agreeing on a step at which all processes save, or save and end, while each is somewhere in its epoch.

No step costs a collective. A thread beside each loop looks at the board; once anyone asks, each promises a step, a
little ahead, that its loop will not pass before the answer is known, and the largest promise is the step. A loop
that goes as fast as the others is not held up, and none is overtaken.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlflow_pt_eval import signals
from mlflow_pt_eval.distributed.alive import Others, spread
from mlflow_pt_eval.errors import Interrupted, PtEvalError

_INTERVAL = 0.1  # seconds between two looks at the board, of up to 64 processes
_BEAT = 5.0  # seconds between two signs of life
_log = logging.getLogger("mlflow_pt_eval")


@dataclass(frozen=True)
class Ask:
    """What all do at the step that they agree on: save, and end if there is a signal."""

    signum: int | None = None


class Stopping:
    """This process's part in agreeing; `active` is all that a loop looks at while nobody asks."""

    def __init__(self, others: Others, step: Callable[[], int]) -> None:
        self.active = False
        self._others, self._step = others, step
        self._interval = spread(_INTERVAL, others.size)
        self._number = 0  # of the ask that comes next, or is being agreed on
        self._wants_save = False
        self._stop: int | None = None  # the signal that an end was asked for by
        self._ask: Ask | None = None
        self._promise: int | None = None
        self._target: int | None = None
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow_pt_eval-ranks", daemon=True)
        self._thread.start()

    @property
    def agreed_signal(self) -> int | None:
        """The signal by which all processes have agreed to end."""
        return self._stop if self._target is not None else None

    def want_save(self) -> None:
        """Have all save at a step soon."""
        self._wants_save = True

    def due(self, step: int) -> Ask | None:
        """Return what is to be done after *step* batches; waits only at the promised step, for the answer."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure is not None or self._may_go(step))
            if self._failure is not None:
                raise self._failure
            if self._target is None or step < self._target:
                return None
            ask, self._ask, late = self._ask, None, step > self._target
            if self._stop is None:
                self._promise = self._target = None
                self._number += 1
            self.active = False
        # Too late for a save can only be a process that ran out of batches: its share at their end counts.
        return None if late and ask is not None and ask.signum is None else ask

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join(5)

    def _may_go(self, step: int) -> bool:
        return self._target is not None or (self._promise is not None and step < self._promise)

    def _run(self) -> None:
        before, looks = self._step(), 0
        try:
            while not self._closed.wait(self._interval):
                now = self._step()
                self._look(looks, pace=now - before)
                before, looks = now, looks + 1
        except (PtEvalError, Interrupted) as error:
            with self._changed:
                self._failure, self.active = error, True
                self._changed.notify_all()

    def _look(self, looks: int, pace: int) -> None:
        board = self._others.board
        if looks % max(1, round(_BEAT / self._interval)) == 0:
            board.put(f"beat/{self._others.rank}", looks)
        if looks % 5 == 0:
            self._others.check(self._others.rank, ending=self._stop is not None)
        if self._ask is not None or self._stop is not None:
            return
        wanted = signals.pending()
        if wanted is not None or self._wants_save:
            board.claim(f"ask/{self._number}", {"signum": wanted})
            self._wants_save = False
        asked = board.take(f"ask/{self._number}")
        if asked is not None:
            self._agree(asked, pace)

    def _agree(self, asked: dict[str, Any], pace: int) -> None:
        ask = Ask(asked["signum"])
        if ask.signum is not None and signals.pending() is None and signals.is_watching():
            signals.request(ask.signum)
        self.active = True  # from here on the loop comes to `due`, and waits there for the promise
        with self._changed:
            self._ask, self._stop = ask, ask.signum
            self._promise = self._step() + 1 + 2 * pace
            self._changed.notify_all()
        target = self._settle(self._promise)
        with self._changed:
            self._target = target
            self._changed.notify_all()

    def _settle(self, promise: int) -> int:
        """Tell the promise, and return the largest of all processes'."""
        others, number = self._others, self._number
        others.board.put(f"promise/{number}/{others.rank}", promise)
        if others.rank == 0:
            promises = [promise]
            for rank in range(1, others.size):
                key = others.expect([f"promise/{number}/{rank}"], rank)
                promises.append(int(others.board.take(key)))
            others.board.put(f"target/{number}", max(promises))
        return int(others.board.take(others.expect([f"target/{number}"], 0)))
