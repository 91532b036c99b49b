"""Figures of an `Evaluation`: matplotlib's only door. Functions of data, no pyplot, no global state, no files.

Each returns a `matplotlib.figure.Figure`, laid out for the width at which the MLflow UI shows images, or draws into
the axes given as *ax* and returns their figure. `png_bytes` and `rgba` turn a figure into what is stored.
"""

from mlflow_pt_eval.figures.calibration import calibration_curve
from mlflow_pt_eval.figures.comparison import metric_comparison
from mlflow_pt_eval.figures.confusion import confusion_matrix
from mlflow_pt_eval.figures.encode import png_bytes, rgba
from mlflow_pt_eval.figures.grid import image_grid, is_image
from mlflow_pt_eval.figures.precision_recall import precision_recall_curve
from mlflow_pt_eval.figures.roc import roc_curve, roc_overlay

__all__ = [
    "calibration_curve",
    "confusion_matrix",
    "image_grid",
    "is_image",
    "metric_comparison",
    "png_bytes",
    "precision_recall_curve",
    "rgba",
    "roc_curve",
    "roc_overlay",
]
