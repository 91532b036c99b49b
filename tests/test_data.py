"""Data: whatever holds samples and labels is read once, whole and in order; what is wrong is said with its place."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from mlflow_pt_eval.data import Arrays, Stream, digest, load_data
from mlflow_pt_eval.errors import BadInput, NotFound, UnsafeFile

X = torch.arange(22.0).reshape(11, 2)
Y = torch.arange(11) % 3


class Items(Dataset):
    """A data set that gives its samples one by one, as most do."""

    def __init__(self, inputs=X, labels=Y):
        self.inputs, self.labels = inputs, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.inputs[index], self.labels[index]


class Endless(IterableDataset):
    """A data set of which nobody knows the length."""

    def __iter__(self):
        return iter(Items())


def read(data):
    """Read data whole: its inputs and its labels."""
    batches = list(data.batches())
    return torch.cat([batch.inputs for batch in batches]), np.concatenate([batch.labels for batch in batches])


SOURCES = {
    "tensors": (X, Y),
    "arrays": (X.numpy(), Y.numpy()),
    "float64 arrays": (X.numpy().astype(np.float64), Y.numpy().astype(np.int16)),
    "tensors in a list": [X, Y],
    "labels as a column of whole floats": (X, Y[:, None].double()),
    "tensor data set": TensorDataset(X, Y),
    "items": Items(),
    "iterable": Endless(),
    "subset": Subset(TensorDataset(torch.cat([X, X]), torch.cat([Y, Y])), range(11)),
    "sequential loader": DataLoader(TensorDataset(X, Y), batch_size=4),
    "shuffled loader": DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True),
    "shuffled items": DataLoader(Items(), batch_size=4, shuffle=True),
    "items without the last batch": DataLoader(Items(), batch_size=4, drop_last=True),
    "sampled items": DataLoader(Items(), batch_size=4, sampler=WeightedRandomSampler([1.0] * 11, 5)),
    "batches of the user's": DataLoader(Items(), batch_sampler=[[3, 1, 2, 2], list(range(11))]),
    "all samples by number": DataLoader(Items(), batch_size=4, sampler=SubsetRandomSampler(range(11))),
    "no batching by the loader": DataLoader([(X[:6], Y[:6]), (X[6:], Y[6:])], batch_size=None),
    "iterable loader": DataLoader(Endless(), batch_size=4, drop_last=True),
    "batches": [(X[:6], Y[:6]), (X[6:], Y[6:])].__iter__(),
    "mappings": iter([{"label": Y, "pixel_values": X}]),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_gives_every_sample_once_in_order(name):
    """Whatever samples, shuffles or drops: an evaluation sees the data set, whole."""
    if name == "mappings":
        (batch,) = load_data(SOURCES[name]).batches()
        inputs, labels = batch.inputs["pixel_values"], batch.labels
    else:
        inputs, labels = read(load_data(SOURCES[name], batch_size=3))
    assert inputs.dtype == torch.float32
    assert torch.equal(inputs, X)
    assert labels.dtype == np.int64
    assert labels.tolist() == Y.tolist()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sequential loader", []),
        ("shuffled loader", ["RandomSampler is not used"]),
        ("shuffled items", ["RandomSampler is not used"]),
        ("sampled items", ["WeightedRandomSampler is not used"]),
        ("items without the last batch", ["drop_last is not used"]),
        ("batches of the user's", ["list is not used: every sample"]),
        ("all samples by number", ["SubsetRandomSampler is not used: every sample"]),
    ],
)
def test_what_a_loader_asked_for_and_does_not_get_is_said(name, words):
    """An evaluation on other samples than the loader gives must not go unnoticed."""
    notes = load_data(SOURCES[name]).notes
    assert len(notes) == len(words)
    assert all(word in note for word, note in zip(words, notes, strict=True))


def test_drop_last_that_drops_nothing_is_not_worth_a_word():
    """Only what changes the samples is said."""
    assert load_data(DataLoader(Items(), batch_size=11, drop_last=True)).notes == ()


SELECTED = {
    "random": {"sampler": SubsetRandomSampler([7, 2, 9])},
    "of a tensor": {"sampler": SubsetRandomSampler(torch.tensor([9, 7, 2]))},
    "a list": {"sampler": [9, 2, 7, 2]},
    "an array": {"sampler": np.array([9, -4, 2])},
    "batches": {"batch_sampler": [[9, 2], [7, 2]]},
    "a batch sampler": {"batch_sampler": BatchSampler(SubsetRandomSampler([7, 9, 2]), 2, drop_last=False)},
}


@pytest.mark.parametrize("dataset", [TensorDataset(X, Y), Items(), Subset(TensorDataset(X, Y), range(11))])
@pytest.mark.parametrize("name", SELECTED)
def test_a_sampler_that_selects_samples_is_a_subset(name, dataset):
    """Who splits a data set by samplers evaluates the test split alone: each sample once, in the data set's order."""
    data, subset = load_data(DataLoader(dataset, **SELECTED[name])), load_data(Subset(dataset, [2, 7, 9]))
    inputs, labels = read(data)
    assert torch.equal(inputs, X[[2, 7, 9]])
    assert labels.tolist() == Y[[2, 7, 9]].tolist()
    assert data.n_samples == 3
    assert digest(data) == digest(subset)
    assert type(data) is type(subset)
    assert "only selects: its 3 samples are read, each once" in data.notes[0]


class Every(Sampler):
    """A sampler of the user's own: every second sample."""

    def __iter__(self):
        return iter(range(0, 11, 2))

    def __len__(self):
        return 6


class Pairs(Every):
    """A batch sampler of the user's own: its length counts batches."""

    def __iter__(self):
        return iter([[i, i + 1] for i in range(0, 10, 2)] + [[10]])


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        (Every(), "the loader's Every gives 6 of the data set's 11 samples: .*Subset.dataset, indices."),
        (SequentialSampler(range(4)), "SequentialSampler gives 4 of the data set's 11"),
        (RandomSampler(range(4)), "RandomSampler gives 4 of the data set's 11"),
        ([], "list gives 0 of the data set's 11"),
        ([3, 11], "names sample 11 of a data set of 11"),
    ],
)
def test_a_sampler_that_leaves_samples_out_unnamed_is_refused(sampler, words):
    """The others may be those that the model was trained with."""
    with pytest.raises(BadInput, match=words):
        load_data(DataLoader(TensorDataset(X, Y), sampler=sampler))


@pytest.mark.parametrize(
    "how",
    [{"sampler": RandomSampler(range(11), num_samples=4)}, {"batch_sampler": Pairs()}],
)
def test_a_sampler_that_draws_from_all_samples_only_orders_them(how):
    """A part of an epoch, and batches of the user's own, are of the whole data set."""
    assert load_data(DataLoader(Items(), **how)).n_samples == 11


def test_tensors_are_sliced_and_not_asked_one_by_one():
    """A loader costs microseconds a sample; slices of a whole tensor cost nothing."""
    loader = DataLoader(TensorDataset(X, Y), batch_size=4, num_workers=2, shuffle=True)
    sliced = load_data(loader)
    assert isinstance(sliced, Arrays)
    assert sliced.batch_size == 4
    assert next(sliced.batches()).inputs.data_ptr() == X.data_ptr()


def test_a_data_set_with_a_getitem_of_its_own_is_asked(monkeypatch):
    """A subclass of TensorDataset may change its items."""

    class Doubled(TensorDataset):
        def __getitem__(self, index):
            inputs, label = super().__getitem__(index)
            return inputs * 2, label

    inputs, _ = read(load_data(Doubled(X, Y)))
    assert torch.equal(inputs, X * 2)


def test_nested_subsets_keep_their_order():
    """An index of an index."""
    data = load_data(Subset(Subset(TensorDataset(X, Y), [9, 7, 5, 3]), [2, 0]), batch_size=1)
    assert isinstance(data, Arrays)
    inputs, labels = read(data)
    assert torch.equal(inputs, X[[5, 9]])
    assert labels.tolist() == Y[[5, 9]].tolist()


def test_a_loader_in_order_is_read_itself_with_its_workers():
    """Workers that are already up are not started again."""
    loader = DataLoader(Items(), batch_size=4)
    data = load_data(loader)
    assert isinstance(data, Stream)
    assert data.loader is loader
    assert data.n_samples == 11
    assert load_data(Endless()).n_samples is None


def test_several_inputs_are_a_tuple_or_a_mapping():
    """The last part of a tuple is the labels, whatever comes before are the model's arguments."""
    for source in (TensorDataset(X, X + 1, Y), ((X, X + 1), Y), DataLoader([(x, x + 1, y) for x, y in Items()])):
        batch = next(load_data(source).batches())
        assert isinstance(batch.inputs, tuple)
        assert torch.equal(batch.inputs[1], batch.inputs[0] + 1)
    batch = next(load_data(({"a": X, "b": X + 1}, Y)).batches())
    assert torch.equal(batch.inputs["b"], batch.inputs["a"] + 1)


def test_tensors_stay_as_they_are():
    """Only arrays of float64, which NumPy gives unasked, become what models hold."""
    assert next(load_data((X.double(), Y)).batches()).inputs.dtype == torch.float64
    assert next(load_data((X.to(torch.uint8).numpy(), Y)).batches()).inputs.dtype == torch.uint8
    assert torch.equal(next(load_data((X.numpy().astype(">f4"), Y)).batches()).inputs, X)


def test_a_read_only_array_is_taken_without_a_copy():
    """A memory map larger than memory can be evaluated."""
    array = X.numpy().copy()
    array.flags.writeable = False
    assert load_data((array, Y)).inputs.data_ptr() == array.ctypes.data
    labels = Y.numpy().copy()
    labels.flags.writeable = False
    assert next(load_data((X, labels)).batches()).targets.tolist() == Y.tolist()


def test_targets_keep_the_labels_as_the_data_has_them():
    """A criterion such as BCE wants the floats that it is trained with."""
    batch = next(load_data((X, (Y % 2).float()[:, None])).batches())
    assert batch.targets.dtype == torch.float32
    assert batch.targets.shape == (11, 1)
    assert batch.labels.shape == (11,)


def test_multilabel_labels_keep_their_columns():
    """Zeros and ones of shape (N, K) are labels, not one-hot classes."""
    assert next(load_data((X, torch.eye(11))).batches()).labels.tolist() == np.eye(11).tolist()


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["cat", "dog", "ant"], ["ant", "cat", "dog"]),
        ([20, 30, 10], [10, 20, 30]),
        (torch.tensor([20, 30, 10]), np.array([10, 20, 30])),
        (np.array(["cat", "dog", "ant"], object), ("ant", "cat", "dog")),
        ([2.0, 3.0, 1.0], range(1, 4)),
    ],
)
def test_classes_map_the_labels_of_the_data(labels, classes):
    """Labels need not be 0 … K-1; their order is the model's."""
    batch = next(load_data((X[:3], labels), classes=classes).batches())
    assert batch.labels.tolist() == [1, 2, 0]
    assert batch.targets.tolist() == [1, 2, 0]


def test_class_names_are_for_labels_that_are_text():
    """Names beside numbers are names and nothing else."""
    names = ["ant", "cat", "dog"]
    assert read(load_data((X[:3], ["cat", "dog", "ant"]), class_names=names))[1].tolist() == [1, 2, 0]
    assert read(load_data((X[:3], [1, 2, 0]), class_names=names))[1].tolist() == [1, 2, 0]
    assert read(load_data((X[:3], ["c", "d", "a"]), class_names=names, classes=["a", "c", "d"]))[1].tolist() == [
        1,
        2,
        0,
    ]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ((X, Y), [X[3], X[1]]),
        (Items(), [X[3], X[1]]),
        (Subset(TensorDataset(X, Y), [4, 5, 6, 7]), [X[7], X[5]]),
        (((X, X), Y), None),
        (DataLoader([((x, x), y) for x, y in Items()]), None),
        (Endless(), None),
    ],
)
def test_single_samples_can_be_read_again(source, found):
    """To show the worst mistakes; where there is nothing to ask, there is nothing to show."""
    again = load_data(source).samples([3, 1])
    assert again is None if found is None else all(torch.equal(a, b) for a, b in zip(again, found, strict=True))


def test_a_sample_is_read_again_as_the_loader_makes_it():
    """What a data set holds may be a tensor only after the collate function."""
    rows = [({"pixels": [i, i + 1], "words": "a b"}, i % 3) for i in range(6)]
    loader = DataLoader(rows, 4, collate_fn=lambda items: (torch.tensor([x["pixels"] for x, _ in items]), Y[:4]))
    assert [sample.tolist() for sample in load_data(loader).samples([5, 0])] == [[5, 6], [0, 1]]


def test_a_loader_of_text_labels_is_mapped_too():
    """The default collate function leaves text in a list."""
    loader = DataLoader([(torch.zeros(2), name) for name in ("b", "a", "b")], batch_size=2)
    assert read(load_data(loader, classes=["a", "b"]))[1].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ((X, Y + 0.25), {}, "label 0 is 0.25, but a class is a whole number"),
        ((X, torch.where(Y == 2, torch.nan, Y)), {}, "label 2 is missing .nan."),
        (DataLoader(Items(labels=torch.arange(11) / 4)), {}, "label 1 is 0.25"),
        ((X, torch.eye(11) * 2), {}, "label 0 is 2 in column 0, .*multilabel"),
        ((X, ["a"] * 11), {}, "the labels are text .label 0 is 'a'.: give class_names= .--class-names."),
        ((X[:2], [[[0, 1], [1]], [[0], [1]]]), {}, "the labels are a list that makes no array"),
        ((X[:3], np.array([np.nan, "a", "b"], object)), {"class_names": ["a", "b"]}, "label 0 is missing .nan."),
        ((X[:3], np.array(["a", "c", None], object)), {"class_names": ["a", "b"]}, "label 2 is missing .None."),
        ((X[:3], np.array(["a", "b", pd.NA], object)), {}, "label 2 is missing .<NA>."),
        (
            (X[:2], np.array(["a", "c"])),
            {"class_names": ["a", "b"]},
            "label 1 is 'c', which is not among.*--class-names",
        ),
        ([(X[0], 0), (X[1], 1)], {}, "a list of 2 is no data with labels"),
        (((X[0], 0), (X[1], 1)), {}, "the inputs are a tuple of 2, which makes no array"),
        ((X, Y), {"classes": [0, 1]}, "label 2 is 2, which is not among the classes .0, 1."),
        ((X, Y), {"classes": [0, 1, 2, 1]}, "classes names 1 twice"),
        ((X, Y), {"classes": "012"}, "give a list"),
        ((X, torch.eye(11)), {"classes": [0, 1]}, "one label a sample"),
        ((X, Y[:10]), {}, "there are 11 inputs, but 10 labels: give X and y of the same samples"),
        (([torch.zeros(3)] * 50, [0] * 50), {}, "there are 3 inputs, but 50 labels, in 50 parts; .* torch.stack"),
        (([torch.zeros(n) for n in range(1, 51)], [0] * 50), {}, r"50 parts of the shapes .*\(3,\) and 47 more"),
        ((X, Y.reshape(1, 1, 11)), {}, "labels must have the shape"),
        ((X, None), {}, "no data with labels"),
        ((X, Y, Y), {}, "a tuple of 3 is no data with labels"),
        (X, {}, "a Tensor alone is no data"),
        (7, {}, "a int is no data"),
        ((np.array(["a"] * 11), Y), {}, "the inputs are an array of <U1"),
        (((X, X[:3]), Y), {}, "shapes .11, 2., .3, 2."),
        ((X, Y), {"classes": {0, 1, 2}}, "classes is a set: give a list"),
        ((X, Y), {"classes": 3}, "classes is a int: give a list"),
        ((X, Y), {"classes": [[0], [1], [2]]}, "classes holds a list"),
        ((X, Y), {"classes": [0, 1, 2], "class_names": ["a"]}, "there are 3 classes and 1 class_names"),
        ((X, Y), {"class_names": ["a", "", "c"]}, "class_names .--class-names. gives class 1 the name '', .*blank"),
        ((X, torch.full((11,), 1e30)), {}, "label 0 is 1.0+.*e.30, larger than any class"),
        ((X, np.full(11, 2**63, np.uint64)), {}, "label 0 is 9223372036854775808, larger than any class"),
        ((X, np.array([b"a"] * 11)), {}, "the labels are bytes .label 0 is b'a'.: give them as text"),
        ((X, np.array([b"a"] * 11, object)), {}, "the labels are bytes"),
        ((X, np.array([b"a"] * 11)), {"class_names": ["a", "b"]}, "label 0 is b'a', .*it is bytes: give the labels as"),
        (
            (X[:2], ["1", "0"]),
            {"classes": [0, 1]},
            "label 0 is '1', .* classes .0, 1.; the label is text and the classes are numbers: give both as one",
        ),
        ((X[:2], ["c", "a"]), {"classes": [0, "a"]}, "label 0 is 'c', .*; add it to class_names="),
        ((X, Y), {"batch_size": 0}, "batch_size is 0"),
        ((X, Y), {"batch_size": 2.5}, "batch_size is 2.5; it must be a whole number"),
        ((X, Y), {"batch_size": "4"}, "batch_size is '4'"),
        ((X, Y), {"batch_size": None}, "batch_size is None"),
        ((X, Y), {"batch_size": float("nan")}, "batch_size is nan"),
        ((X, Y), {"target": "y"}, "target='y' names a table's column"),
        (iter([X]), {}, "a batch is a Tensor"),
        (iter([{"x": X}]), {}, "a batch has the keys x"),
        (iter([(X, Y[:4])]), {}, "from sample 0 on, a batch has 11 samples, but 4 labels"),
        (
            iter([(X, Y), (X, torch.ones(11, 3))]),
            {},
            "from sample 11 on, the labels have .* .N, 3., but before it .N,.",
        ),
        (
            iter([(X, torch.ones(11, 3)), (X, Y)]),
            {},
            "from sample 11 on, the labels have .* .N,., but before it .N, 3.",
        ),
        (iter([(X, torch.ones(11, 3)), (X, torch.ones(11, 2))]), {}, "the labels have the shape .N, 2., but before"),
    ],
)
def test_bad_data_is_named_with_its_place(source, options, words):
    """One line that says where, before or while it is read."""
    with pytest.raises(BadInput, match=words):
        list(load_data(source, **options).batches())


def test_a_table_is_split_at_its_target(tmp_path):
    """The columns keep their order and become one float32 matrix."""
    table = pd.DataFrame({"b": [1, 2], "kind": ["x", "y"], "a": [0.5, 1.5], "flag": [True, False]})
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    for source in (table, str(tmp_path / "t.csv"), tmp_path / "t.parquet"):
        data = load_data(source, target="kind", classes=["x", "y"])
        batch = next(data.batches())
        assert batch.inputs.dtype == torch.float32
        assert batch.inputs.tolist() == [[1.0, 0.5, 1.0], [2.0, 1.5, 0.0]]
        assert batch.labels.tolist() == [0, 1]
    assert load_data(tmp_path / "t.csv", target="kind", classes=["x", "y"]).name == "t"


@pytest.mark.parametrize(
    "labels",
    [[True, False, True], torch.tensor([True, False, True]), np.array([[True], [False], [True]])],
)
def test_booleans_follow_the_names_true_and_false(labels):
    """An output that is named "True" is that of True; beside other names, and beside numbers, True is 1."""
    batch = next(load_data((X[:3], labels), class_names=["True", "false"]).batches())
    assert batch.labels.tolist() == batch.targets.tolist() == [0, 1, 0]
    assert read(load_data((X[:3], labels), class_names=["False", "True"]))[1].tolist() == [1, 0, 1]
    assert read(load_data((X[:3], labels), class_names=["no", "yes"]))[1].tolist() == [1, 0, 1]
    assert read(load_data((X[:3], [1, 0, 1]), class_names=["True", "False"]))[1].tolist() == [1, 0, 1]


@pytest.mark.parametrize("count", [11, 1])
@pytest.mark.parametrize("labels", [Y.numpy(), np.eye(3, dtype=np.int64)[Y]])
def test_arrays_may_be_read_backwards(count, labels):
    """As np.flip and [::-1] give them, without a copy: torch takes none such."""
    inputs, numbers = X.numpy()[count - 1 :: -1], np.flip(labels[:count], axis=0)
    data = load_data((inputs, numbers), batch_size=4)
    assert np.array_equal(read(data)[0], inputs)
    assert np.array_equal(read(data)[1], numbers)
    assert np.array_equal(data.targets, numbers)


def test_a_boolean_column_follows_them_too(tmp_path):
    """A table's, and a file's."""
    table = pd.DataFrame({"a": [1.0, 2.0], "y": [True, False]})
    table.to_csv(tmp_path / "t.csv", index=False)
    for source in (table, table.astype({"y": "boolean"}), tmp_path / "t.csv"):
        assert load_data(source, target="y", class_names=["True", "False"]).labels.tolist() == [0, 1]
        assert load_data(source, target="y").labels.tolist() == [1, 0]


def test_a_class_may_be_called_what_pandas_takes_for_missing(tmp_path):
    """In the label's column only an empty cell is missing; in the others pandas' rules hold."""
    (tmp_path / "t.csv").write_text("a,y\n1,NA\nNA,None\n3,null\n")
    data = load_data(tmp_path / "t.csv", target="y", class_names=["null", "NA", "None"])
    assert data.labels.tolist() == [1, 2, 0]
    assert torch.isnan(data.inputs[1, 0])
    (tmp_path / "t.csv").write_text("a,y\n1,NA\n2,NA\n")
    assert load_data(tmp_path / "t.csv", target="y", class_names=["NA", "b"]).labels.tolist() == [0, 0]
    (tmp_path / "t.csv").write_text("a,y\n1,NA\n2,\n")
    with pytest.raises(BadInput, match="label 1 is missing"):
        load_data(tmp_path / "t.csv", target="y", class_names=["NA", "b"])


def test_columns_may_have_numbers_for_names():
    """As a frame made of an array has."""
    table = pd.DataFrame(np.array([[1.0, 2.0, 0.0], [3.0, 4.0, 1.0]]))
    for target in (2, "2"):
        data = load_data(table, target=target)
        assert data.inputs.tolist() == [[1.0, 2.0], [3.0, 4.0]]
        assert data.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"a": [True, False], "b": [0.5, 1.5]}),
        pd.DataFrame({"a": [1, 0], "b": [0.5, 1.5]}).convert_dtypes(),
    ],
)
def test_a_table_without_its_labels_is_read_like_one_with_them(table):
    """Columns of several types, and of pandas' own, are one matrix of numbers."""
    data = load_data((table, [0, 1]))
    assert data.inputs.dtype == torch.float32
    assert data.inputs.tolist() == [[1.0, 0.5], [0.0, 1.5]]
    assert torch.equal(data.inputs, load_data(table.assign(y=[0, 1]), target="y").inputs)
    with pytest.raises(BadInput, match="the column 'c' holds no number for sample 0 but 'text'"):
        load_data((table.assign(c="text"), [0, 1]))


def test_a_missing_label_in_a_table_is_named():
    """pandas' own integers know a missing value."""
    table = pd.DataFrame({"a": [1.0, 2.0], "y": pd.array([1, None], dtype="Int64")})
    with pytest.raises(BadInput, match="label 1 is missing .nan.: fill it in"):
        load_data(table, target="y")


@pytest.mark.parametrize(
    ("columns", "target", "words"),
    [
        ({"a": [1], "y": [0]}, None, "no target column is named.*one of a, y"),
        ({"a": [1], "y": [0]}, "z", "the table has no column 'z'.*one of a, y"),
        ({"a": ["text"], "y": [0]}, "y", "the column 'a' holds no number for sample 0 but 'text'"),
        ({"a": ["1", "?"], "y": [0, 1]}, "y", "the column 'a' holds no number for sample 1 but '?'"),
        ({"a": pd.Categorical(["1", "2"]), "y": [0, 1]}, "y", "the column 'a' holds values of the type category"),
        ({"a": [1j, 2], "y": [0, 1]}, "y", "the column 'a' holds values of the type complex128, no real numbers"),
        (
            {"a": np.array([1, 2.5], object), "y": [0, 1]},
            "y",
            "the column 'a' holds numbers as objects: make them numbers by .astype.float.; a table's inputs",
        ),
        ({"a": np.array([1j, 2], object), "y": [0, 1]}, "y", "the column 'a' holds values of the type object, no real"),
        ({"a": [1, 2], "y": [0, 1j]}, "y", "the labels are of the type complex128"),
        ({"a": [], "y": []}, "y", "the table has 0 rows below its columns a, y"),
    ],
)
def test_a_table_that_cannot_be_split_says_which_columns_it_has(columns, target, words):
    """The way out is in the message."""
    with pytest.raises(BadInput, match=words):
        load_data(pd.DataFrame(columns), target=target)


def test_two_columns_of_the_targets_name_are_refused(tmp_path):
    """Either could be the labels; the other must not become an input, as pandas would have it in a file."""
    table = pd.DataFrame([[1.0, 0, 1], [2.0, 1, 0]], columns=["a", "y", "y"])
    table.to_csv(tmp_path / "t.csv", index=False)
    for source in (table, tmp_path / "t.csv"):
        with pytest.raises(BadInput, match="the table has 2 columns 'y': keep the one"):
            load_data(source, target="y")
    assert load_data(table.set_axis(["a", "y", "y.1"], axis=1), target="y").labels.tolist() == [0, 1]


def test_a_column_may_be_called_as_pandas_calls_a_second_one(tmp_path):
    """Only two of one name in the file itself are two."""
    (tmp_path / "t.csv").write_text("y,y.1\n0,5\n1,6\n")
    assert load_data(tmp_path / "t.csv", target="y").inputs.tolist() == [[5.0], [6.0]]


def test_an_npz_file_holds_X_and_y(tmp_path):
    """Arrays only: objects would need a pickle."""
    np.savez(tmp_path / "ok.npz", X=X.numpy(), y=Y.numpy())
    assert torch.equal(read(load_data(str(tmp_path / "ok.npz")))[0], X)
    np.savez(tmp_path / "wrong.npz", images=X.numpy())
    with pytest.raises(BadInput, match="it holds images; it must hold 'X' and 'y'"):
        load_data(tmp_path / "wrong.npz")
    np.savez(tmp_path / "objects.npz", X=np.array([{}]), y=Y.numpy())
    with pytest.raises(UnsafeFile, match="only a pickle can"):
        load_data(tmp_path / "objects.npz")
    whole = (tmp_path / "ok.npz").read_bytes()
    np.save(tmp_path / "array.npy", X.numpy())
    broken = {"cut": whole[:100], "text": b"X,y", "array": (tmp_path / "array.npy").read_bytes()}
    broken["bits"] = whole[:200] + bytes([whole[200] ^ 255]) + whole[201:]
    for name, content in broken.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        with pytest.raises(BadInput, match="is not a whole .npz file"):
            load_data(tmp_path / f"{name}.npz")


def test_a_file_that_is_not_there_is_named():
    """With the folder that it was looked for in."""
    with pytest.raises(NotFound, match="there is no file 'gone.csv' .looked in"):
        load_data("gone.csv", target="y")


SOURCE_CODE = """
import torch
from mlflow_pt_eval.errors import NotFound
def pair(): return torch.zeros(3, 2), [0, 1, 0]
def broken(): return 1 / 0
def ours(): raise NotFound("no such split.")
class Sets:
    pair = staticmethod(pair)
number = 3
"""


def test_a_callable_in_the_working_directory_gives_data(tmp_path):
    """`package.module:callable`, and a callable inside of a class."""
    (tmp_path / "spec_source_a.py").write_text(SOURCE_CODE)
    for spec in ("spec_source_a:pair", "spec_source_a:Sets.pair"):
        data = load_data(spec)
        assert data.n_samples == 3
        assert data.name == spec


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("spec_source_b:missing", "the module spec_source_b has no 'missing'; it has .*pair, broken"),
        ("spec_source_b:number", "is a int, not a callable"),
        ("spec_source_b:broken", "failed with ZeroDivisionError: division by zero"),
        ("spec_source_b:ours", "no such split"),
        ("spec_source_b:", "names no callable"),
        ("no_such_module_at_all:x", "there is no module 'no_such_module_at_all', neither in"),
        ("spec_needs_more:x", "importing spec_needs_more failed with ModuleNotFoundError: No module named 'no_such_"),
        ("spec_not_python:x", "importing spec_not_python failed with SyntaxError"),
        ("data.txt", "names no data: a SPEC is"),
    ],
)
def test_a_spec_that_fails_is_one_line(spec, words, tmp_path):
    """What is missing, where it was looked for, what there is."""
    (tmp_path / "spec_source_b.py").write_text(SOURCE_CODE)
    (tmp_path / "spec_needs_more.py").write_text("import no_such_module_at_all")
    (tmp_path / "spec_not_python.py").write_text("def (")
    with pytest.raises(BadInput, match=words) as caught:
        load_data(spec)
    assert "\n" not in str(caught.value)


class Failing(Items):
    """A data set of which sample 5 cannot be read."""

    def __getitem__(self, index):
        if index == 5:
            raise TypeError("no such picture\nand more")
        return super().__getitem__(index)


class Lengthless(Dataset):
    """A data set that does not say how many samples it has."""

    def __getitem__(self, index):
        return X[index], Y[index]


def failing():
    """Give one batch, then fail."""
    yield X, Y
    raise KeyError("x")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Failing(), "could not be read from sample 4 on: TypeError: no such picture$"),
        (DataLoader(Failing(), 2), "could not be read from sample 4 on: TypeError: no such picture$"),
        (DataLoader(Failing(), 2, num_workers=1), "from sample 4 on: TypeError: no such picture .in a worker.$"),
        (failing(), "could not be read from sample 11 on: KeyError: 'x'$"),
        (Lengthless(), "a Lengthless, does not say its length .TypeError.*: give it __len__"),
        (DataLoader(Lengthless(), 2), "a Lengthless, does not say its length"),
    ],
)
def test_data_that_fail_are_bad_input_with_their_place(source, words):
    """A data set that raises is the caller's to mend, as a model that does."""
    with pytest.raises(BadInput, match=words) as caught:
        list(load_data(source, batch_size=2).batches())
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("error", [NotFound("no such split."), KeyboardInterrupt()])
def test_what_is_ours_or_ends_the_program_passes_as_it_is(error):
    """An error with a message of its own, and a user who has had enough."""

    def raising():
        yield X, Y
        raise error

    with pytest.raises(type(error)) as caught:
        list(load_data(raising()).batches())
    assert caught.value is error


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float16])
def test_labels_of_a_short_float_are_whole_numbers_too(dtype):
    """NumPy has not all of torch's formats."""
    assert load_data((X, Y.to(dtype))).labels.tolist() == Y.tolist()
