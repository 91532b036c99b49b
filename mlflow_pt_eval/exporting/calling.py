"""Calling an exported graph: by keywords, too, where it was registered with inputs that have a place each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.exporting.inputs import Call


def accept_keywords(graph: nn.Module, call: Call | None, names: Sequence[str]) -> None:
    """Let *graph* be called with the mappings that a loader gives, as the module that it was made of could be.

    *names* are those of its inputs, in order. One input may have any name, several must have theirs; BadInput for
    others. A graph that MLflow itself has written stays as it is.
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

    def by_name(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = args[0] if len(args) == 1 and isinstance(args[0], Mapping) else kwargs
        if given.keys() != set(names) or (args and given is kwargs):
            raise BadInput(
                f"the model was registered with the inputs {', '.join(names)} by name, but got "
                f"{', '.join(given) or f'{len(args)} by place'}: give a dict of those."
            )
        return (({name: given[name] for name in names},), {}) if call == "mapping" else ((), dict(given))

    if call is not None:  # before torch's own check
        hook = in_order if call in ("single", "positional") else by_name
        graph.register_forward_pre_hook(hook, prepend=True, with_kwargs=True)
