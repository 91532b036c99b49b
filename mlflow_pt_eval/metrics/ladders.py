"""Ranking statistics of weighted samples: the order is found once, each weighting then costs a few sums.

A ladder holds one class's samples in the order of their scores, cut into rungs: the runs of equal positives and the
stretches of negatives between them. ROC-AUC and average precision of any weights follow from the rungs' sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from mlflow_pt_eval.metrics.blocks import BLOCK_VALUES, cut
from mlflow_pt_eval.metrics.counts import ratio
from mlflow_pt_eval.metrics.inputs import Mask, Scores
from mlflow_pt_eval.metrics.keys import ONE, Keys, is_positive
from mlflow_pt_eval.metrics.resampling import Weights
from mlflow_pt_eval.metrics.result import Floats

Places = npt.NDArray[np.int32]
Whole = npt.NDArray[np.uint64]
Add = Callable[[Places | slice, npt.NDArray[np.floating[Any]]], None]  # to samples, what they add to a metric


@dataclass(frozen=True, eq=False)
class Ladder:
    """One class's samples by score, ascending: places of the positives and negatives in the data, (P,) and (N,).

    `starts` (G,) is where each run of equal positives begins; `left` and `right` (G,) count the negatives below it
    and those at or below it.
    """

    positives: Places
    negatives: Places
    starts: Places
    left: Places
    right: Places

    @property
    def sizes(self) -> Places:
        """How many positives each run has, (G,)."""
        return np.diff(self.starts, append=np.int32(len(self.positives)))


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
    """Order the *scores* (N,) of one class, and cut the order into rungs."""
    whole = ordered(scores, positive)
    order, keys = places_of(whole), keys_of(whole)
    up = is_positive(keys)
    first = np.flatnonzero(up).astype(np.int32)
    own = keys[first]
    starts = np.flatnonzero(np.concatenate((own[:1] == own[:1], own[1:] != own[:-1]))).astype(np.int32)
    first, own = first[starts], own[starts]
    left = right = first - starts
    ties = np.flatnonzero((keys[first - 1] == own ^ ONE) & (first > 0))  # negatives come first among equal scores
    if len(ties):
        left = right.copy()
        left[ties] = np.searchsorted(keys, own[ties] ^ ONE) - starts[ties]
    return Ladder(order[up], order[~up], starts, left, right)


def ordered(scores: Scores, positive: Mask) -> Whole:
    """Sort the samples of one class by score, ascending, negatives first among equals: key and place in one number."""
    whole, bits = np.empty(len(scores), np.uint64), scores.view(np.uint32)
    for low, high in cut(len(scores), BLOCK_VALUES):  # in parts, so that nothing else is as long
        part = bits[low:high].astype(np.uint64)
        part <<= np.uint64(1)
        part |= positive[low:high]
        part <<= np.uint64(32)  # over the top goes the sign of -0.0
        np.bitwise_or(part, np.arange(low, high, dtype=np.uint32), out=whole[low:high])
    whole.sort()
    return whole


def keys_of(whole: Whole) -> Keys:
    """Return the keys of `groups` that ordered samples carry."""
    return (whole >> np.uint64(32)).astype(np.uint32)


def places_of(whole: Whole) -> Places:
    """Return the places of ordered samples in the data."""
    return whole.astype(np.uint32).view(np.int32)


def climber(steps: Ladder) -> Callable[[Weights], Rungs]:
    """Return the function from weights (samples, r) to the rungs' sums: one product with a sparse matrix of ones."""
    runs, others = len(steps.starts), len(steps.negatives)
    cuts = np.unique(np.concatenate(([0], steps.left, steps.right, [others])))
    left, right = np.searchsorted(cuts, steps.left), np.searchsorted(cuts, steps.right)
    places = np.concatenate((steps.positives, steps.negatives))
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


def average_precision_influence(scores: Scores, positive: Mask, add: Add) -> float:
    """Return the average precision, and *add* to samples its derivatives by their weights."""
    steps = ladder(scores, positive)
    ups, downs, sizes = len(steps.positives), len(steps.negatives), steps.sizes
    tp, fp = ups - np.float64(steps.starts), downs - np.float64(steps.left)
    precision = tp / (tp + fp)
    score = float(precision @ sizes / ups)
    gained = np.cumsum(sizes * fp / (tp + fp) ** 2)
    lost = np.bincount(steps.left, weights=sizes * tp / (tp + fp) ** 2, minlength=downs + 1)
    add(steps.positives, np.repeat(precision - score + gained, sizes) / ups)
    add(steps.negatives, -np.cumsum(lost)[:-1] / ups)
    return score
