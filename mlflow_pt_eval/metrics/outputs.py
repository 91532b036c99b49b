"""One model's outputs beside the true labels, as comparisons take them, and what each sample adds to a mean metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics.blocks import row_blocks
from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.inputs import Inputs, all_probabilities, check, refuse_scores, sums_to_one
from mlflow_pt_eval.metrics.multilabel import THRESHOLD
from mlflow_pt_eval.metrics.predictions import guess_task
from mlflow_pt_eval.metrics.probability import columns_of, in_top_5, log_losses
from mlflow_pt_eval.metrics.result import Floats


@dataclass(frozen=True, eq=False)
class Outputs:
    """Labels and predictions, int64 (N,), for a multilabel task (N, K) of 0 and 1; `scored` where scores were given."""

    labels: Ints
    guess: Ints
    scored: Inputs | None

    @property
    def multilabel(self) -> bool:
        """Whether a sample may have several labels."""
        return self.labels.ndim == 2

    @property
    def binary(self) -> bool:
        """Whether there are no more classes than two."""
        columns = 0 if self.scored is None else self.scored.n_classes
        return not self.multilabel and max(columns, 1 + self.labels.max(), 1 + self.guess.max()) <= 2

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Which samples are predicted rightly (all labels of them), (N,)."""
        return (self.labels == self.guess).all(axis=1) if self.multilabel else self.labels == self.guess


def outputs(labels: npt.ArrayLike, given: npt.ArrayLike) -> Outputs:
    """Read scores (float, (N, K)) or predictions (int, in the labels' shape); BadInput for anything else."""
    truth, values = np.asarray(labels), np.asarray(given)
    if values.dtype.kind == "f":
        return _scored(truth, values)
    if truth.dtype.kind not in "biu" or values.dtype.kind not in "biu":
        raise BadInput(f"labels are {truth.dtype} and predictions {values.dtype}: give integers, or float scores.")
    if truth.shape != values.shape or not len(truth):
        raise BadInput(f"labels have shape {truth.shape} and predictions {values.shape}: give one for each sample.")
    if min(truth.min(), values.min()) < 0:
        raise BadInput("there are negative labels or predictions: give class indices from 0 on.")
    return Outputs(truth.astype(np.int64), values.astype(np.int64), None)


def _scored(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> Outputs:
    inputs = check(labels, scores, task=guess_task(labels.ndim, scores.shape))
    several = inputs.task == "multilabel"
    if not all_probabilities(inputs.scores) or not (several or sums_to_one(inputs.scores)):
        refuse_scores(inputs.scores, rows_sum_to_one=not several)
    guess = inputs.scores > THRESHOLD if several else inputs.scores.argmax(axis=1)
    return Outputs(inputs.labels, guess.astype(np.int64), inputs)


def _log_loss(of: Inputs) -> Floats:
    if of.task == "multilabel":
        return log_losses(np.where(of.labels != 0, of.scores, 1 - of.scores)).mean(axis=1)
    return log_losses(of.scores[np.arange(of.n_samples), of.labels])


def _brier_score(of: Inputs) -> Floats:
    """Return each sample's squared error: of two classes that of class 1, a mean over several labels."""
    if of.task == "multilabel":
        return np.square(of.scores.astype(np.float64) - of.labels).mean(axis=1)
    if of.n_classes == 2:
        return np.square(of.scores[:, 1] - of.labels.astype(np.float64))
    own = of.scores[np.arange(of.n_samples), of.labels].astype(np.float64)
    squares = np.einsum("ij,ij->i", of.scores, of.scores, dtype=np.float64)
    return squares - 2 * own + 1


def _top_5(of: Inputs) -> Floats:
    found = np.empty(of.n_samples)
    for low, high in row_blocks(*of.scores.shape):
        scores, labels = of.scores[low:high], of.labels[low:high]
        found[low:high] = in_top_5(scores, labels, scores[np.arange(high - low), labels], columns_of(scores))
    return found


# The metrics that are means over samples, as functions of scored outputs: float64 (N,) each.
SAMPLE_MEANS: Final[Mapping[str, Callable[[Inputs], Floats]]] = MappingProxyType(
    {"log_loss": _log_loss, "brier_score": _brier_score, "top_5_accuracy": _top_5}
)


def _wrong_share(of: Outputs) -> Floats:
    return (of.labels != of.guess).mean(axis=1)


# Those of a multilabel task that need the predictions only.
INDICATOR_MEANS: Final[Mapping[str, Callable[[Outputs], Floats]]] = MappingProxyType(
    {"accuracy": lambda of: of.right.astype(np.float64), "hamming_loss": _wrong_share}
)
