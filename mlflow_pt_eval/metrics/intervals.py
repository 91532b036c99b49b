"""Confidence intervals of an evaluation: Wilson's for the accuracy, the bootstrap's for F1 and ROC-AUC."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from mlflow_pt_eval.metrics import incidence
from mlflow_pt_eval.metrics.counts import AVERAGED
from mlflow_pt_eval.metrics.estimators import Draws, draw, label_metric, ranking_metric
from mlflow_pt_eval.metrics.incidence import Incidence
from mlflow_pt_eval.metrics.inputs import Inputs
from mlflow_pt_eval.metrics.multilabel import THRESHOLD
from mlflow_pt_eval.metrics.resampling import percentile_interval
from mlflow_pt_eval.metrics.result import Evaluation

CONFIDENCE = 0.95


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return Wilson's (1927) score interval of a proportion.

    >>> tuple(round(end, 4) for end in wilson(9, 10))
    (0.5958, 0.9821)
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, widened = successes / trials, 1 + z**2 / trials
    middle = (share + z**2 / (2 * trials)) / widened
    half = z / widened * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # At 0 and at all successes one end is exact; rounding must not put it beside.
    low, high = middle - half if successes else 0.0, middle + half if successes < trials else 1.0
    return float(low), float(high)


def accuracy_interval(accuracy: float, samples: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy over so many samples."""
    return wilson(round(accuracy * samples), samples)


def f1_interval(of: Incidence, draws: Draws) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the macro-averaged F1, which is always defined."""
    interval = _share(percentile_interval(*draw(label_metric(of, AVERAGED["f1_macro"]), draws)))
    assert interval is not None
    return interval


def _share(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """Keep the interval of a metric that is a share from 0 to 1 within these."""
    return None if interval is None else (max(0.0, interval[0]), min(1.0, interval[1]))


def bootstrap_intervals(inputs: Inputs, evaluation: Evaluation, draws: Draws) -> dict[str, tuple[float, float]]:
    """Return the 95 % intervals of `f1_macro` and `roc_auc` or `roc_auc_macro`, as far as defined."""
    if inputs.task == "multilabel":
        atoms = incidence.of_indicators(inputs.labels != 0, inputs.scores > THRESHOLD)
    else:
        atoms = incidence.of_confusion(evaluation.confusion)
    found = {"f1_macro": f1_interval(atoms, draws)}
    for key in ("roc_auc", "roc_auc_macro"):
        if key in evaluation.metrics:
            interval = _share(percentile_interval(*draw(ranking_metric(inputs, key, threads=draws.threads), draws)))
            found |= {} if interval is None else {key: interval}
    return found
