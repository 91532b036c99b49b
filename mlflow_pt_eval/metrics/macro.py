"""The mean of the classes' ROC curves, which bends wherever one of them does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.metrics.result import Floats, RocCurve
from mlflow_pt_eval.metrics.thinning import thin_monotone


def macro_roc(curves: Sequence[RocCurve]) -> RocCurve | None:
    """Average the tpr of the classes' curves at each fpr; its area is the mean of theirs.

    Thinned to 1/1000 of the axes, as each of the curves may be.
    """
    if not curves:
        return None
    fpr, tpr = thin_monotone(*_mean(curves))
    return RocCurve(
        name="macro",
        fpr=fpr,
        tpr=tpr,
        thresholds=np.full(len(fpr), np.nan),
        auc=float(np.mean([curve.auc for curve in curves])),
    )


def _mean(curves: Sequence[RocCurve]) -> tuple[Floats, Floats]:
    """Return the points of the mean: at each point of a curve, from left to right, below and above its step."""
    changes = [_changes(curve) for curve in curves]
    fpr = np.concatenate([curve.fpr for curve in curves])
    order = np.argsort(fpr, kind="stable")
    fpr, bend, step = fpr[order], *(np.concatenate(parts)[order] / len(curves) for parts in zip(*changes, strict=True))
    ramp = np.cumsum(bend[:-1]) * np.diff(fpr)
    upper = np.cumsum(step + np.concatenate(([0.0], ramp)))
    tpr = np.maximum.accumulate(_weave(upper - step, upper).clip(0, 1))  # rounding may not take it down, or past 1
    tpr[-1] = 1.0
    return fpr.repeat(2), tpr


def _changes(curve: RocCurve) -> tuple[Floats, Floats]:
    """Return, at each point of a curve, by how much its slope changes, and how far it has stepped straight up."""
    run, rise = np.diff(curve.fpr), np.diff(curve.tpr)
    level = run > 0
    slope = np.divide(rise, run, out=np.zeros(len(run)), where=level)
    return np.diff(slope, prepend=0.0, append=0.0), np.concatenate(([0.0], np.where(level, 0.0, rise)))


def _weave(left: Floats, right: Floats) -> Floats:
    both: npt.NDArray[np.float64] = np.stack((left, right), axis=1).ravel()
    return both
