"""Confidence intervals of an evaluation: Wilson's for the accuracy, the bootstrap's for F1 and ROC-AUC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import NormalDist

import numpy as np

from mlflow_pt_eval.metrics import incidence
from mlflow_pt_eval.metrics.counts import AVERAGED
from mlflow_pt_eval.metrics.estimators import Draws, draw, label_metric, ranking_metric
from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.incidence import Incidence
from mlflow_pt_eval.metrics.inputs import Inputs
from mlflow_pt_eval.metrics.multilabel import THRESHOLD
from mlflow_pt_eval.metrics.rarity import seen, sides, too_few
from mlflow_pt_eval.metrics.resampling import Interval, logit_interval, percentile_interval
from mlflow_pt_eval.metrics.result import Evaluation

CONFIDENCE = 0.95
LEAST_COUNTED = 5  # samples and predictions of the classes of an F1, together, by `seen`
ROUNDING = 1e-9  # what the linear part adds to a metric that is the same in every resample

NO_INTERVAL = "no interval of"  # begins what is said of those that are left out
FEW = "there are too few samples of the rarest classes for a bootstrap"
OUTSIDE = "lies outside its own interval: few samples a class bias it low, for which the interval is corrected."
ALIKE = "every resample gives the same value, so that a bootstrap cannot tell how far off it is"


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


def f1_interval(of: Incidence, draws: Draws) -> Interval | str:
    """Return the 95 % bootstrap interval of the macro-averaged F1, or why there is none.

    What a class adds to the noise goes by its samples and predictions together, which are the denominator of its F1: a
    rare class that is often predicted, and one among many that are not rare, do the interval no harm.
    """
    whole = of.whole()
    samples = seen(whole.support + whole.predicted)
    if samples < LEAST_COUNTED:
        return FEW
    estimator = replace(label_metric(of, AVERAGED["f1_macro"]), samples=samples, freedom=samples - 1)
    return _share(percentile_interval(*draw(estimator, draws), estimator.reach(CONFIDENCE)))


def auc_interval(inputs: Inputs, key: str, rare: Ints, draws: Draws) -> Interval | str:
    """Return the 95 % bootstrap interval of the area under the ROC curve, or why there is none; *rare* are its `sides`.

    With fewer positives than are taken there often is none: all of them lie above the negatives.
    """
    if too_few(rare):
        return FEW
    estimator = ranking_metric(inputs, key, rare, threads=draws.threads)
    return _share(logit_interval(*draw(estimator, draws), estimator.reach(CONFIDENCE)))


def _share(ends: Interval | None) -> Interval | str:
    """Return the interval of a share, which is from 0 to 1, or why there is none."""
    if ends is None or ends[1] - ends[0] <= ROUNDING:
        return ALIKE
    return max(0.0, ends[0]), min(1.0, ends[1])


def bootstrap_intervals(inputs: Inputs, evaluation: Evaluation, draws: Draws) -> dict[str, Interval | str]:
    """Return the 95 % intervals of `f1_macro` and `roc_auc` or `roc_auc_macro`, as far as defined, or why not."""
    if inputs.task == "multilabel":
        atoms = incidence.of_indicators(inputs.labels != 0, inputs.scores > THRESHOLD)
    else:
        atoms = incidence.of_confusion(evaluation.confusion)
    rare = sides(np.array([row.support for row in evaluation.per_class]), inputs.n_samples)
    areas = [key for key in ("roc_auc", "roc_auc_macro") if key in evaluation.metrics]
    return {"f1_macro": f1_interval(atoms, draws)} | {key: auc_interval(inputs, key, rare, draws) for key in areas}


def parted(
    found: Mapping[str, Interval | str], metrics: Mapping[str, float]
) -> tuple[dict[str, Interval], tuple[str, ...]]:
    """Return the intervals that there are, and what is to be said of them.

    That is for each reason why some are left out one line that names those, and one for each of *metrics* that lies
    outside its own.
    """
    ends = {key: each for key, each in found.items() if not isinstance(each, str)}
    reasons = {each: [key for key in found if found[key] == each] for each in found.values() if isinstance(each, str)}
    left_out = (f"{NO_INTERVAL} {' and '.join(keys)}: {reason}." for reason, keys in reasons.items())
    outside = (key for key, (low, high) in ends.items() if not low <= metrics[key] <= high)
    return ends, (*left_out, *(f"{key} {OUTSIDE}" for key in outside))
