"""Tables and words for people, made of an `Evaluation`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple
from typing import Final

import pandas as pd

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics.result import Evaluation
from mlflow_pt_eval.wording import counted, text_table

# What is looked at first, in this order, of whatever metrics there are.
HEADLINES: Final = (
    "accuracy",
    "hamming_loss",
    "balanced_accuracy",
    "f1",
    "f1_macro",
    "roc_auc",
    "roc_auc_macro",
    "expected_calibration_error",
)
PER_CLASS_COLUMNS = ("class", "precision", "recall", "f1", "support", "roc_auc", "average_precision")
BANDS = ((0.9, "excellent"), (0.8, "good"), (0.7, "fair"), (0.6, "poor"), (0.5, "fail"))


def per_class_frame(evaluation: Evaluation) -> pd.DataFrame:
    """Return one row a class, in the classes' order; NaN where a ranking metric is undefined."""
    frame = pd.DataFrame([astuple(row) for row in evaluation.per_class], columns=list(PER_CLASS_COLUMNS))
    return frame.astype({"support": "int64", "roc_auc": "float64", "average_precision": "float64"})


def summary(evaluation: Evaluation) -> str:
    """Return a few lines: what was evaluated on what, the main metrics, the number of warnings, the run."""
    data = f" on {evaluation.dataset_name}" if evaluation.dataset_name else ""
    lines = [
        f"Evaluation of {evaluation.model_uri or 'a model'}{data}, {evaluation.split} split",
        f"{task_text(evaluation)}, {counted(evaluation.n_samples, 'sample')}",
        metrics_text(evaluation, [key for key in HEADLINES if key in evaluation.metrics]),
    ]
    if evaluation.warnings:
        lines.append(f"warnings: {len(evaluation.warnings)}")
    if evaluation.run_id is not None:
        lines.append(f"run: {evaluation.run_id}")
    return "\n".join(lines)


def task_text(evaluation: Evaluation) -> str:
    """Return the task and the number of classes: 'multiclass, 10 classes'."""
    one, several = ("label", "labels") if evaluation.task == "multilabel" else ("class", "classes")
    return f"{evaluation.task}, {counted(len(evaluation.class_names), one, several)}"


def metrics_text(evaluation: Evaluation, keys: Iterable[str], *, prefix: str = "") -> str:
    """Return a table of the metrics *keys* as text, *prefix* in front of each name, with their 95 % intervals."""
    rows = [(f"{prefix}{key}", evaluation.metrics[key], *evaluation.intervals.get(key, (None, None))) for key in keys]
    return text_table(("metric", "value", "95% low", "high"), rows)


def auc_band(auc: float) -> str:
    """Put an AUC into the words of the usual table; a band holds its lower end.

    0.9 and above excellent, 0.8 good, 0.7 fair, 0.6 poor, 0.5 fail, below it "worse than chance".

    >>> auc_band(0.9), auc_band(0.55)
    ('excellent', 'fail')
    """
    if not 0 <= auc <= 1:
        raise BadInput(f"{auc!r} is no AUC: it must be from 0 to 1.")
    return next((word for low, word in BANDS if auc >= low), "worse than chance")
