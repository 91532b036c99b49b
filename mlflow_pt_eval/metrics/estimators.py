"""Metrics that can be resampled: exactly as long as that is affordable, by their linear part beyond.

The linear part of a metric (its influence function, the infinitesimal jackknife) is what each sample adds to it to
first order. Where it takes over, tens of thousands of samples have made the remainder far smaller than the chance
in a thousand resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from numbers import Integral

import numpy as np

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics import class_averages, counts
from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.incidence import Incidence
from mlflow_pt_eval.metrics.inputs import Inputs
from mlflow_pt_eval.metrics.rarity import seen
from mlflow_pt_eval.metrics.resampling import (
    LARGEST_WORK,
    Influence,
    Statistic,
    Weights,
    each_once,
    reach,
    resample,
    resample_linear,
)
from mlflow_pt_eval.metrics.result import Floats

LEAST_RESAMPLES = 100  # with fewer the ends of a 95 % interval are the luck of one or two resamples


@dataclass(frozen=True)
class Draws:
    """How to resample: how often, from which seed, on how many threads (which never change the result)."""

    resamples: int = 1000
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if not _whole(self.resamples) or self.resamples < LEAST_RESAMPLES:
            none = "" if self.resamples == 0 else "0 for no intervals, or "
            raise BadInput(
                f"the number of resamples is {self.resamples!r}: give {none}at least {LEAST_RESAMPLES}, better 1000."
            )
        if not _whole(self.seed) or self.seed < 0:
            raise BadInput(f"seed is {self.seed!r}: give a whole number, 0 or more.")


def _whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


@dataclass(frozen=True, eq=False)
class Estimator:
    """A metric of atoms, *counts* (M,) samples each: `exact` makes its function of weights, at *work* steps a resample.

    `linear` returns the metric and its influence (M,). Where few *samples* make its variance (`rarity.seen`), and tell
    of it with so many degrees of *freedom*, its intervals reach further.
    """

    counts: Ints
    work: int
    exact: Callable[[], Statistic]
    linear: Callable[[], tuple[float, Influence]]
    samples: float = math.inf
    freedom: float = math.inf

    def reach(self, confidence: float) -> float:
        """Return how many of a bootstrap's standard deviations its interval reaches to each side."""
        return reach(confidence, samples=self.samples, freedom=self.freedom)

    def minus(self, other: Estimator) -> Estimator:
        """Return the estimator of the difference to *other*, which is of the same atoms."""

        def exact() -> Statistic:
            ours, theirs = self.exact(), other.exact()
            return lambda weights: ours(weights) - theirs(weights)

        def linear() -> tuple[float, Influence]:
            (ours, here), (theirs, there) = self.linear(), other.linear()
            return ours - theirs, here - there

        few = {"samples": min(self.samples, other.samples), "freedom": min(self.freedom, other.freedom)}
        return Estimator(self.counts, self.work + other.work, exact, linear, **few)


def draw(estimator: Estimator, draws: Draws) -> tuple[float, Floats]:
    """Return the metric and its values in each resample, float64 (resamples,); NaN where it is undefined."""
    how = {"resamples": draws.resamples, "seed": draws.seed, "threads": draws.threads}
    if estimator.work * draws.resamples > LARGEST_WORK:
        value, influence = estimator.linear()
        return value, value + resample_linear(influence, estimator.counts, **how)
    statistic = estimator.exact()
    value = float(statistic(estimator.counts[:, None].astype(np.float64))[0])
    return value, resample(statistic, estimator.counts, **how)


def label_metric(of: Incidence, statistic: counts.Statistic) -> Estimator:
    """Return the estimator of a metric that needs the predicted classes only."""

    def exact() -> Statistic:
        return lambda weights: statistic(of.margins(weights))

    def linear() -> tuple[float, Floats]:
        return float(statistic(of.whole())), of.influence(statistic)

    return Estimator(of.counts, of.work, exact, linear)


def ranking_metric(inputs: Inputs, key: str, rare: Ints, *, threads: int) -> Estimator:
    """Return the estimator of a metric of `class_averages.RANKING`, of classes of such `rarity.sides`, *rare* (K,)."""
    measure, samples = class_averages.RANKING[key], max(2.0, seen(rare))  # of one nothing could be told
    alone = len(rare) <= 2  # else the samples of all the classes tell of the spread
    return Estimator(
        counts=each_once(inputs.n_samples),
        work=class_averages.work(inputs),
        exact=partial(class_averages.statistic, inputs, measure, threads=threads),
        linear=partial(class_averages.influence, inputs, measure, threads=threads),
        samples=samples,
        freedom=samples - 1 if alone else math.inf,
    )


def mean(values: Floats) -> Estimator:
    """Return the estimator of the mean of the samples' *values* (N,), whose linear part is all there is."""
    average = float(values.mean())

    def exact() -> Statistic:
        return partial(_weighted_mean, values)

    return Estimator(each_once(len(values)), LARGEST_WORK, exact, lambda: (average, (values - average) / len(values)))


def _weighted_mean(values: Floats, weights: Weights) -> Floats:
    return np.asarray(values @ weights / weights.sum(axis=0))
