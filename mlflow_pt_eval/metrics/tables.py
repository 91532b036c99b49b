"""Tables and words for people, made of an `Evaluation`."""

from __future__ import annotations

from dataclasses import astuple

import pandas as pd

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics.result import Evaluation

PER_CLASS_COLUMNS = ("class", "precision", "recall", "f1", "support", "roc_auc", "average_precision")
BANDS = ((0.9, "excellent"), (0.8, "good"), (0.7, "fair"), (0.6, "poor"), (0.5, "fail"))


def per_class_frame(evaluation: Evaluation) -> pd.DataFrame:
    """Return one row a class, in the classes' order; NaN where a ranking metric is undefined."""
    frame = pd.DataFrame([astuple(row) for row in evaluation.per_class], columns=list(PER_CLASS_COLUMNS))
    return frame.astype({"support": "int64", "roc_auc": "float64", "average_precision": "float64"})


def auc_band(auc: float) -> str:
    """Put an AUC into the words of the usual table; a band holds its lower end.

    0.9 and above excellent, 0.8 good, 0.7 fair, 0.6 poor, 0.5 fail, below it "worse than chance".

    >>> auc_band(0.9), auc_band(0.55)
    ('excellent', 'fail')
    """
    if not 0 <= auc <= 1:
        raise BadInput(f"{auc!r} is no AUC: it must be from 0 to 1.")
    return next((word for low, word in BANDS if auc >= low), "worse than chance")
