"""From a model and data to labels and scores: one pass, in eval mode, that changes nothing of the model."""

from __future__ import annotations

from mlflow_pt_eval.predict.predictions import Predictions
from mlflow_pt_eval.predict.run import predict

__all__ = ["Predictions", "predict"]
