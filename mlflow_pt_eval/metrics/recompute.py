"""An evaluation from stored predictions, without the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mlflow_pt_eval.metrics import counts, incidence, probability
from mlflow_pt_eval.metrics.blocks import workers
from mlflow_pt_eval.metrics.counts import Margins
from mlflow_pt_eval.metrics.estimators import Draws
from mlflow_pt_eval.metrics.evaluate import evaluate_scores, mean_loss, per_class_rows
from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.incidence import Incidence
from mlflow_pt_eval.metrics.inputs import check
from mlflow_pt_eval.metrics.intervals import accuracy_interval, f1_interval, parted
from mlflow_pt_eval.metrics.multilabel import label_pass
from mlflow_pt_eval.metrics.predictions import ALL_CLASSES
from mlflow_pt_eval.metrics.resampling import Interval
from mlflow_pt_eval.metrics.result import CalibrationBins, Curves, Evaluation
from mlflow_pt_eval.metrics.stored import TOPS, Stored, read
from mlflow_pt_eval.names import Task

NEED_SCORES = (
    f"the predictions of more than {ALL_CLASSES} classes hold only some of the probabilities: "
    "ROC-AUC, average precision, the Brier score and the curves are left out."
)
OF_LABELS = ("accuracy", "hamming_loss", "precision_", "recall_", "f1_")  # what the indicator matrix alone decides


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
    `loss` needs the column `loss` of each sample's; the file of an evaluation has none, since its criterion gives
    averages only. BadInput for a table whose columns are not what they have to be, or contradict each other.
    """
    draws = Draws(bootstrap, seed, workers(threads)) if bootstrap else None
    stored = read(frame, task=task, class_names=class_names)
    stored.refuse_contradictions()
    if stored.scores is not None:
        return evaluate_scores(
            stored.labels, stored.scores, task=stored.task, class_names=stored.class_names, losses=stored.losses,
            bootstrap=bootstrap, seed=seed, curves=curves, micro=micro, threads=threads,
        )  # fmt: skip
    loss = mean_loss(stored.losses, None, len(stored.table))
    return _from_lists(stored, loss, draws) if stored.task == "multilabel" else _from_classes(stored, loss, draws)


def _from_classes(stored: Stored, loss: Mapping[str, float], draws: Draws | None) -> Evaluation:
    labels, guess, total = stored.labels, stored.predictions, len(stored.table)
    confusion = counts.confusion_matrix(labels, guess, len(stored.class_names))
    of = counts.margins(confusion)
    bins, sums = probability.top_label_bins(stored.probabilities("probability_prediction"), labels == guess)
    calibration = probability.calibration_bins(bins, sums)
    best = np.stack([stored.classes(name) for name in TOPS], axis=1)
    metrics = {
        **counts.metrics(of, counts.ONE_CLASS),
        "log_loss": float(probability.log_losses(stored.probabilities("probability_label")).sum()) / total,
        "expected_calibration_error": probability.calibration_error(calibration),
        "top_5_accuracy": float((best == labels[:, None]).any(axis=1).mean()),
        **loss,
    }
    return _evaluation(stored, metrics, of, confusion, calibration, incidence.of_confusion(confusion), draws)


def _from_lists(stored: Stored, loss: Mapping[str, float], draws: Draws | None) -> Evaluation:
    labels, guess = stored.labels, stored.predictions
    done = label_pass(check(labels, guess.astype(np.float32), task="multilabel"), threads=workers(None))
    metrics = {key: value for key, value in done.metrics.items() if key.startswith(OF_LABELS)}
    atoms = incidence.of_indicators(labels != 0, guess != 0)
    return _evaluation(stored, {**metrics, **loss}, done.margins, done.confusion, None, atoms, draws)


def _evaluation(
    stored: Stored,
    metrics: dict[str, float],
    of: Margins,
    confusion: Ints,
    calibration: CalibrationBins | None,
    atoms: Incidence,
    draws: Draws | None,
) -> Evaluation:
    unknown, total = np.full(len(stored.class_names), np.nan), len(stored.table)
    found: dict[str, Interval | str] = {"accuracy": accuracy_interval(metrics["accuracy"], total)}
    if draws is not None:
        found["f1_macro"] = f1_interval(atoms, draws)
    intervals, said = parted(found, metrics)
    return Evaluation(
        task=stored.task,
        class_names=stored.class_names,
        metrics={**metrics, "n_samples": float(total)},
        intervals=intervals,
        per_class=per_class_rows(stored.class_names, of, unknown, unknown),
        confusion=confusion,
        curves=Curves(calibration=calibration),
        n_samples=total,
        resamples=0 if draws is None else draws.resamples,
        warnings=(NEED_SCORES, *said),
    )
