"""Ranking metrics of weighted samples: scikit-learn's with `sample_weight`, and their linear parts."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import Array, several, single, single_cases

from mlflow_pt_eval.metrics import class_averages
from mlflow_pt_eval.metrics.inputs import Inputs, check
from mlflow_pt_eval.metrics.ladders import average_precision, climber, ladder, roc_auc

SAMPLES = 70
INPUTS = {
    "binary": check(*single(1, SAMPLES, 2, "tied"), task="binary"),
    "multiclass": check(*single(2, SAMPLES, 4, "tied"), task="multiclass"),
    "multilabel": check(*several(3, SAMPLES, 3, "tied"), task="multilabel"),
}
KEYS = [
    (task, key)
    for task in INPUTS
    for key in class_averages.RANKING
    if (task == "binary") == (not key.endswith(("_macro", "_weighted")))
]


def scikit(inputs: Inputs, key: str, weights: Array) -> float:
    """Return the weighted metric as scikit-learn computes it, class by class."""
    function = sk.roc_auc_score if key.startswith("roc") else sk.average_precision_score
    values, shares = [], []
    for index in class_averages.ranked_classes(inputs):
        mark = inputs.labels[:, index] if inputs.task == "multilabel" else inputs.labels == index
        values.append(function(mark, inputs.scores[:, index], sample_weight=weights))
        shares.append(mark @ weights if key.endswith("weighted") else 1)
    return float(np.average(values, weights=shares))


@settings(max_examples=60, deadline=None)
@given(single_cases(classes=st.just(2)), st.integers(0, 2**32 - 1))
def test_any_weights_give_scikit_learns_weighted_metrics(case: tuple[Array, Array], seed: int) -> None:
    """Zero weights too, as most samples have in some resample; NaN where nothing positive or negative is drawn."""
    labels, scores = case
    weights = np.random.default_rng(seed).integers(0, 3, (len(labels), 4)).astype(np.float32)
    rungs = climber(ladder(scores[:, 1], labels == 1))(weights)
    for column, (area, score) in enumerate(zip(roc_auc(rungs), average_precision(rungs), strict=True)):
        drawn = weights[:, column]
        ups, downs = drawn[labels == 1].sum(), drawn[labels == 0].sum()
        assert np.isnan(area) == (not ups or not downs)
        assert np.isnan(score) == (not ups)
        if ups and downs:
            assert area == pytest.approx(sk.roc_auc_score(labels, scores[:, 1], sample_weight=drawn), abs=1e-12)
        if ups:
            wanted = sk.average_precision_score(labels, scores[:, 1], sample_weight=drawn)
            assert score == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(("task", "key"), KEYS)
def test_averages_over_classes_are_scikit_learns(task: str, key: str) -> None:
    """Macro and by support, of the weights drawn."""
    inputs, weights = INPUTS[task], np.random.default_rng(4).integers(0, 4, (SAMPLES, 5)).astype(np.float32)
    found = class_averages.statistic(inputs, class_averages.RANKING[key], threads=2)(weights)
    assert found == pytest.approx([scikit(inputs, key, weights[:, column]) for column in range(5)], abs=1e-12)


@pytest.mark.parametrize(("task", "key"), KEYS)
def test_the_linear_part_is_the_derivative_by_each_weight(task: str, key: str) -> None:
    """Up to the one degree of freedom of a class's mean, by which ROC-AUC's is widened."""
    inputs, measure, step = INPUTS[task], class_averages.RANKING[key], 1e-3
    value, influence = class_averages.influence(inputs, measure, threads=2)
    statistic = class_averages.statistic(inputs, measure, threads=1)
    moved = step * np.eye(SAMPLES)
    slopes = (statistic((1 + moved).astype(np.float32)) - statistic((1 - moved).astype(np.float32))) / (2 * step)
    assert value == pytest.approx(scikit(inputs, key, np.ones(SAMPLES)), abs=1e-12)
    assert influence.sum() == pytest.approx(0, abs=1e-7)
    assert influence == pytest.approx(slopes, abs=0.05 * np.abs(slopes).max() if key.startswith("roc") else 1e-5)


def test_a_class_that_is_not_drawn_is_left_out_of_the_average() -> None:
    """As an absent class is in an evaluation; NaN where none is left."""
    scores = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    inputs = check([0, 1, 2, 1], scores, task="multiclass")
    value = class_averages.statistic(inputs, class_averages.RANKING["roc_auc_macro"], threads=1)
    found = value(np.array([[1, 1], [1, 0], [0, 0], [1, 0]], np.float32))
    assert found[0] == pytest.approx(
        (sk.roc_auc_score([1, 0, 0], [1, 0, 1]) + sk.roc_auc_score([0, 1, 1], [0, 1, 0])) / 2
    )
    assert np.isnan(found[1])


def test_a_label_that_all_samples_have_is_defined_for_average_precision_alone() -> None:
    """In the linear part as in the exact form."""
    truth, scores = several(1, 40, 3)
    truth[:, 0] = 1
    inputs, ones = check(truth, scores, task="multilabel"), np.ones((40, 1), np.float32)
    for key in ("roc_auc_macro", "average_precision_macro"):
        exact = class_averages.statistic(inputs, class_averages.RANKING[key], threads=1)(ones)
        assert class_averages.influence(inputs, class_averages.RANKING[key], threads=1)[0] == pytest.approx(exact[0])


def test_many_equal_scores_overflow_nothing() -> None:
    """Products of counts of 100,000 samples are beyond 32 bits."""
    labels = np.arange(100_000) % 2
    inputs = check(labels, np.full((100_000, 2), 0.5, np.float32), task="binary")
    for key in ("roc_auc", "average_precision"):
        value, influence = class_averages.influence(inputs, class_averages.RANKING[key], threads=1)
        assert value == 0.5
        assert np.abs(influence).max() <= 1e-5


def test_without_any_defined_class_there_is_no_linear_part() -> None:
    """NaN and zeros, so that nothing is made of it."""
    inputs = check([1, 1], np.full((2, 2), 0.5, np.float32), task="binary")
    value, influence = class_averages.influence(inputs, class_averages.RANKING["roc_auc"], threads=1)
    assert np.isnan(value)
    assert not influence.any()
