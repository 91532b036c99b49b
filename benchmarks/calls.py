"""What the pieces of a training ask of a tracking server: HTTP requests and bytes, counted where they leave.

docs/scale.md computes with these numbers. Counts are exact; the milliseconds are those of one idle server with one
worker on SQLite, on this machine, one request at a time.

    python benchmarks/calls.py
"""

from __future__ import annotations

import collections
import contextlib
import os
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
import requests
import torch
from torch import nn
from training import server

import mlflow_pt_eval as mpe

EPOCHS, SECONDS = 8, 1.5
DATA = (torch.randn(256, 16), torch.arange(256) % 4)
# Ids are cut out, so that calls of one kind have one name.
ID = re.compile(r"[0-9a-f]{32}|m-[0-9a-f]{32}|(?<=/)\d+(?=/)|(?<=epoch=)\d+-step=\d+|\+step.*(?=\.\w+$)")


@dataclass
class Count:
    """The requests of one piece of work: (what, bytes up, bytes down, seconds) of each."""

    calls: list[tuple[str, int, int, float]] = field(default_factory=list)

    def up(self) -> float:
        """Kilobytes sent."""
        return sum(call[1] for call in self.calls) / 1e3

    def down(self) -> float:
        """Kilobytes received."""
        return sum(call[2] for call in self.calls) / 1e3

    def kinds(self) -> collections.Counter[str]:
        """How often each kind of call was made."""
        return collections.Counter(call[0] for call in self.calls)


_send = requests.adapters.HTTPAdapter.send
_lock = threading.Lock()
_counts = [Count()]  # the last one is that of the work at hand


def send(self: Any, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
    """Send, and note what was sent: every request of every thread comes by here."""
    started = time.perf_counter()
    answer = _send(self, request, *arguments, **options)
    took = time.perf_counter() - started
    what = f"{request.method} {ID.sub('…', str(request.path_url).partition('?')[0])}"
    what = what.replace("/api/2.0/mlflow-artifacts", "").replace("/api/2.0/mlflow", "")
    up, down = (int(headers.get("Content-Length") or 0) for headers in (request.headers, answer.headers))
    with _lock:
        _counts[-1].calls.append((what, up, down, took))
    return answer


@contextlib.contextmanager
def counted() -> Iterator[Count]:
    """Count the requests of the block."""
    _counts.append(Count())
    yield _counts[-1]


def training(every: int, *, metrics: bool = True, name: str | None = None) -> tuple[Count, Count, Count, str]:
    """Train with a checkpoint every *every* epochs: what the start, the epochs and the end have asked, and the run."""
    torch.manual_seed(time.time_ns() % 2**32)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    callbacks: list[Any] = [mpe.ModelCheckpoint(every_n_epochs=every, when_busy="wait")]
    if name is not None:
        callbacks.append(mpe.RegisterBest(name, input_example=DATA[0][:2]))
    run = mpe.TrainingRun({"model": model, "optimizer": torch.optim.Adam(model.parameters())}, callbacks=callbacks)
    with counted() as start:
        run.__enter__()
    with counted() as middle:
        for epoch in run.epochs(EPOCHS):
            until = time.monotonic() + SECONDS
            while metrics and time.monotonic() < until:
                run.log_step(train_loss=1.0, lr=0.1, grad_norm=2.0)
                time.sleep(0.01)  # a hundred steps a second at most, which a server with one worker keeps up with
            time.sleep(max(until - time.monotonic(), 0))
            run.log(val_accuracy=float(epoch == 0))
            if epoch == EPOCHS - 1:  # the last epoch is always saved, and belongs to the end
                _counts.append(end := Count())
    run.__exit__(None, None, None)
    return start, middle, end, run.run_id


def show(what: str, count: Count, per: float = 1.0, less: Count | None = None) -> None:
    """Print a line for a piece of work, and under it its calls."""
    kinds = count.kinds()
    kinds.subtract(less.kinds() if less else {})
    up, down = (count.up() - (less.up() if less else 0)) / per, (count.down() - (less.down() if less else 0)) / per
    print(f"{what:42} {sum(kinds.values()) / per:6.1f} requests  {up:8.1f} kB up  {down:8.1f} kB down")
    for kind, number in sorted(kinds.items()):
        if number:
            print(f"    {number / per:6.2f}  {kind}")


def measure() -> None:
    """Do each piece of work once and print what it asked."""
    training(1)  # what only the first run pays: the experiment, the connection
    start, quiet, end, _ = training(10 * EPOCHS, metrics=False)
    _, busy, _, run_id = training(10 * EPOCHS)
    points = 3 * len(mlflow.MlflowClient().get_metric_history(run_id, "lr"))
    _, saving, _, _ = training(1, metrics=False)
    show("a start", start)
    print(f"({points / EPOCHS / SECONDS:.0f} points of metrics a second are logged in what follows)")
    show(f"a second with step metrics (of {EPOCHS * SECONDS:.0f})", busy, EPOCHS * SECONDS, quiet)
    show("an epoch that is not saved", quiet, EPOCHS)
    show("a checkpoint of 30 kB, and the deletion of one", saving, EPOCHS - 1, quiet)
    show("an end, with the last checkpoint", end)
    _, _, registered, run_id = training(10 * EPOCHS, metrics=False, name="counted")
    show("a registration", registered, less=end)
    with counted() as evaluation:
        mpe.evaluate("models:/counted/1", DATA)
    show("an evaluation", evaluation)
    with counted() as promotion:
        mpe.promote("counted", 1)
    show("a promotion", promotion)
    with counted() as resumption, contextlib.suppress(KeyError):
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
        state = {"model": model, "optimizer": torch.optim.Adam(model.parameters())}
        with mpe.TrainingRun(state, resume=run_id):
            raise KeyError
    show("a resume that is cut at once", resumption)
    print("\nmilliseconds, the median of a kind of call")
    times = collections.defaultdict(list)
    for count in (start, busy, saving, end, registered, evaluation, promotion):
        for kind, _, _, took in count.calls:
            times[kind].append(took * 1e3)
    for kind, took in sorted(times.items()):
        if len(took) > 3:
            print(f"    {statistics.median(took):6.1f}  {kind}  ({len(took)} calls)")


def main() -> None:
    """Start a server in a folder of its own, and count."""
    requests.adapters.HTTPAdapter.send = send
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as uri:
        os.chdir(name)
        os.environ["MLFLOW_TRACKING_URI"] = uri
        measure()
        os.chdir("/")


if __name__ == "__main__":
    main()
