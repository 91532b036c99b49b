"""The per-class table and the words for an AUC."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from metric_cases import several, single

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics import auc_band, evaluate_scores, per_class_frame
from mlflow_pt_eval.metrics.tables import metrics_text


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


def test_an_evaluation_shows_itself_in_a_few_lines() -> None:
    """What was evaluated on what, the main metrics with their intervals, what is to be known, where it is."""
    evaluation = evaluate_scores(*single(1, 400, 10), task="multiclass", bootstrap=100)
    known = {"model_uri": "models:/digits/3", "dataset_name": "digits", "run_id": "f" * 32, "warnings": ("a", "b")}
    lines = repr(replace(evaluation, **known)).split("\n")
    low, high = evaluation.intervals["accuracy"]
    assert lines[0] == "Evaluation of models:/digits/3 on digits, test split"
    assert lines[1] == "multiclass, 10 classes, 400 samples"
    assert lines[2].split() == ["metric", "value", "95%", "low", "high"]
    assert lines[3].split() == ["accuracy", *(f"{n:.4f}" for n in (evaluation.metrics["accuracy"], low, high))]
    assert lines[-2:] == ["warnings: 2", f"run: {'f' * 32}"]
    assert len(lines) <= 12


@pytest.mark.parametrize(
    ("labels", "scores", "said"),
    [(*single(1, 30, 2), "binary, 2 classes"), (*several(1, 30, 4), "multilabel, 4 labels"), ([0], [[0.5, 0.5]], "1 ")],
)
def test_an_evaluation_of_unknown_origin_shows_itself(labels: object, scores: object, said: str) -> None:
    """Without a model, a run or intervals there is less to say, and nothing is None."""
    task = "multilabel" if np.ndim(labels) == 2 else "binary"
    shown = repr(evaluate_scores(labels, scores, task=task, bootstrap=0))
    assert shown.startswith("Evaluation of a model, test split\n")
    assert said in shown
    assert "None" not in shown
    assert len(shown) < 800


def test_metrics_as_text_are_named_as_asked() -> None:
    """The command line says them as MLflow has them: the split in front."""
    evaluation = evaluate_scores(*single(1, 40, 3), task="multiclass", bootstrap=0)
    _, line = metrics_text(evaluation, ["log_loss"], prefix="test_").split("\n")
    assert line.split() == ["test_log_loss", f"{evaluation.metrics['log_loss']:.4f}", "-", "-"]
