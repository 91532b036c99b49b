"""`evaluate_scores`: labels and probabilities in, every number and curve of an evaluation out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics import counts
from mlflow_pt_eval.metrics.blocks import workers, workers_for
from mlflow_pt_eval.metrics.counts import Margins
from mlflow_pt_eval.metrics.curves import grid_for
from mlflow_pt_eval.metrics.estimators import Draws
from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.inputs import Inputs, check, losses_given
from mlflow_pt_eval.metrics.intervals import accuracy_interval, bootstrap_intervals, parted
from mlflow_pt_eval.metrics.keys import Keys, class_keys, pooled_keys
from mlflow_pt_eval.metrics.macro import macro_roc
from mlflow_pt_eval.metrics.multilabel import label_pass
from mlflow_pt_eval.metrics.probability import row_pass
from mlflow_pt_eval.metrics.ranking import Ranked, rank
from mlflow_pt_eval.metrics.result import CalibrationBins, ClassMetrics, Curves, Evaluation, Floats, RocCurve
from mlflow_pt_eval.metrics.thresholds import threshold_table
from mlflow_pt_eval.names import Task
from mlflow_pt_eval.wording import listed

# What is said of absent classes, and of lone ones, has one of these.
OF_CLASSES = ("in no sample: ", "in every sample: ")
NAMED = 5  # so many absent classes are named, the others counted


@dataclass(frozen=True, eq=False)
class Counted:
    """What the pass over the rows gave, whatever the task."""

    margins: Margins
    confusion: Ints
    metrics: dict[str, float]
    calibration: CalibrationBins


def evaluate_scores(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    task: Task,
    class_names: Sequence[str] | None = None,
    losses: npt.ArrayLike | None = None,
    loss: float | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    curves: bool = True,
    micro: bool = False,
    threads: int | None = None,
) -> Evaluation:
    """Compute every metric, table and curve of *scores* against *labels*.

    `labels` are class indices (N,), or 0 and 1 of shape (N, K) for a multilabel task; `scores` probabilities (N, K)
    in float32 (others are converted), two columns for a binary task. `losses` (N,) or their mean `loss` give the
    metric `loss`. `bootstrap` resamples (0: none, else 100 or more) give the intervals of F1 and AUC, `seed` makes them
    repeatable; where the data cannot support one, a warning says why. Each resample's metric is exact as long as that
    takes a processor some two seconds at most (60,000 samples of 10 classes), beyond that only its linear part is
    drawn, which is then as good. `curves=False` leaves the curves out,
    `micro=True` adds the micro-averaged ROC curve, which costs a sort of all scores together. Results don't depend on
    `threads` (default: the processors there are).

    Definitions are those of the scikit-learn functions of the metrics' names; of a multilabel task a label is
    predicted where its score is above 0.5, `accuracy` is that of whole samples, and log loss, Brier score and
    calibration are over all decisions. BadInput for anything that is not what it has to be.
    """
    draws = Draws(bootstrap, seed, workers(threads)) if bootstrap else None
    inputs = check(labels, scores, task=task, class_names=class_names)
    spread = workers_for(inputs.scores.size, threads)
    evaluation = _evaluate(inputs, mean_loss(losses, loss, inputs.n_samples), curves, micro, spread)
    drawn = bootstrap_intervals(inputs, evaluation, draws) if draws else {}
    intervals, said = parted(
        {"accuracy": accuracy_interval(evaluation.metrics["accuracy"], inputs.n_samples), **drawn}, evaluation.metrics
    )
    warnings = (*evaluation.warnings, *said)
    return replace(evaluation, intervals=intervals, resamples=bootstrap, warnings=warnings)


def _evaluate(inputs: Inputs, loss: dict[str, float], curves: bool, micro: bool, threads: int) -> Evaluation:
    """Compute everything but the intervals; what it takes is free again when they are made."""
    counted = _count_labels(inputs, threads) if inputs.task == "multilabel" else _count_classes(inputs, threads)
    grid = grid_for(inputs.n_classes) if curves else None
    support = counted.margins.support
    # From the sorted keys of a binary task its thresholds are read, too.
    keys = class_keys(inputs, 0, 2) if inputs.task == "binary" else None
    ranked = rank(
        partial(class_keys, inputs) if keys is None else lambda low, high: keys[low:high],
        support,
        inputs.class_names,
        grid=grid,
        threads=threads,
        sort=keys is not None,
    )
    metrics = {**counted.metrics, **_ranking_metrics(ranked, support, inputs.task), **loss}
    return Evaluation(
        task=inputs.task,
        class_names=inputs.class_names,
        metrics={**metrics, "n_samples": float(inputs.n_samples)},
        intervals={},
        per_class=per_class_rows(inputs.class_names, counted.margins, ranked.auc, ranked.average_precision),
        confusion=counted.confusion,
        curves=_curves(inputs, counted, ranked, keys, micro) if grid else Curves(),
        n_samples=inputs.n_samples,
        warnings=_warnings(inputs, support),
    )


def mean_loss(losses: npt.ArrayLike | None, loss: float | None, samples: int) -> dict[str, float]:
    """Return the metric `loss` if it is given, as the mean of the samples' losses or as itself."""
    if losses is not None and loss is not None:
        raise BadInput("losses and loss are both given: give one of them.")
    if loss is not None and not np.isfinite(loss):
        raise BadInput(f"the loss is {loss}: look for a diverged model, or a criterion that does not fit.")
    if losses is None:
        return {} if loss is None else {"loss": float(loss)}
    return {"loss": float(losses_given(losses, samples).mean())}


def _count_classes(inputs: Inputs, threads: int) -> Counted:
    done = row_pass(inputs, threads=threads)
    confusion = counts.confusion_matrix(inputs.labels, done.predictions, inputs.n_classes)
    found = counts.margins(confusion)
    metrics = counts.metrics(found, counts.BINARY if inputs.task == "binary" else counts.ONE_CLASS)
    return Counted(found, confusion, {**metrics, **done.metrics}, done.calibration)


def _count_labels(inputs: Inputs, threads: int) -> Counted:
    done = label_pass(inputs, threads=threads)
    return Counted(done.margins, done.confusion, done.metrics, done.calibration)


def _ranking_metrics(ranked: Ranked, support: Ints, task: Task) -> dict[str, float]:
    """Average over the classes for which it is defined; what none defines is left out."""
    auc, score = ranked.auc, ranked.average_precision
    if task == "binary":
        found = {"roc_auc": auc[1], "average_precision": score[1]}
        return {key: float(value) for key, value in found.items() if not np.isnan(value)}
    metrics = {}
    if (defined := ~np.isnan(auc)).any():
        metrics["roc_auc_macro"] = float(auc[defined].mean())
        metrics["roc_auc_weighted"] = float(np.average(auc[defined], weights=support[defined]))
    if (defined := ~np.isnan(score)).any():
        metrics["average_precision_macro"] = float(score[defined].mean())
    return metrics


def per_class_rows(names: tuple[str, ...], of: Margins, auc: Floats, score: Floats) -> tuple[ClassMetrics, ...]:
    """Return the per-class table from its columns, (K,) each."""
    columns = [column.tolist() for column in (of.precision, of.recall, of.f1, of.support)]
    ranking = ([None if np.isnan(value) else value for value in column.tolist()] for column in (auc, score))
    return tuple(ClassMetrics(*row) for row in zip(names, *columns, *ranking, strict=True))


def _curves(inputs: Inputs, counted: Counted, ranked: Ranked, keys: Keys | None, micro: bool) -> Curves:
    if keys is not None:  # the curves of class 1; those of class 0 mirror them
        row, positives = keys[1], int(counted.margins.support[1])
        return Curves(
            roc=ranked.roc[-1:],
            precision_recall=ranked.precision_recall[-1:] if positives else (),
            calibration=counted.calibration,
            thresholds=threshold_table(row, positives),
        )
    return Curves(
        roc=ranked.roc,
        roc_micro=_micro_roc(inputs, counted.margins.support) if micro else None,
        roc_macro=macro_roc(ranked.roc),
        precision_recall=ranked.precision_recall,
        calibration=counted.calibration,
    )


def _micro_roc(inputs: Inputs, support: Ints) -> RocCurve | None:
    """Rank all decisions together, as one row."""
    pooled = rank(lambda *_: pooled_keys(inputs), support.sum(keepdims=True), ("micro",), grid=grid_for(1), threads=1)
    return pooled.roc[0] if pooled.roc else None


def _warnings(inputs: Inputs, support: Ints) -> tuple[str, ...]:
    said = []
    if len(absent := np.flatnonzero(support == 0)):
        left_out = "left out of the averages of ROC-AUC and average precision"
        if inputs.task == "binary":
            left_out = "ROC-AUC" + (" and average precision are" if absent[-1] else " is") + " undefined and left out"
        said.append(f"{_listed(absent, inputs)} {OF_CLASSES[0]}{left_out}.")
    always = np.flatnonzero(support == inputs.n_samples)
    if len(always) and inputs.task != "binary":
        said.append(f"{_listed(always, inputs)} {OF_CLASSES[1]}ROC-AUC is undefined there and left out.")
    return tuple(said)


def _listed(classes: Ints, inputs: Inputs) -> str:
    named = listed([repr(inputs.class_names[index]) for index in classes], NAMED)
    one, several = ("label", "labels") if inputs.task == "multilabel" else ("class", "classes")
    return f"{one} {named} occurs" if len(classes) == 1 else f"{several} {named} occur"
