"""What a model gave for each sample of an evaluation, and two models' side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics import stored

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class SampleOutputs:
    """One entry a sample, in the data's order.

    `labels` and `predictions` are classes (N,), for a multilabel task 0 and 1 of shape (N, K). `scores` are float32
    (N, K), None where not all of them are stored (above 100 classes). `losses` are (N,), None where only
    their average is known.
    """

    index: Array
    labels: Array
    predictions: Array
    scores: Array | None
    losses: Array | None
    class_names: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> SampleOutputs:
        """Read an evaluation's `predictions.parquet`; BadInput if it is none."""
        found = stored.read(path, task=None, class_names=None)
        return cls(
            index=found.table["index"].to_numpy(),
            labels=found.labels,
            predictions=found.predictions,
            scores=found.scores,
            losses=found.column("loss") if "loss" in found.table else None,
            class_names=found.class_names,
        )

    @property
    def outputs(self) -> Array:
        """The scores, or the predictions where those are all there is: what `paired_difference` and its like take."""
        return self.predictions if self.scores is None else self.scores

    def for_metric(self, metric: str) -> Array:
        """Return what decides *metric*: the losses for `loss`, else the outputs; BadInput without losses."""
        if metric != "loss":
            return self.outputs
        if self.losses is None:
            raise BadInput(
                "'loss' has no paired interval, since an evaluation keeps only its average. Decide without confidence, "
                "or by a metric that has one: log_loss, accuracy, f1_macro, roc_auc, brier_score and others."
            )
        return self.losses


def require_same_samples(several: Sequence[SampleOutputs]) -> Array:
    """Return the labels that all share; BadInput unless they are of the same samples in the same order."""
    first = several[0]
    for other in several[1:]:
        if not (np.array_equal(first.index, other.index) and np.array_equal(first.labels, other.labels)):
            raise BadInput(
                f"the stored predictions are of different samples ({len(first.labels)} and {len(other.labels)}, or "
                "other labels): evaluate the models again on the same data."
            )
    return first.labels
