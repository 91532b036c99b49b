"""Loaders as people have them: what they select, in which order, and labels as `default_collate` leaves them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    Subset,
    TensorDataset,
    get_worker_info,
)

from mlflow_pt_eval.data import Stream, digest, load_data
from mlflow_pt_eval.errors import BadInput, NotFound

X = torch.randn(30, 4, generator=torch.Generator().manual_seed(2))
Y = torch.arange(30) % 3
SEVERAL = (torch.arange(30)[:, None] >> torch.arange(4)) % 2  # (30, 4) of zeros and ones
TENSORS = TensorDataset(X, Y)


class Items(Dataset):
    """Samples one by one, or several by a list of indices."""

    def __init__(self, labels=Y):
        self.labels = labels

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return X[index], self.labels[index]


class Flow(IterableDataset):
    """All samples, or each worker's share."""

    def __init__(self, shared):
        self.shared = shared

    def __iter__(self):
        info = get_worker_info()
        part = slice(info.id, None, info.num_workers) if self.shared and info is not None else slice(None)
        yield from zip(X[part], Y[part], strict=True)


def read(source, **options):
    """Return inputs and labels as they come."""
    batches = list(load_data(source, **options).batches())
    return torch.cat([batch.inputs for batch in batches]), np.concatenate([batch.labels for batch in batches])


class Mine(Subset):
    """A Subset that does more than select."""

    def __getitem__(self, place):
        inputs, label = super().__getitem__(place)
        return inputs + 1, label

    def __getitems__(self, places):
        return [self[place] for place in places]


def test_a_subset_of_ones_own_gives_its_own_samples():
    """What is behind it is other data."""
    (batch,) = load_data(Subset(Mine(TENSORS, [3, 1, 2]), [0, 2])).batches()
    assert torch.equal(batch.inputs, X[[3, 2]] + 1)


@pytest.mark.parametrize("dataset", [TENSORS, Items()], ids=["tensors", "items"])
@pytest.mark.parametrize(
    ("indices", "words"),
    [
        (Y == 1, r"indices of a Subset are bool of the shape \(30,\).*flatnonzero\(mask\)"),
        ((Y == 1).numpy(), "are bool"),
        ((Y == 1).tolist(), "are bool"),
        ([0.5, 1.0], "are float64"),
        ([3, 30], "a Subset's index 1 is 30, but its data set has 30 samples"),
        ([-31], "a Subset's index 0 is -31"),
        ((row for row in range(3)), "does not say its length"),
        (torch.zeros(2, 2, dtype=torch.int64), r"int64 of the shape \(2, 2\)"),
    ],
)
def test_a_subset_whose_indices_are_none_is_refused(dataset, indices, words):
    """A mask would be read as the numbers 0 and 1, by a Subset of the user's own, too."""
    subset = Subset(dataset, indices)
    for source in (subset, DataLoader(subset, batch_size=7), Mine(dataset, indices)):
        with pytest.raises(BadInput, match=words):
            load_data(source)


def test_a_subset_of_a_subset_whose_indices_are_none_is_refused():
    """The outer one has a length; the inner one, a generator, has none to give."""
    with pytest.raises(BadInput, match="the indices of a Subset are a generator"):
        load_data(Subset(Subset(TENSORS, (row for row in range(3))), [0]))


@pytest.mark.parametrize("indices", [[4, 4, -1], range(3, 9), np.array([29, 0]), torch.tensor([7]), []])
def test_a_subset_is_read_as_torch_reads_it(indices):
    """Twice what it holds twice, and from the end what is below zero."""
    rows = [int(row) for row in indices]
    for dataset in (TENSORS, Items()):
        data = load_data(Subset(Subset(dataset, range(30)), indices), batch_size=2)
        found = [batch.inputs for batch in data.batches()]
        assert torch.equal(torch.cat(found) if found else X[:0], X[rows])


@pytest.mark.parametrize("shared", [False, True])
def test_an_iterable_data_set_is_read_once_however_many_workers(shared):
    """Each worker has a copy of it: together they give every sample several times, or their shares in turn."""
    alone = load_data(DataLoader(Flow(shared), batch_size=7))
    data = load_data(DataLoader(Flow(shared), batch_size=7, num_workers=2))
    assert data.notes == (
        "one of the loader's 2 workers is used: of an IterableDataset each gives all samples, or its share, which "
        "makes another order",
    )
    assert digest(data) == digest(alone) == digest(load_data(TENSORS))
    assert load_data(DataLoader(Flow(shared), batch_size=7, num_workers=1)).notes == ()


class Slow(Items):
    """Takes longest for its first samples."""

    def __getitem__(self, index):
        if index < 7:
            torch.randn(1 << 20).sort()
        return super().__getitem__(index)


def test_workers_that_may_overtake_each_other_do_not():
    """`in_order=False` would give every sample another number."""
    inputs, labels = read(DataLoader(Slow(), batch_size=7, num_workers=2, in_order=False))
    assert torch.equal(inputs, X)
    assert (labels == Y.numpy()).all()


@pytest.mark.parametrize("dataset", [TENSORS, Items()], ids=["tensors", "items"])
def test_a_batch_sampler_may_stand_in_the_samplers_place(dataset):
    """torch's way to ask a data set for many samples at once; its order and what it drops do not count."""
    sampler = BatchSampler(torch.utils.data.RandomSampler(dataset), 8, drop_last=True)
    data = load_data(DataLoader(dataset, sampler=sampler, batch_size=None))
    assert isinstance(data, Stream)
    assert data.n_samples == 30
    assert [len(batch.labels) for batch in data.batches()] == [8, 8, 8, 6]
    assert digest(data) == digest(load_data(TENSORS))
    few = BatchSampler(torch.utils.data.SubsetRandomSampler([5, 2, 9]), 2, drop_last=False)
    assert torch.equal(read(DataLoader(dataset, sampler=few, batch_size=None))[0], X[[2, 5, 9]])
    plain = BatchSampler(SequentialSampler(dataset), 8, drop_last=False)
    assert torch.equal(read(DataLoader(dataset, sampler=plain, batch_size=None))[0], X)


@pytest.mark.parametrize("size", [1, 4, 7, 30])
@pytest.mark.parametrize("workers", [0, 1])
def test_multilabel_rows_that_are_lists_are_not_transposed(size, workers):
    """`default_collate` makes K tensors (n,) of n lists of K numbers, which looks the same where n is K."""
    found = read(DataLoader(Items(SEVERAL.tolist()), batch_size=size, num_workers=workers))[1]
    assert (found == SEVERAL.numpy()).all()
    assert (read(DataLoader(Items([[int(y)] for y in Y]), batch_size=size))[1] == Y.numpy()).all()


def test_labels_in_a_mapping_are_refused_with_its_keys():
    """As detection data sets have them."""
    loader = DataLoader([(x, {"label": int(y), "box": x[0]}) for x, y in zip(X, Y, strict=True)], batch_size=4)
    with pytest.raises(BadInput, match="the labels are a mapping of label, box: give one of these alone"):
        read(loader)


class Folder(Items):
    """Names its classes as torchvision's folders of images do."""

    def __init__(self, classes, **attributes):
        super().__init__()
        self.classes = classes
        vars(self).update(attributes)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda d: d,
        lambda d: DataLoader(d, 7),
        lambda d: Subset(d, range(9)),
        lambda d: ConcatDataset([Items(), Subset(ConcatDataset([d, d]), range(9))]),
    ],
)
def test_names_of_other_labels_of_the_data_set_are_refused(wrap):
    """A folder without one class numbers the others anew, and each would be taken for another class."""
    with pytest.raises(BadInput, match=r"'c' is output 2 by .* label 1 by .*: give classes=\[0, -1, 1\]"):
        load_data(wrap(Folder(["a", "c"])), class_names=["a", "b", "c"])
    load_data(wrap(Folder(["a", "c", "d"])), classes=[0, -1, 1, 2], class_names=["a", "b", "c", "d"])
    with pytest.raises(BadInput, match=r"'b' is output 0 by .* label 1 by .*: give classes=\[1, 0\]"):
        load_data(wrap(Folder(["a", "b"])), class_names=["b", "a"])


def test_names_of_other_labels_are_refused_of_a_spec_too(tmp_path, monkeypatch):
    """On the command line there is nothing else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foldered.py").write_text(
        "import torch\nclass Folder(torch.utils.data.Dataset):\n    classes = ['b', 'a']\n"
        "    def __len__(self): return 2\n    def __getitem__(self, i): return torch.zeros(4), i\n"
    )
    with pytest.raises(BadInput, match=r"'a' is output 0 by .* label 1 by .*: give classes=\[1, 0\]"):
        load_data("foldered:Folder", class_names=["a", "b"])


@pytest.mark.parametrize(
    ("own", "names"),
    [
        (["a", "b", "c"], ["a", "b", "c"]),
        (["a", "b"], ["a", "b", "c"]),
        (["0 - zero", "1 - one"], ["zero", "one"]),
        (["0", "1", "10", "2"], ["0", "1", "2", "3"]),  # names that only count the outputs
        ("ab", ["b", "a"]),
        (3, ["b", "a"]),
    ],
)
def test_names_that_say_nothing_else_are_taken(own, names):
    """Also where the data set's are other words for the same, or no names."""
    turned = Folder(["b", "a"], target_transform=lambda y: 1 - y)
    for folder, given in ((Folder(own), names), (turned, ["a", "b"])):
        assert load_data(folder, class_names=given).n_samples == len(folder)


@pytest.mark.parametrize("where", ["import", "call", "item"])
def test_an_exit_in_the_users_code_is_an_error(tmp_path, monkeypatch, where):
    """A script that ends with `sys.exit(main())` would end the evaluation with the status 0."""
    monkeypatch.chdir(tmp_path)
    body = {"import": "sys.exit(0)", "call": "pass", "item": "pass"}[where]
    call = {"import": "pass", "call": "sys.exit(0)", "item": "return Data()"}[where]
    (tmp_path / f"exits_{where}.py").write_text(
        f"import sys\nclass Data:\n    def __len__(self): return 3\n    def __getitem__(self, i): sys.exit(0)\n"
        f"def test():\n    {call}\n{body}\n"
    )
    with pytest.raises(BadInput, match="SystemExit"):
        read(f"exits_{where}:test")


def test_a_callable_that_is_not_there_is_answered_with_the_modules_own(tmp_path, monkeypatch):
    """Not with what it has imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owns.py").write_text("from pathlib import Path\ndef test(): ...\ndef train(): ...\n")
    with pytest.raises(NotFound, match="it has test, train"):
        load_data("owns:okk")
