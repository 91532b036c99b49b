"""Label metrics of stacks of counts, and of weighted samples through incidence matrices."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn.metrics as sk
from metric_cases import Array, several, single

from mlflow_pt_eval.metrics import counts, incidence
from mlflow_pt_eval.metrics.counts import BINARY, MULTILABEL, ONE_CLASS, Margins

SCIKIT = {
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "matthews_corrcoef": sk.matthews_corrcoef,
    "cohen_kappa": sk.cohen_kappa_score,
    **{
        f"{name}_{average}": lambda *pair, function=function, average=average, **more: function(
            *pair, average=average, zero_division=0, **more
        )
        for name, function in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score))
        for average in ("macro", "weighted", "micro")
    },
}


def weighted(labels: Array, guess: Array, key: str, weights: Array) -> float:
    """Return scikit-learn's weighted metric of the samples that are drawn at all."""
    drawn = weights > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(SCIKIT[key](labels[drawn], guess[drawn], sample_weight=weights[drawn]))


@pytest.mark.parametrize("key", ONE_CLASS)
def test_any_weights_give_scikit_learns_weighted_metric(key: str) -> None:
    """A resample's metric is exact: also where a class is not drawn, it is that of the samples drawn."""
    labels, scores = single(1, 60, 5)
    guess, rng = scores.argmax(axis=1), np.random.default_rng(2)
    for samples in (60, 6):
        weights = rng.multinomial(samples, np.full(60, 1 / 60), size=20)
        atoms, _ = incidence.of_pairs(labels, guess, guess)
        which = np.unique((labels * 5 + guess) * 5 + guess, return_inverse=True)[1]
        drawn = np.stack([np.bincount(which, weights=row, minlength=len(atoms.counts)) for row in weights], axis=1)
        wanted = [weighted(labels, guess, key, row) for row in weights]
        assert ONE_CLASS[key](atoms.margins(drawn)) == pytest.approx(wanted, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("key", MULTILABEL)
def test_multilabel_weights_too(key: str) -> None:
    """Each sample is an atom."""
    truth, scores = several(3, 50, 4)
    guess = (scores > 0.5).astype(int)
    weights = np.random.default_rng(2).integers(0, 3, (50, 10))
    found = MULTILABEL[key](incidence.of_indicators(truth != 0, guess != 0).margins(weights.astype(np.float32)))
    assert found == pytest.approx([weighted(truth, guess, key, row) for row in weights.T], abs=1e-12)


@pytest.mark.parametrize("key", BINARY)
def test_the_linear_part_of_a_label_metric_is_its_derivative(key: str) -> None:
    """By the weight of each atom."""
    labels, scores = single(4, 80, 2)
    atoms = incidence.of_confusion(counts.confusion_matrix(labels, scores.argmax(axis=1), 2))
    moved = 1e-4 * np.eye(len(atoms.counts))
    up, down = (BINARY[key](atoms.margins(atoms.counts[:, None] + sign * moved)) for sign in (1, -1))
    slopes = (up - down) / 2e-4
    assert atoms.influence(BINARY[key]) == pytest.approx(slopes - slopes @ atoms.counts / 80, abs=1e-6)


def test_the_linear_part_of_a_multilabel_metric_is_its_derivative() -> None:
    """By the weight of each sample."""
    truth, scores = several(3, 50, 4, "absent_class")
    atoms = incidence.of_indicators(truth != 0, scores > 0.5)
    moved = 1e-4 * np.eye(50)
    for statistic in MULTILABEL.values():
        slopes = (statistic(atoms.margins(1 + moved)) - statistic(atoms.margins(1 - moved))) / 2e-4
        assert atoms.influence(statistic) == pytest.approx(slopes - slopes.mean(), abs=1e-6)


def test_a_confusion_matrix_is_counted_in_parts_without_a_difference() -> None:
    """Millions of samples are counted a million at a time."""
    labels = np.random.default_rng(0).integers(0, 3, 2_100_000)
    guess = np.roll(labels, 1).astype(np.uint16)
    assert np.array_equal(counts.confusion_matrix(labels, guess, 3), sk.confusion_matrix(labels, guess))


def test_undefined_metrics_are_left_out() -> None:
    """Kappa of one class; scikit-learn's own zeros stay zeros."""
    found = counts.metrics(Margins(np.array([5, 0]), np.array([5, 0]), np.array([5, 0])), ONE_CLASS)
    assert "cohen_kappa" not in found
    assert found["matthews_corrcoef"] == 0
    assert found["f1_macro"] == 1
