"""`Evaluation`: what a model did on a data set, as frozen data. Figures, tables and reports are functions of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics.serialise import decode, encode
from mlflow_pt_eval.names import Task

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

FORMAT = 1
RESAMPLES = 1000  # of every interval that was stored without saying how many

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassMetrics:
    """One class's (or, for multilabel, one label's) row of the per-class table.

    `roc_auc` and `average_precision` are None where they are undefined (the class, or everything else, is absent).
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    roc_auc: float | None
    average_precision: float | None


@dataclass(frozen=True, eq=False)
class RocCurve:
    """The corners of a ROC curve, from the highest threshold to the lowest; three arrays of one shape (P,).

    `name` is the class's name, or 'micro' or 'macro'. `auc` is always that of all points; of a curve of thousands of
    corners those are left that its line needs within 1/1000 of the plot (1/200 for each of a hundred classes and
    more). `thresholds[0]` is inf; for the macro average thresholds are all NaN.
    """

    name: str
    fpr: Floats
    tpr: Floats
    thresholds: Floats
    auc: float


@dataclass(frozen=True, eq=False)
class PrecisionRecallCurve:
    """A precision-recall curve, recall ascending from (0, 1); `precision` and `recall` of one shape (P,).

    One point for each score of a positive, thinned as a ROC curve is. `average_precision` is that of all points.
    """

    name: str
    precision: Floats
    recall: Floats
    average_precision: float
    prevalence: float


@dataclass(frozen=True, eq=False)
class CalibrationBins:
    """Top-label reliability in equal-width bins: arrays of shape (bins,), NaN where `count` is 0.

    For a multilabel task of every label's score: `confidence` is its mean, `accuracy` how often the label is set.
    """

    edges: Floats  # (bins + 1,)
    confidence: Floats
    accuracy: Floats
    count: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ThresholdTable:
    """Binary only: one row a threshold (thinned to at most 1,000), arrays of one shape (T,).

    `youden_index` and `best_f1_index` are the rows with the largest tpr - fpr and the largest F1, over all thresholds.
    """

    threshold: Floats
    tpr: Floats
    fpr: Floats
    precision: Floats
    f1: Floats
    youden_index: int
    best_f1_index: int


@dataclass(frozen=True, eq=False)
class Curves:
    """Every curve of an evaluation. Classes whose curve is undefined are left out of `roc` and `precision_recall`.

    A binary task has the curves of class 1 alone, and `thresholds`; the others have `roc_macro`, and `roc_micro` where
    it was asked for.
    """

    roc: tuple[RocCurve, ...] = ()
    roc_micro: RocCurve | None = None
    roc_macro: RocCurve | None = None
    precision_recall: tuple[PrecisionRecallCurve, ...] = ()
    calibration: CalibrationBins | None = None
    thresholds: ThresholdTable | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """What a model did on a data set.

    `metrics` and `intervals` are keyed as in `metrics` of scikit-learn's definitions, without the split's prefix.
    `confusion` has shape (K, K), int64, row = true class, column = predicted class; for multilabel (K, 2, 2) as
    `sklearn.metrics.multilabel_confusion_matrix` gives it. `resamples` are those of the intervals of F1 and AUC, 0 if
    none were wanted. `run_id` is the MLflow run that holds it, None if it was not logged. `warnings` holds each thing
    that had to be said once, also why an interval is left out.
    """

    task: Task
    class_names: tuple[str, ...]
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    per_class: tuple[ClassMetrics, ...]
    confusion: npt.NDArray[np.int64]
    curves: Curves
    n_samples: int
    split: str = "test"
    dataset_digest: str | None = None
    dataset_name: str | None = None
    model_uri: str | None = None
    run_id: str | None = None
    resamples: int = RESAMPLES
    warnings: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        """Return a few lines instead of every number: a notebook shows this."""
        from mlflow_pt_eval.metrics.tables import summary  # of an Evaluation: a circle otherwise

        return summary(self)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for strict JSON that `from_json` reads back exactly; non-finite values as strings."""
        return {"format": FORMAT, **encode(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evaluation:
        """Read what `to_json` wrote; BadInput for anything else."""
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise BadInput(f"this is no stored evaluation of format {FORMAT}: evaluate again with this version.")
        return decode(cls, {"resamples": RESAMPLES, "run_id": None, **data})

    @classmethod
    def from_predictions(
        cls,
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
        """Recompute an evaluation from stored predictions, as `metrics.evaluate_predictions` does.

        *frame* is a table, or the path of a parquet file, with the columns `label`, `prediction` and, for each class,
        `probability_0`, `probability_1` …: what an evaluation's run has as predictions.parquet, and
        `metrics.predictions_frame(labels, scores)` makes, with fewer of the probabilities above 100 classes.
        BadInput for any other.

        There is no `loss`, unless the table has a column `loss`: an evaluation stores no sample's own.
        """
        from mlflow_pt_eval.metrics.recompute import evaluate_predictions  # it makes an Evaluation: a circle otherwise

        return evaluate_predictions(
            frame, task=task, class_names=class_names, bootstrap=bootstrap, seed=seed,
            curves=curves, micro=micro, threads=threads,
        )  # fmt: skip
