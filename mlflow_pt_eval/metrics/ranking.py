"""ROC-AUC and average precision of each class, exact, from one value sort for each at most; the curves on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.metrics import curves
from mlflow_pt_eval.metrics.blocks import cut, run, share_out
from mlflow_pt_eval.metrics.groups import LONG, SLICE, Groups, Ints, Rows, rows_of, walk
from mlflow_pt_eval.metrics.keys import Keys
from mlflow_pt_eval.metrics.result import Floats, PrecisionRecallCurve, RocCurve
from mlflow_pt_eval.metrics.sifting import arrange

WIDE = 64  # classes whose keys are made at once: their scores stand side by side


@dataclass(frozen=True, eq=False)
class Ranking:
    """AUC and average precision of rows, float64 (R,), NaN where undefined, and the points of their curves."""

    auc: Floats
    average_precision: Floats
    points: curves.Points | None


@dataclass(frozen=True, eq=False)
class Ranked:
    """AUC and average precision of each class, float64 (K,), NaN where undefined; the curves that are defined."""

    auc: Floats
    average_precision: Floats
    roc: tuple[RocCurve, ...]
    precision_recall: tuple[PrecisionRecallCurve, ...]


def rank(
    make: Callable[[int, int], Keys],
    positives: Ints,
    names: tuple[str, ...],
    *,
    grid: int | None,
    threads: int,
    sort: bool = False,
) -> Ranked:
    """Rank the keys of each class; *positives* (K,) counts the low bits that are set.

    *make* gives those of the classes from one number to another, (R, N), which change places. With a *grid* there are
    curves, thinned to a step of 1/grid of each axis where they have more points than that. *sort* leaves every row of
    the keys sorted.
    """
    blocks = share_out(len(positives), max(1, min(WIDE, -(-len(positives) // (2 * threads)))))

    def job(block: tuple[int, int]) -> list[Ranking]:
        keys = make(*block)
        # NumPy's cost for each call asks for many rows at once, the memory for no more than a part of them all.
        at_once = min(LONG, max(SLICE, keys.shape[1] * len(positives) // 4))
        return _rank_block(keys, positives[slice(*block)], grid, at_once, sort=sort)

    parts = [part for found in run(job, blocks, threads) for part in found]
    auc = np.concatenate([part.auc for part in parts])
    ends = np.cumsum([0, *(len(part.auc) for part in parts)])
    found = [_curves(part, names[low:high]) for part, (low, high) in zip(parts, pairwise(ends), strict=True)]
    return Ranked(
        auc=auc,
        average_precision=np.concatenate([part.average_precision for part in parts]),
        roc=tuple(curve for roc, _ in found for curve in roc),
        precision_recall=tuple(curve for _, recall in found for curve in recall),
    )


def _rank_block(keys: Keys, positives: Ints, grid: int | None, at_once: int, *, sort: bool) -> list[Ranking]:
    """Rank the classes of a block, as many together as have *at_once* keys."""
    found = []
    for low, high in cut(len(keys), max(1, at_once // keys.shape[1])):
        part, ups = keys[low:high], positives[low:high]
        if sort:
            part.sort(axis=1)
        found.append(rank_rows(rows_of(part, ups) if sort else arrange(part, ups), grid))
    return found


def rank_rows(rows: Rows, grid: int | None) -> Ranking:
    """Rank R sorted rows."""
    positives, negatives = rows.positives, rows.negatives
    wins, precision = np.zeros(len(positives), np.int64), np.zeros(len(positives))
    traced = []
    for groups in walk(rows):
        wins += _by_row(groups, groups.count * (2 * np.repeat(negatives, _sizes(groups)) - 2 * groups.fp + groups.tied))
        precision += _by_row(groups, groups.count * (groups.tp / (groups.tp + groups.fp)))
        if grid:
            traced.append(curves.trace(groups, positives, negatives, grid))
    with np.errstate(invalid="ignore"):  # 0 / 0 where a class has no positives or no negatives: NaN is meant
        auc, average_precision = wins / (2 * positives * negatives), precision / positives
    points = curves.close(curves.join(traced), rows.keys[rows.bounds[:-1]], grid) if grid else None
    return Ranking(auc, average_precision, points)


def _sizes(groups: Groups) -> Ints:
    return np.diff(groups.bounds)


def _by_row(groups: Groups, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sum *values* over each row's groups, 0 for a row without any."""
    sums = np.zeros(len(groups.bounds) - 1, values.dtype)
    full = _sizes(groups) > 0
    if full.any():
        sums[full] = np.add.reduceat(values, groups.bounds[:-1][full])
    return sums


def _curves(ranking: Ranking, names: tuple[str, ...]) -> tuple[list[RocCurve], list[PrecisionRecallCurve]]:
    if ranking.points is None:
        return [], []
    roc, recall = [], []
    for index, name in enumerate(names):
        if (curve := curves.roc_curve(ranking.points, index, name=name, auc=float(ranking.auc[index]))) is not None:
            roc.append(curve)
        score = float(ranking.average_precision[index])
        if (other := curves.precision_recall_curve(ranking.points, index, name=name, score=score)) is not None:
            recall.append(other)
    return roc, recall
