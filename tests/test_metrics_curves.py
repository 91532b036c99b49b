"""ROC and precision-recall curves: every point is scikit-learn's, none is lost that bends the line."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import Array, close, single, single_cases

from mlflow_pt_eval.metrics import evaluate_scores
from mlflow_pt_eval.metrics.curves import grid_for
from mlflow_pt_eval.metrics.result import PrecisionRecallCurve, RocCurve


def points(*columns: Array) -> set[tuple[float, ...]]:
    """Return a curve's points as a set."""
    return set(zip(*(column.round(12).tolist() for column in columns), strict=True))


def assert_roc(curve: RocCurve, mark: Array, score: Array) -> None:
    """Compare a whole (not thinned) curve with scikit-learn's: the same line, its points and thresholds."""
    fpr, tpr, thresholds = sk.roc_curve(mark, score, drop_intermediate=False)
    assert points(curve.fpr, curve.tpr, curve.thresholds) <= points(fpr, tpr, thresholds.astype(np.float64))
    assert close(np.trapezoid(curve.tpr, curve.fpr), curve.auc)
    assert close(curve.auc, sk.roc_auc_score(mark, score))
    assert curve.thresholds[0] == np.inf
    assert (np.diff(curve.thresholds) < 0).all()
    assert (curve.fpr[[0, -1]] == [0, 1]).all()
    assert (curve.tpr[[0, -1]] == [0, 1]).all()


@settings(max_examples=80, deadline=None)
@given(single_cases(classes=st.integers(2, 5)))
def test_roc_corners_are_scikit_learns_points(case: tuple[Array, Array]) -> None:
    """Points on a straight line are dropped, the area under the corners is that under all."""
    labels, scores = case
    names = [f"class {index}" for index in range(scores.shape[1])]
    found = evaluate_scores(labels, scores, task="multiclass", class_names=names, bootstrap=0).curves
    defined = [index for index in range(len(names)) if 0 < (labels == index).sum() < len(labels)]
    assert [curve.name for curve in found.roc] == [names[index] for index in defined]
    for curve, index in zip(found.roc, defined, strict=True):
        assert_roc(curve, (labels == index).astype(int), scores[:, index])


def steps_area(curve: PrecisionRecallCurve) -> float:
    """Return the area that average precision is: each step of recall at the precision that it ends in."""
    return float((np.diff(curve.recall) * curve.precision[1:]).sum())


@settings(max_examples=80, deadline=None)
@given(single_cases(classes=st.integers(2, 5)))
def test_precision_recall_points_are_scikit_learns(case: tuple[Array, Array]) -> None:
    """One point for each step of recall, from (0, 1) on; the steps' area is the average precision."""
    labels, scores = case
    names = [str(index) for index in range(scores.shape[1])]
    found = evaluate_scores(labels, scores, task="multiclass", bootstrap=0).curves.precision_recall
    for curve in found:
        mark, score = (labels == int(curve.name)).astype(int), scores[:, int(curve.name)]
        precision, recall, _ = sk.precision_recall_curve(mark, score)
        assert points(curve.precision, curve.recall) <= points(precision, recall)
        assert close(steps_area(curve), curve.average_precision)
        assert curve.prevalence == mark.mean()
        assert (np.diff(curve.recall) > 0).all()
    assert [curve.name for curve in found] == [name for name in names if (labels == int(name)).any()]


@pytest.mark.parametrize("samples", [30_000, 700_000])
def test_thinning_keeps_the_line_within_its_grid(samples: int) -> None:
    """Curves of very many points stay within 1/1000 of the axis of the whole line; their area stays that of all."""
    labels, scores = single(4, samples, 2)
    found = evaluate_scores(labels, scores, task="binary", bootstrap=0).curves
    (curve,), (other,) = found.roc, found.precision_recall
    fpr, tpr, thresholds = sk.roc_curve(labels, scores[:, 1], drop_intermediate=False)
    assert points(curve.fpr, curve.tpr, curve.thresholds) <= points(fpr, tpr, thresholds.astype(np.float64))
    assert len(curve.fpr) < 5000
    assert len(other.recall) < 5000
    height = np.interp(fpr + tpr, curve.fpr + curve.tpr, curve.tpr - curve.fpr)  # along the diagonal both lines rise
    assert np.abs(height - (tpr - fpr)).max() < 2 / grid_for(2)
    assert close(curve.auc, sk.roc_auc_score(labels, scores[:, 1]))
    assert close(np.trapezoid(curve.tpr, curve.fpr), curve.auc, 1e-4)
    assert close(steps_area(other), other.average_precision, 2e-3)


def test_the_macro_curve_is_the_classes_mean() -> None:
    """At every fpr; its area is the mean of the classes' areas, its thresholds are none."""
    case = single(6, 400, 5)
    found = evaluate_scores(*case, task="multiclass", bootstrap=0)
    macro = found.curves.roc_macro
    assert macro is not None
    assert macro.auc == pytest.approx(found.metrics["roc_auc_macro"], abs=1e-12)
    assert np.isnan(macro.thresholds).all()
    for fpr in (1e-4, 0.0131, 0.25, 0.9):
        wanted = np.mean([np.interp(fpr, curve.fpr, curve.tpr) for curve in found.curves.roc])
        assert close(np.interp(fpr, macro.fpr, macro.tpr), wanted, 1e-3)
    assert close(np.trapezoid(macro.tpr, macro.fpr), macro.auc, 1e-5)
    assert (macro.fpr[0], macro.tpr[0], macro.fpr[-1], macro.tpr[-1]) == (0, 0, 1, 1)


@pytest.mark.parametrize("classes", [3, 100])
def test_the_macro_curve_of_a_good_model_is_exact_in_its_corner(classes: int) -> None:
    """There it rises within a thousandth of the axis; nowhere is it below every one of the curves."""
    labels, scores = single(8, 20_000, classes)
    scores[np.arange(len(labels)), labels] += 6 * np.sort(np.random.default_rng(0).random(len(labels))).astype(
        np.float32
    )
    scores /= scores.sum(axis=1, keepdims=True)
    curves = evaluate_scores(labels, scores, task="multiclass", bootstrap=0).curves
    macro = curves.roc_macro
    assert macro is not None
    for fpr in (0.0001, 0.0003, 0.001, 0.002, 0.004, 0.05):
        wanted = np.mean([np.interp(fpr, curve.fpr, curve.tpr) for curve in curves.roc])
        assert close(np.interp(fpr, macro.fpr, macro.tpr), wanted, 2e-3)
    assert close(np.trapezoid(macro.tpr, macro.fpr), macro.auc, 1e-5)
    assert len(macro.fpr) <= 1600


def test_a_binary_task_has_the_curves_of_class_1() -> None:
    """Those of class 0 would show the same once more, mirrored."""
    found = evaluate_scores(*single(6, 100, 2), task="binary", class_names=["no", "yes"], bootstrap=0).curves
    assert [curve.name for curve in (*found.roc, *found.precision_recall)] == ["yes", "yes"]
    assert found.roc_macro is None


def _slices(recall: Array, precision: Array, grid: int) -> dict[int, tuple[float, float]]:
    """Return the lowest and the highest precision in each slice of recall."""
    found: dict[int, tuple[float, float]] = {}
    for at, value in zip(np.floor(recall * grid).astype(int).tolist(), precision.tolist(), strict=True):
        low, high = found.get(at, (value, value))
        found[at] = min(low, value), max(high, value)
    return found


@pytest.mark.parametrize(("samples", "classes"), [(60_000, 2), (700_000, 2), (120_000, 30)])
def test_a_thinned_precision_recall_curve_keeps_the_precisions_of_every_slice_of_recall(samples, classes) -> None:
    """Where it jumps within one, lowest and highest are there, be it that a row is worked through in pieces."""
    labels, scores = single(4, samples, classes)
    task = "binary" if classes == 2 else "multiclass"
    curve = evaluate_scores(labels, scores, task=task, bootstrap=0).curves.precision_recall[-1]
    grid, mark = grid_for(classes), (labels == classes - 1).astype(int)
    precision, recall, _ = sk.precision_recall_curve(mark, scores[:, classes - 1])
    steps = np.append(np.diff(recall) < 0, False)  # one point a score of a positive: the lowest of those at its recall
    whole, kept = _slices(recall[steps], precision[steps], grid), _slices(curve.recall[1:], curve.precision[1:], grid)
    assert kept.keys() == whole.keys()
    for at, (low, high) in whole.items():
        assert abs(kept[at][0] - low) < 2 / grid
        assert abs(kept[at][1] - high) < 2 / grid
    assert points(curve.precision, curve.recall) <= points(precision, recall)


@pytest.mark.parametrize(("samples", "classes", "most"), [(400_000, 2, 3100), (200_000, 10, 3100), (100_000, 100, 650)])
def test_long_curves_have_few_points(samples: int, classes: int, most: int) -> None:
    """An evaluation is a file of some megabytes, however many samples it was of."""
    labels, scores = single(7, samples, classes)
    task = "binary" if classes == 2 else "multiclass"
    found = evaluate_scores(labels, scores, task=task, bootstrap=0).curves
    assert max(len(curve.fpr) for curve in found.roc) <= most
    assert max(len(curve.recall) for curve in found.precision_recall) <= 2 * most
    assert sum(len(curve.recall) for curve in found.precision_recall) <= most * len(found.precision_recall)
