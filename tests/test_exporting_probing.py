"""What a graph refuses although its model takes it is found before anybody relies on it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from nets import Image, Recurrent, Words
from torch import nn

from mlflow_pt_eval.exporting.archive import read_program
from mlflow_pt_eval.exporting.inputs import read_example
from mlflow_pt_eval.exporting.probing import refused_batch, refused_size
from mlflow_pt_eval.exporting.program import export_program, graph_of, save_program
from mlflow_pt_eval.exporting.snapshot import frozen_copy

TEXTS = torch.ones(2, 12, dtype=torch.int64)


class Windows(nn.Module):
    """A number of windows that Python divides: what torch makes of it may fit one batch size alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count, size = x.shape[0], x.shape[1]
        parts = x.reshape(-1, 2)
        return parts.view(int(parts.shape[0] / (size / 2)), size).sum(1, keepdim=True) * count


class Bags(nn.Module):
    """EmbeddingBag over texts: where torch leaves their length free, a batch of one is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.bags = nn.EmbeddingBag(20, 3)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.bags(words)


class Cut(nn.Module):
    """Texts are cut, as for a model of positions."""

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return words[:, :16].float()


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (Windows(), torch.randn(2, 4)),
        (Windows(), torch.randn(32, 4)),
        (Bags(), TEXTS),
        (Words(), TEXTS),
        (Recurrent(), TEXTS),
    ],
)
def test_any_number_of_samples_is_taken_whatever_else_is_free(model: nn.Module, example: torch.Tensor) -> None:
    """Of the forms of export the first is used whose graph takes what its model takes."""
    frozen = frozen_copy(model)
    graph = graph_of(export_program(frozen, read_example(example, frozen)))
    for count in (1, 3, 20):
        x = example[:1].expand(count, -1)
        assert torch.allclose(graph(x), frozen(x))


def test_a_graph_for_one_number_of_samples_is_found() -> None:
    """Its batch, one more, and one alone are tried; what the model refuses as well is no fault of the graph."""
    frozen = frozen_copy(Words())
    fixed = graph_of(torch.export.export(frozen, (TEXTS,)))
    assert refused_batch(fixed, frozen, read_example(TEXTS, frozen)) == 3
    assert refused_batch(frozen, frozen, read_example(TEXTS, frozen)) is None
    assert refused_batch(fixed, fixed, read_example(TEXTS, frozen)) is None


@pytest.mark.parametrize(
    ("model", "example", "refused"),
    [
        (Cut(), TEXTS, "24 as dimension 1 of 'input'"),
        (Recurrent(), TEXTS, "24 as dimension 1 of 'input'"),
        (Words(), TEXTS, None),
        (Image(), torch.randn(2, 3, 8, 8), None),
        (nn.Linear(4, 3), torch.randn(2, 4), None),
    ],
)
def test_a_size_that_the_graph_alone_refuses_is_named(
    model: nn.Module, example: torch.Tensor, refused: str | None
) -> None:
    """By a fixed length, or by a condition that the example happens to meet."""
    frozen = frozen_copy(model)
    given = read_example(example, frozen)
    found = refused_size(graph_of(export_program(frozen, given)), frozen, given)
    assert found == (None if refused is None else f"torch.export makes a graph that refuses {refused}")


def test_graphs_are_read_by_several_threads_at_once(tmp_path: Path) -> None:
    """Torch reads one at a time; a second would be taken for damaged."""
    frozen = frozen_copy(nn.Linear(4, 3))
    save_program(export_program(frozen, read_example(torch.randn(2, 4), frozen)), tmp_path / "model.pt2")
    failed: list[Exception] = []

    def read() -> None:
        try:
            for _ in range(4):
                read_program(tmp_path / "model.pt2")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
