"""An example is one input of the model, in whatever form the model takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from nets import Batch, Two, Words
from torch import nn

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.exporting.inputs import named_outputs, read_example

X, WORDS = torch.randn(2, 4), torch.ones(2, 7, dtype=torch.int64)


@pytest.mark.parametrize(
    ("model", "data", "call", "names"),
    [
        (Words(), WORDS, "single", ["input"]),
        (Words(), WORDS.numpy(), "single", ["input"]),
        (Two(), (X, WORDS), "positional", ["image", "words"]),
        (Two(), [X.numpy(), WORDS], "positional", ["image", "words"]),
        (Two(), {"words": WORDS, "image": X}, "keywords", ["words", "image"]),
        (Batch(), {"words": WORDS, "weight": torch.ones(len(WORDS))}, "mapping", ["words", "weight"]),
    ],
)
def test_the_form_says_how_the_model_is_called(model: nn.Module, data: Any, call: str, names: list[str]) -> None:
    """One array, several arguments, or keywords."""
    example = read_example(data, model)
    assert (example.call, list(example.tensors)) == (call, names)
    assert example.run(model.eval())


def test_types_are_kept() -> None:
    """Neither integers nor double precision are changed into something else."""
    model = Two()
    example = read_example((np.zeros((2, 4)), WORDS), model)
    assert [t.dtype for t in example.tensors.values()] == [torch.float64, torch.int64]


def test_an_example_is_owned() -> None:
    """Changing the user's array afterwards does not change the example."""
    array = np.zeros((2, 4), np.float32)
    example = read_example(array, nn.Linear(4, 2))
    array += 1
    assert not example.tensors["input"].any()


def test_a_batch_of_one_is_doubled() -> None:
    """Only along the batch: an input of another length stays as it is."""
    example = read_example((X[:1], torch.zeros(5)), Two()).at_least_two()
    assert torch.equal(example.tensors["image"], torch.cat([X[:1], X[:1]]))
    assert example.tensors["words"].shape == (5,)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("x", "the example is a str"),
        (None, "the example is a NoneType"),
        ((X, 3), "the example's input 1 is a int"),
        ({"a": None}, "the example's 'a' is a NoneType"),
        (np.array(["a"]), "the example is an array of <U1"),
        ((), "the input example is empty"),
        (torch.tensor(1.0), r"has the shape \(\)"),
        (X[:0], r"has the shape \(0, 4\)"),
    ],
)
def test_what_is_no_example_is_refused(data: Any, said: str) -> None:
    """The message says what was given and what to give."""
    with pytest.raises(BadInput, match=said):
        read_example(data, nn.Linear(4, 2))


def test_outputs_are_named_by_their_path() -> None:
    """What is no tensor is left out."""
    found = named_outputs({"logits": X, "aux": (X, None, [X])})
    assert list(found) == ["logits", "aux.0", "aux.2.0"]
