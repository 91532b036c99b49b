"""The bootstrap over samples: how often each is drawn, and what a statistic makes of a thousand such draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, stdtrit

from mlflow_pt_eval.metrics.blocks import cut, run
from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.result import Floats

Weights = npt.NDArray[np.floating[Any]]
Statistic = Callable[[Weights], Floats]
Influence = npt.NDArray[np.floating[Any]]
Interval = tuple[float, float]

BLOCK_WEIGHTS = 1 << 19  # 2 MB of float32 at once
LARGEST_WORK = 4_000_000_000  # steps of about 0.5 ns: above it only the linear part is resampled
DRAW_SAMPLE, DRAW_COUNT = 10, 130  # steps for one sample drawn, for one count drawn from a binomial
LINEAR_BINS = 1024
NORMAL = NormalDist()


def each_once(samples: int) -> Ints:
    """Return the counts of atoms that are one sample each: ones (samples,), without a place of their own in memory."""
    return np.broadcast_to(np.int64(1), samples)


def draw_work(counts: Ints) -> int:
    """Return the steps that one resample of so many samples in each atom takes."""
    return min(DRAW_SAMPLE * int(counts.sum()), DRAW_COUNT * len(counts))


def resample(statistic: Statistic, counts: Ints, *, resamples: int, seed: int, threads: int) -> Floats:
    """Return the statistic of each of *resamples* bootstrap samples, float64 (resamples,).

    The samples come as atoms, sets of samples that the statistic cannot tell apart, *counts* (M,) of them; it gets
    weights float32 (M, r), how often each atom is drawn in r resamples, and returns r values. The same *seed* gives
    the same values, whatever the number of threads.
    """
    blocks = cut(resamples, int(np.clip(BLOCK_WEIGHTS // len(counts), 16, 128)))
    seeds = np.random.SeedSequence(seed).spawn(len(blocks))
    whole = DRAW_COUNT * len(counts) < DRAW_SAMPLE * int(counts.sum())
    atoms = None if whole else np.repeat(np.arange(len(counts)), counts)

    def job(place: int) -> Floats:
        rng, columns = np.random.default_rng(seeds[place]), blocks[place][1] - blocks[place][0]
        return statistic(_counts_drawn(rng, counts, columns) if atoms is None else _samples_drawn(rng, atoms, columns))

    return np.concatenate(run(job, range(len(blocks)), threads))


def _counts_drawn(rng: np.random.Generator, counts: Ints, columns: int) -> Weights:
    drawn = rng.multinomial(counts.sum(), counts / counts.sum(), size=columns)
    return np.ascontiguousarray(drawn.T, dtype=np.float32)


def _samples_drawn(rng: np.random.Generator, atoms: Ints, columns: int) -> Weights:
    weights = np.empty((int(atoms[-1]) + 1, columns), np.float32)
    for column in range(columns):
        drawn = rng.integers(0, len(atoms), len(atoms))
        weights[:, column] = np.bincount(atoms[drawn], minlength=len(weights))
    return weights


def resample_linear(influence: Influence, counts: Ints, *, resamples: int, seed: int, threads: int) -> Floats:
    """Return what each resample adds to a statistic that is linear: the sum of weights times *influence* (M,).

    Of many atoms those of nearly the same influence are drawn together: they share a bin, by quantiles and by equal
    steps, so that neither the middle nor the tails get coarse (the variance inside the bins is below 1e-4 of all).
    """
    steps = np.linspace(0, int(counts.sum()), LINEAR_BINS, endpoint=False)
    if counts.max() == 1:  # millions of samples, each for itself: no order is needed, only one copy
        values = sums = np.sort(influence)
        starts = _bins(values, steps.astype(np.int64))
        together = np.diff(starts, append=len(values))
    else:
        order = np.argsort(influence)
        values, sums = influence[order], influence[order] * counts[order]
        before = np.concatenate(([0], np.cumsum(counts[order])))
        starts = _bins(values, np.searchsorted(before[1:], steps, side="right"))
        together = np.diff(before[starts], append=before[-1])
    # Some bins at a time, since all that are added up are converted.
    ends = np.append(starts, len(sums))
    parts = [(sums[ends[low] : ends[high]], starts[low:high] - ends[low]) for low, high in cut(len(starts), 64)]
    means = np.concatenate([np.add.reduceat(part, begin, dtype=np.float64) for part, begin in parts]) / together
    return resample(lambda weights: means @ weights, together, resamples=resamples, seed=seed, threads=threads)


def _bins(values: Influence, by_count: Ints) -> Ints:
    """Return where bins of the ascending *values* begin: those *by_count*, and as many by equal steps."""
    # Of the values' own type, since else all of those would be converted.
    edges = np.linspace(values[0], values[-1], LINEAR_BINS, endpoint=False, dtype=values.dtype)
    return np.union1d(by_count, np.searchsorted(values, edges))


def reach(confidence: float = 0.95, *, samples: float = math.inf, freedom: float = math.inf) -> float:
    """Return how many of a bootstrap's standard deviations an interval reaches to each side (Hesterberg 2015, 4.2).

    Of many samples that is the normal distribution's 1.96 for 0.95. The bootstrap of m *samples* misses 1 / m of the
    variance, and where few have told the rest, it is Student's t of so many degrees of *freedom*.
    """
    below = (1 + confidence) / 2
    quantile = NORMAL.inv_cdf(below) if math.isinf(freedom) else float(stdtrit(freedom, below))
    return quantile / math.sqrt(1 - 1 / samples)


def percentile_interval(estimate: float, values: Floats, half: float) -> Interval | None:
    """Return the bias-corrected percentile interval (Efron 1981) of the resampled *values*; None if none is defined.

    Resamples repeat samples, so that an F1 of small classes comes out lower in most of them than in the data: as far
    as the *estimate* is off their middle, the percentiles, those of *half* standard deviations to each side, move to
    the other one. Where an end would lie beyond all resamples, which are then of so many classes that they are all but
    normal, it is as many of their standard deviations away as it would be with more of them.
    """
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    below = (np.count_nonzero(defined < estimate) + np.count_nonzero(defined == estimate) / 2) / len(defined)
    last = len(defined) / (len(defined) + 1)
    furthest = NORMAL.inv_cdf(last)  # in standard deviations, where the last resample lies
    shift = 2 * NORMAL.inv_cdf(min(max(below, 1 - last), last))
    if abs(shift) + half > max(furthest, half) and defined.min() < defined.max():
        middle, width = 2 * estimate - float(defined.mean()), half * float(defined.std())
        return middle - width, middle + width
    low, high = np.quantile(defined, [NORMAL.cdf(shift - half), NORMAL.cdf(shift + half)])
    return float(low), float(high)


def logit_interval(estimate: float, values: Floats, half: float) -> Interval | None:
    """Return an area's interval: *half* standard deviations of the resampled *values* on the scale of logits.

    Near 1 an area has a long tail below, of which the resamples of few positives know little: their percentiles held
    the truth in 57 to 95 of 100 simulated data sets with 5 to 12 positives, this in 87 to 97, least where the area is
    above 0.95.
    """
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    if not 0 < estimate < 1:  # all of one side lie above the other's, in each resample
        return estimate, estimate
    middle, width = logit(estimate), half * float(defined.std()) / (estimate * (1 - estimate))
    return float(expit(middle - width)), float(expit(middle + width))
