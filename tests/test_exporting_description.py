"""What is said of a model at its registration has to go with what it gives for the example."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.exporting.candidate import take_candidate

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))


class Both(NamedTuple):
    """A hidden layer's output beside the scores."""

    hidden: torch.Tensor
    logits: torch.Tensor


class Forms(nn.Module):
    """Returns its inputs in another form."""

    def __init__(self, form: Any) -> None:
        super().__init__()
        self.form = form

    def forward(self, x: torch.Tensor) -> Any:
        return self.form(x)


def linear(width: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, width)


@pytest.mark.parametrize(
    ("model", "said", "words"),
    [
        (linear(), {"class_names": ["a", "b"]}, "class_names has 2 entries, but the model has 3 outputs: give 3"),
        (linear(1), {"class_names": ["a"]}, "has 1 entries, but the model has one output, which is of two classes"),
        (linear(), {"class_names": ["a", "b", "a"]}, "gives classes 0 and 2 one name, 'a'"),
        (linear(), {"class_names": "abc"}, "is a str: give a list of names"),
        (linear(), {"outputs": "probabilities"}, r"outputs='probabilities', but the model gives \S+ for the example"),
        (linear(), {"outputs": "scores"}, "outputs='scores'"),
        (Forms(lambda x: {"hidden": x}), {}, "returned a mapping of hidden: it must hold 'logits'"),
        (Forms(lambda x: (3, x)), {}, "the model returned a tuple"),
        (nn.Linear, {}, "the class Linear was given as a model"),
        ("net.pth", {}, "a str was given as a model"),
        (nn.LazyLinear(3), {}, "LazyLinear's weight, bias have no shape yet: call a lazy module once"),
    ],
)
def test_what_does_not_go_with_the_model_is_refused(model: Any, said: dict[str, Any], words: str) -> None:
    """Before anything is stored."""
    with pytest.raises(BadInput, match=words):
        take_candidate(model, input_example=X, **said)


def test_what_goes_with_it_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    """Two names for one logit; probabilities of classes, and of labels that do not add up."""
    assert take_candidate(linear(1), input_example=X, class_names=["no", "yes"]).class_names == ("no", "yes")
    for last in (nn.Softmax(1), nn.Sigmoid()):
        take_candidate(nn.Sequential(linear(), last), input_example=X, outputs="probabilities")
    take_candidate(nn.Sequential(linear(1), nn.Sigmoid()), input_example=X)  # of one number nobody can tell
    assert caplog.text == ""


def test_logits_that_are_all_probabilities_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """The default is logits, and an evaluation would apply a softmax once more."""
    take_candidate(nn.Sequential(linear(), nn.Softmax(1)), input_example=X)
    (record,) = caplog.records
    assert "are all probabilities, but are registered as logits" in record.getMessage()


def test_a_named_tuples_parts_keep_their_names() -> None:
    """So that a signature says which are the scores."""
    taken = take_candidate(Forms(lambda x: Both(-x, x)), input_example=X, class_names=list("abcd"))
    assert list(taken.expected) == ["hidden", "logits"]
