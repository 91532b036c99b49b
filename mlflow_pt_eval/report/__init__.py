"""`render`: an evaluation as one HTML page that needs nothing but itself."""

from __future__ import annotations

from mlflow_pt_eval.report.page import render

__all__ = ["render"]
