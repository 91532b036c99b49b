"""Promotion: an alias moves to a version that is better on the same data, moves back, and its moves are told."""

from mlflow_pt_eval.promotion.options import gates_for
from mlflow_pt_eval.promotion.tables import history, versions
from mlflow_pt_eval.promotion.verbs import promote, rollback

__all__ = ["gates_for", "history", "promote", "rollback", "versions"]
