"""`validate`: right numbers for any batches, and no trace in the training around it."""

from __future__ import annotations

import math
import os
import random
import signal

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from mlflow_pt_eval import signals
from mlflow_pt_eval.errors import BadInput, Interrupted
from mlflow_pt_eval.records import improves
from mlflow_pt_eval.validation import validate

X = torch.randn(50, 4, generator=torch.Generator().manual_seed(3))
Y = torch.arange(50) % 3


class Given(nn.Module):
    """Returns its inputs."""

    def forward(self, x):
        return x


class Noisy(Dataset):
    """Draws a random number of every kind for each sample."""

    def __len__(self):
        return 50

    def __getitem__(self, index):
        random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
        return X[index], Y[index]


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(reduction="none"),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.1])),
        nn.CrossEntropyLoss(ignore_index=2),
    ],
)
@pytest.mark.parametrize("batch_size", [50, 7, 1])
def test_the_loss_is_the_criterion_of_all_samples_at_once(tiny, criterion, batch_size):
    """A ragged last batch, class weights and ignored labels weigh what they weigh in one batch of all."""
    found = validate(tiny.train(), DataLoader(TensorDataset(X, Y), batch_size=batch_size), criterion)
    outputs = tiny.eval()(X).detach()
    assert found["val_loss"] == pytest.approx(float(criterion(outputs, Y).mean()), rel=1e-6)
    assert found["val_accuracy"] == float((outputs.argmax(1) == Y).double().mean())


def test_a_sum_is_divided_by_the_samples(tiny):
    """The average must not depend on how many samples there are."""
    loader = DataLoader(TensorDataset(X, Y), batch_size=7)
    one, other = (validate(tiny, loader, nn.CrossEntropyLoss(reduction=r))["val_loss"] for r in ("sum", "mean"))
    assert one == pytest.approx(other, rel=1e-6)


def test_a_last_batch_of_one_that_the_model_squeezes_counts_as_one():
    """No dimension is left of it."""

    class Squeezing(nn.Module):
        def forward(self, x):
            return x[:, 0].squeeze()

    labels = (Y % 2).float()
    loader = [(X[:49], labels[:49]), (X[49:], labels[49:].squeeze())]
    found = validate(Squeezing(), loader, nn.BCEWithLogitsLoss())
    assert found["val_loss"] == pytest.approx(float(nn.BCEWithLogitsLoss()(X[:, 0], labels)), rel=1e-6)


def test_without_a_criterion_there_is_no_loss(tiny):
    """Accuracy alone."""
    assert list(validate(tiny, [(X, Y)])) == ["val_accuracy"]


@pytest.mark.parametrize(
    ("outputs", "labels", "accuracy"),
    [
        ([-1.0, 0.0, 1e-9, 2.0], [0, 0, 1, 1], 1.0),
        ([[-1.0], [0.5], [1.0], [2.0]], [0, 0, 1, 1], 0.75),
        ([[-1.0], [0.5], [1.0], [2.0]], [[0.0], [1.0], [1.0], [1.0]], 1.0),
        ([[1.0, 0.0], [0.0, 1.0]], [0, 0], 0.5),
        ([[1.0, -1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]], 0.5),
    ],
)
def test_accuracy_by_the_form_of_the_outputs(outputs, labels, accuracy):
    """One logit is 1 above 0; classes are the largest; multilabel rows are right as a whole."""
    loader = [(torch.tensor(outputs), torch.tensor(labels))]
    assert validate(Given(), loader) == {"val_accuracy": accuracy}


def test_soft_labels_of_a_cross_entropy_are_classes():
    """Labels (N, K) are not multilabel there."""
    loader = [(torch.tensor([[1.0, -1.0], [1.0, 2.0]]), torch.tensor([[0.9, 0.1], [0.6, 0.4]]))]
    assert validate(Given(), loader, nn.CrossEntropyLoss())["val_accuracy"] == 0.5


def test_validation_leaves_no_trace(tiny):
    """Modes of every submodule, weights, statistics, every random number generator and the loader's own."""
    tiny.train()
    tiny.layers[1].eval()
    loader = DataLoader(Noisy(), batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(5))
    modes = [module.training for module in tiny.modules()]
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    private = loader.generator.get_state()
    validate(tiny, loader, nn.CrossEntropyLoss())
    assert [module.training for module in tiny.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in tiny.state_dict().items())
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
    assert torch.equal(loader.generator.get_state(), private)


def test_a_shuffled_loader_gives_its_samples_in_the_same_order_each_time(tiny):
    """Its generator is put back, so that two validations see the same batches."""
    loader = DataLoader(TensorDataset(X, Y), batch_size=8, shuffle=True)
    assert validate(tiny, loader, nn.CrossEntropyLoss()) == validate(tiny, loader, nn.CrossEntropyLoss())


def test_tuples_and_mappings_are_the_models_arguments():
    """As `predict` calls it."""

    class Two(nn.Module):
        def forward(self, x, scale):
            return x * scale

    ones = torch.ones(50, 1)
    for batch in ((X, ones, Y), ([X, ones], Y), {"x": X, "scale": ones, "labels": Y}):
        assert validate(Two(), [batch]) == validate(Given(), [(X, Y)])


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        ([], "gave no sample"),
        ((torch.zeros(3, 1), torch.zeros(3)), "validate takes a loader: of arrays make DataLoader(TensorDataset(X, y)"),
        ([(torch.zeros(3, 1), torch.zeros(2))], "(3, 1) outputs do not go with (2,) labels"),
        ([torch.zeros(3, 1)], "a batch is a Tensor"),
        ([(torch.zeros(3, 4), torch.zeros(2))], "(3, 4) outputs do not go with (2,) labels"),
        ([(torch.zeros(3, 4), ["cat", "dog", "cat"])], "a batch's labels are a list: give numbers, as a tensor"),
        ([(torch.zeros(3, 4), {"labels": torch.zeros(3)})], "a batch's labels are a dict"),
    ],
)
def test_a_loader_that_does_not_fit_is_named(loader, words):
    """One line."""
    with pytest.raises(BadInput) as caught:
        validate(Given(), loader)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        ([[1.0, 0.0], [torch.nan, 0.0]], [0, 0]),
        ([1.0, torch.nan], [1, 0]),
        ([[1.0], [torch.nan]], [1, 0]),
        ([[1.0, -1.0], [torch.nan, -1.0]], [[1.0, 0.0], [0.0, 0.0]]),
    ],
)
def test_a_diverged_model_has_no_accuracy(outputs, labels):
    """The largest of NaN would be class 0, and NaN above 0 would be no: NaN is never better than another epoch."""
    outputs, labels = torch.tensor(outputs), torch.tensor(labels)
    found = validate(Given(), [(outputs[:1], labels[:1]), (outputs[1:], labels[1:])])["val_accuracy"]
    assert math.isnan(found)
    assert not improves(found, 0.1, "max")
    assert found.count == 2


@pytest.mark.parametrize(
    ("outputs", "labels", "words"),
    [
        (torch.zeros(4, 3), [0, 1, 2, 3], "labels of batch 1 go from 2 to 3, but the model has 3 outputs: 0 to 2."),
        (torch.zeros(4, 3), [0, 1, -1, 2], "labels of batch 1 go from -1 to 2, but the model has 3 outputs"),
        (torch.zeros(4, 3), [0.0, 1.0, torch.nan, 2.0], "labels of batch 1 go from nan to nan"),
        (
            torch.zeros(4),
            [0, 1, 2, 0],
            "labels of batch 1 go from 0 to 2, but the model has one output a label: 0 or 1.",
        ),
        (torch.zeros(4, 1), [0, 1, 2, 0], "labels of batch 1 go from 0 to 2"),
    ],
)
def test_labels_without_an_output_are_refused(outputs, labels, words):
    """Not counted as wrong."""
    labels = torch.tensor(labels)
    with pytest.raises(BadInput, match=words):
        validate(Given(), [(outputs[:2], labels[:2]), (outputs[2:], labels[2:])])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.float16])
def test_labels_of_any_dtype_count(dtype):
    """Also -1 and 1 for one logit."""
    labels = torch.tensor([0, 1, 1, 0])
    outputs = nn.functional.one_hot(labels, 3).float()
    assert validate(Given(), [(outputs, labels.to(dtype))]) == {"val_accuracy": 1.0}
    assert validate(Given(), [(outputs[:, 1] - 0.5, labels.to(dtype))]) == {"val_accuracy": 1.0}
    assert validate(Given(), [(outputs[:, 1] - 0.5, labels * 2 - 1)]) == {"val_accuracy": 1.0}


def test_arrays_are_taken_as_tensors(tiny):
    """Of a loader that knows NumPy only, or that leaves labels in a list."""
    expected = validate(tiny, [(X, Y)], nn.CrossEntropyLoss())
    arrays = X.numpy().astype(np.float64), Y.numpy()
    for labels in (arrays[1], arrays[1].astype(np.int32), Y.tolist()):
        assert validate(tiny, [(arrays[0], labels)], nn.CrossEntropyLoss()) == expected
        assert validate(tiny, [{"x": arrays[0], "labels": labels}], nn.CrossEntropyLoss()) == expected


class Counted(torch.Tensor):
    """Counts what waits for the device: on one, it would end the queue of its work."""

    waits = 0

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        names = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "nonzero")
        cls.waits += getattr(function, "__name__", "") in names
        return super().__torch_function__(function, types, args, kwargs or {})


@pytest.mark.parametrize("criterion", [None, nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=torch.ones(3))])
def test_nothing_is_read_from_the_device_between_batches(criterion):
    """However many batches there are, as often."""
    waits = []
    for batches in (1, 20):
        Counted.waits = 0
        pairs = [(X[:, :3].as_subclass(Counted), Y.as_subclass(Counted))] * batches
        validate(Given(), pairs, criterion)
        waits.append(Counted.waits)
    assert waits[0] == waits[1] > 0


def test_a_signal_ends_a_validation_between_two_batches(tiny):
    """Where the training has said that nothing would be lost by it."""
    tiny.train()
    seen = []

    def batches():
        for number in range(5):
            seen.append(number)
            if number == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield X, Y

    with signals.watching(60) as watch:
        watch.safe = True
        with pytest.raises(Interrupted):
            validate(tiny, batches())
    assert len(seen) == 3
    assert tiny.training
