"""What `evaluate(..., log=False)` costs beside the least: a bare forward pass and the floor of `metrics.py`.

`arrays` is a TensorDataset, whose batches are slices, beside the same slices; `loader` is a data set that is asked
item by item, beside a bare pass over the same loader, in inference mode (which is faster, and spans the data set's
own code, too) and in `no_grad`; `textbook` is Python lists and scikit-learn's separate calls over that loader, as a
multiple of ours. Contenders run in turn in one process; printed are ratios of medians, of wall and of processor time;
of few rounds they scatter by a tenth and more.
Memory is what the evaluation needs above the model and the data, in float32 score matrices. Before each round as much
is touched and freed: where a virtual machine's host takes back what is free, a MB's first touch may cost 1 ms.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/evaluation.py
    OMP_WAIT_POLICY=PASSIVE python benchmarks/evaluation.py --cases 100000x10 --rounds 40 --textbook
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import logging
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from metrics import scikit, whole_set
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import mlflow_pt_eval as mpe

CASES = "100000x10,1000000x10,100000x100,20000x1000"
Times = Mapping[str, tuple[float, float]]


class Items(Dataset[Any]):
    """A data set that gives its samples one by one, with the least work for each."""

    def __init__(self, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        self.inputs, self.labels = inputs, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        return self.inputs[index], self.labels[index]


def make(samples: int, classes: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A tiny model, and data on which it is right more often than not; every class occurs."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, classes)).eval().requires_grad_(False)
    model[2].weight.mul_(6)
    inputs = torch.randn(samples, 32)
    labels = torch.cat([model(part).argmax(1) for part in inputs.split(4096)])
    noisy = torch.rand(samples) < 0.3
    labels[noisy] = torch.randint(0, classes, (int(noisy.sum()),))
    labels[:classes] = torch.arange(classes)
    return model, inputs, labels


def textbook(model: nn.Module, loader: DataLoader[Any]) -> None:
    """Lists that are extended batch by batch, then a call for each number."""
    labels, scores = [], []
    with torch.no_grad():
        for inputs, targets in loader:
            scores.extend(torch.softmax(model(inputs), 1).cpu().numpy())
            labels.extend(targets.cpu().numpy())
    scikit(np.array(labels), np.array(scores))


def contenders(samples: int, classes: int, options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """Everything that is timed in a case."""
    model, inputs, labels = make(samples, classes)
    whole, loader = TensorDataset(inputs, labels), DataLoader(Items(inputs, labels), batch_size=options.batch_size)
    scores = torch.cat([model(part).softmax(1) for part in inputs.split(4096)]).numpy()

    def slices() -> None:
        with torch.inference_mode():
            for part in inputs.split(options.batch_size):
                model(part)

    def batches() -> None:
        with torch.inference_mode():
            for part, _ in loader:
                model(part)

    def no_grad() -> None:
        with torch.no_grad():
            for part, _ in loader:
                model(part)

    def evaluated(data: Any) -> mpe.Evaluation:
        return mpe.evaluate(model, data, outputs="logits", batch_size=options.batch_size, log=False)

    ours = {
        "floor": lambda: whole_set(labels.numpy(), scores, classes, options.threads),
        "slices": slices,
        "arrays": lambda: evaluated(whole),
    }
    if samples <= 200_000:
        ours |= {"batches": batches, "no_grad": no_grad, "loader": lambda: evaluated(loader)}
    return ours


def timed(function: Callable[[], object], memory: int = 0) -> tuple[float, float]:
    """Return wall and processor seconds, after so many bytes of *memory* have been made ready."""
    gc.collect()
    np.ones(memory, np.uint8)
    wall, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - processor


def peak(function: Callable[[], object]) -> float:
    """Return how many bytes more than before were resident at the worst moment."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # or what earlier rounds left in the heap would be used again, unseen
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    function()
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def ratio(times: Times, one: str, *others: str) -> str:
    """Say how *one* compares with the sum of *others*."""
    wall, processor = (times[one][i] / sum(times[other][i] for other in others) for i in (0, 1))
    return f"{one} wall {wall:.2f}, processor {processor:.2f}"


def compare(samples: int, classes: int, options: argparse.Namespace) -> None:
    """Run one case and print its line."""
    jobs = contenders(samples, classes, options)
    for job in jobs.values():
        job()  # what only the first call costs, such as imports
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for _ in range(options.rounds):
        for name, job in jobs.items():
            rounds[name].append(timed(job, memory=12 * samples * classes))
    times = {name: tuple(statistics.median(r[i] for r in found) for i in (0, 1)) for name, found in rounds.items()}
    line = [f"{samples:>9,} x {classes:<5,}", ratio(times, "arrays", "slices", "floor")]
    if "loader" in jobs:
        line.append(ratio(times, "loader", "batches", "floor"))
        line.append("beside no_grad " + ratio(times, "loader", "no_grad", "floor"))
    line.append(f"memory {peak(jobs['arrays']) / (4 * samples * classes):.1f}")
    if options.textbook and samples * classes <= 20_000_000:
        model, inputs, labels = make(samples, classes)
        loader = DataLoader(TensorDataset(inputs, labels), batch_size=options.batch_size)
        line.append(f"textbook {timed(lambda: textbook(model, loader))[0] / times['arrays'][0]:.0f} x as long")
    print("   ".join(line), flush=True)


def main() -> None:
    """Parse the arguments and run the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=CASES, help="samples x classes, separated by commas")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--textbook", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("mlflow_pt_eval").setLevel(logging.ERROR)
    for case in options.cases.split(","):
        samples, classes = map(int, case.split("x"))
        compare(samples, classes, options)


if __name__ == "__main__":
    main()
