"""Stored predictions as arrays again: the inverse of `predictions_frame`, as far as it keeps everything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.predictions import guess_task
from mlflow_pt_eval.metrics.result import Floats
from mlflow_pt_eval.names import Task


@dataclass(frozen=True, eq=False)
class StoredOutputs:
    """What one model gave for each sample, in the data's order, as the functions of `pairs` take it.

    `labels` are int64 (N,), for a multilabel task (N, K) of 0 and 1. `outputs` are the scores, float32 (N, K), where
    all of them are stored (up to 100 classes), else the predictions in the labels' shape. `losses` are (N,) or None.
    """

    index: npt.NDArray[Any]
    labels: Ints
    outputs: npt.NDArray[Any]
    losses: Floats | None


def stored_outputs(frame: pd.DataFrame | str | Path) -> StoredOutputs:
    """Read a frame of `predictions_frame`, or the parquet file of one; NotFound or BadInput where it is none."""
    table = read_table(frame)
    columns, several = probability_columns(table), task_of(table) == "multilabel"
    classes = len(columns) or len(table.attrs.get("class_names", ()))
    labels, guess = (
        indicators(table[name], classes) if several else table[name].to_numpy(np.int64)
        for name in ("label", "prediction")
    )
    return StoredOutputs(
        index=table["index"].to_numpy(),
        labels=labels,
        outputs=table[columns].to_numpy(np.float32) if columns else guess,
        losses=table["loss"].to_numpy(np.float64) if "loss" in table else None,
    )


def outputs_for(metric: str, candidate: StoredOutputs, baseline: StoredOutputs) -> tuple[npt.NDArray[Any], ...]:
    """Return labels, the candidate's and the baseline's outputs (or losses) as `paired_difference` takes them.

    BadInput unless both hold the same labels in the same order, and losses where the metric is `loss`.
    """
    if not np.array_equal(candidate.labels, baseline.labels):
        raise BadInput(
            f"the stored predictions are of different samples ({len(candidate.labels)} and {len(baseline.labels)} "
            "rows, or other labels): evaluate both models again on the same data."
        )
    if metric != "loss":
        return candidate.labels, candidate.outputs, baseline.outputs
    if candidate.losses is None or baseline.losses is None:
        raise BadInput("the stored predictions hold no losses: evaluate both models with a criterion.")
    return candidate.labels, candidate.losses, baseline.losses


def read_table(frame: pd.DataFrame | str | Path) -> pd.DataFrame:
    """Return the table with its labels and predictions; NotFound or BadInput where it is none."""
    if not isinstance(frame, pd.DataFrame):
        if not Path(frame).is_file():
            raise NotFound(f"there is no file {str(frame)!r}: give a predictions.parquet.")
        frame = pd.read_parquet(frame)
    if missing := {"label", "prediction"} - set(frame.columns):
        raise BadInput(f"the predictions have no column {min(missing)!r}: write them with predictions_frame.")
    if not len(frame):
        raise BadInput("the predictions have 0 rows: give at least one.")
    return frame


def probability_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns with the probability of each class, in the classes' order; none where not all are stored."""
    places = sum(name.removeprefix("probability_").isdecimal() for name in table.columns)
    return [f"probability_{place}" for place in range(places)]


def task_of(table: pd.DataFrame) -> Task:
    """Return the task that is stored with the table, or that its columns have the form of."""
    dimensions = 2 if table["label"].dtype == object else 1
    stored: Task | None = table.attrs.get("task")
    return stored or guess_task(dimensions, (len(table), len(probability_columns(table))))


def indicators(lists: pd.Series[Any], labels: int) -> Ints:
    """Turn lists of set labels into 0 and 1 of shape (N, labels)."""
    marks = np.zeros((len(lists), labels), np.int64)
    marks[np.repeat(np.arange(len(lists)), lists.str.len()), np.concatenate(lists.to_numpy()).astype(np.int64)] = 1
    return marks
