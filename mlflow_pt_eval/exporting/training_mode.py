"""Whether a graph was exported in training mode: it would drop outputs at random, and learn from what it is given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn

from mlflow_pt_eval.errors import BadInput

_FLAGS = ("train", "training", "use_input_stats")  # as torch's operators call it
_SHARES = ("p", "dropout", "dropout_p")  # of the outputs that are dropped


def refuse_training(graph: nn.Module, where: object) -> nn.Module:
    """Return *graph*, an exported one from *where*; BadInput if dropout or a norm in it is in training mode.

    What is exported so stays so: its outputs are random, depend on the batch, or change its own buffers.
    """
    found = sorted({name for module in graph.modules() for name in _training(module)})
    if found:
        raise BadInput(
            f"{where} was exported in training mode, for good (it holds {', '.join(found)}): log it again after "
            "model.eval(), or give into=MyNet(), an object of its class, which takes the weights."
        )
    return graph


def _training(module: nn.Module) -> Iterator[str]:
    if isinstance(module, fx.GraphModule):
        for node in module.graph.nodes:
            if isinstance(node.target, torch._ops.OpOverload) and _trains(node.target, _arguments(node)):
                yield str(node.target).rpartition(".")[0]


def _arguments(node: fx.Node) -> dict[str, Any]:
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    defaults = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    return defaults | {argument.name: value for argument, value in zip(schema, node.args, strict=False)} | node.kwargs


def _trains(operator: torch._ops.OpOverload, given: dict[str, Any]) -> bool:
    if "norm" in str(operator):  # one that keeps no statistics takes the batch's in eval mode, too
        learns = "with_update" in str(operator) or any(given.get(flag) is True for flag in _FLAGS)
        return learns and given.get("running_mean") is not None
    drops = any(isinstance(share := given.get(name), float) and share > 0 for name in _SHARES)
    return drops and ("dropout_p" in given or any(given.get(flag) is True for flag in _FLAGS))
