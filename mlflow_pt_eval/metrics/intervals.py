"""Confidence intervals of an evaluation: Wilson's for the accuracy, the bootstrap's for F1 and ROC-AUC."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from mlflow_pt_eval.metrics import incidence
from mlflow_pt_eval.metrics.counts import AVERAGED
from mlflow_pt_eval.metrics.estimators import Draws, draw, label_metric, ranking_metric
from mlflow_pt_eval.metrics.groups import Ints
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


def bootstrap_intervals(inputs: Inputs, evaluation: Evaluation, draws: Draws) -> dict[str, tuple[float, float]]:
    """Return the 95 % percentile intervals of `f1_macro` and `roc_auc` or `roc_auc_macro`, as far as defined."""
    found = {"f1_macro": label_metric(_incidence(inputs, evaluation.confusion), AVERAGED["f1_macro"])}
    for key in {"roc_auc", "roc_auc_macro"} & evaluation.metrics.keys():
        found[key] = ranking_metric(inputs, key, threads=draws.threads)
    intervals = {key: percentile_interval(draw(each, draws)[1], CONFIDENCE) for key, each in found.items()}
    return {key: interval for key, interval in intervals.items() if interval is not None}


def _incidence(inputs: Inputs, confusion: Ints) -> Incidence:
    if inputs.task == "multilabel":
        return incidence.of_indicators(inputs.labels != 0, inputs.scores > THRESHOLD)
    truth, guess = np.nonzero(confusion)
    return incidence.of_cells(truth, guess, confusion[truth, guess], classes=inputs.n_classes)
