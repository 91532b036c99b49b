"""What `Buffers.copy` costs, as a ratio to a plain copy of the same bytes into buffers that exist already.

    python benchmarks/copy_state.py [--rounds 15]

Everything of a size is measured in turn in one run; what is printed are medians of the ratios of neighbours.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from mlflow_pt_eval.state import Buffers, capture_rng, capture_state

SCRATCH = torch.zeros(16_000_000)


def training(hidden: tuple[int, ...]) -> dict[str, Any]:
    """Return a small CNN with an Adam that has made its first step."""
    widths = (32 * 7 * 7, *hidden, 10)
    convolutions = [nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32)]
    model = nn.Sequential(*convolutions, *(nn.Linear(a, b) for a, b in pairwise(widths)))
    optimizer = torch.optim.Adam(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return {"model": model, "optimizer": optimizer}


def tensors(tree: Any) -> list[torch.Tensor]:
    """Return the tensors of a tree, in order."""
    if isinstance(tree, torch.Tensor):
        return [tree.detach()]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def seconds(action: Callable[[], Any]) -> float:
    """Return how long one call takes when the caches hold something else, as they do after a training's step."""
    SCRATCH.add_(1)
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure(state: dict[str, Any], rounds: int) -> None:
    """Print one size's ratios."""
    tree = {**capture_state(state), "rng": [capture_rng()]}
    sources = tensors(tree)
    kept = [torch.empty_like(source).zero_() for source in sources]
    buffers = Buffers()
    buffers.prefault(tree)
    ways = {
        "plain": lambda: [host.copy_(source) for host, source in zip(kept, sources, strict=True)],
        "Buffers.copy": lambda: buffers.copy(tree),
        "capture and copy": lambda: buffers.copy({**capture_state(state), "rng": [capture_rng()]}),
        "clone()": lambda: [source.clone() for source in sources],
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(seconds(way))
    size = sum(source.nbytes for source in sources) / 1e6
    print(f"{size:.0f} MB in {len(sources)} tensors; plain copy {statistics.median(times['plain']) * 1e3:.2f} ms")
    for name in list(ways)[1:]:
        ratios = [own / plain for own, plain in zip(times[name], times["plain"], strict=True)]
        print(f"  {name:18} {statistics.median(ratios):.2f} x plain")


def main() -> None:
    """Measure 12 MB and 300 MB of state."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    measure(training((640,)), 4 * rounds)
    measure(training((4096, 4480)), rounds)


if __name__ == "__main__":
    main()
