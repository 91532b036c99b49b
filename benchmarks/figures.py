"""What our figures cost, beside bare matplotlib figures of the same data.

    python benchmarks/figures.py [--rounds 15]

All of a group are drawn in turn in one run, each to a PNG; what is printed are medians of the times, and of the ratios
to the bare figure of the same round.
"""

from __future__ import annotations

import argparse
import gc
import io
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mlflow_pt_eval import figures
from mlflow_pt_eval.metrics import Evaluation, evaluate_scores
from mlflow_pt_eval.metrics.result import Curves, PrecisionRecallCurve, RocCurve

Draw = Callable[[], object]


def evaluation(classes: int, samples: int) -> Evaluation:
    """Return an evaluation of scores that are right in about four of five cases."""
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, samples)
    logits = random.normal(size=(samples, classes)).astype(np.float32)
    logits[np.arange(samples), labels] += 1.9 + 0.3 * np.log(classes)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return evaluate_scores(labels, scores, task="multiclass", bootstrap=0, micro=classes <= 100)


def unthinned(classes: int, points: int) -> Evaluation:
    """Return an evaluation whose curves hold all their points, as no data set of any size would leave more."""
    random = np.random.default_rng(0)
    names = tuple(f"class {k}" for k in range(classes))
    rocs, curves = [], []
    for name in names:
        fpr = np.sort(random.random(points))
        tpr = np.sort(random.random(points)) ** 0.1
        rocs.append(RocCurve(name, fpr, tpr, fpr[::-1], 0.9))
        precision = np.clip(1 - fpr**8 + random.normal(0, 0.001, points), 0, 1)
        curves.append(PrecisionRecallCurve(name, precision, fpr, 0.9, 0.1))
    base = evaluation(classes, 50 * classes)
    return Evaluation(**{**vars(base), "curves": Curves(roc=tuple(rocs), precision_recall=tuple(curves))})


def bare(width: int, height: int) -> tuple[Figure, object]:
    """Return a figure without pyplot and its axes in a fixed rectangle."""
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    FigureCanvasAgg(figure)
    return figure, figure.add_axes((0.12, 0.12, 0.72, 0.76))


def saved(figure: Figure) -> bytes:
    """Return a figure as matplotlib's own PNG."""
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()


def bare_confusion(evaluated: Evaluation, *, annotated: bool) -> bytes:
    """Draw a confusion matrix the usual way: an image, its colour bar, named ticks, a text in each cell."""
    figure, ax = bare(812, 690)
    matrix, names = evaluated.confusion, evaluated.class_names
    image = ax.imshow(matrix, cmap="Blues")
    figure.colorbar(image, cax=figure.add_axes((0.88, 0.12, 0.03, 0.76)))
    ax.set(xlabel="predicted", ylabel="true", title="confusion matrix")
    if annotated:
        ax.set_xticks(range(len(names)), names)
        ax.set_yticks(range(len(names)), names)
        for i, j in np.ndindex(matrix.shape):
            color = "white" if matrix[i, j] > matrix.max() / 2 else "black"
            ax.text(j, i, str(matrix[i, j]), ha="center", va="center", color=color)
    return saved(figure)


def bare_roc(evaluated: Evaluation) -> bytes:
    """Draw all points of all curves."""
    figure, ax = bare(900, 676)
    for curve in evaluated.curves.roc:
        ax.plot(curve.fpr, curve.tpr, label=curve.name)
    ax.legend()
    return saved(figure)


def compare(title: str, ways: Mapping[str, Draw], rounds: int) -> None:
    """Draw every way once a round and print the medians; ratios are to the first way."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            gc.collect()
            start = time.perf_counter()
            way()
            if turn:  # the first round loads fonts
                taken[name].append(time.perf_counter() - start)
    first = next(iter(taken.values()))
    print(f"\n{title}")
    for name, times in taken.items():
        ratio = statistics.median(time / base for time, base in zip(times, first, strict=True))
        print(f"  {name:44s} {statistics.median(times) * 1e3:7.1f} ms   x {ratio:.2f}")


def ours(draw: Callable[..., Figure], evaluated: Evaluation, **options: bool) -> Draw:
    """Return a call that draws one of our figures to a PNG."""
    return lambda: figures.png_bytes(draw(evaluated, **options))


def main() -> None:
    """Measure all groups."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    ten, thousand = evaluation(10, 20_000), evaluation(1000, 50_000)
    matrix, roc = figures.confusion_matrix, figures.roc_curve
    for evaluated, annotated in ((ten, True), (thousand, False)):
        ways: dict[str, Draw] = {"bare matplotlib": lambda e=evaluated, a=annotated: bare_confusion(e, annotated=a)}
        ways |= {"counts": ours(matrix, evaluated), "row-normalised": ours(matrix, evaluated, normalize=True)}
        compare(f"confusion matrix, {len(evaluated.class_names):,} classes", ways, rounds)
    for points in (1_000, 100_000, 1_000_000):
        full = unthinned(10, points)
        precision = ours(figures.precision_recall_curve, full)
        rest: dict[str, Draw] = {"ROC": ours(roc, full), "precision-recall": precision}
        if points < 1_000_000:
            rest = {"bare matplotlib, all points": lambda e=full: bare_roc(e), **rest}
        compare(f"curves, 10 classes of {points:,} points each", rest, rounds)
    others = {"ROC, 10 classes": ours(roc, ten), "ROC, 1,000 classes": ours(roc, thousand)}
    others["precision-recall, 10 classes"] = ours(figures.precision_recall_curve, ten)
    others["precision-recall, 1,000 classes"] = ours(figures.precision_recall_curve, thousand)
    others["calibration"] = ours(figures.calibration_curve, ten)
    compare("as evaluate_scores gives them", others, rounds)


if __name__ == "__main__":
    main()
