"""What tracking costs a training loop: wall time, time held per checkpoint, time per logged step, memory.

Each round runs the bare loop and the wrapped one in turn in one process, so that a machine's drift meets both; what is
printed is the median and the ratio. `--server` puts an `mlflow server` on the same cores.

    python benchmarks/training.py                    12 MB of state, a checkpoint each epoch, SQLite
    python benchmarks/training.py --server
    python benchmarks/training.py --size 300 --epoch-seconds 4
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads are slow beside a busy neighbour
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import numpy as np
import torch
from torch import nn

import mlflow_pt_eval as mpe
from mlflow_pt_eval.training.session import Session

BATCH = 64


def network(size: int) -> nn.Module:
    """A small CNN with *size* megabytes of state, Adam's included: 12 or 300."""
    head = [nn.Linear(1568, 640), nn.ReLU(), nn.Linear(640, 10)]
    if size >= 300:
        head = [nn.Linear(1568, 4096), nn.ReLU(), nn.Linear(4096, 4480), nn.ReLU(), nn.Linear(4480, 10)]
    convolutions = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    convolutions += [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*convolutions, *head)


class Training:
    """A model, its optimizer and its data, made anew for each contender."""

    def __init__(self, size: int, steps: int) -> None:
        torch.manual_seed(0)
        self.model = network(size)
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3)
        self.batches = [(torch.randn(BATCH, 1, 28, 28), torch.randint(0, 10, (BATCH,))) for _ in range(min(steps, 32))]
        self.steps = steps

    def data(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield an epoch's batches."""
        return (self.batches[i % len(self.batches)] for i in range(self.steps))

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Do one training step."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss


def bare(training: Training, epochs: int) -> dict[str, float]:
    """The loop with nothing around it; after each epoch, outside its time, one plain copy of the state's bytes."""
    copies, kept, memory = [], None, 0.0
    started = time.perf_counter()
    for _ in range(epochs):
        for x, y in training.data():
            training.step(x, y).item()
        before = time.perf_counter()
        memory = memory or peak()  # without the copy, which is not the loop's
        kept = copy(training, kept)
        copies.append(time.perf_counter() - before)
    wall = time.perf_counter() - started - sum(copies)
    return {"wall": wall, "copy": statistics.median(copies[1:] or copies), "memory": memory}


def copy(training: Training, kept: list[np.ndarray] | None) -> list[np.ndarray]:
    """Copy the state's bytes into buffers that are kept from one call to the next."""
    tensors = [t.detach() for t in training.model.state_dict().values()]
    tensors += [v for s in training.optimizer.state.values() for v in s.values()]
    arrays = [t.numpy() for t in tensors]
    kept = [np.zeros_like(a) for a in arrays] if kept is None else kept
    for buffer, array in zip(kept, arrays, strict=True):
        np.copyto(buffer, array)
    return kept


def wrapped(training: Training, epochs: int) -> dict[str, float]:
    """The same loop in a `TrainingRun`, one metric a step, a checkpoint an epoch; everything stored at the end."""
    steps: list[float] = []
    started = time.perf_counter()
    with timed("_commit_epoch") as held, timed("end_epoch") as ends, timed("begin_epoch") as begins:
        state = {"model": training.model, "optimizer": training.optimizer}
        with mpe.TrainingRun(state, experiment_name="bench", progress=False) as run:
            begun = time.perf_counter()
            for _ in run.epochs(epochs):
                for x, y in training.data():
                    loss = training.step(x, y).item()
                    time.perf_counter()  # the clock itself is slow at its first call after a step
                    before = time.perf_counter()
                    run.log_step(train_loss=loss)
                    steps.append(time.perf_counter() - before)
            looped = time.perf_counter()
    ended = time.perf_counter()
    return {
        "wall": ended - begun,
        "start": begun - started,
        "tail": ended - looped,
        "held": statistics.median(held[1:] or held),
        "first held": held[0],
        "boundary": statistics.median(end + begin for end, begin in zip(ends, begins[1:], strict=False)),
        "step": statistics.median(steps),
        "mean step": statistics.mean(steps),
    }


@contextlib.contextmanager
def timed(method: str) -> Iterator[list[float]]:
    """Note how long each call of one of `Session`'s methods takes."""
    plain, seconds = getattr(Session, method), []

    def noting(*args: Any, **options: Any) -> Any:
        before = time.perf_counter()
        try:
            return plain(*args, **options)
        finally:
            seconds.append(time.perf_counter() - before)

    setattr(Session, method, noting)
    try:
        yield seconds
    finally:
        setattr(Session, method, plain)


def peak() -> float:
    """Return the largest resident memory since `reset_peak`, in megabytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmHWM"))


def reset_peak() -> None:
    """Forget the largest resident memory so far."""
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run an `mlflow server` in *folder* on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + 90
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).read()
                    break
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 15)
            process.wait(20)


def measure(size: int, epochs: int, epoch_seconds: float, rounds: int) -> None:
    """Print the ratios."""
    bare(Training(size, 5), 1)
    steps = max(10, int(epoch_seconds / (bare(Training(size, 20), 1)["wall"] / 20)))
    wrapped(Training(size, 2), 2)  # what only the first run pays: imports, the database
    rows, memory = [], []
    for _ in range(rounds):
        training = Training(size, steps)
        reset_peak()
        alone = bare(training, epochs)
        floor = alone["copy"]
        training = Training(size, steps)
        reset_peak()
        tracked = wrapped(training, epochs)
        memory.append(peak() - alone["memory"])
        rows.append(
            {**tracked, "ratio": tracked["wall"] / alone["wall"], "stall": tracked["held"] / floor, "floor": floor}
        )
    middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    print(f"{size} MB of state, {epochs} epochs of {steps} steps, a checkpoint each, {rounds} rounds")
    print(f"  wrapped / bare loop                      {middle['ratio']:.3f}")
    held, floor = middle["held"] * 1e3, middle["floor"] * 1e3
    print(f"  held per checkpoint / one copy           {middle['stall']:.2f}   ({held:.1f} ms, {floor:.1f} ms)")
    print(f"  held by the first checkpoint / one copy  {middle['first held'] * 1e3 / floor:.2f}")
    print(f"  the whole boundary between epochs / copy {middle['boundary'] * 1e3 / floor:.2f}")
    step, mean = middle["step"] * 1e6, middle["mean step"] * 1e6
    print(f"  log_step                                 {step:.1f} µs (mean, with waits for the GIL: {mean:.1f} µs)")
    print(f"  at the start {middle['start']:.2f} s, at the end {middle['tail']:.2f} s")
    print(f"  peak memory above the bare loop / state  {statistics.median(memory) / size:.2f}")


def main() -> None:
    """Read the options, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=12, choices=(12, 300), help="megabytes of state")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--epoch-seconds", type=float, default=2.5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads; the other core is left to the writer")
    parser.add_argument("--server", action="store_true", help="track to an mlflow server on the same cores")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = (
            stack.enter_context(server(folder)) if args.server else f"sqlite:///{folder}/mlflow.db"
        )
        measure(args.size, args.epochs, args.epoch_seconds, args.rounds)
        os.chdir("/")


if __name__ == "__main__":
    main()
