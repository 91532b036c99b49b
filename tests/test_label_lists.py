"""Labels that are lists: 0 and 1 for each label of a multilabel task, as a table's column or a list holds them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from mlflow_pt_eval.data import digest, load_data
from mlflow_pt_eval.errors import BadInput

X = torch.arange(12.0).reshape(6, 2)
Y = np.array([[0, 1, 1], [0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 1]])
WAY = "for multilabel give each sample a list of K, 0 or 1 for each label, or y as an array .N, K., as in .npz"


def objects(values):
    """Make a one-dimensional array of objects."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


LISTS = {
    "lists": Y.tolist(),
    "arrays": list(Y),
    "tensors": list(torch.from_numpy(Y)),
    "an array of arrays": objects(list(Y)),
    "an array of lists": objects(Y.tolist()),
    "a column of tuples": pd.Series([tuple(row) for row in Y.tolist()]),
    "a column of arrays of booleans": pd.Series(list(Y.astype(bool))),
    "a column of lists of whole floats": pd.Series(Y.astype(float).tolist()),
}


@pytest.mark.parametrize("labels", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("names", [None, ["a", "b", "c"]])
def test_lists_of_zeros_and_ones_are_multilabel_labels(labels, names):
    """Whatever holds them, they are what an array (N, K) is."""
    data = load_data((X, labels), class_names=names)
    assert data.labels.dtype == np.int64
    assert (data.labels == Y).all()
    assert torch.equal(data.targets, torch.from_numpy(Y))
    assert digest(data) == digest(load_data((X, Y)))


def test_a_column_of_a_parquet_file_may_hold_lists(tmp_path):
    """There is no other way for a table to hold multilabel labels."""
    table = pd.DataFrame({"a": X[:, 0], "tags": list(Y), "b": X[:, 1]})
    table.to_parquet(tmp_path / "t.parquet")
    for source in (table, tmp_path / "t.parquet"):
        data = load_data(source, target="tags")
        assert (data.labels == Y).all()
        assert torch.equal(data.inputs, X)


def test_a_loader_may_give_lists_of_lists():
    """A collate function of the user's own need not make tensors."""
    loader = DataLoader(
        list(zip(X, Y.tolist(), strict=True)),
        4,
        collate_fn=lambda rows: (torch.stack([x for x, _ in rows]), [y for _, y in rows]),
    )
    assert np.array_equal(np.concatenate([batch.labels for batch in load_data(loader).batches()]), Y)


UNLIKE = {
    "ragged": ([[0, 2], [], [1], [1], [0], [2]], "label 1 is a list of 0, but label 0 is a list of 2"),
    "ragged arrays": (objects([np.array([0, 1])] * 5 + [np.array([1])]), "label 5 is an array of 1, but label 0 is an"),
    "sets": ([{0, 2}] * 6, "label 0 is a set of 2: "),
    "sets among numbers": ([0, 1, {0, 2}, 1, 1, 1], "label 2 is a set of 2, but label 0 is 0"),
    "numbers among lists": ([[0, 1], [1, 1], 1, [1, 0], [0, 1], [0, 0]], "label 2 is 1, but label 0 is a list of 2"),
    "numbers of labels": ([[0, 2], [1, 2], [0, 1], [0, 1], [1, 2], [0, 2]], "label 0 is 2 in column 1, .*multilabel"),
    "text": ([["cat", "dog"]] * 6, "the labels .N, K. are text .label 0 has 'cat' in column 0."),
    "lists in lists": ([[[0], [0, 1]]] * 6, "the labels are a list that makes no array: give one label a sample"),
}


@pytest.mark.parametrize(("labels", "words"), UNLIKE.values(), ids=UNLIKE)
def test_other_lists_are_refused_with_the_first_sample_and_the_way_out(labels, words):
    """One label a sample is no advice to who has several."""
    with pytest.raises(BadInput, match=f"{words}.*{WAY}"):
        load_data((X, labels))


def test_class_names_are_not_for_lists_of_text():
    """Names say which label stands in which column; which are set is 0 and 1."""
    with pytest.raises(BadInput, match="the labels .N, K. are text .label 0 has 'cat' in column 0.: for multilabel"):
        load_data((X, pd.Series([["cat", "dog"]] * 6)), class_names=["cat", "dog"])


@pytest.mark.parametrize(
    "labels", [UNLIKE["ragged"][0], UNLIKE["sets"][0], LISTS["an array of arrays"], LISTS["lists"]]
)
def test_lists_are_not_looked_up_among_classes(labels):
    """They cannot be: one label a sample is what `classes` are for."""
    with pytest.raises(BadInput, match=WAY):
        load_data((X, labels), classes=[0, 1])


def test_a_label_that_cannot_be_looked_up_is_named():
    """A list among texts has no place in the classes, nor in a dictionary."""
    with pytest.raises(BadInput, match="label 2 is a list: give one number or text a sample"):
        load_data((X, ["a", "b", ["a", "b"], "a", "b", "a"]), classes=["a", "b"])


def test_a_list_that_is_missing_is_named():
    """An empty cell is no sample without labels."""
    with pytest.raises(BadInput, match="label 1 is missing .None."):
        load_data((X, [Y[0], None, *Y[2:]]))


def test_places_count_from_the_data_sets_beginning():
    """Not from that of the batch."""
    batches = iter([(X, Y.tolist()), (X, [[0, 1, 1]] * 5 + [[0]])])
    with pytest.raises(BadInput, match="label 11 is a list of 1, but label 6 is a list of 3"):
        list(load_data(batches).batches())
