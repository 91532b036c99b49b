"""Two models on the same samples: differences, tests, flips."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from metric_cases import Array, several, single

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics import estimators, evaluate_scores, flips, mcnemar, paired_difference, recall_changes
from mlflow_pt_eval.metrics.counts import BINARY, MULTILABEL, ONE_CLASS
from mlflow_pt_eval.names import Task

SAMPLES = 300


def two(task: Task) -> tuple[Array, Array, Array]:
    """Return labels and the scores of two models, the first one the better."""
    if task == "multilabel":
        labels, good = several(1, SAMPLES, 4)
        return labels, good, (0.6 * good + 0.4 * np.random.default_rng(2).random(good.shape)).astype(np.float32)
    classes = 2 if task == "binary" else 7
    labels, good = single(2, SAMPLES, classes)
    noise = np.random.default_rng(2).dirichlet(np.ones(classes), SAMPLES)
    return labels, good, (0.6 * good + 0.4 * noise).astype(np.float32)


MEANS = ("log_loss", "brier_score")
METRICS: list[tuple[Task, str]] = [
    *(("binary", key) for key in (*BINARY, *MEANS, "roc_auc", "average_precision")),
    *(("multiclass", key) for key in (*ONE_CLASS, *MEANS, "top_5_accuracy", "roc_auc_macro", "roc_auc_weighted")),
    *(("multilabel", key) for key in (*MULTILABEL, *MEANS, "accuracy", "hamming_loss", "average_precision_macro")),
]


@pytest.mark.parametrize(("task", "metric"), METRICS)
def test_the_difference_is_that_of_the_evaluations(task: Task, metric: str) -> None:
    """Candidate minus baseline, inside its interval, and the other way round mirrored."""
    labels, good, bad = two(task)
    ours, theirs = (evaluate_scores(labels, scores, task=task, bootstrap=0).metrics for scores in (good, bad))
    found = paired_difference(metric, labels, good, bad, resamples=300)
    assert found.difference == pytest.approx(ours[metric] - theirs[metric], abs=1e-9)
    assert found.low < found.difference < found.high
    mirrored = paired_difference(metric, labels, bad, good, resamples=300)
    assert mirrored.difference == pytest.approx(-found.difference, abs=1e-12)


@pytest.mark.parametrize(("task", "metric"), METRICS)
def test_the_linear_part_gives_nearly_the_same(task: Task, metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of data sets too large for the exact one."""
    labels, good, bad = two(task)
    exact = paired_difference(metric, labels, good, bad, resamples=2000)
    monkeypatch.setattr(estimators, "LARGEST_WORK", 0)
    linear = paired_difference(metric, labels, good, bad, resamples=2000)
    assert linear.difference == pytest.approx(exact.difference, abs=1e-12)
    width = exact.high - exact.low
    assert linear.high - linear.low == pytest.approx(width, rel=0.15)
    assert (linear.low, linear.high) == pytest.approx((exact.low, exact.high), abs=0.25 * width)


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro", "roc_auc_macro", "log_loss"])
def test_a_model_does_not_differ_from_itself(metric: str) -> None:
    """The same samples are drawn for both: the interval has no width."""
    labels, good, _ = two("multiclass")
    assert paired_difference(metric, labels, good, good, resamples=100) == pytest.approx((0, 0, 0), abs=1e-15)


def test_pairing_makes_the_interval_narrow() -> None:
    """Of two models that are wrong on nearly the same samples."""
    labels, good, _ = two("multiclass")
    nearly = good.copy()
    nearly[:3] = np.roll(nearly[:3], 1, axis=1)
    found = paired_difference("accuracy", labels, nearly, good)
    low, high = evaluate_scores(labels, good, task="multiclass", bootstrap=0).intervals["accuracy"]
    assert found.high - found.low < 0.5 * (high - low)


def test_predictions_are_enough_for_label_metrics() -> None:
    """And give the same as the scores that they come from."""
    labels, good, bad = two("multiclass")
    guesses = good.argmax(axis=1), bad.argmax(axis=1)
    for metric in ("f1_macro", "balanced_accuracy"):
        assert paired_difference(metric, labels, *guesses) == paired_difference(metric, labels, good, bad)
    truth, ours, theirs = two("multilabel")
    marks = (ours > 0.5).astype(int), (theirs > 0.5).astype(int)
    assert paired_difference("f1_macro", truth, *marks) == paired_difference("f1_macro", truth, ours, theirs)


def test_two_classes_have_macro_averages_too() -> None:
    """As a multiclass task has them; the key says which task it is."""
    labels, good, bad = two("binary")
    for metric in ("roc_auc_macro", "average_precision_macro", "roc_auc_weighted"):
        ours, theirs = (evaluate_scores(labels, each, task="multiclass", bootstrap=0).metrics for each in (good, bad))
        found = paired_difference(metric, labels, good, bad, resamples=100)
        assert found.difference == pytest.approx(ours[metric] - theirs[metric], abs=1e-9)


def test_the_loss_is_compared_by_the_samples_losses() -> None:
    """In place of outputs."""
    losses, more = np.arange(10.0), np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0])
    found = paired_difference("loss", np.zeros(10, int), losses, losses + more)
    assert found.difference == pytest.approx(-1.1)
    assert -1.5 < found.low < -1.1 < found.high <= -1


AREAS = [single(seed, 100, 2)[1] for seed in (1, 2)]
BAD: list[tuple[str, Any, Any, Any, dict[str, Any], str]] = [
    ("f2", [0, 1], [0, 1], [0, 1], {}, "'f2' has no paired interval: give one of accuracy"),
    ("roc_auc", [0, 1], [0, 1], [0, 1], {}, "roc_auc needs scores"),
    ("roc_auc", [0, 0], np.full((2, 2), 0.5), np.full((2, 2), 0.5), {}, "roc_auc is undefined"),
    ("accuracy", [0, 1], [0, 1, 1], [0, 1], {}, "labels have shape"),
    ("accuracy", [0, 1], ["a", "b"], [0, 1], {}, "give integers, or float scores"),
    ("accuracy", [0, -1], [0, 1], [0, 1], {}, "negative"),
    ("accuracy", [0, 1], np.full((2, 2), np.nan), [0, 1], {}, "NaN"),
    ("accuracy", [0, 1], [0, 1], [0, 1], {"confidence": 95}, "confidence is 95"),
    ("accuracy", [0, 1], [0, 1], [0, 1], {"resamples": 0}, "number of resamples is 0: give at least 100"),
    ("loss", [0, 1], [[1.0, 2.0]], [1.0, 2.0], {}, "losses have shape"),
    ("loss", [0, 1], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], {}, "losses have shape"),
    ("loss", [0, 1], [1.0, np.nan], [1.0, 2.0], {}, r"losses\[1\] is nan"),
    ("accuracy", [0, 1], [0, 1], [1, 0], {}, "accuracy has no paired interval: every resample gives the same value"),
    (
        "roc_auc",
        [0] * 96 + [1] * 4,
        *AREAS,
        {},
        "roc_auc has no paired interval: there are too few samples of the rare",
    ),
    ("roc_auc", [0, 1, 2], np.full((3, 3), 1 / 3), np.full((3, 3), 1 / 3), {}, "roc_auc is of a binary task"),
    ("f1", [0, 1, 2], [0, 1, 2], [0, 1, 2], {}, "f1 is of a binary task"),
]


@pytest.mark.parametrize(("metric", "labels", "candidate", "baseline", "options", "said"), BAD)
def test_what_cannot_be_compared_is_refused(
    metric: str, labels: Any, candidate: Any, baseline: Any, options: dict[str, Any], said: str
) -> None:
    """In one line."""
    with pytest.raises(BadInput, match=said):
        paired_difference(metric, labels, candidate, baseline, **options)


def outcome(only_candidate: int, only_baseline: int, both: int = 5) -> tuple[Array, Array, Array]:
    """Return labels and predictions of which so many are right in one model only."""
    labels = np.zeros(only_candidate + only_baseline + both, np.int64)
    candidate, baseline = labels.copy(), labels.copy()
    baseline[:only_candidate] = 1
    candidate[only_candidate : only_candidate + only_baseline] = 1
    return labels, candidate, baseline


@pytest.mark.parametrize(
    ("ups", "downs", "p_value"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (0, 5, 0.0625), (10, 2, 0.03857421875), (6, 6, 1.0)],
)
def test_few_flips_are_tested_exactly(ups: int, downs: int, p_value: float) -> None:
    """The two-sided binomial test of one half."""
    found = mcnemar(*outcome(ups, downs))
    assert (found.only_candidate, found.only_baseline, found.exact) == (ups, downs, True)
    assert found.p_value == pytest.approx(p_value, abs=1e-12)


def test_many_flips_are_tested_by_chi_squared() -> None:
    """With the continuity correction: (|600 - 500| - 1)² / 1100 = 8.91, of which p is 0.00284; the exact one agrees."""
    found = mcnemar(*outcome(600, 500))
    assert not found.exact
    assert found.p_value == pytest.approx(0.0028362, abs=1e-6)
    assert mcnemar(*outcome(500, 500)).p_value == 1
    edge = mcnemar(*outcome(540, 460))
    assert edge.exact
    assert edge.p_value == pytest.approx(0.0124566, abs=1e-4)


def test_flips_are_named_by_their_places() -> None:
    """What the candidate breaks, and what it mends; of several labels all must be right."""
    found = flips([0, 0, 1, 1], [0, 1, 1, 0], [1, 0, 1, 1])
    assert found.right_to_wrong.tolist() == [1, 3]
    assert found.wrong_to_right.tolist() == [0]
    several_labels = flips([[0, 1], [1, 1]], [[0, 1], [1, 0]], [[1, 1], [1, 1]])
    assert several_labels.right_to_wrong.tolist() == [1]
    assert several_labels.wrong_to_right.tolist() == [0]


def test_recalls_change_class_by_class() -> None:
    """NaN for a class that no sample has."""
    found = recall_changes([0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 1, 1], classes=3)
    assert found.tolist()[:2] == [0.5, -0.5]
    assert np.isnan(found[2])
    marks = recall_changes([[1, 0], [1, 0]], [[1, 0], [0, 1]], [[1, 0], [1, 0]], classes=2)
    assert marks.tolist()[0] == -0.5
    assert np.isnan(marks[1])


def test_more_classes_than_named_are_refused() -> None:
    """A table that is too short would hide some."""
    with pytest.raises(BadInput, match="classes is 2, the labels are of 3"):
        recall_changes([0, 2], [0, 2], [0, 2], classes=2)


def test_a_class_that_nobody_has_seen_is_still_class_1() -> None:
    """Its metrics are scikit-learn's zeros."""
    assert paired_difference("f1", [0, 0], [0, 0], [0, 0], resamples=100) == (0, 0, 0)
