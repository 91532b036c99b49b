"""Registration: a model is published, proves itself in a fresh process, becomes a version, and then gets an alias."""

from mlflow_pt_eval.registration.best import register_best
from mlflow_pt_eval.registration.registering import register
from mlflow_pt_eval.tracking.models import load_model

__all__ = ["load_model", "register", "register_best"]
