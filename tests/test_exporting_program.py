"""Exporting frees the batch dimension, or says in one line why it cannot."""

from __future__ import annotations

import pytest
import torch
from conftest import Tiny
from nets import Image, Stubborn, Two, Words
from torch import nn

from mlflow_pt_eval.exporting.inputs import read_example
from mlflow_pt_eval.exporting.program import ExportRefused, export_program
from mlflow_pt_eval.exporting.snapshot import frozen_copy


@pytest.mark.parametrize("size", [0, 1, 2, 13])
def test_any_batch_size_gives_the_same_bits(tiny: Tiny, size: int) -> None:
    """An example of one sample, doubled, makes a graph for any number of them."""
    frozen = frozen_copy(tiny)
    graph = export_program(frozen, read_example(torch.randn(1, 4), frozen).at_least_two()).module()
    x = torch.randn(size, 4)
    assert torch.equal(graph(x), frozen(x))


def test_several_inputs_share_the_batch() -> None:
    """As arguments or as keywords."""
    a, words = torch.randn(5, 4), torch.ones(5, 7, dtype=torch.int64)
    two = frozen_copy(Two())
    positional = export_program(two, read_example((a[:2], words[:2]), two)).module()
    keywords = export_program(two, read_example({"words": words[:2], "image": a[:2]}, two)).module()
    want = two(a, words)["logits"]
    assert torch.equal(positional(a, words)["logits"], want)
    assert torch.equal(keywords(words=words, image=a)["logits"], want)


@pytest.mark.parametrize("size", [0, 1, 2, 13])
def test_len_of_the_batch_does_not_fix_it(size: int) -> None:
    """Python's own functions of the batch are part of many a forward."""

    class Counts(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(len(x), 4) + torch.ones(len(x), 1)

    graph = export_program(Counts(), read_example(torch.randn(2, 4), Counts())).module()
    x = torch.randn(size, 4)
    assert torch.equal(graph(x), Counts()(x))


def test_control_flow_on_data_is_refused_with_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    """The reason is one line, and names the user's own line of code; nothing else is printed."""
    frozen = frozen_copy(Stubborn())
    with pytest.raises(ExportRefused) as caught:
        export_program(frozen, read_example(torch.randn(2, 4), frozen))
    assert "data-dependent expression" in str(caught.value)
    assert "(at nets.py:" in str(caught.value)
    assert "if x.sum() > 0:" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_fixed_batch_is_refused() -> None:
    """Code that knows only the example's batch size would fail on any other, and is not published as if it did not."""

    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(2, -1)

    with pytest.raises(ExportRefused, match="specialized it to be a constant"):
        export_program(Fixed(), read_example(torch.randn(2, 4), Fixed()))


@pytest.mark.parametrize(
    ("model", "example", "other"),
    [
        (Words(), torch.ones(2, 5, dtype=torch.int64), torch.ones(3, 9, dtype=torch.int64)),
        (Words(), torch.ones(5, 5, dtype=torch.int64), torch.ones(3, 9, dtype=torch.int64)),
        (Image(), torch.randn(2, 3, 8, 8), torch.randn(3, 3, 12, 10)),
    ],
)
def test_lengths_and_sizes_that_the_code_leaves_free_are_free(
    model: nn.Module, example: torch.Tensor, other: torch.Tensor
) -> None:
    """Texts are padded to the longest of a batch; images come in any size."""
    frozen = frozen_copy(model)
    graph = export_program(frozen, read_example(example, frozen)).module()
    assert torch.equal(graph(other), frozen(other))
    assert torch.equal(graph(example), frozen(example))


def test_a_size_that_the_code_fixes_stays_fixed() -> None:
    """Another one is refused by the graph as by the module."""
    frozen = frozen_copy(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 3)))
    graph = export_program(frozen, read_example(torch.randn(2, 1, 8, 8), frozen)).module()
    x = torch.randn(5, 1, 8, 8)
    assert torch.equal(graph(x), frozen(x))
    with pytest.raises(AssertionError, match="Guard failed"):
        graph(torch.randn(5, 1, 9, 9))
