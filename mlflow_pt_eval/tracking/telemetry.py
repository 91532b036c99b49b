"""Metrics: appended in the loop, sent in batches by another thread, never lost, never twice."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mlflow.entities import Metric

from mlflow_pt_eval.errors import StoreUnavailable
from mlflow_pt_eval.files import read_sealed, write_sealed
from mlflow_pt_eval.tracking.runs import get_run
from mlflow_pt_eval.tracking.store import Store, reaching

_BATCH = 1000  # MLflow's limit of metrics a call
_MOST_IN_MEMORY = 20_000
_log = logging.getLogger("mlflow_pt_eval")


class Point(NamedTuple):
    """One value of one metric: its step, and when it was logged in milliseconds since the epoch."""

    key: str
    value: float
    step: int
    timestamp: int


# What was logged at one moment: numbers, or one-element tensors that are read later; the step; seconds.
Pending = tuple[Mapping[str, Any], int, float]


class Telemetry:
    """The metrics of one run on their way to the store.

    `append` is for the loop's thread; `flush` sends what is pending, in order. What piles up while a server is away
    goes to *spill*, a file of JSON lines, and is sent first when it is back. A point that was sent, but whose answer
    was lost, is sent again: MLflow keeps one of two equal points.
    """

    def __init__(self, store: Store, run_id: str, spill: Path) -> None:
        self.store, self.run_id, self.spill = store, run_id, spill
        self._pending: deque[Pending] = deque()
        self.append: Callable[[Pending], None] = self._pending.append
        self._known: dict[tuple[str, int], float] = {}
        self.disputed: dict[str, int] = {}  # keys whose stored value stays, though another came: the first such step
        self._sending = threading.Lock()

    def unsent(self) -> list[Point]:
        """Return what waits in memory, what is just being sent included."""
        # Copying a deque is one step for the interpreter, so the loop may append meanwhile.
        return _points(list(self._pending))

    def remember_stored(self, first: int) -> None:
        """Read the points that the run already holds from a step or epoch on, so that none is stored twice."""
        with reaching(self.store, "the stored metrics could not be read"):
            for point in stored_points(self.store, self.run_id):
                if point.step >= first:
                    self._known[point.key, point.step] = point.value

    def flush(self) -> None:
        """Send what is pending at this moment; StoreUnavailable, with nothing lost, if the server is away.

        CheckpointDamaged if the spill file is not what was written; it is left alone then.
        """
        with self._sending:
            try:
                if self.spill.exists():
                    self.send(read_points(self.spill))
                    self.spill.unlink()
                # Only what is there now: a loop that logs faster than the server answers would keep this going for
                # ever, a request for every few points, and the checkpoints behind it waiting.
                for moments in _groups(list(self._pending)):
                    self.send(_points(moments))
                    self._forget(len(moments))
            except StoreUnavailable:
                if len(self._pending) > _MOST_IN_MEMORY:
                    self._stash()
                raise

    def stash(self) -> None:
        """Move what is pending to the spill file, for `flush` in this process or a later one."""
        with self._sending:
            self._stash()

    def send(self, points: list[Point]) -> None:
        """Send points of any number, less those that the run already holds."""
        fresh = [point for point in points if self._is_new(point)]
        with reaching(self.store, f"{len(fresh)} metrics could not be sent"):
            for batch in _batches(fresh):
                metrics = [Metric(p.key, p.value, p.timestamp, p.step) for p in batch]
                self.store.client.log_batch(self.run_id, metrics=metrics, synchronous=True)

    def _stash(self) -> None:
        moments = list(self._pending)
        if moments:
            before = read_points(self.spill) if self.spill.exists() else []
            write_points(self.spill, [*before, *_points(moments)])
            self._forget(len(moments))

    def _forget(self, count: int) -> None:
        for _ in range(count):
            self._pending.popleft()

    def _is_new(self, point: Point) -> bool:
        if (point.key, point.step) not in self._known:
            return True
        before = self._known[point.key, point.step]
        if not _same(before, point.value) and point.key not in self.disputed:
            self.disputed[point.key] = point.step
            _log.warning(
                "%s at step %d is %r now, but the run already holds %r from before the resume; the stored value stays",
                *(point.key, point.step, point.value, before),
            )
        return False


def _points(moments: Iterable[Pending]) -> list[Point]:
    points = []
    for metrics, step, at in moments:
        points += [Point(key, float(value), step, int(at * 1000)) for key, value in metrics.items()]
    return points


def _groups(moments: list[Pending]) -> Iterator[list[Pending]]:
    """Cut moments into groups of about as many points as one request takes."""
    start = points = 0
    for place, (metrics, _, _) in enumerate(moments):
        if points and points + len(metrics) > _BATCH:
            yield moments[start:place]
            start, points = place, 0
        points += len(metrics)
    if start < len(moments):
        yield moments[start:]


def _batches(points: list[Point]) -> list[list[Point]]:
    return [points[start : start + _BATCH] for start in range(0, len(points), _BATCH)]


def stored_points(store: Store, run_id: str) -> Iterator[Point]:
    """Yield every point of every metric that a run holds."""
    for key in get_run(store, run_id).data.metrics:
        for metric in store.client.get_metric_history(run_id, key):
            yield Point(key, metric.value, metric.step, metric.timestamp)


def write_points(path: Path, points: Iterable[Point]) -> None:
    """Write points as lines of JSON, whole or not at all."""
    lines = [json.dumps([p.key, repr(p.value), p.step, p.timestamp]) for p in points]
    write_sealed(path, "\n".join([*lines, ""]))


def read_points(path: Path) -> list[Point]:
    """Read what `write_points` wrote; CheckpointDamaged if it was changed since."""
    lines = [json.loads(line) for line in read_sealed(path).splitlines()]
    return [Point(key, float(value), step, at) for key, value, step, at in lines]


def _same(before: float, now: float) -> bool:
    if math.isnan(before) or math.isnan(now):
        return math.isnan(before) and math.isnan(now)
    # MLflow stores an infinity as the largest double.
    return before == now or (math.isinf(now) and abs(before) >= 1.7976931348623157e308 and (before > 0) == (now > 0))
