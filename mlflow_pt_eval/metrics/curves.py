"""ROC and precision-recall curves from the runs of positives: every point is one that scikit-learn has too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.metrics.groups import Groups, Ints
from mlflow_pt_eval.metrics.keys import INFINITE, Keys, scores_of
from mlflow_pt_eval.metrics.result import PrecisionRecallCurve, RocCurve
from mlflow_pt_eval.metrics.thinning import Path, entries, extremes

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Points:
    """The two paths of a batch of classes with their totals, (R,) each."""

    roc: Path
    precision_recall: Path
    positives: Ints
    negatives: Ints


def grid_for(classes: int) -> int:
    """Return the thinning for so many curves: 1/1000 of an axis, down to 1/200 where they are too many to look at."""
    return int(np.clip(20_000 // classes, 200, 1000))


def trace(groups: Groups, positives: Ints, negatives: Ints, grid: int) -> Points:
    """Return the paths through the *groups* of R rows, thinned: both ends of each run of a ROC path that stays."""
    steps = Path(groups.fp, groups.tp, groups.key, groups.bounds)
    roc = entries(steps, positives, negatives, grid)
    recall = extremes(steps, positives, grid)
    fp, tp = groups.fp[roc], groups.tp[roc]
    both = Path(
        fp=_weave(fp, fp - groups.tied[roc]),
        tp=_weave(tp, tp - groups.count[roc]),
        key=_weave(groups.key[roc], groups.above[roc]),
        bounds=2 * np.searchsorted(roc, groups.bounds),
    )
    return Points(both, steps.only(recall), positives, negatives)


def join(parts: Sequence[Points]) -> Points:
    """Put the slices of one row together."""
    if len(parts) == 1:
        return parts[0]
    return Points(
        _join([part.roc for part in parts]),
        _join([part.precision_recall for part in parts]),
        parts[0].positives,
        parts[0].negatives,
    )


def close(points: Points, lowest: Keys, grid: int) -> Points:
    """Give each ROC path its two ends, drop the points on straight lines, thin what is still long."""
    roc = _with_ends(points.roc, points.positives, points.negatives, lowest)
    roc = roc.only(_moves(roc))
    roc = roc.only(_bends(roc))
    roc = roc.only(entries(roc, points.positives, points.negatives, grid))
    steps = points.precision_recall  # of a long row its slices were short, each for itself
    return Points(roc, steps.only(extremes(steps, points.positives, grid)), points.positives, points.negatives)


def roc_curve(points: Points, index: int, *, name: str, auc: float) -> RocCurve | None:
    """Return one class's ROC curve, None where positives or negatives are missing."""
    positives, negatives = int(points.positives[index]), int(points.negatives[index])
    if not positives or not negatives:
        return None
    path = points.roc.row(index)
    return RocCurve(
        name=name,
        fpr=path.fp[::-1] / negatives,
        tpr=path.tp[::-1] / positives,
        thresholds=scores_of(path.key[::-1]),
        auc=auc,
    )


def precision_recall_curve(points: Points, index: int, *, name: str, score: float) -> PrecisionRecallCurve | None:
    """Return one class's precision-recall curve from recall 0, precision 1 on; None where positives are missing."""
    positives, negatives = int(points.positives[index]), int(points.negatives[index])
    if not positives:
        return None
    path = points.precision_recall.row(index)
    tp, fp = path.tp[::-1], path.fp[::-1]
    return PrecisionRecallCurve(
        name=name,
        precision=np.concatenate(([1.0], tp / (tp + fp))),
        recall=np.concatenate(([0.0], tp / positives)),
        average_precision=score,
        prevalence=positives / (positives + negatives),
    )


def _weave(left: Array, right: Array) -> Array:
    both = np.empty(2 * len(left), left.dtype)
    both[0::2], both[1::2] = left, right
    return both


def _join(paths: Iterable[Path]) -> Path:
    parts = list(paths)
    fp, tp, key = (np.concatenate([getattr(part, name) for part in parts]) for name in ("fp", "tp", "key"))
    return Path(fp, tp, key, np.array([0, len(fp)]))


def _with_ends(path: Path, positives: Ints, negatives: Ints, lowest: Keys) -> Path:
    """Put (all, all) at the lowest score before each curve and (0, 0) at infinity after it."""
    low, high = path.bounds[:-1], path.bounds[1:]

    def ends(values: Array, first: npt.ArrayLike, last: npt.ArrayLike) -> Array:
        return np.insert(values, _weave(low, high), _weave(*np.broadcast_arrays(first, last)))

    return Path(
        ends(path.fp, negatives, 0),
        ends(path.tp, positives, 0),
        ends(path.key, lowest, INFINITE),
        path.bounds + 2 * np.arange(len(path.bounds)),
    )


def _moves(path: Path) -> Ints:
    """Return the places of the points that differ from the one before."""
    keep = path.edges()
    keep[1:] |= (np.diff(path.fp) | np.diff(path.tp)) != 0
    return np.flatnonzero(keep)


def _bends(path: Path) -> Ints:
    """Return the places of the points where the direction changes (exactly: in integers)."""
    keep = path.edges()
    across, up = np.diff(path.fp), np.diff(path.tp)
    keep[1:-1] |= across[1:] * up[:-1] != across[:-1] * up[1:]
    return np.flatnonzero(keep)
