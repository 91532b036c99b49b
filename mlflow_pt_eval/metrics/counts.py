"""Every metric that needs the predicted classes only: all are functions of the K × K confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.metrics.blocks import cut
from mlflow_pt_eval.metrics.result import Floats

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rates:
    """Precision, recall and F1 of each class, float64 (K,), 0 where undefined; `seen`: in the truth or predicted."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: Counts
    seen: npt.NDArray[np.bool_]

    def averages(self) -> dict[str, float]:
        """Return the macro (over the seen classes) and weighted averages, keyed as `precision_macro`."""
        found = {}
        for name, values in (("precision", self.precision), ("recall", self.recall), ("f1", self.f1)):
            found[f"{name}_macro"] = float(values[self.seen].mean()) if self.seen.any() else 0.0
            found[f"{name}_weighted"] = float(ratio(values @ self.support, self.support.sum()))
        return found


def ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Floats:
    """Divide as float64, 0 where the denominator is 0 (scikit-learn's `zero_division=0`)."""
    above, below = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below != 0)


def confusion_matrix(labels: npt.NDArray[np.int64], predictions: npt.NDArray[Any], classes: int) -> Counts:
    """Count (true class, predicted class) pairs: int64 (K, K), as `sklearn.metrics.confusion_matrix`."""
    matrix = np.zeros(classes * classes, np.int64)
    for low, high in cut(len(labels), max(1 << 20, matrix.size)):  # in parts, so that the codes stay small
        codes = labels[low:high] * classes
        codes += predictions[low:high]
        matrix += np.bincount(codes, minlength=matrix.size)
    return matrix.reshape(classes, classes)


def rates(true_positives: Counts, support: Counts, predicted: Counts) -> Rates:
    """Return P/R/F1 of each class from its counts, as `precision_recall_fscore_support(zero_division=0)`."""
    return Rates(
        precision=ratio(true_positives, predicted),
        recall=ratio(true_positives, support),
        f1=ratio(2 * true_positives, support + predicted),
        support=support,
        seen=(support + predicted) > 0,
    )


def confusion_rates(confusion: Counts) -> Rates:
    """Return P/R/F1 of each class from the confusion matrix."""
    return rates(np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0))


def label_metrics(confusion: Counts, *, binary: bool) -> dict[str, float]:
    """Return every metric of the confusion matrix by its key, each as the scikit-learn function of its name.

    `cohen_kappa` is left out where it is undefined (one class in truth and predictions alike);
    `matthews_corrcoef` is 0 there, by scikit-learn's convention.
    """
    found = confusion_rates(confusion)
    metrics = {
        "accuracy": float(np.trace(confusion) / confusion.sum()),
        "balanced_accuracy": float(found.recall[found.support > 0].mean()),
        **found.averages(),
        "matthews_corrcoef": matthews_corrcoef(confusion),
    }
    if (kappa := cohen_kappa(confusion)) is not None:
        metrics["cohen_kappa"] = kappa
    if binary:
        metrics |= {key: float(getattr(found, key)[1]) for key in ("precision", "recall", "f1")}
    return metrics


def matthews_corrcoef(confusion: Counts) -> float:
    """Return the multiclass correlation coefficient (Gorodkin 2004); 0 where a margin holds one class only."""
    truth, guess = confusion.sum(axis=1, dtype=np.float64), confusion.sum(axis=0, dtype=np.float64)
    total = truth.sum()
    spread = (total**2 - truth @ truth) * (total**2 - guess @ guess)
    return float((np.trace(confusion) * total - truth @ guess) / np.sqrt(spread)) if spread else 0.0


def cohen_kappa(confusion: Counts) -> float | None:
    """Return the agreement beyond chance (Cohen 1960); None where chance alone agrees always."""
    truth, guess = confusion.sum(axis=1, dtype=np.float64), confusion.sum(axis=0, dtype=np.float64)
    total = truth.sum()
    expected = total - truth @ guess / total
    return float(1 - (total - np.trace(confusion)) / expected) if expected else None
