"""Ranking statistics of weighted samples: the order is found once, each weighting then costs a few sums.

A ladder holds one class's samples in the order of their scores, cut into rungs: the runs of equal positives and the
stretches of negatives between them. ROC-AUC and average precision of any weights follow from the rungs' sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from mlflow_pt_eval.metrics.counts import ratio
from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.inputs import Mask, Scores
from mlflow_pt_eval.metrics.resampling import Weights
from mlflow_pt_eval.metrics.result import Floats


@dataclass(frozen=True, eq=False)
class Ladder:
    """One class's samples by score, ascending: places of the positives and negatives in the data, (P,) and (N,).

    `starts` (G,) is where each run of equal positives begins; `left` and `right` (G,) count the negatives below it
    and those at or below it.
    """

    positives: Ints
    negatives: Ints
    starts: Ints
    left: Ints
    right: Ints

    @property
    def sizes(self) -> Ints:
        """How many positives each run has, (G,)."""
        return np.diff(self.starts, append=len(self.positives))

    @property
    def defined(self) -> bool:
        """Whether there are positives and negatives at all."""
        return bool(len(self.positives) and len(self.negatives))


@dataclass(frozen=True, eq=False)
class Rungs:
    """The weights on a ladder in r weightings: `on` each run, the negatives `left` (below) and `right` (up to): (G, r).

    `positives` and `negatives` (r,) are all there are.
    """

    on: Floats
    left: Floats
    right: Floats
    positives: Floats
    negatives: Floats


def ladder(scores: Scores, positive: Mask) -> Ladder:
    """Order the *scores* (N,) of one class."""
    up, down = (places[np.argsort(scores[places])] for places in (np.flatnonzero(positive), np.flatnonzero(~positive)))
    own, other = scores[up], scores[down]
    starts = np.flatnonzero(np.diff(own, prepend=np.float32(np.nan)) != 0)
    left, right = (np.searchsorted(other, own[starts], side=side) for side in ("left", "right"))
    return Ladder(up, down, starts, left, right)


def climber(steps: Ladder) -> Callable[[Weights], Rungs]:
    """Return the function from weights (samples, r) to the rungs' sums: one product with a sparse matrix of ones."""
    runs, others = len(steps.starts), len(steps.negatives)
    cuts = np.unique(np.concatenate(([0], steps.left, steps.right, [others])))
    left, right = np.searchsorted(cuts, steps.left), np.searchsorted(cuts, steps.right)
    places = np.concatenate((steps.positives, steps.negatives)).astype(np.int32)
    ends = np.concatenate((steps.starts, len(steps.positives) + cuts)).astype(np.int32)
    matrix = csr_array((np.ones(len(places), np.float32), places, ends), shape=(runs + len(cuts) - 1, len(places)))

    def climb(weights: Weights) -> Rungs:
        sums = (matrix @ weights).astype(np.float64)
        below = np.concatenate((np.zeros((1, weights.shape[1])), np.cumsum(sums[runs:], axis=0)))
        return Rungs(sums[:runs], below[left], below[right], sums[:runs].sum(axis=0), below[-1])

    return climb


def roc_auc(rungs: Rungs) -> Floats:
    """Return the area of each weighting, (r,): the share of pairs in the right order, ties half; NaN without pairs."""
    wins = (rungs.on * (rungs.left + rungs.right)).sum(axis=0)
    return _or_nan(wins, 2 * rungs.positives * rungs.negatives)


def average_precision(rungs: Rungs) -> Floats:
    """Return the average precision of each weighting, (r,); NaN without positives."""
    tp = rungs.positives - np.cumsum(rungs.on, axis=0) + rungs.on
    precision = ratio(tp, tp + rungs.negatives - rungs.left)
    return _or_nan((rungs.on * precision).sum(axis=0), rungs.positives)


def _or_nan(numerator: Floats, denominator: Floats) -> Floats:
    return np.where(denominator > 0, ratio(numerator, denominator), np.nan)


def roc_auc_influence(steps: Ladder) -> tuple[float, Floats, Floats]:
    """Return the AUC and what one more of each sample adds to it, positives (P,) and negatives (N,) in ladder order.

    These are DeLong's (1988) placements, scaled so that their sums of squares are his unbiased variance.
    """
    ups, downs, sizes = len(steps.positives), len(steps.negatives), steps.sizes
    beaten = (steps.left + steps.right) / (2 * downs)
    area = float(beaten @ sizes / ups)
    ends = sum(np.bincount(place, weights=sizes, minlength=downs + 1) for place in (steps.left, steps.right))
    beaten_by = 1 - np.cumsum(ends)[:-1] / (2 * ups)
    return area, np.repeat(beaten - area, sizes) * _unbiased(ups), (beaten_by - area) * _unbiased(downs)


def _unbiased(count: int) -> float:
    """Return 1 / count, widened for the one degree of freedom that the mean takes."""
    return float(np.sqrt(count / max(1, count - 1)) / count)


def average_precision_influence(steps: Ladder) -> tuple[float, Floats, Floats]:
    """Return the average precision and its derivatives by the samples' weights, as `roc_auc_influence`."""
    ups, downs, sizes = len(steps.positives), len(steps.negatives), steps.sizes
    tp, fp = ups - steps.starts, downs - steps.left
    precision = tp / (tp + fp)
    score = float(precision @ sizes / ups)
    gained = np.cumsum(sizes * fp / (tp + fp) ** 2)
    lost = np.bincount(steps.left, weights=sizes * tp / (tp + fp) ** 2, minlength=downs + 1)
    return score, np.repeat(precision - score + gained, sizes) / ups, -np.cumsum(lost)[:-1] / ups
