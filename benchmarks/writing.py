"""What a thread that writes 300 MB of state costs the loop beside it: the loop's speed against the undisturbed one.

`torch.save(path)` holds the GIL while it writes; `save_tree`, which the writer uses, lets the loop go on. The longest
wait is that of a thread which only counts. One torch thread; a second core is needed.

    python benchmarks/writing.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from copy_state import training
from torch import nn

from mlflow_pt_eval.state import Buffers, capture_state, save_tree

SECONDS = 2.0


def beside(write: Callable[[], object] | None, work: Callable[[], object]) -> tuple[float, float]:
    """Do *work* over and over beside a thread that writes; return its rate per second and the longest gap in ms."""
    stop = threading.Event()

    def writing() -> None:
        while write is not None and not stop.is_set():
            write()

    thread = threading.Thread(target=writing)
    thread.start()
    started = before = time.perf_counter()
    done, longest = 0, 0.0
    while before - started < SECONDS:
        work()
        now = time.perf_counter()
        done, longest, before = done + 1, max(longest, now - before), now
    stop.set()
    thread.join()
    return done / (before - started), longest * 1e3


def main() -> None:
    """Measure each way of writing in turn, round after round; print medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    tree = Buffers().copy(capture_state(training((4096, 4480))))
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 26 * 26, 64), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(64, 1, 28, 28), torch.randint(0, 10, (64,))

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    for _ in range(20):
        step()
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Callable[[], object] | None] = {
            "nothing": None,
            "torch.save(path)": lambda: torch.save(tree, Path(folder) / "plain.pt"),
            "save_tree": lambda: save_tree(tree, Path(folder) / "ours.pt"),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        gaps: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                rates[name].append(beside(way, step)[0])
                gaps[name].append(beside(way, lambda: None)[1])
    for name in ways:
        speed = statistics.median(own / alone for own, alone in zip(rates[name], rates["nothing"], strict=True))
        gap = statistics.median(gaps[name])
        print(f"{name:17} loop at {speed:.2f} of its speed; longest wait for the GIL {gap:.0f} ms")


if __name__ == "__main__":
    main()
