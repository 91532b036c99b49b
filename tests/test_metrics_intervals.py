"""Confidence intervals: repeatable, exact where affordable, and they cover what they say."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from metric_cases import Array, several, single

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics import Evaluation, counts, estimators, evaluate_scores, incidence, intervals
from mlflow_pt_eval.metrics.estimators import Draws
from mlflow_pt_eval.metrics.intervals import wilson


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
    assert set(evaluate_scores(*single(1, 60, 2), task="binary").intervals) == {"accuracy", "f1_macro", "roc_auc"}
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


def test_too_few_resamples_are_refused() -> None:
    """A negative number is a mistake, not a wish for none."""
    with pytest.raises(BadInput, match="resamples is -1"):
        evaluate_scores(*single(1, 60, 2), task="binary", bootstrap=-1)


def test_a_single_sample_has_intervals_without_a_width() -> None:
    """Of F1, which the bootstrap cannot know better; Wilson's is honest about it."""
    found = evaluate_scores([1], np.array([[0.25, 0.75]]), task="binary").intervals
    assert found["f1_macro"] == (1, 1)
    assert found["accuracy"][0] < 0.3


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


def test_the_interval_of_an_f1_over_many_small_classes_covers_the_truth() -> None:
    """500 classes of some 10 samples: every resample's F1 is far below the data's, and the data's below the truth."""
    rng, classes, held = np.random.default_rng(3), 500, []
    for seed in range(60):
        labels = rng.integers(0, classes, 10 * classes)
        guess = np.where(rng.random(len(labels)) < 0.7, labels, rng.integers(0, classes, len(labels)))
        of = incidence.of_confusion(counts.confusion_matrix(labels, guess, classes))
        low, high = intervals.f1_interval(of, Draws(400, seed))
        held.append(low <= 0.7 + 0.3 / classes <= high)
    assert np.mean(held) >= 0.87
