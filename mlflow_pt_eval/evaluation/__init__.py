"""`evaluate`: what a model does on data, computed exactly and, unless told otherwise, logged as an MLflow run."""

from __future__ import annotations

from mlflow_pt_eval.evaluation.recompute import recompute
from mlflow_pt_eval.evaluation.verb import evaluate

__all__ = ["evaluate", "recompute"]
