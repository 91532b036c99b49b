"""Comparison: several versions on the same samples, each against a baseline, with what chance alone explains."""

from mlflow_pt_eval.comparison.result import Comparison
from mlflow_pt_eval.comparison.sides import Against, ClassChange, Flip, MetricDifference, Side
from mlflow_pt_eval.comparison.verb import compare

__all__ = ["Against", "ClassChange", "Comparison", "Flip", "MetricDifference", "Side", "compare"]
