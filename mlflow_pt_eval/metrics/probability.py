"""One pass over the rows of a binary or multiclass score matrix: predictions, losses, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.metrics.blocks import BLOCK_VALUES, cut, row_blocks, run
from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.inputs import Inputs, Labels, Mask, Scores, all_probabilities, refuse_scores, sums_to_one
from mlflow_pt_eval.metrics.result import CalibrationBins, Floats

BINS = 15
TOP = 5
NARROW = 32  # columns: up to here whole columns are compared, since NumPy is slow along short rows
EPS = np.finfo(np.float32).eps


@dataclass(frozen=True, eq=False)
class Sums:
    """What one block of rows adds up to; `bins` is (2, BINS) of counts (wrong, right), `confidence` (BINS,)."""

    log_loss: float
    squared_error: float
    top_5: int
    bins: Ints
    confidence: Floats


@dataclass(frozen=True, eq=False)
class RowPass:
    """The predicted classes (N,), and the metrics that are sums over samples."""

    predictions: npt.NDArray[Any]
    metrics: dict[str, float]
    calibration: CalibrationBins


def row_pass(inputs: Inputs, *, threads: int) -> RowPass:
    """Look at every score once, block by block; BadInput if one is no probability or a row does not sum to 1."""
    predictions = np.empty(inputs.n_samples, np.uint16 if inputs.n_classes <= 1 << 16 else np.int32)
    held = inputs.n_classes * (2 if inputs.n_classes <= NARROW else 1)  # numbers of a row: few columns are copied

    def job(block: tuple[int, int]) -> Sums | None:
        part = slice(*block)
        return _block(inputs.scores[part], inputs.labels[part], predictions[part])

    sums = [part for part in run(job, row_blocks(inputs.n_samples, held), threads) if part is not None]
    if sum(int(part.bins.sum()) for part in sums) < inputs.n_samples:
        refuse_scores(inputs.scores, rows_sum_to_one=True)
    calibration = calibration_bins(
        np.sum([part.bins for part in sums], axis=0), np.sum([part.confidence for part in sums], axis=0)
    )
    return RowPass(predictions, _metrics(sums, inputs, calibration), calibration)


def _block(scores: Scores, labels: Labels, predictions: npt.NDArray[Any]) -> Sums | None:
    """Fill *predictions*, and return these rows' sums; None if a value is no probability."""
    if not all_probabilities(scores):
        return None
    columns = columns_of(scores)
    if not sums_to_one(scores, columns):
        return None
    flat, first = scores.reshape(-1), np.arange(len(scores)) * scores.shape[1]
    own = flat[first + labels]  # one index finds a score in a third of the time of two
    guess = first_highest(scores, columns)
    top_5 = int(np.count_nonzero(in_top_5(scores, labels, own, columns))) if scores.shape[1] > TOP else 0
    predictions[:] = guess
    bins, confidence = top_label_bins(flat[first + guess], guess == labels)
    return Sums(
        log_loss=float(log_losses(own).sum()),
        squared_error=_squared_error(scores, labels, own),
        top_5=top_5,
        bins=bins,
        confidence=confidence,
    )


def columns_of(scores: Scores) -> Scores | None:
    """Return the scores column by column, (K, n), None if there are so many that rows are as fast."""
    return np.ascontiguousarray(scores.T) if scores.shape[1] <= NARROW else None


def log_losses(own: Scores) -> Floats:
    """Return -log of the probabilities given to the true classes, clipped as scikit-learn's log_loss clips float32."""
    return -np.log(np.clip(own, EPS, 1 - EPS), dtype=np.float64)


def _squared_error(scores: Scores, labels: Labels, own: Scores) -> float:
    """Return the rows' summed squared errors; of two classes those of class 1 (column 1)."""
    if scores.shape[1] == 2:
        gaps = scores[:, 1] - labels.astype(np.float64)
        return float(np.einsum("i,i->", gaps, gaps))
    flat, squares = scores.reshape(-1), 0.0
    for low, high in cut(len(flat), BLOCK_VALUES // 4):  # in parts, as they are twice as large
        exact = flat[low:high].astype(np.float64)
        squares += float(np.einsum("i,i->", exact, exact))
    return squares - 2 * float(own.sum(dtype=np.float64)) + len(scores)


def top_label_bins(confidence: Scores, right: Mask) -> tuple[Ints, Floats]:
    """Return the counts of (wrong, right) predictions (2, BINS) and the confidences' sums (BINS,)."""
    exact = confidence.astype(np.float64)
    index = bin_index(exact)
    counts: Ints = np.bincount(index + BINS * right, minlength=2 * BINS).reshape(2, BINS)
    sums = np.bincount(index, weights=exact, minlength=BINS)
    return counts, sums.astype(np.float64)


def bin_index(confidence: Floats) -> Ints:
    """Return each confidence's bin, (b / 15, (b + 1) / 15]; 0 is in the first."""
    edge = confidence * BINS
    np.ceil(edge, out=edge)
    return np.clip(edge, 1, BINS, out=edge).astype(np.int64) - 1


def first_highest(scores: Scores, columns: Scores | None) -> npt.NDArray[Any]:
    """Return `scores.argmax(axis=1)`; of few *columns* by counting those before the highest."""
    if columns is None:
        return scores.argmax(axis=1)
    highest = np.maximum.reduce(columns, axis=0)
    before, unmet = np.zeros(len(scores), np.uint8), np.ones(len(scores), bool)
    for column in columns[:-1]:
        unmet &= column != highest
        before += unmet
    return before


def in_top_5(scores: Scores, labels: Labels, own: Scores, columns: Scores | None) -> Mask:
    """Say of each row whether its class is among the 5 highest; of equal scores the later class ranks higher."""
    inside = _count(np.greater_equal, scores, own, columns) <= TOP
    if inside.all():
        return inside
    tied = np.flatnonzero(~inside & (_count(np.greater, scores, own, columns) < TOP))
    part, mine = scores[tied], own[tied, None]
    later = np.arange(scores.shape[1]) > labels[tied, None]
    inside[tied] = np.count_nonzero((part > mine) | ((part == mine) & later), axis=1) < TOP
    return inside


def _count(compare: np.ufunc, scores: Scores, own: Scores, columns: Scores | None) -> npt.NDArray[Any]:
    """Count in each row the scores that *compare* with its own class's."""
    if columns is None:
        return np.einsum("ij->i", compare(scores, own[:, None]).astype(np.float32))
    count = np.zeros(len(scores), np.uint8)
    for column in columns:
        count += compare(column, own)
    return count


def calibration_bins(bins: Ints, confidence: Floats) -> CalibrationBins:
    """Turn the sums of `top_label_bins` into means, NaN for an empty bin."""
    right, count = bins[1], bins.sum(axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0: NaN is meant
        return CalibrationBins(np.linspace(0, 1, BINS + 1), confidence / count, right / count, count)


def calibration_error(bins: CalibrationBins) -> float:
    """Return the expected calibration error (Guo et al. 2017): the bins' gaps, weighted by their counts."""
    gaps = np.abs(bins.accuracy - bins.confidence)
    return float(np.nansum(gaps * bins.count) / bins.count.sum())


def _metrics(sums: Sequence[Sums], inputs: Inputs, calibration: CalibrationBins) -> dict[str, float]:
    total = inputs.n_samples
    metrics = {
        "log_loss": sum(part.log_loss for part in sums) / total,
        "brier_score": max(0.0, sum(part.squared_error for part in sums) / total),
        "expected_calibration_error": calibration_error(calibration),
    }
    if inputs.n_classes > TOP:
        metrics["top_5_accuracy"] = sum(part.top_5 for part in sums) / total
    return metrics
