"""What cannot be evaluated is refused in one line that says where, what and how many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics import evaluate_scores

HALF = np.full((4, 2), 0.5, np.float32)
THIRD = np.full((4, 3), 1 / 3, np.float32)


def changed(scores: Any, place: tuple[int, int], value: float) -> Any:
    """Return a copy of *scores* with one other value."""
    copy = scores.copy()
    copy[place] = value
    return copy


TABLE = [
    ([0, 1, 0, 1], changed(HALF, (2, 1), np.nan), "binary", r"scores\[2, 1\] is nan; 1 of 8 are NaN or infinite"),
    ([0, 1, 0, 1], changed(HALF, (0, 0), -np.inf), "binary", r"scores\[0, 0\] is -inf; 1 of 8 are NaN or infinite"),
    ([0, 1, 0, 1], changed(HALF, (3, 0), -0.1), "binary", r"scores\[3, 0\] is -0\.1.*; 1 of 8 are outside 0 … 1"),
    ([0, 1, 0, 1], changed(HALF, (3, 0), 1.1), "binary", r"scores\[3, 0\] is 1\.1.*; 1 of 8 are outside 0 … 1"),
    ([0, 1, 0, 1], HALF * 4, "binary", r"scores\[0, 0\] is 2\.0; 8 of 8 are outside 0 … 1.*logits"),
    ([0, 1, 2, 1], THIRD / 2, "multiclass", r"scores\.sum\(axis=1\)\[0\] is 0\.50.*; 4 of 4 are not 1"),
    ([0, 1, 2, 3], THIRD, "multiclass", r"labels\[3\] is 3; 1 of 4 are outside 0 … 2"),
    ([0, -1, 2, -1], THIRD, "multiclass", r"labels\[1\] is -1; 2 of 4 are outside 0 … 2"),
    ([0, 0.5, 1, 2], THIRD, "multiclass", r"labels\[1\] is 0\.5; 1 of 4 are not whole numbers"),
    ([0, np.nan, 1, 2], THIRD, "multiclass", r"labels\[1\] is nan; 1 of 4 are not whole numbers"),
    ([0, np.inf, 1, 2], THIRD, "multiclass", r"labels\[1\] is inf; 1 of 4 are not whole numbers"),
    (["a", "b", "a", "b"], HALF, "binary", "labels have dtype"),
    ([0, 1, 0], HALF, "binary", "there are 3 labels and 4 rows of scores"),
    ([[0], [1], [0], [1]], HALF, "binary", r"labels have shape \(4, 1\)"),
    ([0, 1, 0, 1], THIRD, "binary", "scores have 3 columns, a binary task has exactly 2"),
    ([0, 0, 0, 0], HALF[:, :1], "multiclass", "scores have 1 columns, a multiclass task has at least 2"),
    ([0, 1, 0, 1], HALF[:, 0], "binary", r"scores have shape \(4,\)"),
    ([0, 1, 0, 1], HALF.astype(int), "binary", "scores have dtype int64"),
    ([], HALF[:0], "binary", "there are no samples"),
    (np.zeros((4, 2)), THIRD, "multilabel", "labels have 2 columns and scores 3"),
    (np.full((4, 2), 2), HALF, "multilabel", r"labels\[0, 0\] is 2; 8 of 8 are outside 0 … 1"),
    ([0, 1, 0, 1], HALF, "multilabel", r"labels have shape \(4,\), a multilabel task needs"),
    (np.zeros((4, 2)), changed(HALF, (1, 1), 1.5), "multilabel", r"scores\[1, 1\] is 1\.5; 1 of 8 are outside"),
]


@pytest.mark.parametrize(("labels", "scores", "task", "said"), TABLE)
def test_bad_input_is_one_line(labels: Any, scores: Any, task: Any, said: str) -> None:
    """The place is the first, the count is of all."""
    with pytest.raises(BadInput, match=said) as caught:
        evaluate_scores(labels, scores, task=task)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_class_names_must_fit() -> None:
    """Names of other classes would name the wrong ones."""
    with pytest.raises(BadInput, match="3 class names and 2 columns"):
        evaluate_scores([0, 1, 0, 1], HALF, task="binary", class_names=["a", "b", "c"])


@pytest.mark.parametrize("names", [["a", ""], ["a", "a"], ["a", None], {"a", "b"}, 3, [1, "1"]])
def test_class_names_are_each_a_name(names: Any) -> None:
    """By the rule of `check_class_names`, wherever names are given."""
    with pytest.raises(BadInput, match="class_names"):
        evaluate_scores([0, 1, 0, 1], HALF, task="binary", class_names=names)


def test_an_unknown_task_is_refused() -> None:
    """A typo must not silently become another task."""
    with pytest.raises(BadInput, match="'multi-class' is no task"):
        evaluate_scores([0, 1, 0, 1], HALF, task="multi-class")  # type: ignore[arg-type]


@pytest.mark.parametrize("place", [(0, 0), (99_999, 9)])
def test_a_bad_score_is_found_wherever_it_stands(place: tuple[int, int]) -> None:
    """In the first block as in the last, by its place in the whole."""
    scores = np.full((100_000, 10), 0.1, np.float32)
    scores[place] = np.nan
    with pytest.raises(BadInput, match=rf"scores\[{place[0]}, {place[1]}\] is nan; 1 of 1000000"):
        evaluate_scores(np.zeros(100_000, int), scores, task="multiclass")


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.float64, bool])
def test_labels_of_any_kind_of_number_are_taken(kind: type) -> None:
    """What counts is that they are whole."""
    found = evaluate_scores(np.array([0, 1, 0, 1], kind), HALF, task="binary", bootstrap=0)
    assert found.confusion.tolist() == [[2, 0], [2, 0]]


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_scores_are_rounded_to_float32(kind: type) -> None:
    """One precision, one order, whatever was given; Fortran order too."""
    scores = np.asfortranarray(np.array([[0.25, 0.75], [0.5, 0.5]], kind))
    found = evaluate_scores([1, 0], scores, task="binary", bootstrap=0)
    assert found.metrics == evaluate_scores([1, 0], scores.astype(np.float32), task="binary", bootstrap=0).metrics


def test_threads_must_be_some() -> None:
    """None is for as many as there are processors."""
    with pytest.raises(BadInput, match="threads is 0"):
        evaluate_scores([0, 1, 0, 1], HALF, task="binary", threads=0)


def test_rows_may_be_off_one_as_far_as_float32_is() -> None:
    """Exactly as far as scikit-learn's log_loss grants, decided in float64."""
    scores = np.full((5, 4), 0.25, np.float32)
    scores[3, 0] += 3.4e-4
    assert evaluate_scores([0, 1, 2, 3, 0], scores, task="multiclass", bootstrap=0).n_samples == 5
    scores[3, 0] += 1e-5
    with pytest.raises(BadInput, match=r"scores\.sum\(axis=1\)\[3\] is 1\.0003.*; 1 of 5 are not 1"):
        evaluate_scores([0, 1, 2, 3, 0], scores, task="multiclass")
