"""Labels and scores in, an `Evaluation` out: exact metrics, curves, tables; needs neither torch nor MLflow."""

from __future__ import annotations

from mlflow_pt_eval.metrics.evaluate import evaluate_scores
from mlflow_pt_eval.metrics.pairs import Difference, Flips, McNemar, flips, mcnemar, paired_difference, recall_changes
from mlflow_pt_eval.metrics.predictions import predictions_frame
from mlflow_pt_eval.metrics.recompute import evaluate_predictions
from mlflow_pt_eval.metrics.result import Evaluation
from mlflow_pt_eval.metrics.tables import auc_band, per_class_frame

__all__ = [
    "Difference",
    "Evaluation",
    "Flips",
    "McNemar",
    "auc_band",
    "evaluate_predictions",
    "evaluate_scores",
    "flips",
    "mcnemar",
    "paired_difference",
    "per_class_frame",
    "predictions_frame",
    "recall_changes",
]
