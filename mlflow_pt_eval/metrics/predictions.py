"""The predictions as a table: one row a sample, enough to recompute an evaluation without the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics.blocks import row_blocks
from mlflow_pt_eval.metrics.inputs import Inputs, Scores, check
from mlflow_pt_eval.metrics.multilabel import THRESHOLD
from mlflow_pt_eval.metrics.probability import TOP
from mlflow_pt_eval.names import Task

ALL_CLASSES = 100  # up to here every class's probability is stored


def predictions_frame(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    task: Task | None = None,
    index: npt.ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    losses: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Return one row a sample: `index` (default: its place), `label`, `prediction`, probabilities, `loss` if given.

    Up to 100 classes there is `probability_<k>` for each; above, `probability_label`, `probability_prediction` and
    the five highest as `top_1` … `top_5` with `top_1_probability` …. For a multilabel task (2-D labels) `label` and
    `prediction` are lists of the labels that are set, and above 100 labels only the five highest are stored.
    `frame.attrs` holds the task and the class names; parquet keeps them.
    """
    inputs = check(labels, scores, task=task or guess_task(np.ndim(labels), np.shape(scores)), class_names=class_names)
    several = inputs.task == "multilabel"
    guess = inputs.scores > THRESHOLD if several else inputs.scores.argmax(axis=1)
    columns: dict[str, Any] = {
        "index": np.arange(inputs.n_samples) if index is None else np.asarray(index),
        "label": _lists(inputs.labels) if several else inputs.labels,
        "prediction": _lists(guess) if several else guess,
        **_probabilities(inputs, guess),
    }
    if losses is not None:
        columns["loss"] = np.asarray(losses, np.float64)
    if wrong := [name for name, values in columns.items() if len(values) != inputs.n_samples]:
        raise BadInput(f"{wrong[0]} has {len(columns[wrong[0]])} values, there are {inputs.n_samples} samples.")
    frame = pd.DataFrame(columns)
    frame.attrs = {"task": inputs.task, "class_names": list(inputs.class_names)}
    return frame


def guess_task(label_dimensions: int, shape: tuple[int, ...]) -> Task:
    """Name the task of labels and scores of these forms: two columns are binary, 2-D labels multilabel."""
    if label_dimensions == 2:
        return "multilabel"
    return "binary" if shape[1:] == (2,) else "multiclass"


def _lists(marks: npt.NDArray[Any]) -> list[npt.NDArray[np.int64]]:
    return [np.flatnonzero(row) for row in marks]


def _probabilities(inputs: Inputs, guess: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    if inputs.n_classes <= ALL_CLASSES:
        return {f"probability_{place}": inputs.scores[:, place] for place in range(inputs.n_classes)}
    rows = np.arange(inputs.n_samples)
    columns = {}
    if inputs.task != "multilabel":
        columns["probability_label"] = inputs.scores[rows, inputs.labels]
        columns["probability_prediction"] = inputs.scores[rows, guess]
    best = np.concatenate([_highest(inputs.scores[low:high]) for low, high in row_blocks(*inputs.scores.shape)])
    for place in range(TOP):
        columns[f"top_{place + 1}"] = best[:, place]
    for place in range(TOP):
        columns[f"top_{place + 1}_probability"] = inputs.scores[rows, best[:, place]]
    return columns


def _highest(scores: Scores) -> npt.NDArray[np.int64]:
    """Return the TOP highest classes of each row; of equal scores the later first, as scikit-learn's top-k has it."""
    last_first, rows = scores[:, ::-1].copy(), np.arange(len(scores))
    best = np.empty((len(scores), TOP), np.int64)
    for place in range(TOP):
        found = last_first.argmax(axis=1)
        last_first[rows, found] = -1
        best[:, place] = scores.shape[1] - 1 - found
    return best
