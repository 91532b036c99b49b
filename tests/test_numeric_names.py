"""Numbers as labels beside numbers as class names: never one evaluation for another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mlflow_pt_eval.cli import main
from mlflow_pt_eval.comparison import compare
from mlflow_pt_eval.data import load_data
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.evaluation import evaluate
from mlflow_pt_eval.registration import register
from mlflow_pt_eval.tracking.store import connect

X = np.zeros((4, 2), np.float32)
STARS = ["1", "2", "3", "4", "5"]


def labels_of(y: Any, **options: Any) -> list[int]:
    """Return labels as an evaluation reads them."""
    return load_data((X[: len(y)], y), **options).labels.tolist()


@pytest.mark.parametrize(
    ("y", "names", "read"),
    [
        ([1, 5, 5, 2], STARS, [0, 4, 4, 1]),  # 5 is no output
        ([1, 0, 4, 2], STARS, [1, 0, 4, 2]),  # 0 is no name
        ([10, 30, 20, 30], ["10", "20", "30"], [0, 2, 1, 2]),
        ([-1, 1, 1, -1], ["-1", "1"], [0, 1, 1, 0]),
        ([2, 0, 1, 2], ["10", "20", "30"], [2, 0, 1, 2]),
        ([0, 1, 2, 1], ["0", "1", "2"], [0, 1, 2, 1]),
        ([0, 1, 2, 1], ["no", "1", "2"], [0, 1, 2, 1]),
        ([0, 1, 2, 1], ["ant", "bee", "cat"], [0, 1, 2, 1]),
        (["1", "2", "3", "1"], STARS, [0, 1, 2, 0]),
        ([True, False, True, True], ["1", "2"], [1, 0, 1, 1]),
        ([1.0, 5.0, 2.0, 2.0], STARS, [0, 4, 1, 1]),
        ([1, 2, 2, 1], ["01", "02", "03"], [1, 2, 2, 1]),  # which are texts
        ([1, 5, 5, 1], ["1", "01", "5"], [0, 2, 2, 0]),
    ],
)
def test_what_only_one_reading_fits_is_read_so(y, names, read) -> None:
    """As outputs, or as names; texts are names."""
    assert labels_of(np.array(y), class_names=names) == read
    assert labels_of(y, class_names=names) == read


def test_reading_names_is_said() -> None:
    """Beside the evaluation; what a criterion gets are the outputs' numbers, too."""
    data = load_data((X, np.array([10, 30, 20, 30])), class_names=["10", "20", "30"])
    assert data.notes == ("the labels are read as the names of classes: 10 is output 0",)
    assert next(iter(data.batches())).targets.tolist() == [0, 2, 1, 2]


@pytest.mark.parametrize(
    ("y", "names", "said"),
    [
        (
            [1, 2, 3, 4],
            STARS,
            r"a label 1 can be the class named 1, which is output 0, or output 1, which is named '2'",
        ),
        (
            [1, 2, 2, 1],
            ["1", "2", "3+"],
            r"classes=\[1,2,3\+\] or classes=\[0,1,2\] \(--classes=1,2,3\+ or --classes=0",
        ),
        ([0, 1, 2, 2], ["2", "1", "0"], "a label 0 can be the class named 0, which is output 2, or output 0"),
        ([1, 2, 3, 4], [str(k) for k in range(1, 40)], r"classes=\[1,2,…\] or classes=\[0,1,…\]"),
    ],
)
def test_what_both_readings_fit_is_asked(y, names, said) -> None:
    """One of them has the accuracy of chance; the message's two ways both work."""
    for source in ((X, np.array(y)), pd.DataFrame({"a": X[:, 0], "y": y})):
        with pytest.raises(BadInput, match=said):
            load_data(source, target="y" if isinstance(source, pd.DataFrame) else None, class_names=names)
    assert labels_of(y, class_names=names, classes=range(len(names))) == y
    assert labels_of(y, class_names=names, classes=names) == [names.index(str(label)) for label in y]


def test_texts_stand_for_numbers_in_whatever_column() -> None:
    """One of numbers, and one of numbers and texts, which a long file may give."""
    mixed = np.array([1, 2, "3+", 2.0, "1"], object)
    assert load_data((X[[0] * 5], mixed), class_names=["1", "2", "3+"]).labels.tolist() == [0, 1, 2, 1, 0]
    assert labels_of(np.array([0.5, 1.5, 0.5]), classes=["0.5", "1.5"]) == [0, 1, 0]


@pytest.mark.parametrize("values", [[("a", "b"), ("b", "c")], [frozenset("ab"), frozenset("bc")]])
def test_values_that_are_several_may_be_classes(values) -> None:
    """With `classes=` they are looked up, not taken for labels of a multilabel task."""
    y = pd.Series([values[0], values[1], values[1]])
    assert labels_of(y, classes=values) == [0, 1, 1]


def test_a_tensors_numbers_are_outputs() -> None:
    """As a cross-entropy takes them; of a loader's batches each holds only some."""
    y = torch.tensor([1, 2, 3, 4])
    assert labels_of(y, class_names=STARS) == [1, 2, 3, 4]
    loader = DataLoader(TensorDataset(torch.from_numpy(X), y))
    assert load_data(loader, class_names=STARS).labels.tolist() == [1, 2, 3, 4]  # type: ignore[union-attr]


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_the_command_line_can_say_it(tracking: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file's labels 1 to 3, of a model whose classes have these names."""
    model = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.eye(3))
    register(connect(tracking), model, name="stars", input_example=torch.zeros(2, 3), class_names=["1", "2", "3"])
    np.savez("stars.npz", X=np.eye(3, dtype=np.float32)[[0, 1, 1]], y=[1, 2, 2])
    verb = ["evaluate", "models:/stars/1", "--data", "stars.npz"]
    assert main(verb) == 2
    assert "--classes=1,2,3 or --classes=0,1,2" in capsys.readouterr().err
    assert main([*verb, "--classes", "1,2,3"]) == 0
    assert evaluate("models:/stars/1", "stars.npz", classes=[1, 2, 3], log=False).metrics["accuracy"] == 1
    assert evaluate("models:/stars/1", "stars.npz", classes=range(3), log=False).metrics["accuracy"] == 0


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_a_comparison_reads_labels_as_the_evaluations_do(tracking: str) -> None:
    """By the names that the versions were registered with: else its digest would be one of other data."""
    for seed in (0, 1):
        torch.manual_seed(seed)
        register(connect(tracking), nn.Linear(2, 3), name="two", input_example=X[:2], class_names=["1", "2", "3"])
    table = pd.DataFrame({"a": [0.5, -1.0, 2.0, 0.1], "b": [1.0, 0.2, -0.3, 0.4], "y": [1, 2, 3, 3]})
    found = compare("two", table, target="y")
    assert found.n_samples == 4
    assert len(found.sides) == 2
