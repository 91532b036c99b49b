"""The stored predictions: complete, and enough to compute an evaluation again."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from metric_cases import Array, several, single

from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.metrics import Evaluation, evaluate_scores, predictions_frame
from mlflow_pt_eval.metrics.stored import read
from mlflow_pt_eval.names import Task

NEEDS_ALL = {"roc_auc_macro", "roc_auc_weighted", "average_precision_macro", "brier_score"}
CASES: dict[str, tuple[Task, tuple[Array, Array]]] = {
    "binary": ("binary", single(1, 90, 2)),
    "multiclass": ("multiclass", single(2, 90, 7, "tied")),
    "two classes": ("multiclass", single(3, 90, 2)),
    "multilabel": ("multilabel", several(4, 90, 5)),
    "one label": ("multilabel", several(5, 90, 1)),
}


def text(evaluation: Evaluation) -> str:
    """Return all of an evaluation."""
    return json.dumps(evaluation.to_json())


@pytest.mark.parametrize("name", CASES)
def test_up_to_100_classes_everything_comes_back(name: str, tmp_path: Path) -> None:
    """From the parquet file alone: task, names, losses, numbers, curves and intervals are the same."""
    task, (labels, scores) = CASES[name]
    names, losses = [f"class {index}" for index in range(scores.shape[1])], np.linspace(0, 3, len(labels))
    path = tmp_path / "predictions.parquet"
    predictions_frame(labels, scores, task=task, class_names=names, losses=losses).to_parquet(path, index=False)
    before = evaluate_scores(labels, scores, task=task, class_names=names, losses=losses, bootstrap=100, micro=True)
    assert text(Evaluation.from_predictions(path, bootstrap=100, micro=True)) == text(before)


@pytest.mark.parametrize("name", CASES)
def test_a_table_of_pyarrows_types_is_the_same(name: str, tmp_path: Path) -> None:
    """Its lists are of a type of their own, empty ones among them."""
    task, (labels, scores) = CASES[name]
    path = tmp_path / "predictions.parquet"
    predictions_frame(labels, scores, task=task).to_parquet(path, index=False)
    frame = pd.read_parquet(path, dtype_backend="pyarrow")
    assert text(Evaluation.from_predictions(frame, bootstrap=100)) == text(
        Evaluation.from_predictions(path, bootstrap=100)
    )


def test_above_100_classes_what_can_be_had_comes_back(tmp_path: Path) -> None:
    """Label metrics, losses, calibration and top 5 exactly; what needs all probabilities is left out, and said."""
    labels, scores = single(6, 800, 130, "tied")
    before = evaluate_scores(labels, scores, task="multiclass", bootstrap=0)
    path = tmp_path / "predictions.parquet"
    predictions_frame(labels, scores).to_parquet(path)
    after = Evaluation.from_predictions(path)
    assert before.metrics.keys() - after.metrics.keys() == NEEDS_ALL
    assert after.metrics == pytest.approx({key: before.metrics[key] for key in after.metrics}, abs=1e-12)
    assert np.array_equal(after.confusion, before.confusion)
    assert "ROC-AUC" in after.warnings[0]
    assert set(after.intervals) == {"accuracy", "f1_macro"}


def test_above_100_labels_the_label_metrics_come_back() -> None:
    """The lists of labels that are set are all that it takes."""
    truth, scores = several(7, 60, 120)
    before = evaluate_scores(truth, scores, task="multilabel", bootstrap=0)
    after = Evaluation.from_predictions(predictions_frame(truth, scores), bootstrap=100)
    assert after.metrics == {key: before.metrics[key] for key in after.metrics}
    assert {"accuracy", "hamming_loss", "f1_micro", "f1_samples"} <= after.metrics.keys()
    assert np.array_equal(after.confusion, before.confusion)
    assert set(after.intervals) == {"accuracy", "f1_macro"}


def test_the_columns_are_the_contracts() -> None:
    """Each class's probability up to 100 classes, above of the label, the prediction and the five highest."""
    few = predictions_frame(*single(1, 5, 3))
    assert list(few.columns) == ["index", "label", "prediction", *(f"probability_{index}" for index in range(3))]
    many = predictions_frame(*single(1, 5, 101))
    tops = [f"top_{place}" for place in range(1, 6)]
    assert list(many.columns) == [
        *("index", "label", "prediction", "probability_label", "probability_prediction"),
        *tops,
        *(f"{top}_probability" for top in tops),
    ]
    assert (many["top_1_probability"] == many["probability_prediction"]).all()
    assert many["probability_label"].dtype == np.float32


def test_of_equal_scores_the_later_class_stands_higher_in_the_top() -> None:
    """As scikit-learn's top_k_accuracy_score ranks, so that it can be computed again."""
    scores = np.full((1, 200), 1 / 200, np.float32)
    frame = predictions_frame([0], scores)
    assert [frame[f"top_{place}"].item() for place in range(1, 6)] == [199, 198, 197, 196, 195]


def test_the_index_is_the_places_unless_given() -> None:
    """It says which sample a row is of."""
    labels, scores = single(1, 4, 2)
    assert predictions_frame(labels, scores)["index"].tolist() == [0, 1, 2, 3]
    assert predictions_frame(labels, scores, index=["a", "b", "c", "d"])["index"].tolist() == ["a", "b", "c", "d"]


@pytest.mark.parametrize("column", ["index", "losses"])
def test_columns_of_other_lengths_are_refused(column: str) -> None:
    """A shifted column would put one sample's numbers to another."""
    labels, scores = single(1, 4, 2)
    with pytest.raises(BadInput, match="has 3 values, there are 4 samples"):
        predictions_frame(labels, scores, **{column: [1, 2, 3]})


def test_a_frame_without_attributes_is_understood() -> None:
    """Other tools drop what pandas keeps beside a table: the columns say enough."""
    for _, (labels, scores) in CASES.values():
        frame = predictions_frame(labels, scores)
        frame.attrs = {}
        task = predictions_frame(labels, scores).attrs["task"]
        assert Evaluation.from_predictions(frame, bootstrap=0).task == task


def test_names_given_replace_those_stored() -> None:
    """Names are for people and may be put right afterwards."""
    frame = predictions_frame(*single(1, 4, 2), class_names=["a", "b"])
    assert Evaluation.from_predictions(frame, class_names=["x", "y"], bootstrap=0).class_names == ("x", "y")


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    """With the path."""
    with pytest.raises(NotFound, match=r"nowhere\.parquet"):
        Evaluation.from_predictions(tmp_path / "nowhere.parquet")


@pytest.mark.parametrize("junk", [b"", b"label,prediction\n0,0\n", b"PAR1 no more"])
def test_a_file_of_another_kind_is_refused(junk: bytes, tmp_path: Path) -> None:
    """With the path, and what a text file takes."""
    (tmp_path / "predictions.csv").write_bytes(junk)
    with pytest.raises(BadInput, match=r"predictions\.csv' is no parquet file that can be read: .*pd\.read_csv"):
        Evaluation.from_predictions(tmp_path / "predictions.csv")


@pytest.mark.parametrize("name", ["binary", "multiclass"])
def test_a_text_file_read_by_pandas_is_understood(name: str, tmp_path: Path) -> None:
    """As the error of a text file says: the labels and the scores come back as they were."""
    _, (labels, scores) = CASES[name]
    frame = predictions_frame(labels, scores)
    frame.to_csv(tmp_path / "predictions.csv", index=False)
    after = Evaluation.from_predictions(pd.read_csv(tmp_path / "predictions.csv"), bootstrap=0)
    assert text(after) == text(Evaluation.from_predictions(frame, bootstrap=0))


@pytest.mark.parametrize("columns", [["label", "prediction"], ["label", "probability_0", "probability_1"], ["label"]])
def test_what_a_table_lacks_is_told_by_names_that_are_there(columns: list[str]) -> None:
    """The columns that the message asks for are those that suffice, and what it says makes them can be imported."""
    with pytest.raises(BadInput) as told:
        Evaluation.from_predictions(PLAIN[columns])
    asked = re.findall(r"'(\w+)'", str(told.value).partition(": ")[2])
    assert Evaluation.from_predictions(PLAIN[asked], bootstrap=0).metrics["accuracy"] == 1.0
    (maker,) = re.findall(r"as ([\w.]+)\(labels, scores\)", str(told.value))
    module, _, function = maker.rpartition(".")
    assert getattr(importlib.import_module(module), function) is predictions_frame


@pytest.mark.parametrize("frame", [None, {}, [1], 3])
def test_what_is_no_table_is_refused(frame: Any) -> None:
    """By its type."""
    with pytest.raises(BadInput, match=f"the predictions are a {type(frame).__name__}: give a DataFrame"):
        Evaluation.from_predictions(frame)


PLAIN = pd.DataFrame({"label": [0, 1, 1], "prediction": [0, 1, 1], "probability_0": [0.9, 0.2, 0.1]}).assign(
    probability_1=[0.1, 0.8, 0.9]
)


def test_a_frame_of_ones_own_is_read() -> None:
    """Whole numbers of any type are classes."""
    for dtype in ("int64", "float64", "Int64", "object", "bool"):
        frame = PLAIN.astype({"label": dtype})
        assert Evaluation.from_predictions(frame, bootstrap=0).metrics["accuracy"] == 1.0


MANY = predictions_frame(np.arange(3), np.full((3, 120), 1 / 160) + np.eye(120)[[50, 60, 70]] / 4)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame({"label": [0], "score": [0.5]}), "no column 'prediction': give 'label', 'prediction' and, for"),
        (predictions_frame(*single(1, 3, 2))[:0], "0 rows"),
        (predictions_frame(*single(1, 3, 120)).drop(columns="top_3"), "no column 'top_3'"),
        (predictions_frame(*single(1, 3, 3)).drop(columns="probability_1"), "no column 'probability_1'"),
        (predictions_frame(*single(1, 3, 120)).assign(label=500), r"labels\[0\] is 500"),
        (predictions_frame(*several(1, 3, 120)).assign(label=[np.array([500])] * 3), "500"),
        (pd.concat([PLAIN, PLAIN[["label"]]], axis=1), "have 2 columns 'label': keep one of them"),
        (pd.concat([PLAIN, PLAIN, PLAIN], axis=1), "have 3 columns 'label'"),
        (pd.concat([PLAIN, PLAIN[["probability_1"]]], axis=1), "have 2 columns 'probability_1'"),
        (pd.concat([MANY, MANY[["top_1"]]], axis=1), "have 2 columns 'top_1'"),
        (PLAIN.assign(label=["a", "b", "a"]), r"labels\[0\] is 'a'; 3 of 3 are no whole numbers"),
        (PLAIN.assign(label=np.array([0, "b", 1], object)), r"labels\[1\] is 'b'; 1 of 3"),
        (PLAIN.assign(label=[0, None, 1]), r"labels\[1\] is nan; 1 of 3"),
        (PLAIN.assign(label=pd.array([0, None, 1], dtype="Int64")), r"labels\[1\] is nan; 1 of 3"),
        (PLAIN.assign(prediction=["a", "b", "a"]), r"predictions\[0\] is 'a'; 3 of 3"),
        (
            PLAIN[["label", "prediction"]],
            "hold no probabilities: give 'label', 'prediction' and, for each class",
        ),
        (PLAIN.assign(label=0.5), r"labels\[0\] is 0.5; 3 of 3"),
        (predictions_frame(*single(1, 3, 2)).assign(label=[[0], [1], [1]]), "has one class in each row's 'label'"),
        (predictions_frame(*several(1, 3, 120)).assign(label=1), "has a list of labels in each row's 'label'"),
        (predictions_frame(*several(1, 3, 120)).assign(label=[[0], 3, [1]]), "lists, but not in every row"),
        (predictions_frame(*several(1, 3, 120)).assign(label=[["a"], [], [1]]), r"labels\[0\] is 'a'"),
        (PLAIN.assign(probability_1=["a", "b", "c"]), r"probability_1\[0\] is 'a'; 3 of 3 are no numbers"),
        (PLAIN.assign(probability_1=[0.1, np.nan, 0.9]), r"probability_1\[1\] is nan; 1 of 3 are NaN or infinite"),
        (PLAIN.assign(probability_1=[0.1, 0.8, None]), r"probability_1\[2\] is nan; 1 of 3"),
        (PLAIN.assign(probability_0=[0.9, 7.0, 0.1]), r"probability_0\[1\] is 7.0; 1 of 3 are outside 0 … 1: store"),
        (PLAIN.assign(probability_0=0.5), r"the row's sum of probabilities\[0\] is 0.6.*; 3 of 3 are not 1: store"),
        (PLAIN.assign(loss=["x", 1.0, 2.0]), r"loss\[0\] is 'x'; 1 of 3 are no numbers"),
        (PLAIN.assign(loss=[1.0, None, 2.0]), r"losses\[1\] is nan; 1 of 3"),
        (PLAIN.assign(label=[0, 2, 1]), r"labels\[1\] is 2; 1 of 3 are not from 0 to below 2, the number of probab"),
        (PLAIN.assign(prediction=[0, 0, 1]), r"predictions\[1\] is 0; 1 of 3 are not of the highest probability"),
        (MANY.assign(probability_label=np.nan), r"probability_label\[0\] is nan; 3 of 3 are NaN or infinite"),
        (MANY.assign(probability_label=7.0), r"probability_label\[0\] is 7.0; 3 of 3 are outside 0 … 1"),
        (MANY.assign(probability_prediction=-0.1), r"probability_prediction\[0\] is -0.1.*outside 0 … 1"),
        (MANY.assign(top_1=[np.nan, 1, 2]), r"top_1\[0\] is nan; 1 of 3 are no whole numbers"),
        (MANY.assign(prediction=MANY["label"]), r"predictions\[0\] is \d+; . of 3 are not of the highest probability"),
        (
            predictions_frame(*several(1, 3, 4)).assign(prediction=[[]] * 3),
            r"predictions\[0, \d\] is 0; .* of 12 are not",
        ),
    ],
)
def test_other_tables_are_refused(frame: pd.DataFrame, said: str) -> None:
    """One line that says what is missing or wrong."""
    with pytest.raises(BadInput, match=said):
        Evaluation.from_predictions(frame)


NAMES: list[tuple[Any, str]] = [
    (["a"], "1 class names and 2 columns"),
    (["a", "b", "c"], "3 class names and 2 columns"),
    (["a", "a"], "name.*'a'"),
    ("ab", "class_names .* is a str"),
]


@pytest.mark.parametrize(("names", "said"), NAMES)
def test_names_that_name_no_classes_are_refused(names: Any, said: str) -> None:
    """One for each, and each another."""
    with pytest.raises(BadInput, match=said):
        Evaluation.from_predictions(PLAIN, class_names=names)


def test_above_100_classes_the_names_count_the_classes() -> None:
    """Too few of them leave some without one."""
    with pytest.raises(
        BadInput, match=r"is \d+; . of 3 are not from 0 to below 2, the number of class names: give one"
    ):
        Evaluation.from_predictions(MANY, class_names=["a", "b"])


@pytest.mark.parametrize("name", CASES)
def test_labels_and_scores_come_back_for_a_comparison(name: str) -> None:
    """As they were."""
    task, (labels, scores) = CASES[name]
    found = read(predictions_frame(labels, scores, task=task), task=None, class_names=None)
    assert np.array_equal(found.labels, labels)
    assert np.array_equal(found.scores, scores)
    assert found.losses is None


def test_above_100_classes_the_predictions_come_back() -> None:
    """They are all that a comparison of label metrics needs."""
    labels, scores = single(6, 40, 130)
    found = read(predictions_frame(labels, scores, losses=labels * 0.5), task=None, class_names=None)
    assert found.scores is None
    assert np.array_equal(found.labels, labels)
    assert np.array_equal(found.predictions, scores.argmax(axis=1))
    assert np.array_equal(found.losses, labels * 0.5)
    truth, marks = several(6, 40, 130)
    found = read(predictions_frame(truth, marks), task=None, class_names=None)
    assert np.array_equal(found.labels, truth)
    assert np.array_equal(found.predictions, marks > 0.5)
