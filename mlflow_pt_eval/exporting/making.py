"""A module from whatever a caller gives to make one: a factory's name, or a callable of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.exporting.factory import Factory, module_made_by


def make_module(factory: str | Callable[..., nn.Module], kwargs: dict[str, Any]) -> nn.Module:
    """Return the module that *factory* makes; BadInput where it makes none."""
    if isinstance(factory, str):
        return Factory(factory, kwargs).build()
    what = getattr(factory, "__qualname__", type(factory).__name__)
    if isinstance(factory, nn.Module) or not callable(factory):
        raise BadInput(f"factory is a {what}: give what makes a new module, its class or package.module:callable.")
    return module_made_by(factory, kwargs, what=what)
