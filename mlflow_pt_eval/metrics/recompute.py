"""An evaluation from stored predictions, without the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mlflow_pt_eval.metrics import counts, probability
from mlflow_pt_eval.metrics.blocks import default_threads
from mlflow_pt_eval.metrics.evaluate import evaluate_scores, mean_loss, per_class_rows
from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.inputs import check
from mlflow_pt_eval.metrics.multilabel import label_pass
from mlflow_pt_eval.metrics.predictions import ALL_CLASSES
from mlflow_pt_eval.metrics.result import CalibrationBins, Curves, Evaluation, Floats
from mlflow_pt_eval.metrics.stored import indicators, probability_columns, read_table, task_of
from mlflow_pt_eval.names import Task

NEED_SCORES = (
    f"the predictions of more than {ALL_CLASSES} classes hold only some of the probabilities: "
    "ROC-AUC, average precision, the Brier score and the curves are left out."
)
# What the indicator matrix alone decides.
OF_LABELS = ("accuracy", "hamming_loss", "precision_", "recall_", "f1_")


def evaluate_predictions(
    frame: pd.DataFrame | str | Path,
    *,
    task: Task | None = None,
    class_names: Sequence[str] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    curves: bool = True,
    micro: bool = False,
    threads: int | None = None,
) -> Evaluation:
    """Recompute an evaluation from a frame of `predictions_frame`, or from the parquet file of one.

    `task` and `class_names` are those stored with the frame unless given; the other options are `evaluate_scores`'s.
    Up to 100 classes every number is the same as before; above, what needs all probabilities is left out, and said.
    """
    table = read_table(frame)
    names = class_names if class_names is not None else table.attrs.get("class_names")
    losses = table["loss"].to_numpy(np.float64) if "loss" in table else None
    columns, kind = probability_columns(table), task or task_of(table)
    if not columns:
        whole = _from_lists if kind == "multilabel" else _from_classes
        return whole(table, _names(table, names), mean_loss(losses, None, len(table)))
    scores = table[columns].to_numpy(np.float32)
    labels = indicators(table["label"], len(columns)) if kind == "multilabel" else table["label"].to_numpy()
    return evaluate_scores(
        labels, scores, task=kind, class_names=names, losses=losses,
        bootstrap=bootstrap, seed=seed, curves=curves, micro=micro, threads=threads,
    )  # fmt: skip


def _names(table: pd.DataFrame, names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the class names, or as many numbers as the stored classes need."""
    if names is not None:
        return tuple(map(str, names))
    stored = [
        name for name in table.columns if name in ("label", "prediction") or name.removeprefix("top_").isdecimal()
    ]
    columns = (table[name].explode() if table[name].dtype == object else table[name] for name in stored)
    return tuple(map(str, range(1 + int(max(column.max() for column in columns)))))


def _from_classes(table: pd.DataFrame, names: tuple[str, ...], loss: dict[str, float]) -> Evaluation:
    labels, guess = table["label"].to_numpy(np.int64), table["prediction"].to_numpy(np.int64)
    confusion = counts.confusion_matrix(labels, guess, len(names))
    found = counts.margins(confusion)
    own = table["probability_label"].to_numpy(np.float32)
    bins, sums = probability.top_label_bins(table["probability_prediction"].to_numpy(np.float32), labels == guess)
    calibration = probability.calibration_bins(bins, sums)
    best = table[[f"top_{place + 1}" for place in range(probability.TOP)]].to_numpy()
    metrics = {
        **counts.metrics(found, counts.ONE_CLASS),
        "log_loss": float(probability.log_losses(own).mean()),
        "expected_calibration_error": probability.calibration_error(calibration),
        "top_5_accuracy": float((best == labels[:, None]).any(axis=1).mean()),
        **loss,
    }
    return _evaluation("multiclass", names, metrics, found, confusion, calibration, len(table))


def _from_lists(table: pd.DataFrame, names: tuple[str, ...], loss: dict[str, float]) -> Evaluation:
    labels, guess = indicators(table["label"], len(names)), indicators(table["prediction"], len(names))
    done = label_pass(check(labels, guess.astype(np.float32), task="multilabel"), threads=default_threads())
    metrics = {key: value for key, value in done.metrics.items() if key.startswith(OF_LABELS)}
    return _evaluation("multilabel", names, {**metrics, **loss}, done.margins, done.confusion, None, len(table))


def _evaluation(
    task: Task,
    names: tuple[str, ...],
    metrics: dict[str, float],
    of: counts.Margins,
    confusion: Ints,
    calibration: CalibrationBins | None,
    samples: int,
) -> Evaluation:
    unknown: Floats = np.full(len(names), np.nan)
    return Evaluation(
        task=task,
        class_names=names,
        metrics={**metrics, "n_samples": float(samples)},
        intervals={},
        per_class=per_class_rows(names, of, unknown, unknown),
        confusion=confusion,
        curves=Curves(calibration=calibration),
        n_samples=samples,
        warnings=(NEED_SCORES,),
    )
