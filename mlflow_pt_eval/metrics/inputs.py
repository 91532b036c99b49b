"""What `evaluate_scores` takes, checked once: each complaint is one line with the place, the value and the count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.class_names import check_class_names
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics.blocks import row_blocks
from mlflow_pt_eval.names import Task

Scores = npt.NDArray[np.float32]
Labels = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

OVER_ONE = 1e-6  # a float32 softmax may round to 1.0000001
ROW_SUM = float(np.sqrt(np.finfo(np.float32).eps))  # 3.5e-4, what sklearn.metrics.log_loss grants float32
LARGEST_BITS = np.float32(1 + OVER_ONE).view(np.uint32)


@dataclass(frozen=True, eq=False)
class Inputs:
    """Checked labels (int64 (N,) of 0 … K-1, for multilabel int8 (N, K) of 0 and 1), scores (N, K), names (K,)."""

    task: Task
    labels: Labels
    scores: Scores
    class_names: tuple[str, ...]

    @property
    def n_samples(self) -> int:
        """The number of samples, N."""
        return len(self.scores)

    @property
    def n_classes(self) -> int:
        """The number of classes, or of labels, K."""
        return self.scores.shape[1]

    def support(self) -> npt.NDArray[np.int64]:
        """Return how many samples are of each class, (K,)."""
        if self.task == "multilabel":
            return np.asarray(self.labels.sum(axis=0))
        return np.bincount(self.labels, minlength=self.n_classes)


def check(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, task: Task, class_names: Sequence[str] | None = None
) -> Inputs:
    """Return the inputs in the form that everything else works on; BadInput for what cannot be evaluated.

    The scores' values are not looked at here: the pass over them does that (`all_probabilities`).
    """
    if task not in get_args(Task):
        raise BadInput(f"{task!r} is no task: give one of {', '.join(get_args(Task))}.")
    matrix = _scores(scores, task)
    truth = _labels(labels, matrix.shape, task)
    return Inputs(task, truth, matrix, _names(class_names, matrix.shape[1]))


def _scores(scores: npt.ArrayLike, task: Task) -> Scores:
    values = np.asarray(scores)
    if values.dtype.kind != "f":
        raise BadInput(f"scores have dtype {values.dtype}, not a float: give probabilities (softmax or sigmoid).")
    if values.ndim != 2:
        raise BadInput(f"scores have shape {values.shape}, not (samples, classes): give one column for each class.")
    least = 1 if task == "multilabel" else 2
    if values.shape[1] < least or (task == "binary" and values.shape[1] != 2):
        wanted = "exactly 2" if task == "binary" else f"at least {least}"
        raise BadInput(f"scores have {values.shape[1]} columns, a {task} task has {wanted}: one for each class.")
    if not len(values):
        raise BadInput("there are no samples: scores have 0 rows, give at least one.")
    return np.ascontiguousarray(values, dtype=np.float32)


def _labels(labels: npt.ArrayLike, shape: tuple[int, ...], task: Task) -> Labels:
    values = np.asarray(labels)
    wanted = shape if task == "multilabel" else shape[:1]
    if values.ndim != len(wanted):
        form = "(samples, labels) of 0 and 1" if task == "multilabel" else "(samples,) of class indices"
        raise BadInput(f"labels have shape {values.shape}, a {task} task needs {form}.")
    if len(values) != shape[0]:
        raise BadInput(f"there are {len(values)} labels and {shape[0]} rows of scores: give one label for each row.")
    if values.shape != wanted:
        raise BadInput(f"labels have {values.shape[1]} columns and scores {shape[1]}: give one for each label.")
    return _in_range(_whole(values), 1 if task == "multilabel" else shape[1] - 1)


def _whole(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if values.dtype.kind in "biu":
        return values
    if values.dtype.kind != "f":
        raise BadInput(f"labels have dtype {values.dtype}, not an integer: map them to 0 … K-1 first.")
    whole = np.isfinite(values) & (values == np.floor(values))
    complain(values, ~whole, "labels", "not whole numbers", "map the classes to 0 … K-1")
    return values


def _in_range(values: npt.NDArray[Any], largest: int) -> Labels:
    if values.min() < 0 or values.max() > largest:
        outside = (values < 0) | (values > largest)
        complain(values, outside, "labels", f"outside 0 … {largest}", "give an index of a column of the scores")
    return np.ascontiguousarray(values, dtype=np.int64 if values.ndim == 1 else np.int8)


def _names(names: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    if names is None:
        return tuple(str(index) for index in range(classes))
    texts = check_class_names(names)
    if len(texts) != classes:
        raise BadInput(f"there are {len(texts)} class names and {classes} columns of scores: give one name for each.")
    return texts


def losses_given(losses: npt.ArrayLike, samples: int) -> npt.NDArray[np.float64]:
    """Return the samples' losses as float64 (N,); BadInput if they are not one finite number for each sample."""
    values = np.asarray(losses, np.float64)
    if values.shape != (samples,):
        raise BadInput(f"losses have shape {values.shape}, there are {samples} samples: give one loss for each.")
    complain(values, ~np.isfinite(values), "losses", "NaN or infinite", "look for a diverged model")
    return values


def all_probabilities(block: Scores) -> bool:
    """Say whether every value is in [0, 1 + 1e-6]: as integers, NaN, infinities and negatives are larger than 1."""
    return bool(block.view(np.uint32).max() <= LARGEST_BITS) or not bool(_outside(block).any())


def sums_to_one(block: Scores, columns: Scores | None = None) -> bool:
    """Say whether each row's sum is 1 within ROW_SUM; where the quick sum doubts it, the exact one decides.

    *columns*, if there are some, are the block's, one after the other, from which it is quicker.
    """
    # No product with ones: BLAS would wake threads of its own, which then spin in the way of ours.
    quick = np.einsum("ij->i", block) if columns is None else np.add.reduce(columns, axis=0)
    return bool((np.abs(quick - 1) <= ROW_SUM).all()) or not bool(_off_one(_sums(block)).any())


def refuse_scores(scores: Scores, *, rows_sum_to_one: bool) -> None:
    """Raise the BadInput that names the first value that is no probability, or the first row that sums to none."""
    complain(scores, _by_rows(scores, _not_finite), "scores", "NaN or infinite", "look for a diverged model")
    hint = "give probabilities (outputs='logits' applies the softmax or sigmoid)"
    complain(scores, _by_rows(scores, _outside), "scores", "outside 0 … 1", hint)
    if rows_sum_to_one:
        sums = np.concatenate([_sums(scores[slice(*rows)]) for rows in row_blocks(*scores.shape)])
        complain(sums, _off_one(sums), "scores.sum(axis=1)", "not 1", hint)


def _by_rows(scores: Scores, test: Callable[[Scores], Mask]) -> Mask:
    return np.concatenate([test(scores[slice(*rows)]) for rows in row_blocks(*scores.shape)])


def _not_finite(block: Scores) -> Mask:
    return ~np.isfinite(block)


def _outside(block: Scores) -> Mask:
    return ~((block >= 0) & (block <= np.float32(1 + OVER_ONE)))


def _sums(block: Scores) -> npt.NDArray[np.float64]:
    return block.sum(axis=1, dtype=np.float64)


def _off_one(sums: npt.NDArray[np.float64]) -> Mask:
    return ~(np.abs(sums - 1) <= ROW_SUM)


def complain(values: npt.NDArray[Any], wrong: Mask, what: str, how: str, hint: str) -> None:
    """Raise BadInput if any of *values* is *wrong*: the first one's place and value, and how many there are."""
    if not wrong.any():
        return
    first = np.unravel_index(int(wrong.argmax()), wrong.shape)
    place = ", ".join(str(int(index)) for index in first)
    value = values[first].item() if isinstance(values[first], np.generic) else values[first]
    raise BadInput(f"{what}[{place}] is {value!r}; {np.count_nonzero(wrong)} of {wrong.size} are {how}: {hint}.")
