"""Two models on the same samples: differences with paired bootstrap intervals, McNemar's test, who flipped.

Each function takes the true *labels*, then the *candidate*'s and the *baseline*'s outputs: scores as `evaluate_scores`
takes them (float, (N, K)) or, where they are enough, predictions (int; (N,), for a multilabel task (N, K) of 0 and 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import comb, erfc, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics import incidence
from mlflow_pt_eval.metrics.blocks import workers
from mlflow_pt_eval.metrics.class_averages import RANKING
from mlflow_pt_eval.metrics.counts import BINARY, MULTILABEL
from mlflow_pt_eval.metrics.estimators import Draws, Estimator, draw, label_metric, mean, ranking_metric
from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.inputs import Inputs, losses_given
from mlflow_pt_eval.metrics.intervals import ALIKE, FEW, ROUNDING
from mlflow_pt_eval.metrics.outputs import INDICATOR_MEANS, SAMPLE_MEANS, Outputs, outputs
from mlflow_pt_eval.metrics.rarity import sides, too_few
from mlflow_pt_eval.metrics.resampling import percentile_interval
from mlflow_pt_eval.metrics.result import Floats

EXACT_FLIPS = 1000  # up to here McNemar's test is the binomial one
ONLY_BINARY = frozenset({"precision", "recall", "f1", "roc_auc", "average_precision"})


class Difference(NamedTuple):
    """A metric's candidate minus baseline, and the ends of its paired interval."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class McNemar:
    """Samples that only one of two models has right, and how likely such a split is if neither is better."""

    only_candidate: int
    only_baseline: int
    p_value: float
    exact: bool


@dataclass(frozen=True, eq=False)
class Flips:
    """The places (ascending) of the samples that the candidate breaks, and of those that it mends."""

    right_to_wrong: Ints
    wrong_to_right: Ints


def paired_difference(
    metric: str,
    labels: npt.ArrayLike,
    candidate: npt.ArrayLike,
    baseline: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    threads: int | None = None,
) -> Difference:
    """Return the metric's difference, candidate minus baseline, with its interval of a paired bootstrap.

    Each resample draws the same samples for both. *metric* is a key of an evaluation: any that needs the predicted
    classes only, the ROC-AUCs and average precisions, `log_loss`, `brier_score` and `top_5_accuracy` (of scores), or
    `loss` (the models' losses (N,) instead of outputs). BadInput for others, where it is undefined, and where the data
    cannot support an interval: an area of too few samples, a difference that is the same in every resample but 0.
    """
    if not 0 < confidence < 1:
        raise BadInput(f"confidence is {confidence}: give a share between 0 and 1, such as 0.95.")
    draws = Draws(resamples, seed, workers(threads))
    difference = _difference(metric, labels, candidate, baseline, draws.threads)
    value, values = draw(difference, draws)
    interval = percentile_interval(value, values, difference.reach(confidence))
    if interval is None or np.isnan(value):
        raise BadInput(f"{metric} is undefined on these labels (a class is missing): compare another metric.")
    if interval[1] - interval[0] <= ROUNDING < abs(value):
        raise BadInput(f"{metric} has no paired interval: {ALIKE}; compare on more samples.")
    return Difference(value, *interval)


def _difference(
    metric: str, labels: npt.ArrayLike, candidate: npt.ArrayLike, baseline: npt.ArrayLike, threads: int
) -> Estimator:
    if metric == "loss":
        samples = len(np.asarray(labels))
        return mean(losses_given(candidate, samples) - losses_given(baseline, samples))
    ours, theirs = outputs(labels, candidate), outputs(labels, baseline)
    if metric in ONLY_BINARY and not (ours.binary and theirs.binary):
        raise BadInput(f"{metric} is of a binary task, these have more classes: compare {metric}_macro.")
    if metric in RANKING:
        ranked = [_ranked(each, metric) for each in (ours, theirs)]
        rare = sides(ranked[0].support(), ranked[0].n_samples)
        if "roc_auc" in metric and rare.any() and too_few(rare):  # of one class alone it is undefined
            raise BadInput(f"{metric} has no paired interval: {FEW}; compare on more samples.")
        one, other = (ranking_metric(each, metric, rare, threads=threads) for each in ranked)
        return one.minus(other)
    if metric in SAMPLE_MEANS:
        return mean(SAMPLE_MEANS[metric](_scored(ours, metric)) - SAMPLE_MEANS[metric](_scored(theirs, metric)))
    if ours.multilabel and metric in INDICATOR_MEANS:
        return mean(INDICATOR_MEANS[metric](ours) - INDICATOR_MEANS[metric](theirs))
    return _label_difference(metric, ours, theirs)


def _scored(each: Outputs, metric: str) -> Inputs:
    if each.scored is None:
        raise BadInput(f"{metric} needs scores, there are predictions only: compare the scores, or another metric.")
    return each.scored


def _ranked(each: Outputs, metric: str) -> Inputs:
    """Return the scores under the task that *metric* is of: two classes have averages too."""
    inputs = _scored(each, metric)
    return inputs if metric in ONLY_BINARY or each.multilabel else replace(inputs, task="multiclass")


def _label_difference(metric: str, ours: Outputs, theirs: Outputs) -> Estimator:
    statistics = MULTILABEL if ours.multilabel else BINARY
    if metric not in statistics:
        known = ", ".join([*statistics, *RANKING, *SAMPLE_MEANS, "loss"])
        raise BadInput(f"{metric!r} has no paired interval: give one of {known}.")
    if ours.multilabel:
        one, other = (incidence.of_indicators(each.labels != 0, each.guess != 0) for each in (ours, theirs))
    else:
        one, other = incidence.of_pairs(ours.labels, ours.guess, theirs.guess)
    return label_metric(one, statistics[metric]).minus(label_metric(other, statistics[metric]))


def mcnemar(labels: npt.ArrayLike, candidate: npt.ArrayLike, baseline: npt.ArrayLike) -> McNemar:
    """Test whether two models are right equally often (McNemar 1947), two-sided.

    Up to 1,000 samples that only one has right the binomial test, above the chi-squared one, continuity-corrected.
    """
    ours, theirs = outputs(labels, candidate).right, outputs(labels, baseline).right
    up, down = int(np.count_nonzero(ours & ~theirs)), int(np.count_nonzero(theirs & ~ours))
    if up + down <= EXACT_FLIPS:
        tail = sum(comb(up + down, place) for place in range(min(up, down) + 1))
        return McNemar(up, down, min(1.0, 2 * tail / 2 ** (up + down)), exact=True)
    chi_squared = max(0, abs(up - down) - 1) ** 2 / (up + down)
    return McNemar(up, down, erfc(sqrt(chi_squared / 2)), exact=False)


def flips(labels: npt.ArrayLike, candidate: npt.ArrayLike, baseline: npt.ArrayLike) -> Flips:
    """Return which samples the candidate has wrong that the baseline had right, and the other way round."""
    ours, theirs = outputs(labels, candidate).right, outputs(labels, baseline).right
    return Flips(np.flatnonzero(theirs & ~ours), np.flatnonzero(ours & ~theirs))


def recall_changes(labels: npt.ArrayLike, candidate: npt.ArrayLike, baseline: npt.ArrayLike, *, classes: int) -> Floats:
    """Return each class's recall, candidate minus baseline, float64 (classes,); NaN for a class without samples."""
    ours, theirs = outputs(labels, candidate), outputs(labels, baseline)
    shown = ours.labels.shape[1] if ours.multilabel else 1 + int(ours.labels.max())
    if shown > classes:
        raise BadInput(f"classes is {classes}, the labels are of {shown}: give their number.")
    if ours.multilabel:
        truth = ours.labels != 0
        support, gained = truth.sum(axis=0), (truth * (ours.guess - theirs.guess)).sum(axis=0)
    else:
        support = np.bincount(ours.labels, minlength=classes)
        change = ours.right.astype(np.float64) - theirs.right
        gained = np.bincount(ours.labels, weights=change, minlength=classes)
    return np.divide(gained, support, out=np.full(len(support), np.nan), where=support > 0)
