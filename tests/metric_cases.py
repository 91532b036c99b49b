"""Labels and scores for the metrics' tests, and scikit-learn's answers for them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.metrics as sk
from hypothesis import strategies as st

Array = npt.NDArray[Any]
KINDS = ("smooth", "tied", "constant", "certain", "one_class", "absent_class")


def single(seed: int, samples: int, classes: int, kind: str = "smooth") -> tuple[Array, Array]:
    """Return labels (N,) and float32 scores (N, K) whose rows sum to 1, of one *kind* of trouble."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    if kind == "one_class":
        labels[:] = rng.integers(classes)
    if kind == "absent_class":
        labels[labels == 0] = classes - 1
    logits = rng.standard_normal((samples, classes))
    logits[np.arange(samples), labels] += rng.uniform(0, 3)
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    if kind == "tied":
        scores = np.ceil(scores * 3)
    if kind == "constant":
        scores[:] = 1
    if kind == "certain":
        scores = (logits == logits.max(axis=1, keepdims=True)).astype(np.float64)
    return labels, (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def several(seed: int, samples: int, labels: int, kind: str = "smooth") -> tuple[Array, Array]:
    """Return indicators (N, K) and float32 scores (N, K) of a multilabel task."""
    rng = np.random.default_rng(seed)
    scores = rng.random((samples, labels))
    if kind == "tied":
        scores = np.round(scores * 4) / 4
    if kind == "constant":
        scores[:] = 0.5
    if kind == "certain":
        scores = np.round(scores)
    truth = (rng.random((samples, labels)) < (scores + 0.3) / 1.6).astype(np.int64)
    if kind == "one_class":
        truth[:] = rng.integers(2)
    if kind == "absent_class":
        truth[:, 0] = 0
    return truth, scores.astype(np.float32)


@st.composite
def single_cases(draw: st.DrawFn, *, classes: st.SearchStrategy[int]) -> tuple[Array, Array]:
    """Draw labels and scores of a binary or multiclass task."""
    seed, kind = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from(KINDS))
    return single(seed, draw(st.integers(1, 60)), draw(classes), kind)


@st.composite
def several_cases(draw: st.DrawFn) -> tuple[Array, Array]:
    """Draw labels and scores of a multilabel task."""
    seed, kind = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from(KINDS))
    return several(seed, draw(st.integers(1, 60)), draw(st.integers(1, 6)), kind)


def close(found: float, wanted: float, within: float = 1e-9) -> bool:
    """Say whether two numbers are one within the contract's tolerance."""
    return abs(found - wanted) <= within


def clipped(scores: Array) -> Array:
    """Clip as scikit-learn's log_loss clips float32, in float64: given float32 it would sum in float32 too."""
    eps = np.finfo(np.float32).eps
    return np.clip(scores, eps, 1 - eps).astype(np.float64)


def _log_loss(mark: Array, score: Array) -> float:
    return float(sk.log_loss(mark, np.stack([clipped(1 - score), clipped(score)], axis=1), labels=[0, 1]))


def _brier_score(labels: Array, exact: Array) -> float:
    """Return what a user's own call gives: of two classes, with class 1's column."""
    if exact.shape[1] == 2:
        return float(sk.brier_score_loss(labels, exact[:, 1], pos_label=1))
    return float(sk.brier_score_loss(labels, exact, labels=np.arange(exact.shape[1])))


def _averages(labels: Array, guess: Array, names: tuple[str, ...]) -> dict[str, float]:
    functions = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
    return {
        f"{key}_{name}": function(labels, guess, average=name, zero_division=0)
        for key, function in functions.items()
        for name in names
    }


def by_class(truth: Array, scores: Array) -> tuple[list[float | None], list[float | None]]:
    """Return scikit-learn's ROC-AUC and average precision of each column, None where undefined."""
    areas, precisions = [], []
    for mark, score in zip(truth.T.astype(int), scores.T, strict=True):
        areas.append(sk.roc_auc_score(mark, score) if 0 < mark.sum() < len(mark) else None)
        precisions.append(sk.average_precision_score(mark, score) if mark.sum() else None)
    return areas, precisions


def _ranking(truth: Array, scores: Array) -> dict[str, float]:
    areas, precisions = by_class(truth, scores)
    support = truth.sum(axis=0)
    known = [place for place, area in enumerate(areas) if area is not None]
    found = {}
    if known:
        found["roc_auc_macro"] = np.mean([areas[place] for place in known])
        found["roc_auc_weighted"] = np.average([areas[place] for place in known], weights=support[known])
    if support.any():
        found["average_precision_macro"] = np.mean([each for each in precisions if each is not None])
    return found


def _calibration(confidence: Array, right: Array) -> float:
    """Return the calibration error as its definition reads: 15 bins, each open below (the first takes 0)."""
    total = 0.0
    for low in range(15):
        inside = (confidence * 15 > low) & (confidence * 15 <= low + 1) | ((low == 0) & (confidence == 0))
        if inside.any():
            total += inside.sum() * abs(confidence[inside].mean() - right[inside].mean())
    return total / len(confidence)


def answers_single(labels: Array, scores: Array, *, binary: bool) -> dict[str, float]:
    """Return what scikit-learn says of a binary or multiclass task, by the metrics' keys."""
    classes, exact = scores.shape[1], scores.astype(np.float64)
    guess, everyone = scores.argmax(axis=1), np.arange(scores.shape[1])
    truth = labels[:, None] == everyone
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            "accuracy": sk.accuracy_score(labels, guess),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, guess),
            **_averages(labels, guess, ("macro", "weighted")),
            "matthews_corrcoef": sk.matthews_corrcoef(labels, guess),
            "cohen_kappa": sk.cohen_kappa_score(labels, guess),
            "log_loss": sk.log_loss(labels, clipped(scores), labels=everyone),
            "brier_score": _brier_score(labels, exact),
            "n_samples": len(labels),
            "expected_calibration_error": _calibration(exact.max(axis=1), guess == labels),
        }
        if classes > 5:
            found["top_5_accuracy"] = sk.top_k_accuracy_score(labels, scores, k=5, labels=everyone)
        if binary:
            for key, function in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
                found[key] = function(labels, guess, zero_division=0)
            areas, precisions = by_class(truth, scores)
            found |= {} if areas[1] is None else {"roc_auc": areas[1]}
            found |= {} if precisions[1] is None else {"average_precision": precisions[1]}
        else:
            found |= _ranking(truth, scores)
    return {key: float(value) for key, value in found.items() if not np.isnan(value)}


def answers_several(truth: Array, scores: Array) -> dict[str, float]:
    """Return what scikit-learn says of a multilabel task, by the metrics' keys."""
    guess, exact = (scores > 0.5).astype(int), scores.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            "accuracy": sk.accuracy_score(truth, guess) if truth.shape[1] > 1 else (truth == guess).mean(),
            "hamming_loss": (truth != guess).mean(),
            **_ranking(truth, scores),
            "log_loss": np.mean([_log_loss(*pair) for pair in zip(truth.T, scores.T, strict=True)]),
            "brier_score": np.square(exact - truth).mean(),
            "expected_calibration_error": _calibration(exact.reshape(-1), truth.reshape(-1) == 1),
            "n_samples": len(truth),
        }
        if truth.shape[1] > 1:  # one column is no multilabel task to scikit-learn
            found |= _averages(truth, guess, ("macro", "weighted", "micro"))
            found["f1_samples"] = sk.f1_score(truth, guess, average="samples", zero_division=0)
    return {key: float(value) for key, value in found.items()}
