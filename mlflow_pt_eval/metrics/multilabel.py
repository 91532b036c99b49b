"""The metrics of a multilabel task: scikit-learn's definitions on the indicator matrix, predicted where p > 0.5."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from mlflow_pt_eval.metrics.blocks import row_blocks, run
from mlflow_pt_eval.metrics.counts import MULTILABEL, Margins, metrics, ratio
from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.inputs import Inputs, Labels, Scores, all_probabilities, refuse_scores
from mlflow_pt_eval.metrics.probability import calibration_bins, calibration_error, log_losses, top_label_bins
from mlflow_pt_eval.metrics.result import CalibrationBins, Floats

THRESHOLD = np.float32(0.5)


@dataclass(frozen=True, eq=False)
class Sums:
    """What a block of rows adds up to: scalars, one number a label (K,), one number a bin (BINS,)."""

    rows: int
    exact: int
    f1_samples: float
    log_loss: float
    squared_error: float
    hits: Ints
    predicted: Ints
    bins: Ints
    confidence: Floats


@dataclass(frozen=True, eq=False)
class LabelPass:
    """Each label's counts, the confusion (K, 2, 2) and the metrics that are sums."""

    margins: Margins
    confusion: Ints
    metrics: dict[str, float]
    calibration: CalibrationBins


def label_pass(inputs: Inputs, *, threads: int) -> LabelPass:
    """Look at every score once, block by block; BadInput if one is no probability."""

    def job(block: tuple[int, int]) -> Sums | None:
        part = slice(*block)
        return _block(inputs.scores[part], inputs.labels[part])

    parts = [part for part in run(job, row_blocks(*inputs.scores.shape), threads) if part is not None]
    if sum(part.rows for part in parts) < inputs.n_samples:
        refuse_scores(inputs.scores, rows_sum_to_one=False)
    total = Sums(**{field.name: sum(getattr(part, field.name) for part in parts) for field in fields(Sums)})
    support = inputs.support()
    margins = Margins(total.hits, support, total.predicted, every=True)
    calibration = calibration_bins(total.bins, total.confidence)
    return LabelPass(margins, _confusion(margins, total.rows), _metrics(total, margins, calibration), calibration)


def _block(scores: Scores, labels: Labels) -> Sums | None:
    """Return these rows' sums; None if a value is no probability."""
    if not all_probabilities(scores):
        return None
    truth, guess = labels != 0, scores > THRESHOLD
    hits = truth & guess
    exact = scores.astype(np.float64)
    bins, confidence = top_label_bins(scores.reshape(-1), truth.reshape(-1))
    marked = truth.sum(axis=1) + guess.sum(axis=1)
    return Sums(
        rows=len(scores),
        exact=int(np.count_nonzero((truth == guess).all(axis=1))),
        f1_samples=float(ratio(2 * hits.sum(axis=1), marked).sum()),
        log_loss=float(log_losses(np.where(truth, scores, 1 - scores)).sum()),
        squared_error=float(np.square(exact - truth).sum()),
        hits=hits.sum(axis=0),
        predicted=guess.sum(axis=0),
        bins=bins,
        confidence=confidence,
    )


def _confusion(of: Margins, rows: int) -> Ints:
    """Return (K, 2, 2) as `sklearn.metrics.multilabel_confusion_matrix`: ((tn, fp), (fn, tp)) of each label."""
    cells = [rows - of.support - of.predicted + of.hits, of.predicted - of.hits, of.support - of.hits, of.hits]
    return np.stack(cells, axis=1).reshape(-1, 2, 2)


def _metrics(total: Sums, of: Margins, calibration: CalibrationBins) -> dict[str, float]:
    decisions = total.rows * len(of.hits)
    return {
        "accuracy": total.exact / total.rows,
        "hamming_loss": float((of.support + of.predicted - 2 * of.hits).sum() / decisions),
        **metrics(of, MULTILABEL),
        "f1_samples": total.f1_samples / total.rows,
        "log_loss": total.log_loss / decisions,
        "brier_score": total.squared_error / decisions,
        "expected_calibration_error": calibration_error(calibration),
    }
