"""The mean of the classes' ROC curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from mlflow_pt_eval.metrics.result import RocCurve
from mlflow_pt_eval.metrics.thinning import grid_lines

GRID: Final = 1000


def macro_roc(curves: Sequence[RocCurve]) -> RocCurve | None:
    """Average the tpr of the classes' curves over fpr; its area is the mean of theirs.

    From one fpr to the next are 1/1000 of the axis, and less towards 0, where the curves of a good model rise: every
    point of the mean lies no further from the line, to its left or right.
    """
    if not curves:
        return None
    fpr = grid_lines(GRID)
    tpr = np.mean([np.interp(fpr, curve.fpr, curve.tpr) for curve in curves], axis=0)
    return RocCurve(
        name="macro",
        fpr=np.concatenate(([0.0], fpr)),
        tpr=np.concatenate(([0.0], tpr)),
        thresholds=np.full(len(fpr) + 1, np.nan),
        auc=float(np.mean([curve.auc for curve in curves])),
    )
