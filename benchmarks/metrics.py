"""What an evaluation's metrics cost beside scikit-learn's separate calls and beside the least work that is exact.

The floor is written out here: one bincount, one plain sort of integers a class, sums that are linear in the
positives; it makes no table, no thresholds, no calibration, no check of its input. Contenders run in turn in one
process; printed are medians and ratios.

    python benchmarks/metrics.py
    python benchmarks/metrics.py --cases 100000x10,20000x1000 --rounds 15
    python benchmarks/metrics.py --no-sklearn
    python benchmarks/metrics.py --floor PATH       a module with another whole_set(labels, scores, classes, threads)
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.metrics as sk

from mlflow_pt_eval.metrics import evaluate_scores

Array = npt.NDArray[Any]
CASES = "100000x10,1000000x10,100000x100,20000x1000"


def data(samples: int, classes: int) -> tuple[Array, Array]:
    """Labels and softmax scores of a model that is right more often than not."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, samples)
    scores = rng.standard_normal((samples, classes), dtype=np.float32)
    scores[np.arange(samples), labels] += 2 + 0.3 * np.log10(classes)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    return labels, scores


def scikit(labels: Array, scores: Array) -> dict[str, Any]:
    """The calls that a textbook makes, each on its own."""
    classes, guess = scores.shape[1], scores.argmax(axis=1)
    found: dict[str, Any] = {"accuracy": sk.accuracy_score(labels, guess), "cm": sk.confusion_matrix(labels, guess)}
    for name, function in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        for average in ("macro", "weighted", None):
            found[f"{name}_{average}"] = function(labels, guess, average=average, zero_division=0)
    found["log_loss"] = sk.log_loss(labels, scores, labels=np.arange(classes))
    for average in ("macro", "weighted"):
        found[f"roc_auc_{average}"] = sk.roc_auc_score(labels, scores, multi_class="ovr", average=average)
    found["curves"] = [sk.roc_curve(labels == each, scores[:, each]) for each in range(classes)]
    precisions = [sk.average_precision_score(labels == each, scores[:, each]) for each in range(classes)]
    return {**found, "average_precision_macro": float(np.mean(precisions))}


def whole_set(labels: Array, scores: Array, classes: int, threads: int) -> dict[str, Any]:
    """The floor: every number of `scikit`, and the corners of the ROC curves, as fast as we know."""
    guess = scores.argmax(axis=1)
    confusion = np.bincount(labels * classes + guess, minlength=classes**2).reshape(classes, classes)
    own = np.clip(scores[np.arange(len(labels)), labels], 1e-7, 1)
    order, support = np.argsort(labels.astype(np.uint16), kind="stable"), confusion.sum(axis=1)
    ends = np.concatenate(([0], np.cumsum(support)))
    block = max(1, min(16, (1 << 22) // len(labels), -(-classes // threads)))

    def job(low: int) -> list[tuple[float, float, tuple[Array, ...]]]:
        keys = np.left_shift(scores[:, low : low + block].T.view(np.uint32), np.uint32(1), order="C")
        for place, row in enumerate(keys, low):
            row[order[ends[place] : ends[place + 1]]] |= np.uint32(1)
        keys.sort(axis=1)
        return [corners(row) for row in keys]

    with ThreadPoolExecutor(threads) as pool:
        ranked = [each for part in pool.map(job, range(0, classes, block)) for each in part]
    areas = np.array([each[0] for each in ranked])
    return {
        **label_metrics(confusion),
        "log_loss": -float(np.log(own, dtype=np.float64).mean()),
        "roc_auc_macro": float(areas.mean()),
        "roc_auc_weighted": float(areas @ support / len(labels)),
        "average_precision_macro": float(np.mean([each[1] for each in ranked])),
        "curves": [each[2] for each in ranked],
    }


def label_metrics(confusion: Array) -> dict[str, Any]:
    """Accuracy and the averages of precision, recall and F1."""
    hits, support, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    parts = {"precision": (hits, predicted), "recall": (hits, support), "f1": (2 * hits, support + predicted)}
    found: dict[str, Any] = {"accuracy": hits.sum() / confusion.sum()}
    for name, (above, below) in parts.items():
        values = above / np.maximum(below, 1)
        found[f"{name}_macro"], found[f"{name}_weighted"] = values.mean(), values @ support / support.sum()
    return found


def corners(keys: Array) -> tuple[float, float, tuple[Array, ...]]:
    """AUC, average precision and ROC points of sorted keys (score bits << 1 | positive); both classes must occur."""
    places = np.flatnonzero((keys & np.uint32(1)).astype(bool))
    ups, downs, own = len(places), len(keys) - len(places), keys[places]
    starts = np.concatenate(([0], np.flatnonzero(own[1:] != own[:-1]) + 1))
    first, count = places[starts], np.diff(starts, append=ups)
    below, tied = first - starts, np.zeros(len(starts), np.int64)
    ties = np.flatnonzero((keys[first - 1] == own[starts] ^ np.uint32(1)) & (first > 0))
    tied[ties] = first[ties] - np.searchsorted(keys, own[starts[ties]] ^ np.uint32(1))
    tp, fp = ups - starts, downs - below + tied
    area = float((count * (below - tied / 2)).sum()) / (ups * downs)
    precision = float((count * (tp / (tp + fp))).sum()) / ups
    across, up = np.stack((fp - tied, fp), axis=1)[::-1].ravel(), np.stack((tp - count, tp), axis=1)[::-1].ravel()
    bends = np.diff(across[1:]) * np.diff(up[:-1]) != np.diff(across[:-1]) * np.diff(up[1:])
    keep = np.concatenate(([True], bends, [True]))
    scores = (own[starts] >> np.uint32(1)).view(np.float32)[::-1].repeat(2)
    return area, precision, (across[keep] / downs, up[keep] / ups, scores[keep])


def imported(path: Path) -> Callable[..., dict[str, Any]]:
    """Return the function `whole_set` of another floor."""
    spec = importlib.util.spec_from_file_location("floor", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *args: module.whole_set(*args, corners=True)


def timed(function: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return wall seconds, processor seconds and the result."""
    gc.collect()
    wall, processor = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - wall, time.process_time() - processor, result


def compare(samples: int, classes: int, options: argparse.Namespace, floor: Callable[..., dict[str, Any]]) -> None:
    """Run one case and print its line."""
    labels, scores = data(samples, classes)
    threads, times = options.threads, {"ours": [], "floor": []}

    def ours() -> dict[str, float]:
        return evaluate_scores(labels, scores, task="multiclass", bootstrap=0, threads=threads).metrics

    for _ in range(options.rounds):
        for name, job in (("floor", lambda: floor(labels, scores, classes, threads)), ("ours", ours)):
            times[name].append(timed(job)[:2])
    wall, processor = ({name: statistics.median(t[i] for t in rows) for name, rows in times.items()} for i in (0, 1))
    line = f"{samples:>9,} x {classes:<5,} ours {wall['ours'] * 1e3:7.1f} ms"
    line += (
        f"   / floor: wall {wall['ours'] / wall['floor']:.2f}, processor {processor['ours'] / processor['floor']:.2f}"
    )
    if options.sklearn:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seconds, _, wanted = timed(lambda: scikit(labels, scores))
        found = ours()
        apart = max(abs(found[key] - wanted[key]) for key in found.keys() & wanted.keys() - {"log_loss"})
        line += f"   scikit-learn {seconds / wall['ours']:6.1f} x as long, at most {apart:.0e} apart"
    print(line, flush=True)


def main() -> None:
    """Parse the arguments and run the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=CASES, help="samples x classes, separated by commas")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--floor", type=Path)
    parser.add_argument("--no-sklearn", dest="sklearn", action="store_false")
    options = parser.parse_args()
    floor = whole_set if options.floor is None else imported(options.floor)
    for case in options.cases.split(","):
        samples, classes = map(int, case.split("x"))
        compare(samples, classes, options, floor)


if __name__ == "__main__":
    main()
