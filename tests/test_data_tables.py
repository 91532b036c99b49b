"""Tables, and what stands beside them: columns that are named as classes, messages about many columns, torn pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from mlflow_pt_eval.data import load_data
from mlflow_pt_eval.errors import BadInput

X = torch.arange(8.0).reshape(4, 2)
Y = np.array([[0, 1, 1], [0, 0, 0], [1, 1, 0], [1, 0, 0]])
NAMES = ["ant", "bee", "cat"]


def test_label_columns_that_are_the_class_names_in_another_order_are_refused():
    """Taken by their places, every number would be of other labels than its name says."""
    labels = pd.DataFrame(Y, columns=["ant", "cat", "bee"])
    words = "column 1 of the labels is 'cat', but output 1 is 'bee' by the class names: .* y..'ant', 'bee', 'cat'..[.]"
    with pytest.raises(BadInput, match=words):
        load_data((X, labels), class_names=NAMES)
    assert (load_data((X, labels[NAMES]), class_names=NAMES).labels == Y[:, [0, 2, 1]]).all()


def test_many_class_names_are_not_listed():
    """A message is one line."""
    names = [f"name {place}" for place in range(40)]
    with pytest.raises(BadInput, match=r"column 0 of the labels is 'name 39', .* order, y\[class_names\]\.") as found:
        load_data((X, pd.DataFrame(np.zeros((4, 40)), columns=names[::-1])), class_names=names)
    assert len(str(found.value)) < 200


@pytest.mark.parametrize(
    ("columns", "names"),
    [(NAMES, NAMES), (["x", "ant", "bee"], NAMES), ([2, 1, 0], ["0", "1", "2"]), (["cat", "bee", "ant"], None)],
)
def test_other_label_columns_are_taken_by_their_places(columns, names):
    """Names that are not the classes' say nothing of their order, and numbers are what pandas gives by itself."""
    assert (load_data((X, pd.DataFrame(Y, columns=columns)), class_names=names).labels == Y).all()


@pytest.mark.parametrize(("rows", "target"), [(1, None), (1, "z"), (0, "pixel 0")])
def test_of_many_columns_a_message_names_a_few(rows, target):
    """A table of pictures has as many columns as pixels."""
    table = pd.DataFrame(np.zeros((rows, 785)), columns=[f"pixel {place}" for place in range(785)])
    with pytest.raises(BadInput, match="pixel 0, .*pixel 11 and 773 more") as found:
        load_data(table, target=target)
    assert len(str(found.value)) < 300


LOADER = DataLoader(TensorDataset(X, torch.arange(4)), batch_size=2)


@pytest.mark.parametrize(
    "batches",
    [list(LOADER), list(LOADER) * 2, [{"x": X, "labels": torch.arange(4)}] * 2, [(X, torch.arange(4))] * 2],
)
def test_a_list_of_batches_is_no_data_and_the_way_out_is_said(batches):
    """Two of them are not inputs and labels."""
    with pytest.raises(BadInput, match=f"a list of {len(batches)} is no data with labels; .*or iter.batches."):
        load_data(batches)
    assert len(list(load_data(iter(batches)).batches())) == len(batches)


def test_inputs_and_labels_in_a_list_are_still_data():
    """Also where both are lists themselves."""
    for pair in ([X.tolist(), [0, 1, 2, 0]], [[X, X], torch.tensor([0, 1, 2, 0])], [X.tolist(), Y.tolist()]):
        assert load_data(pair).n_samples == 4
