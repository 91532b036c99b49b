"""Every metric that needs the predicted classes only: a function of three counts for each class.

They work on whole stacks of such counts, (…, K), since a bootstrap asks for a thousand at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.metrics.blocks import cut
from mlflow_pt_eval.metrics.result import Floats

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Margins:
    """For each class how often it is predicted rightly, how often true, how often predicted: arrays (…, K).

    `every`: macro averages are over all classes (multilabel), else over those in the truth or the predictions.
    """

    hits: npt.NDArray[Any]
    support: npt.NDArray[Any]
    predicted: npt.NDArray[Any]
    every: bool = False

    @property
    def precision(self) -> Floats:
        """hits / predicted, 0 where undefined: (…, K)."""
        return ratio(self.hits, self.predicted)

    @property
    def recall(self) -> Floats:
        """hits / support, 0 where undefined: (…, K)."""
        return ratio(self.hits, self.support)

    @property
    def f1(self) -> Floats:
        """The harmonic mean of precision and recall, 0 where undefined: (…, K)."""
        return ratio(2 * self.hits, self.support + self.predicted)

    def macro(self, values: Floats) -> Floats:
        """Average *values* (…, K) over the classes."""
        seen = np.ones(values.shape, bool) if self.every else (self.support + self.predicted) > 0
        return ratio((values * seen).sum(axis=-1), seen.sum(axis=-1))

    def weighted(self, values: Floats) -> Floats:
        """Average *values* (…, K) by support."""
        return ratio((values * self.support).sum(axis=-1), self.support.sum(axis=-1))


def ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Floats:
    """Divide as float64, 0 where the denominator is 0 (scikit-learn's `zero_division=0`)."""
    above, below = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below != 0)


def accuracy(of: Margins) -> Floats:
    """Return the share of right predictions."""
    return ratio(of.hits.sum(axis=-1), of.support.sum(axis=-1))


def balanced_accuracy(of: Margins) -> Floats:
    """Return the mean recall of the classes that occur in the truth."""
    return ratio(of.recall.sum(axis=-1), (of.support > 0).sum(axis=-1))


def matthews_corrcoef(of: Margins) -> Floats:
    """Return the multiclass correlation coefficient (Gorodkin 2004); 0 where a margin holds one class only."""
    truth, guess = np.asarray(of.support, np.float64), np.asarray(of.predicted, np.float64)
    total = truth.sum(axis=-1)
    spread = (total**2 - (truth**2).sum(axis=-1)) * (total**2 - (guess**2).sum(axis=-1))
    return ratio(of.hits.sum(axis=-1) * total - (truth * guess).sum(axis=-1), np.sqrt(spread))


def cohen_kappa(of: Margins) -> Floats:
    """Return the agreement beyond chance (Cohen 1960); NaN where truth and predictions are one and the same class."""
    truth, guess = np.asarray(of.support, np.float64), np.asarray(of.predicted, np.float64)
    total = truth.sum(axis=-1)
    expected = total - ratio((truth * guess).sum(axis=-1), total)
    return np.where(expected != 0, 1 - ratio(total - of.hits.sum(axis=-1), expected), np.nan)


Statistic = Callable[[Margins], Floats]

AVERAGED: Final[Mapping[str, Statistic]] = MappingProxyType(
    {
        "precision_macro": lambda of: of.macro(of.precision),
        "precision_weighted": lambda of: of.weighted(of.precision),
        "recall_macro": lambda of: of.macro(of.recall),
        "recall_weighted": lambda of: of.weighted(of.recall),
        "f1_macro": lambda of: of.macro(of.f1),
        "f1_weighted": lambda of: of.weighted(of.f1),
    }
)
ONE_CLASS: Final[Mapping[str, Statistic]] = MappingProxyType(
    {
        "accuracy": accuracy,
        "balanced_accuracy": balanced_accuracy,
        **AVERAGED,
        "matthews_corrcoef": matthews_corrcoef,
        "cohen_kappa": cohen_kappa,
    }
)
BINARY: Final[Mapping[str, Statistic]] = MappingProxyType(
    {
        **ONE_CLASS,
        "precision": lambda of: of.precision[..., 1],
        "recall": lambda of: of.recall[..., 1],
        "f1": lambda of: of.f1[..., 1],
    }
)
MULTILABEL: Final[Mapping[str, Statistic]] = MappingProxyType(
    {
        **AVERAGED,
        "precision_micro": lambda of: ratio(of.hits.sum(axis=-1), of.predicted.sum(axis=-1)),
        "recall_micro": lambda of: ratio(of.hits.sum(axis=-1), of.support.sum(axis=-1)),
        "f1_micro": lambda of: ratio(2 * of.hits.sum(axis=-1), (of.support + of.predicted).sum(axis=-1)),
    }
)


def confusion_matrix(labels: npt.NDArray[np.int64], predictions: npt.NDArray[Any], classes: int) -> Counts:
    """Count (true class, predicted class) pairs: int64 (K, K), as `sklearn.metrics.confusion_matrix`."""
    matrix = np.zeros(classes * classes, np.int64)
    for low, high in cut(len(labels), max(1 << 20, matrix.size)):  # in parts, so that the codes stay small
        codes = labels[low:high] * classes
        codes += predictions[low:high]
        matrix += np.bincount(codes, minlength=matrix.size)
    return matrix.reshape(classes, classes)


def margins(confusion: Counts) -> Margins:
    """Return the counts of each class from the confusion matrix."""
    return Margins(np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0))


def metrics(of: Margins, statistics: Mapping[str, Statistic]) -> dict[str, float]:
    """Return the *statistics* of one set of counts (K,) by their keys; what is undefined is left out."""
    found = {key: float(statistic(of)) for key, statistic in statistics.items()}
    return {key: value for key, value in found.items() if not np.isnan(value)}
