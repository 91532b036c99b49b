"""A stored graph becomes a module again; nothing of its archive is executed (see `archive_copy`)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from mlflow_pt_eval.errors import BadInput, with_kind
from mlflow_pt_eval.exporting.archive_copy import checked_copy
from mlflow_pt_eval.exporting.moving import moved
from mlflow_pt_eval.exporting.program import quiet_torch


def load_program(path: Path, *, device: torch.device) -> nn.Module:
    """Return the graph in the .pt2 archive *path* as a module in eval mode on *device*. Errors as `read_program`."""
    return as_module(read_program(path), device=device)


def read_program(path: Path) -> torch.export.ExportedProgram:
    """Return the program in the .pt2 archive *path*, with its weights.

    Errors: UnsafeFile for an archive with anything in it that would be executed; CheckpointDamaged or BadInput for one
    that cannot be read.
    """
    copy = checked_copy(path)
    with quiet_torch():
        try:
            return torch.export.load(copy)
        except Exception as error:  # torch raises whatever its reader stumbles over
            raise BadInput(
                f"{path} cannot be read as an exported model ({with_kind(error)}); "
                f"it was made by another version of torch than {torch.__version__}, or it is damaged."
            ) from error


def as_module(program: torch.export.ExportedProgram, *, device: torch.device) -> nn.Module:
    """Return *program* as a module in eval mode on *device*; BadInput where its graph makes no module."""
    with quiet_torch():
        if device.type != "cpu":
            program = moved(program, device)
        try:
            return _evaluating(program.module())
        except Exception as error:  # of a graph that was changed by hand
            raise BadInput(
                f"the exported graph makes no module ({with_kind(error)}); register the model again."
            ) from error


def _evaluating(graph: nn.Module) -> nn.Module:
    """Let `eval()` be called on a graph, as every evaluation loop does; it was exported in eval mode for good."""

    def train(mode: bool = True) -> nn.Module:
        if mode:
            raise BadInput(
                "an exported graph is in eval mode for good; to train on, load the weights into "
                "your own class: load_model(uri, into=YourModel())."
            )
        return graph

    for module in graph.modules():
        module.training = False
    graph.train = train  # type: ignore[method-assign]
    graph.eval = lambda: graph  # type: ignore[method-assign]
    return graph
