"""Registration: a model is published, proves itself in a fresh process, becomes a version, and then gets an alias."""

from mlflow_pt_eval.registration.best import register_best
from mlflow_pt_eval.registration.register import register

__all__ = ["register", "register_best"]
