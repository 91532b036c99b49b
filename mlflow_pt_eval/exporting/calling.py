"""Calling an exported graph: by keywords, too, where it was registered with inputs that have a place each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.exporting.inputs import Call


def accept_keywords(graph: nn.Module, call: Call | None, names: Sequence[str]) -> None:
    """Let *graph* be called with the mappings that a loader gives, as the module that it was made of could be.

    *names* are those of its inputs, in order. One input may have any name, several must have theirs; BadInput for
    others. A graph that was registered with keywords, or that MLflow itself has written, stays as it is.
    """

    def in_order(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not kwargs:
            return args, kwargs
        if not args and len(kwargs) == len(names) == 1:
            return tuple(kwargs.values()), {}
        if not args and kwargs.keys() == set(names):
            return tuple(kwargs[name] for name in names), {}
        raise BadInput(
            f"the model was registered with {len(names)} input(s) by place ({', '.join(names)}), but got "
            f"{', '.join(kwargs)}: give tensors in that order, or register it with a dict as input_example."
        )

    if call in ("single", "positional"):
        graph.register_forward_pre_hook(in_order, prepend=True, with_kwargs=True)  # before torch's own check
