"""Labels and scores in, an `Evaluation` out: exact metrics, curves, tables; needs neither torch nor MLflow."""

from __future__ import annotations

from mlflow_pt_eval.metrics.evaluate import evaluate_scores
from mlflow_pt_eval.metrics.predictions import predictions_frame
from mlflow_pt_eval.metrics.recompute import evaluate_predictions
from mlflow_pt_eval.metrics.result import Evaluation
from mlflow_pt_eval.metrics.tables import auc_band, per_class_frame

__all__ = ["Evaluation", "auc_band", "evaluate_predictions", "evaluate_scores", "per_class_frame", "predictions_frame"]
