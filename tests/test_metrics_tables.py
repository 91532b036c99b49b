"""The per-class table and the words for an AUC."""

from __future__ import annotations

import numpy as np
import pytest
from metric_cases import single

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics import auc_band, evaluate_scores, per_class_frame


def test_the_table_has_a_row_for_each_class() -> None:
    """With the contract's columns; NaN where a ranking metric is undefined."""
    labels, scores = single(1, 40, 3, "absent_class")
    frame = per_class_frame(evaluate_scores(labels, scores, task="multiclass", class_names=list("abc"), bootstrap=0))
    assert list(frame.columns) == ["class", "precision", "recall", "f1", "support", "roc_auc", "average_precision"]
    assert frame["class"].tolist() == ["a", "b", "c"]
    assert frame["support"].tolist() == np.bincount(labels, minlength=3).tolist()
    assert np.isnan(frame.loc[0, "roc_auc"])
    assert frame["support"].dtype == np.int64
    assert frame["roc_auc"].dtype == np.float64


@pytest.mark.parametrize(
    ("auc", "word"),
    [
        (1.0, "excellent"),
        (0.9, "excellent"),
        (0.8999, "good"),
        (0.8, "good"),
        (0.7, "fair"),
        (0.6, "poor"),
        (0.5, "fail"),
        (0.4999, "worse than chance"),
        (0.0, "worse than chance"),
    ],
)
def test_the_words_are_the_textbooks(auc: float, word: str) -> None:
    """A band holds its lower end."""
    assert auc_band(auc) == word


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_what_is_no_auc_has_no_word(value: float) -> None:
    """A mistake must not get a mark."""
    with pytest.raises(BadInput, match="is no AUC"):
        auc_band(value)
