"""A graph that is moved to another device computes there, with nothing of it left on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.exporting.archive import load_program
from mlflow_pt_eval.exporting.inputs import read_example
from mlflow_pt_eval.exporting.moving import move_autocast
from mlflow_pt_eval.exporting.program import export_program, save_program
from mlflow_pt_eval.exporting.snapshot import frozen_copy

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))


class Mixed(nn.Module):
    """Half precision, one block in another, and a constant."""

    def __init__(self, autocast: bool = True) -> None:
        super().__init__()
        self.layer, self.autocast = nn.Linear(4, 3), autocast

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.autocast:
            return self.layer(x) + torch.arange(3)
        with torch.autocast(x.device.type, torch.bfloat16):
            hidden = self.layer(x) + torch.arange(3)
            with torch.autocast(x.device.type, enabled=False):
                return hidden.float() + self.layer(x)


def stored(model: nn.Module, path: Path) -> Path:
    frozen = frozen_copy(model)
    save_program(export_program(frozen, read_example(X, frozen)), path)
    return path


def test_autocast_moves_with_the_graph(tmp_path: Path) -> None:
    """torch's own pass leaves it on the CPU, where on another device it does nothing."""
    graph = load_program(stored(Mixed(), tmp_path / "mixed.pt2"), device=torch.device("cpu"))
    before = graph(X)
    move_autocast(graph, "cuda")
    nodes = [n for m in graph.modules() if isinstance(m, torch.fx.GraphModule) for n in m.graph.nodes]
    assert [node.args[0] for node in nodes if "autocast" in str(node.target)] == ["cuda", "cuda"]
    assert before.shape == (2, 3)


def test_a_device_without_autocast_is_said(tmp_path: Path) -> None:
    """A graph without any goes there."""
    with pytest.raises(BadInput, match=r"uses autocast, which torch has not on 'meta'.*into=MyNet"):
        load_program(stored(Mixed(), tmp_path / "mixed.pt2"), device=torch.device("meta"))
    graph = load_program(stored(Mixed(autocast=False), tmp_path / "plain.pt2"), device=torch.device("meta"))
    assert graph(X.to("meta")).device.type == "meta"
