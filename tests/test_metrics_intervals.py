"""Confidence intervals: repeatable, exact where affordable, and they cover what they say."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from metric_cases import Array, several, single

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics import (
    Evaluation,
    counts,
    estimators,
    evaluate_scores,
    incidence,
    intervals,
    predictions_frame,
    rarity,
)
from mlflow_pt_eval.metrics.estimators import Draws
from mlflow_pt_eval.metrics.intervals import wilson
from mlflow_pt_eval.names import Task


@pytest.mark.parametrize(
    ("successes", "trials", "ends"),
    [
        (0, 10, (0, 0.2775)),
        (10, 10, (0.7225, 1)),
        (9, 10, (0.5958, 0.9821)),
        (50, 100, (0.4038, 0.5962)),
        (0, 1, (0, 0.7935)),
    ],
)
def test_wilsons_interval_is_the_textbooks(successes: int, trials: int, ends: tuple[float, float]) -> None:
    """Worked values (Newcombe 1998); it never leaves 0 … 1."""
    assert wilson(successes, trials) == pytest.approx(ends, abs=1e-4)


def test_the_keys_are_the_contracts() -> None:
    """Accuracy, F1 and ROC-AUC; without resamples accuracy alone."""
    assert set(evaluate_scores(*single(2, 200, 2), task="binary").intervals) == {"accuracy", "f1_macro", "roc_auc"}
    many = evaluate_scores(*single(1, 60, 3), task="multiclass")
    labels = evaluate_scores(*several(1, 60, 3), task="multilabel")
    assert set(many.intervals) == set(labels.intervals) == {"accuracy", "f1_macro", "roc_auc_macro"}
    assert set(evaluate_scores(*single(1, 60, 2), task="binary", bootstrap=0).intervals) == {"accuracy"}


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_each_interval_holds_its_metric(task: str) -> None:
    """Of samples enough for the bootstrap's bias not to matter."""
    case = several(2, 800, 4) if task == "multilabel" else single(2, 800, 2 if task == "binary" else 4)
    found = evaluate_scores(*case, task=task)  # type: ignore[arg-type]
    for key, (low, high) in found.intervals.items():
        assert low < found.metrics[key] < high


def test_the_seed_decides() -> None:
    """The same seed gives the same ends, another one others nearby."""
    case = single(3, 100, 3)
    one, again, other = (evaluate_scores(*case, task="multiclass", seed=seed).intervals for seed in (0, 0, 1))
    assert one == again
    assert one["roc_auc_macro"] != other["roc_auc_macro"]
    assert one["roc_auc_macro"] == pytest.approx(other["roc_auc_macro"], abs=0.02)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_the_linear_part_gives_nearly_the_same_intervals(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the exact bootstrap would take too long: at 3,000 samples the ends differ by chance only."""
    case = several(2, 3000, 4) if task == "multilabel" else single(2, 3000, 2 if task == "binary" else 4)
    exact = evaluate_scores(*case, task=task, bootstrap=3000).intervals  # type: ignore[arg-type]
    monkeypatch.setattr(estimators, "LARGEST_WORK", 0)
    linear = evaluate_scores(*case, task=task, bootstrap=3000).intervals  # type: ignore[arg-type]
    for key, (low, high) in exact.items():
        assert linear[key] == pytest.approx((low, high), abs=0.1 * (high - low))


@pytest.mark.parametrize("bootstrap", [-1, 1, 2, 99, True, 250.0, "a"])
def test_too_few_resamples_are_refused(bootstrap: Any) -> None:
    """A negative number is a mistake, not a wish for none; the ends of a few resamples are luck."""
    with pytest.raises(BadInput, match="the number of resamples is .*: give 0 for no intervals, or at least 100"):
        evaluate_scores(*single(1, 60, 2), task="binary", bootstrap=bootstrap)


@pytest.mark.parametrize("seed", [-1, "a", 0.5])
def test_a_seed_that_is_none_is_refused(seed: Any) -> None:
    """In one line, as everything."""
    with pytest.raises(BadInput, match="seed is .*: give a whole number"):
        evaluate_scores(*single(1, 60, 2), task="binary", seed=seed)


def one_apart(sizes: list[int], apart: float = 1.0) -> tuple[Array, Array]:
    """Return so many samples of each class, its score that much higher than those of the others."""
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes)
    logits = rng.standard_normal((len(labels), len(sizes)))
    logits[np.arange(len(labels)), labels] += apart
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


RARE: list[tuple[Task, list[int], set[str]]] = [
    ("binary", [999, 1], {"f1_macro"}),
    ("binary", [996, 4], {"f1_macro"}),
    ("binary", [4, 996], {"f1_macro"}),
    ("binary", [995, 5], {"f1_macro", "roc_auc"}),
    ("binary", [2, 2], set()),
    ("multiclass", [996, 4], {"f1_macro"}),
    ("multiclass", [300, 300, 1], {"f1_macro"}),
    ("multiclass", [300, 300, 8], {"f1_macro", "roc_auc_macro"}),
    ("multiclass", [10] * 100, {"f1_macro", "roc_auc_macro"}),
    ("multiclass", [10] * 99 + [1], {"f1_macro", "roc_auc_macro"}),
    ("multiclass", [1] * 30, set()),
]


@pytest.mark.parametrize(("task", "sizes", "known"), RARE)
def test_an_interval_that_the_data_cannot_support_is_left_out(task: Task, sizes: list[int], known: set[str]) -> None:
    """Of one positive the bootstrap sees no variance; of many classes a single rare one makes little of it."""
    found = evaluate_scores(*one_apart(sizes), task=task, curves=False)
    assert found.intervals.keys() == {"accuracy"} | known
    said = [text for text in found.warnings if text.startswith("no interval of")]
    area = "roc_auc" if task == "binary" else "roc_auc_macro"
    missing = " and ".join(key for key in ("f1_macro", area) if key not in known)
    assert said == ([f"no interval of {missing}: {intervals.FEW}."] if missing else [])


@pytest.mark.parametrize(
    ("classes", "each", "known", "outside"),
    [(1000, 3, False, False), (1000, 5, True, True), (1000, 20, True, False)],
)
def test_an_f1_outside_its_own_interval_is_named(classes: int, each: int, known: bool, outside: bool) -> None:
    """With 5 samples each of 1,000 classes the bias is larger than the noise, with 3 there is no interval."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, classes, classes * each)
    guess = np.where(rng.random(len(labels)) < 0.4, labels, rng.integers(0, classes, len(labels)))
    found = Evaluation.from_predictions(predictions_frame(labels, np.eye(classes, dtype=np.float32)[guess]))
    said = f"f1_macro {intervals.OUTSIDE}"
    assert ("f1_macro" in found.intervals) == known
    assert (f"no interval of f1_macro: {intervals.FEW}." in found.warnings) != known
    assert (said in found.warnings) == outside
    if known:
        low, high = found.intervals["f1_macro"]
        assert (low <= found.metrics["f1_macro"] <= high) != outside


@pytest.mark.parametrize("wrong", [False, True])
def test_a_perfect_score_has_no_interval(wrong: bool) -> None:
    """Nor its contrary: all resamples are alike, which is no certainty; Wilson's interval is honest about it."""
    labels = np.arange(30) % 2
    found = evaluate_scores(labels, np.eye(2)[1 - labels if wrong else labels], task="binary")
    assert found.metrics["roc_auc"] == found.metrics["f1_macro"] == (0 if wrong else 1)
    assert found.intervals.keys() == {"accuracy"}
    assert found.warnings == (f"no interval of f1_macro and roc_auc: {intervals.ALIKE}.",)


def test_a_perfect_score_has_no_interval_by_the_linear_part_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever rounding adds to it."""
    monkeypatch.setattr(estimators, "LARGEST_WORK", 0)
    labels = np.arange(300) % 3
    found = evaluate_scores(labels, np.eye(3)[labels] * 0.7 + 0.1, task="multiclass")
    assert found.intervals.keys() == {"accuracy"}


def test_one_sample_has_the_accuracys_interval_alone() -> None:
    """Which is wide."""
    found = evaluate_scores([1], np.array([[0.25, 0.75]]), task="binary").intervals
    assert found.keys() == {"accuracy"}
    assert found["accuracy"][0] < 0.3


def test_what_a_class_of_each_size_adds_to_the_samples_seen() -> None:
    """One class's own size; of several the rare ones count most, absent ones nothing."""
    assert rarity.seen(np.array([7])) == pytest.approx(7)
    assert rarity.seen(np.array([10] * 100)) == pytest.approx(10)
    assert rarity.seen(np.array([300, 300, 1])) == pytest.approx(1, abs=0.01)
    assert rarity.seen(np.array([0, 4])) == pytest.approx(4)
    assert rarity.seen(np.array([0, 0])) == 0


def normal_sample(rng: np.random.Generator, samples: int) -> tuple[Array, Array]:
    """Draw a binary task whose truth is known: scores of two normal distributions, one apart, 40 % positive."""
    labels = (rng.random(samples) < 0.4).astype(np.int64)
    chance = 1 / (1 + np.exp(-(rng.standard_normal(samples) + labels - 0.5)))
    return labels, np.stack([1 - chance, chance], axis=1)


def covered(found: Evaluation, truth: dict[str, float]) -> list[bool]:
    """Say of each metric whether its interval holds the truth."""
    return [found.intervals[key][0] <= value <= found.intervals[key][1] for key, value in truth.items()]


def test_the_intervals_cover_the_truth() -> None:
    """In 300 data sets of 150 samples about 95 % of the intervals hold the true value: 91 % to 98.5 % pass."""
    rng = np.random.default_rng(7)
    large = evaluate_scores(*normal_sample(rng, 2_000_000), task="binary", bootstrap=0, curves=False).metrics
    truth = {
        "accuracy": NormalDist().cdf(0.5),
        "f1_macro": large["f1_macro"],
        "roc_auc": NormalDist().cdf(1 / 2**0.5),
    }
    assert large["accuracy"] == pytest.approx(truth["accuracy"], abs=2e-3)
    runs = [
        covered(evaluate_scores(*normal_sample(rng, 150), task="binary", bootstrap=400, curves=False), truth)
        for _ in range(300)
    ]
    for key, share in zip(truth, np.mean(runs, axis=0), strict=True):
        assert 0.91 <= share <= 0.985, key
    assert intervals.CONFIDENCE == 0.95


@pytest.mark.parametrize(
    ("classes", "each", "slope", "right"), [(500, 10, 0.0, 0.7), (100, 7, 0.7, 0.4), (100, 25, 1.2, 0.8)]
)
def test_the_interval_of_an_f1_over_many_small_classes_covers_the_truth(
    classes: int, each: int, slope: float, right: float
) -> None:
    """Every resample's F1 is far below the data's, and that below the truth; of uneven classes the rare ones decide."""
    rng, held = np.random.default_rng(3), []
    shares = 1 / np.arange(1, classes + 1) ** slope
    shares /= shares.sum()
    recall, predicted = right + (1 - right) / classes, shares * right + (1 - right) / classes
    truth = float((2 * shares * recall / (shares + predicted)).mean())
    for seed in range(60):
        labels = rng.choice(classes, each * classes, p=shares)
        guess = np.where(rng.random(len(labels)) < right, labels, rng.integers(0, classes, len(labels)))
        of = incidence.of_confusion(counts.confusion_matrix(labels, guess, classes))
        ends = intervals.f1_interval(of, Draws(400, seed))
        held += [] if isinstance(ends, str) else [ends[0] <= truth <= ends[1]]
    assert len(held) >= 30
    assert np.mean(held) >= 0.87


def test_the_interval_of_an_area_of_few_positives_covers_the_truth() -> None:
    """Six or so beside 300, 1.5 standard deviations above them."""
    rng, held = np.random.default_rng(3), []
    for seed in range(300):
        labels = np.arange(300) < rng.binomial(300, 0.02)
        chance = 1 / (1 + np.exp(-rng.standard_normal(300) - 1.5 * labels))
        found = evaluate_scores(
            labels.astype(np.int64), np.stack([1 - chance, chance], axis=1), task="binary", bootstrap=200, seed=seed
        ).intervals
        if "roc_auc" in found:
            low, high = found["roc_auc"]
            held.append(low <= NormalDist().cdf(1.5 / 2**0.5) <= high)
    assert len(held) >= 150
    assert np.mean(held) >= 0.9
