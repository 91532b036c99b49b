"""Metrics: appended in the loop, sent in batches by another thread, never lost, never twice."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mlflow.entities import Metric

from mlflow_pt_eval.tracking.runs import get_run
from mlflow_pt_eval.tracking.store import Store, reaching

_BATCH = 1000  # MLflow's limit of metrics a call
_log = logging.getLogger("mlflow_pt_eval")


class Point(NamedTuple):
    """One value of one metric: its step, and when it was logged in milliseconds since the epoch."""

    key: str
    value: float
    step: int
    timestamp: int


class Telemetry:
    """The metrics of one run on their way to the store.

    `append` is for the loop's thread and costs a list append; `flush` sends what is pending, in order. What a
    server that is away did not take is kept in *spill*, a file of JSON lines, and sent first next time.
    """

    def __init__(self, store: Store, run_id: str, spill: Path) -> None:
        self.store, self.run_id, self.spill = store, run_id, spill
        self._pending: deque[tuple[str, Any, int, float]] = deque()
        self._known: dict[tuple[str, int], float] = {}
        self._said: set[str] = set()
        self._sending = threading.Lock()

    def append(self, key: str, value: Any, step: int) -> None:
        """Take a number, or a one-element tensor that is read later, on the sending thread."""
        self._pending.append((key, value, step, time.time()))

    @property
    def pending(self) -> int:
        """How many points wait in memory."""
        return len(self._pending)

    def remember_stored(self, first_step: int, first_epoch: int) -> None:
        """Read the points that a run already holds from a checkpoint on, so that none is stored twice.

        A metric's step is the epoch's number or the batch's: those before both are of no further interest.
        """
        first = min(first_step, first_epoch)
        for key in get_run(self.store, self.run_id).data.metrics:
            for metric in self.store.client.get_metric_history(self.run_id, key):
                if metric.step >= first:
                    self._known[key, metric.step] = metric.value

    def flush(self) -> None:
        """Send everything that is pending; StoreUnavailable, with all of it spilled, if the server is away."""
        with self._sending:
            points = self._spilled() + self._drain()
            sent = 0
            try:
                for start in range(0, len(points), _BATCH):
                    self._send(points[start : start + _BATCH])
                    sent = start + _BATCH
            except BaseException:
                self._write_spill(points[sent:])
                raise
            self.spill.unlink(missing_ok=True)

    def spill_pending(self) -> None:
        """Write what is pending to the spill file without trying to send it."""
        with self._sending:
            self._write_spill(self._spilled() + self._drain())

    def _drain(self) -> list[Point]:
        taken = [self._pending.popleft() for _ in range(len(self._pending))]
        return [Point(key, float(value), step, int(at * 1000)) for key, value, step, at in taken]

    def _send(self, points: list[Point]) -> None:
        fresh = [point for point in points if self._is_new(point)]
        if not fresh:
            return
        with reaching(self.store, f"{len(fresh)} metrics could not be sent"):
            metrics = [Metric(p.key, p.value, p.timestamp, p.step) for p in fresh]
            self.store.client.log_batch(self.run_id, metrics=metrics, synchronous=True)

    def _is_new(self, point: Point) -> bool:
        if (point.key, point.step) not in self._known:
            return True
        before = self._known[point.key, point.step]
        if not _same(before, point.value) and point.key not in self._said:
            self._said.add(point.key)
            _log.warning(
                "%s at step %d is %r now, but the run already holds %r from before the resume; the stored value stays",
                *(point.key, point.step, point.value, before),
            )
        return False

    def _spilled(self) -> list[Point]:
        if not self.spill.exists():
            return []
        lines = self.spill.read_text(encoding="utf-8").splitlines()
        return [Point(key, float(value), step, at) for key, value, step, at in _whole(lines)]

    def _write_spill(self, points: Iterable[Point]) -> None:
        lines = [json.dumps([p.key, repr(p.value), p.step, p.timestamp]) for p in points]
        if not lines and not self.spill.exists():
            return
        self.spill.parent.mkdir(parents=True, exist_ok=True)
        part = self.spill.with_suffix(".part")
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
        part.replace(self.spill)


def _whole(lines: list[str]) -> list[list[Any]]:
    return [json.loads(line) for line in lines if line]


def _same(before: float, now: float) -> bool:
    if math.isnan(before) or math.isnan(now):
        return math.isnan(before) and math.isnan(now)
    # MLflow stores an infinity as the largest double.
    return before == now or (math.isinf(now) and abs(before) >= 1.7976931348623157e308 and (before > 0) == (now > 0))
