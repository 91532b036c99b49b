"""Every number of an evaluation is scikit-learn's, whatever the labels and scores; what is undefined is not there."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import (
    Array,
    answers_several,
    answers_single,
    by_class,
    close,
    several,
    several_cases,
    single,
    single_cases,
)

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics import Evaluation, blocks, evaluate_scores, groups, paired_difference

CONTRACT = {
    "accuracy", "balanced_accuracy", "precision_macro", "precision_weighted", "recall_macro", "recall_weighted",
    "f1_macro", "f1_weighted", "log_loss", "brier_score", "matthews_corrcoef", "cohen_kappa",
    "expected_calibration_error", "n_samples",
}  # fmt: skip
OF_BINARY = {"precision", "recall", "f1", "roc_auc", "average_precision"}
OF_MANY = {"roc_auc_macro", "roc_auc_weighted", "average_precision_macro", "top_5_accuracy"}


def assert_answers(found: Evaluation, wanted: dict[str, float]) -> None:
    """Compare every metric with scikit-learn's; one multilabel column is a binary task to it, with fewer answers."""
    if found.task != "multilabel" or len(found.class_names) > 1:
        assert found.metrics.keys() == wanted.keys()
    for key, value in wanted.items():
        assert close(found.metrics[key], value), key


def assert_per_class(found: Evaluation, truth: Array, scores: Array) -> None:
    """Compare each class's ranking metrics with scikit-learn's, and where they are None."""
    for row, area, precision in zip(found.per_class, *by_class(truth, scores), strict=True):
        for mine, theirs in ((row.roc_auc, area), (row.average_precision, precision)):
            assert (mine is None) == (theirs is None)
            assert mine is None or theirs is None or close(mine, theirs)


@settings(max_examples=80, deadline=None)
@given(single_cases(classes=st.just(2)))
def test_binary_metrics_are_scikit_learns(case: tuple[Array, Array]) -> None:
    """With ties, constant scores, one class only and a single sample too."""
    labels, scores = case
    found = evaluate_scores(labels, scores, task="binary", bootstrap=0)
    assert_answers(found, answers_single(labels, scores, binary=True))
    assert_per_class(found, labels[:, None] == np.arange(2), scores)
    assert np.array_equal(found.confusion, sk.confusion_matrix(labels, scores.argmax(axis=1), labels=[0, 1]))


@settings(max_examples=80, deadline=None)
@given(single_cases(classes=st.integers(2, 12)))
def test_multiclass_metrics_are_scikit_learns(case: tuple[Array, Array]) -> None:
    """With ties, absent classes, fewer samples than classes."""
    labels, scores = case
    found = evaluate_scores(labels, scores, task="multiclass", bootstrap=0)
    assert_answers(found, answers_single(labels, scores, binary=False))
    assert_per_class(found, labels[:, None] == np.arange(scores.shape[1]), scores)


@pytest.mark.parametrize(
    ("samples", "classes", "kind"),
    [(700, 33, "smooth"), (700, 33, "tied"), (400, 100, "tied"), (400, 100, "absent_class"), (1500, 1000, "tied")],
)
def test_many_classes_are_scikit_learns(samples: int, classes: int, kind: str) -> None:
    """Up to a thousand classes, where most occur once or never."""
    labels, scores = single(classes, samples, classes, kind)
    found = evaluate_scores(labels, scores, task="multiclass", bootstrap=0)
    assert_answers(found, answers_single(labels, scores, binary=False))


@settings(max_examples=80, deadline=None)
@given(several_cases())
def test_multilabel_metrics_are_scikit_learns(case: tuple[Array, Array]) -> None:
    """With labels that no sample has, or all have."""
    truth, scores = case
    found = evaluate_scores(truth, scores, task="multilabel", bootstrap=0)
    assert_answers(found, answers_several(truth, scores))
    assert_per_class(found, truth, scores)
    assert np.array_equal(found.confusion[:, 1, 1], (truth * (scores > 0.5)).sum(axis=0))
    assert (found.confusion.sum(axis=(1, 2)) == len(truth)).all()


@settings(max_examples=40, deadline=None)
@given(single_cases(classes=st.integers(2, 5)))
def test_the_log_loss_is_that_of_the_plain_call(case: tuple[Array, Array]) -> None:
    """As far as float32 goes, in which scikit-learn sums: 1e-6, of a loss above 1 the same share of it."""
    found = evaluate_scores(*case, task="multiclass", bootstrap=0).metrics["log_loss"]
    wanted = sk.log_loss(*case, labels=np.arange(case[1].shape[1]))
    assert close(found, wanted, 1e-6 * max(1, wanted))


@pytest.mark.parametrize("seed", range(5))
def test_the_brier_score_of_two_classes_is_that_of_class_1(seed: int) -> None:
    """As a user calls it; float32 columns don't add up to exactly 1, so that both together would give another."""
    labels, scores = single(seed, 3, 2)
    wanted = sk.brier_score_loss(labels, scores[:, 1].astype(np.float64), pos_label=1)
    found = evaluate_scores(labels, scores, task="binary", bootstrap=0).metrics["brier_score"]
    assert found == pytest.approx(wanted, abs=1e-12)
    worse = scores[:, ::-1].copy()
    against = evaluate_scores(labels, worse, task="binary", bootstrap=0).metrics["brier_score"]
    pair = paired_difference("brier_score", labels, scores, worse, resamples=100)
    assert pair.difference == pytest.approx(found - against, abs=1e-12)


def test_the_averages_are_the_calls_that_the_contract_names() -> None:
    """Where every class occurs, `roc_auc_score(multi_class="ovr")` itself gives the number."""
    labels, scores = single(3, 500, 4)
    scores = scores.astype(np.float64)
    scores /= scores.sum(axis=1, keepdims=True)
    found = evaluate_scores(labels, scores.astype(np.float32), task="multiclass", bootstrap=0).metrics
    again = scores.astype(np.float32).astype(np.float64)
    for average in ("macro", "weighted"):
        wanted = sk.roc_auc_score(labels, again, multi_class="ovr", average=average)
        assert close(found[f"roc_auc_{average}"], wanted)
    assert close(found["average_precision_macro"], sk.average_precision_score(labels, again))


def test_the_keys_are_the_contracts() -> None:
    """Neither more nor fewer, for each task; a loss only where one is given."""
    binary = evaluate_scores(*single(1, 50, 2), task="binary", bootstrap=0)
    many = evaluate_scores(*single(1, 50, 7), task="multiclass", bootstrap=0, loss=0.25)
    assert set(binary.metrics) == CONTRACT | OF_BINARY
    assert set(many.metrics) == CONTRACT | OF_MANY | {"loss"}
    assert many.metrics["loss"] == 0.25


def test_the_loss_is_the_mean_over_samples() -> None:
    """A ragged last batch cannot weigh more, since the samples' own losses are averaged."""
    labels, scores = single(1, 5, 2)
    found = evaluate_scores(labels, scores, task="binary", losses=[1.0, 2.0, 3.0, 4.0, 0.0], bootstrap=0)
    assert found.metrics["loss"] == 2.0


@pytest.mark.parametrize("losses", [[1.0, 2.0], [[1.0, 2.0, 3.0]]])
def test_losses_of_another_shape_are_refused(losses: list[float]) -> None:
    """A loss that is not one a sample is no sample's loss."""
    with pytest.raises(BadInput, match="losses have shape"):
        evaluate_scores(*single(1, 3, 2), task="binary", losses=losses)


def test_a_loss_that_is_not_finite_is_refused() -> None:
    """A diverged criterion says so here, and not in a metric."""
    with pytest.raises(BadInput, match=r"losses\[1\] is nan; 1 of 3"):
        evaluate_scores(*single(1, 3, 2), task="binary", losses=[1.0, float("nan"), 2.0])
    with pytest.raises(BadInput, match="the loss is inf"):
        evaluate_scores(*single(1, 3, 2), task="binary", loss=float("inf"))


def test_both_kinds_of_loss_are_refused() -> None:
    """Two sources of one number would be one too many."""
    with pytest.raises(BadInput, match="both given"):
        evaluate_scores(*single(1, 3, 2), task="binary", losses=[1.0, 1.0, 1.0], loss=1.0)


def test_an_absent_class_is_named_once() -> None:
    """Left out of the ranking averages, kept in the table, and said."""
    found = evaluate_scores([0, 0, 2], np.full((3, 3), 1 / 3), task="multiclass", class_names=["ant", "bee", "cat"])
    assert [row.roc_auc for row in found.per_class] == [0.5, None, 0.5]
    assert len([text for text in found.warnings if "'bee'" in text]) == 1


def test_one_class_only_has_no_ranking_metric() -> None:
    """Never 0, never NaN: the key is not there, and the reason is said."""
    found = evaluate_scores([1, 1], np.full((2, 2), 0.5), task="binary")
    assert "roc_auc" not in found.metrics
    assert "roc_auc" not in found.intervals
    assert "cohen_kappa" in found.metrics
    assert not found.curves.roc
    assert "ROC-AUC" in " ".join(found.warnings)


def test_nothing_that_is_said_is_not_a_number() -> None:
    """NaN stands in no metric and no interval, of any task and kind."""
    for kind in ("constant", "one_class", "absent_class"):
        found = evaluate_scores(*single(5, 6, 4, kind), task="multiclass", bootstrap=100)
        assert all(np.isfinite(value) for value in found.metrics.values())
        assert all(np.isfinite(ends).all() for ends in found.intervals.values())


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is cut by its size and put together in order, so that every bit stays."""
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 64)
    for task, case in (("multiclass", single(7, 300, 9)), ("multilabel", several(7, 300, 5))):
        one, three = (
            evaluate_scores(*case, task=task, threads=threads, bootstrap=100, micro=True) for threads in (1, 3)
        )
        assert json.dumps(one.to_json()) == json.dumps(three.to_json())


@settings(max_examples=40, deadline=None)
@given(single_cases(classes=st.integers(2, 4)))
def test_slices_of_long_rows_change_nothing(case: tuple[Array, Array]) -> None:
    """A row of millions is worked through in slices; here they hold five keys."""
    whole = evaluate_scores(*case, task="multiclass", bootstrap=0, micro=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "LONG", 1)
        patch.setattr(groups, "BLOCK_VALUES", 5)
        patch.setattr("mlflow_pt_eval.metrics.ranking.LONG", 1)
        sliced = evaluate_scores(*case, task="multiclass", bootstrap=0, micro=True)
    assert_same(sliced, whole)


def assert_same(found: Evaluation, wanted: Evaluation) -> None:
    """Compare two evaluations up to the order of float sums."""
    assert found.metrics.keys() == wanted.metrics.keys()
    assert all(close(found.metrics[key], wanted.metrics[key], 1e-12) for key in found.metrics)
    for mine, theirs in zip(found.curves.roc, wanted.curves.roc, strict=True):
        assert np.array_equal(mine.fpr, theirs.fpr)
        assert np.array_equal(mine.thresholds, theirs.thresholds)


def test_scores_at_the_edges_of_float32_are_taken() -> None:
    """Zeros of either sign tie, and 1.0000001, which a softmax may round to, is a probability."""
    scores = np.array([[-0.0, 1.0000001], [0.0, 1.0], [1.0, 0.0], [1.0, -0.0]], np.float32)
    found = evaluate_scores([0, 1, 0, 1], scores, task="binary", bootstrap=0)
    wanted = sk.roc_auc_score([0, 1, 0, 1], scores[:, 1])
    assert close(found.metrics["roc_auc"], wanted)
    assert close(found.metrics["average_precision"], sk.average_precision_score([0, 1, 0, 1], scores[:, 1]))


def test_the_micro_curve_ranks_all_decisions_together() -> None:
    """Its area is scikit-learn's of the flattened matrices."""
    labels, scores = single(11, 200, 5, "tied")
    found = evaluate_scores(labels, scores, task="multiclass", bootstrap=0, micro=True).curves.roc_micro
    assert found is not None
    assert close(found.auc, sk.roc_auc_score((labels[:, None] == np.arange(5)).ravel(), scores.ravel()))


def test_curves_are_left_out_when_asked() -> None:
    """The numbers stay what they are."""
    case = single(2, 100, 3)
    bare = evaluate_scores(*case, task="multiclass", bootstrap=0, curves=False)
    assert not bare.curves.roc
    assert bare.curves.calibration is None
    assert bare.metrics == evaluate_scores(*case, task="multiclass", bootstrap=0).metrics


def test_the_inputs_are_left_as_they_are() -> None:
    """Sorting happens in a copy."""
    labels, scores = single(2, 100, 3)
    before = labels.copy(), scores.copy()
    evaluate_scores(labels, scores, task="multiclass", bootstrap=100)
    assert np.array_equal(labels, before[0])
    assert np.array_equal(scores, before[1])
