"""The linear part of ROC-AUC: where each sample stands among those of the other side, in little memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.inputs import Mask, Scores
from mlflow_pt_eval.metrics.keys import is_positive
from mlflow_pt_eval.metrics.ladders import Add, Places, Whole, keys_of, ordered, places_of
from mlflow_pt_eval.metrics.result import Floats

SLICE = 1 << 16  # samples at once: the few arrays of 8 bytes each that this takes stay in a core's cache


@dataclass(frozen=True, eq=False)
class Ties:
    """A slice of the samples by score, ascending: `places` and whether `positive` (M,); runs of equal scores (G,).

    `negatives` and `positives` count those with a lower score twice and those with the run's score once. `ups` are
    the run's own positives, `sizes` all its own samples.
    """

    places: Places
    positive: Mask
    sizes: Ints
    ups: Ints
    negatives: Ints
    positives: Ints


def roc_auc_influence(scores: Scores, positive: Mask, add: Add) -> float:
    """Return the AUC, and *add* to samples what one more of each adds to it.

    These are DeLong's (1988) placements, scaled so that their sums of squares are his unbiased variance. Slices come
    before the area is known, so what they add is as if it were 1, which the end puts right.
    """
    ups = int(np.count_nonzero(positive))
    downs, twice = len(positive) - ups, 0
    for ties in _walk(ordered(scores, positive)):
        up = (ties.negatives / (2 * downs) - 1) * _unbiased(ups)
        down = ties.positives / (2 * ups) * -_unbiased(downs)
        add(ties.places, _of_samples(ties, up, down))
        twice += int(ties.ups @ ties.negatives)
    area = twice / (2 * ups * downs)
    add(slice(None), (1 - area) * np.where(positive, np.float32(_unbiased(ups)), np.float32(_unbiased(downs))))
    return area


def _of_samples(ties: Ties, up: Floats, down: Floats) -> Floats:
    if len(up) < len(ties.places):
        up, down = np.repeat(up, ties.sizes), np.repeat(down, ties.sizes)
    return np.where(ties.positive, up, down)


def _unbiased(count: int) -> float:
    """Return 1 / count, widened for the one degree of freedom that the mean takes."""
    return float(np.sqrt(count / max(1, count - 1)) / count)


def _walk(whole: Whole) -> Iterator[Ties]:
    """Give the ordered samples in slices, ascending; no run of equal scores crosses two."""
    low, passed = 0, 0
    while low < len(whole):
        last = int(whole[min(low + SLICE, len(whole)) - 1]) >> 32
        high = int(np.searchsorted(whole, np.uint64(((last | 1) + 1) << 32)))
        ties = _ties(whole[low:high], low, passed)
        yield ties
        low, passed = high, passed + int(ties.ups.sum())


def _ties(part: Whole, low: int, passed: int) -> Ties:
    """Find the runs in samples from number *low* on, below which *passed* positives stand."""
    keys = keys_of(part)
    positive = is_positive(keys)
    keys >>= 1
    bounds = np.concatenate(([0], np.flatnonzero(keys[1:] != keys[:-1]) + 1, [len(part)]))
    positives = np.concatenate(([0], np.cumsum(positive)))[bounds] + passed
    negatives = bounds + low - positives
    return Ties(
        places=places_of(part),
        positive=positive,
        sizes=np.diff(bounds),
        ups=np.diff(positives),
        negatives=negatives[1:] + negatives[:-1],
        positives=positives[1:] + positives[:-1],
    )
