"""The ranking metrics of all classes together, of any weights: averages over the ladders of the classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.metrics import ladders
from mlflow_pt_eval.metrics.blocks import run
from mlflow_pt_eval.metrics.counts import ratio
from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.inputs import Inputs, Mask, Scores
from mlflow_pt_eval.metrics.ladders import Add, Ladder, Places, Rungs
from mlflow_pt_eval.metrics.placements import roc_auc_influence
from mlflow_pt_eval.metrics.resampling import Statistic, Weights
from mlflow_pt_eval.metrics.result import Floats

Influence = npt.NDArray[np.float32]  # single precision: a linear part is no exact number anyway

PARTS = 4  # of the classes, each with sums of its own; not the number of threads, so that no sum depends on it


@dataclass(frozen=True)
class Measure:
    """A ranking metric: of weights, and as its linear part; `weighted`: classes count by their size."""

    value: Callable[[Rungs], Floats]
    influence: Callable[[Scores, Mask, Add], float]
    of_positives: bool = False
    weighted: bool = False

    def defined(self, positives: int, samples: int) -> bool:
        """Say whether a class has what it takes: positives, and negatives unless the metric is of positives only."""
        return bool(positives and (self.of_positives or positives < samples))


AREA: Final = Measure(ladders.roc_auc, roc_auc_influence)
PRECISION: Final = Measure(ladders.average_precision, ladders.average_precision_influence, of_positives=True)
RANKING: Final[Mapping[str, Measure]] = MappingProxyType(
    {
        "roc_auc": AREA,
        "roc_auc_macro": AREA,
        "roc_auc_weighted": Measure(ladders.roc_auc, roc_auc_influence, weighted=True),
        "average_precision": PRECISION,
        "average_precision_macro": PRECISION,
    }
)


def ranked_classes(inputs: Inputs) -> list[int]:
    """Return the classes that a ranking metric looks at: of a binary task only class 1."""
    return [1] if inputs.task == "binary" else list(range(inputs.n_classes))


def work(inputs: Inputs) -> int:
    """Return the steps that one resample takes: drawing the samples and walking up each class's ladder."""
    return inputs.n_samples * (50 + len(ranked_classes(inputs)))


def statistic(inputs: Inputs, measure: Measure, *, threads: int) -> Statistic:
    """Return the function from weights of the samples (N, r) to the metric's values (r,), NaN where undefined."""

    def climber(index: int) -> Callable[[Weights], Rungs]:
        return ladders.climber(_ladder(inputs, index))

    climbers = run(climber, ranked_classes(inputs), threads)

    def value(weights: Weights) -> Floats:
        rungs = [climb(weights) for climb in climbers]
        values = np.stack([measure.value(each) for each in rungs])
        shares = np.stack([each.positives for each in rungs]) if measure.weighted else np.ones_like(values)
        return _average(values, shares)

    return value


def _average(values: Floats, shares: Floats) -> Floats:
    """Average the classes (K, r) by their shares, leaving out the undefined ones; NaN where none is defined."""
    shares = np.where(np.isnan(values), 0, shares)
    total = shares.sum(axis=0)
    return np.where(total > 0, ratio((np.nan_to_num(values) * shares).sum(axis=0), total), np.nan)


def influence(inputs: Inputs, measure: Measure, *, threads: int) -> tuple[float, Influence]:
    """Return the metric and its linear part: what one more of each sample adds to it, float32 (N,).

    NaN and zeros where no class defines the metric.
    """
    classes = ranked_classes(inputs)
    done = run(partial(_part, inputs, measure), np.array_split(classes, min(len(classes), PARTS)), threads)
    values, shares = (np.concatenate([part[index] for part in done]) for index in (0, 1))
    total = shares.sum()
    if not total:
        return float("nan"), np.zeros(inputs.n_samples, np.float32)
    metric = float(np.nan_to_num(values) @ shares / total)
    added = reduce(np.add, (part[2] for part in done))
    if measure.weighted:  # a class that is drawn more often counts more
        for index, more in zip(classes, np.nan_to_num(values - metric), strict=True):
            added[_positive(inputs, index)] += more
    added -= added.mean(dtype=np.float64)  # what single precision left over
    added /= np.float32(total)
    return metric, added


def _part(inputs: Inputs, measure: Measure, classes: Ints) -> tuple[Floats, Floats, Influence]:
    """Return values and shares of some classes, and the sum of their samples' shares times influence."""
    values, shares = np.full(len(classes), np.nan), np.zeros(len(classes))
    added = np.zeros(inputs.n_samples, np.float32)
    for place, index in enumerate(classes):
        positive = _positive(inputs, int(index))
        positives = int(np.count_nonzero(positive))
        if not measure.defined(positives, len(positive)):
            continue
        share = positives if measure.weighted else 1

        def add(places: Places | slice, more: npt.NDArray[np.floating[Any]], share: int = share) -> None:
            added[places] += share * more if share > 1 else more

        values[place], shares[place] = measure.influence(inputs.scores[:, index], positive, add), share
    return values, shares, added


def _ladder(inputs: Inputs, index: int) -> Ladder:
    return ladders.ladder(inputs.scores[:, index], _positive(inputs, index))


def _positive(inputs: Inputs, index: int) -> Mask:
    labels = inputs.labels
    return labels[:, index] != 0 if inputs.task == "multilabel" else labels == index
