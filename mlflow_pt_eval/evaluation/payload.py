"""The files and figures of an evaluation, as they stand at the root of its run's artifacts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.evaluation.mistakes import Mistakes
from mlflow_pt_eval.figures import (
    calibration_curve,
    confusion_matrix,
    png_bytes,
    precision_recall_curve,
    rgba,
    roc_curve,
)
from mlflow_pt_eval.metrics import Evaluation, per_class_frame
from mlflow_pt_eval.names import (
    CALIBRATION_PNG,
    CONFUSION_NORMALIZED_PNG,
    CONFUSION_PNG,
    EVALUATION_JSON,
    PER_CLASS_CSV,
    PRECISION_RECALL_PNG,
    REPORT_HTML,
    ROC_PNG,
)
from mlflow_pt_eval.report import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pixels = npt.NDArray[np.uint8]

CONTEXT = "report"  # beside the evaluation's fields in its file

_FIGURES: Mapping[str, Callable[[Evaluation], Figure]] = {
    CONFUSION_PNG: confusion_matrix,
    CONFUSION_NORMALIZED_PNG: partial(confusion_matrix, normalize=True),
    ROC_PNG: roc_curve,
    PRECISION_RECALL_PNG: precision_recall_curve,
    CALIBRATION_PNG: calibration_curve,
}


def write_payload(
    folder: Path,
    evaluation: Evaluation,
    *,
    mistakes: Mistakes,
    context: Mapping[str, str],
) -> dict[str, Pixels]:
    """Write an evaluation's files, all but its predictions, into *folder*.

    *context* are more lines for the report's head, kept in the evaluation's file for another report. Return the
    figures' pixels by their file names.
    """
    pixels = {name: rgba(draw(evaluation)) for name, draw in _FIGURES.items()}
    pngs = {name: png_bytes(image) for name, image in pixels.items()}
    for name, data in pngs.items():
        (folder / name).write_bytes(data)
    stored = {**evaluation.to_json(), CONTEXT: dict(context)}
    (folder / EVALUATION_JSON).write_text(json.dumps(stored, allow_nan=False, separators=(",", ":")), encoding="utf-8")
    per_class_frame(evaluation).to_csv(folder / PER_CLASS_CSV, index=False)
    mistakes.write(folder)
    page = render(evaluation, pngs, context=context, mistakes=mistakes.rows, mistakes_figure=mistakes.grid)
    (folder / REPORT_HTML).write_text(page, encoding="utf-8")
    return pixels
