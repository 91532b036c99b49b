"""A model is called in eval mode and left as it was; its scores are found in whatever it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from mlflow_pt_eval.predict import predict
from mlflow_pt_eval.predict.model import choose_device, evaluating, scores_in
from mlflow_pt_eval.validation import validate

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
Y = torch.arange(20) % 3


class Counting(nn.Module):
    """Writes to one buffer, replaces another, and makes a new one."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(3))
        self.register_buffer("table", torch.arange(3.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.seen = self.seen + x.sum(0)
        self.register_buffer("late", torch.ones(3), persistent=False)
        return x + self.table


@pytest.mark.parametrize("how", ["predict", "validate"])
def test_buffers_are_afterwards_as_they_were(how: str) -> None:
    """The same tensors with the same numbers; one that is never written to is not touched."""
    model = Counting()
    held = dict(model.named_buffers())
    versions = held["table"]._version
    if how == "predict":
        predict(model, (X, Y), outputs="logits", batch_size=7)
    else:
        validate(model, [(X, Y), (X, Y)])
    now = dict(model.named_buffers())
    assert all(now[name] is tensor for name, tensor in held.items())
    assert (model.calls.item(), model.seen.tolist(), held["table"]._version) == (0.0, [0.0] * 3, versions)


def test_buffers_come_back_after_an_error() -> None:
    """Whatever the forward pass had done by then."""
    model = Counting()
    with pytest.raises(RuntimeError, match="must match the size"), evaluating(model):
        model(X[:, :2])
    assert model.calls.item() == 0


def test_the_cpu_is_one_place() -> None:
    """With a number or without."""
    model = nn.Linear(3, 3)
    assert choose_device(model, "cpu:0") == choose_device(model, "cpu") == torch.device("cpu")


@dataclass
class Data:
    """A transformer's output, as a dataclass."""

    loss: torch.Tensor | None
    logits: torch.Tensor


class Named(NamedTuple):
    """The scores are not the first part."""

    hidden: torch.Tensor
    logits: torch.Tensor


class Plain(NamedTuple):
    """Nothing is called logits: the first part."""

    scores: torch.Tensor
    hidden: torch.Tensor


@pytest.mark.parametrize(
    "form",
    [
        lambda z: Data(None, z),
        lambda z: Named(-z, z),
        lambda z: Plain(z, -z),
        lambda z: {"hidden": -z, "logits": z},
        lambda z: (z, None),
        lambda z: torch.distributions.Bernoulli(logits=z),
    ],
    ids=["dataclass", "named tuple", "named tuple without", "mapping", "tuple", "distribution"],
)
def test_logits_are_taken_by_their_name(form: Any) -> None:
    """Else a tuple's first part."""
    assert torch.equal(scores_in(form(X)), X)


class Small(nn.Module):
    """Has memory for four samples at once, which a device says in words of its own."""

    def __init__(self, message: str, *, wrapped: bool = False) -> None:
        super().__init__()
        self.message, self.wrapped = message, wrapped

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) <= 4:
            return x
        if not self.wrapped:
            raise RuntimeError(self.message)
        try:
            raise torch.OutOfMemoryError(self.message)
        except torch.OutOfMemoryError as error:
            raise RuntimeError("in layer 3") from error


@pytest.mark.parametrize(
    "model",
    [
        Small("CUDA error: out of memory"),
        Small("MPS backend out of memory (MPS allocated: 1 GB)"),
        Small("CUDA out of memory", wrapped=True),
    ],
    ids=["cuda", "mps", "wrapped"],
)
def test_every_device_may_say_that_it_has_no_memory(model: nn.Module) -> None:
    """And a layer may pass it on as its own failure."""
    found = predict(model, (X, Y), outputs="logits")
    assert found.notes[-1] == "out of memory with 5 samples at once: went on with 2"
