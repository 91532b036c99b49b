"""The average of a criterion: whatever the batches, whatever the criterion is made of, and one line where it fails."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.predict import predict
from mlflow_pt_eval.predict.criteria import known
from mlflow_pt_eval.predict.loss import AverageLoss
from mlflow_pt_eval.validation import validate

X = torch.randn(50, 3, generator=torch.Generator().manual_seed(3))
Y = torch.arange(50) % 3
WEIGHT = torch.tensor([1.0, 5.0, 0.1])
SIZES = (50, 7, 1)
cross_entropy = functional.cross_entropy


class Given(nn.Module):
    """Returns its inputs."""

    def forward(self, x):
        return x


def averages(criterion, outputs=X, labels=Y):
    """The average by `AverageLoss`, by `predict` and by `validate`, for each size of batches."""
    found = []
    for size in SIZES:
        loss = AverageLoss(criterion)
        for one, other in zip(outputs.split(size), labels.split(size), strict=True):
            loss.add(one, other)
        batches = list(zip(outputs.split(size), labels.split(size), strict=True))
        found += [
            loss.result(),
            predict(Given(), (outputs, labels), outputs="logits", batch_size=size, criterion=criterion).loss,
            validate(Given(), batches, criterion)["val_loss"],
        ]
    return found


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(weight=WEIGHT.to("meta")),
        functools.partial(cross_entropy, weight=WEIGHT.to("meta")),
        nn.CrossEntropyLoss().to("meta"),
    ],
)
def test_outputs_and_labels_go_to_where_a_criterion_holds_its_weights(criterion):
    """A model on a GPU, class weights on the CPU: common, and no reason to fail (`meta` stands for another device)."""
    outputs, targets = known(criterion).fit(X, Y)
    held = not isinstance(criterion, nn.CrossEntropyLoss) or criterion.weight is not None
    assert {outputs.device.type, targets.device.type} == {"meta" if held else "cpu"}


@pytest.mark.parametrize(
    ("criterion", "same"),
    [
        (functools.partial(cross_entropy, reduction="sum"), nn.CrossEntropyLoss()),
        (functools.partial(cross_entropy, reduction="none"), nn.CrossEntropyLoss()),
        (functools.partial(cross_entropy, weight=WEIGHT), nn.CrossEntropyLoss(weight=WEIGHT)),
        (functools.partial(cross_entropy, ignore_index=1), nn.CrossEntropyLoss(ignore_index=1)),
        (functools.partial(functional.nll_loss, weight=WEIGHT), nn.NLLLoss(weight=WEIGHT)),
        (functools.partial(nn.CrossEntropyLoss(weight=WEIGHT)), nn.CrossEntropyLoss(weight=WEIGHT)),
        (
            functools.partial(functools.partial(cross_entropy, weight=WEIGHT, ignore_index=1), ignore_index=0),
            nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=0),
        ),
    ],
)
def test_a_partial_is_what_it_calls_with_its_keywords(criterion, same):
    """Nested ones too: the outer keyword is the one that counts."""
    assert averages(criterion) == pytest.approx([float(same(X, Y))] * 9, rel=1e-6)


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("ignored", [-100, 1])
def test_smoothed_labels_weigh_as_plain_ones(weight, ignored):
    """By torch's definition the smoothed part of a mean is divided by the same weights."""
    criterion = nn.CrossEntropyLoss(weight=weight, ignore_index=ignored, label_smoothing=0.2)
    assert averages(criterion) == pytest.approx([float(criterion(X, Y))] * 9, rel=1e-6)


def test_probabilities_of_classes_count_by_the_sample():
    """Weights or not, torch divides by the samples."""
    criterion, soft = nn.CrossEntropyLoss(weight=WEIGHT), X.flip(0).softmax(1)
    for size in SIZES:
        batches = list(zip(X.split(size), soft.split(size), strict=True))
        found = validate(Given(), batches, functools.partial(cross_entropy, weight=WEIGHT))
        assert found["val_loss"] == pytest.approx(float(criterion(X, soft)), rel=1e-6)
        assert found["val_accuracy"] == float((X.argmax(1) == soft.argmax(1)).double().mean())


@pytest.mark.parametrize("options", [{"weight": WEIGHT}, {"ignore_index": 1}])
def test_without_a_reduction_the_elements_are_averaged(options):
    """The weighted ones, and the zeros of the ignored ones; also if a last one has lost its dimension."""
    criterion = nn.CrossEntropyLoss(reduction="none", **options)
    expected = float(criterion(X, Y).mean())
    assert averages(criterion) == pytest.approx([expected] * 9, rel=1e-6)
    loss = AverageLoss(criterion)
    for one, other in [(X[:48], Y[:48]), (X[48], Y[48]), (X[49], Y[49])]:
        loss.add(one, other)
    assert loss.result() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("criterion", [nn.MSELoss(), nn.L1Loss(), nn.BCEWithLogitsLoss(), functional.mse_loss])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
@pytest.mark.parametrize("shapes", [((-1, 1), (-1,)), ((-1,), (-1, 1))])
def test_each_output_is_compared_with_its_own_label(criterion, dtype, shapes):
    """Of (N, 1) and (N,), torch would compare each with all."""
    outputs, labels = X[:, 0], (Y % 2).to(dtype)
    expected = float(criterion(outputs, labels.float()))
    found = averages(criterion, outputs.reshape(shapes[0]), labels.reshape(shapes[1]))
    assert found == pytest.approx([expected] * 9, rel=1e-6)


def test_what_the_user_wrote_gets_its_labels_as_they_are():
    """It may squeeze the outputs itself, or look something up by the labels."""
    expected = float(functional.binary_cross_entropy_with_logits(X[:, 0], (Y % 2).float()))

    def squeezing(outputs, labels):
        assert labels.shape == outputs.shape[:1]
        return functional.binary_cross_entropy_with_logits(outputs.squeeze(1), labels.float())

    batches = list(zip(X[:, :1].split(7), (Y % 2).split(7), strict=True))
    assert validate(Given(), batches, squeezing)["val_loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss(weight=WEIGHT), functools.partial(cross_entropy)])
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int64])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_classes_of_any_whole_dtype_fit(criterion, dtype, shape):
    """As int64 (N,), which is all that torch takes."""
    found = averages(criterion, labels=Y.to(dtype).reshape(shape))
    assert found == pytest.approx([float(criterion(X, Y))] * 9, rel=1e-6)


def test_classes_that_the_data_holds_as_floats_fit():
    """They were found to be whole numbers when the data was read; a validation cannot know that."""
    criterion = nn.CrossEntropyLoss()
    assert predict(Given(), (X, Y.float()), criterion=criterion).loss == pytest.approx(float(criterion(X, Y)))
    with pytest.raises(
        BadInput, match=r"was given outputs \(50, 3\) float32 and labels \(50,\) float32: labels are int64"
    ):
        validate(Given(), [(X, Y.float())], criterion)


@pytest.mark.parametrize(
    "criterion", ["ce", nn.CrossEntropyLoss, functools.partial(nn.CrossEntropyLoss, weight=WEIGHT)]
)
def test_what_is_no_criterion_is_refused_before_the_first_batch(criterion):
    """A name, a class, a class with arguments."""

    def batches():
        raise AssertionError("a batch was asked for")
        yield

    for call in (
        lambda: validate(Given(), batches(), criterion),
        lambda: predict(Given(), (X, Y), criterion=criterion),
    ):
        with pytest.raises(BadInput, match="criterion is .*: give a loss to call with outputs and labels, as nn"):
            call()


@pytest.mark.parametrize(
    ("criterion", "labels", "words"),
    [
        (
            nn.CrossEntropyLoss(weight=torch.ones(2)),
            Y,
            r"CrossEntropyLoss failed on the 20 samples from 0 on, with outputs \(20, 3\) float32 and labels \(20,\) "
            "int64: RuntimeError: weight tensor should be defined",
        ),
        (nn.BCEWithLogitsLoss(), Y, "BCEWithLogitsLoss failed on the 20 samples from 0 on.*ValueError: Target size"),
        (lambda outputs, labels: None, Y, "<lambda> returned a NoneType: a criterion returns its loss as a tensor"),
        (lambda outputs, labels: (outputs.sum(), 1), Y, "returned a tuple"),
        (functools.partial(functional.nll_loss, weight=torch.ones(2)), Y, "nll_loss failed on the 20 samples from"),
    ],
)
def test_a_criterion_that_fails_is_one_line(criterion, labels, words):
    """Which samples, what it was given, torch's own words."""
    batches = list(zip(X.split(20), labels.split(20), strict=True))
    for call in (
        lambda: predict(Given(), (X, labels), criterion=criterion, batch_size=20),
        lambda: validate(Given(), batches, criterion),
    ):
        with pytest.raises(BadInput, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_the_samples_that_a_criterion_failed_on_are_named():
    """Counted from the beginning of the data."""

    def dividing(outputs, labels):
        return outputs.mean() * (1 // (len(outputs) // 20))

    words = "dividing failed on the 10 samples from 40 on, with .*: ZeroDivisionError: "
    with pytest.raises(BadInput, match=words):
        predict(Given(), (X, Y), criterion=dividing, batch_size=20)
    with pytest.raises(BadInput, match=words):
        validate(Given(), list(zip(X.split(20), Y.split(20), strict=True)), dividing)


def test_a_plain_number_is_a_mean():
    """Of the batch that it was computed for."""
    assert averages(lambda outputs, labels: float(cross_entropy(outputs, labels))) == pytest.approx(
        [float(cross_entropy(X, Y))] * 9, rel=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_outputs_in_half_precision_are_compared_in_full(dtype):
    """The loss is that of the same numbers in float32, and neither overflows nor depends on the batches."""
    outputs = (X * 100).to(dtype)
    for criterion in (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=WEIGHT), functools.partial(cross_entropy)):
        expected = float(criterion(outputs.float(), Y))
        assert averages(criterion, outputs) == pytest.approx([expected] * 9, rel=1e-6)
    outputs = (X[:, 0] * 1000).to(dtype)  # the square of 1000 is no float16
    for labels in (Y % 2, (Y % 2).to(dtype), (Y % 2).float()):
        expected = float(functional.mse_loss(outputs.float(), (Y % 2).float()))
        assert averages(nn.MSELoss(), outputs, labels) == pytest.approx([expected] * 9, rel=1e-6)


def test_a_criterion_in_half_precision_gets_outputs_in_it():
    """torch takes no weights of another precision than the outputs'."""
    criterion = nn.CrossEntropyLoss(weight=WEIGHT.bfloat16())
    found = validate(Given(), [(X.bfloat16(), Y)], criterion)["val_loss"]
    assert found == pytest.approx(float(criterion(X.bfloat16(), Y)))


@pytest.mark.parametrize(
    "criterion", [nn.CrossEntropyLoss(ignore_index=1), nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.0, 1.0]))]
)
def test_a_loss_of_no_label_is_no_diverged_model(criterion):
    """It says that nothing counted; a validation, where another rank may have labels, gives NaN."""
    labels = torch.ones(50, dtype=torch.int64)
    with pytest.raises(BadInput, match="the criterion counted no label: all of them are ignored, or of classes with"):
        predict(Given(), (X, labels), criterion=criterion)
    found = validate(Given(), [(X, labels)], criterion)["val_loss"]
    assert found != found
