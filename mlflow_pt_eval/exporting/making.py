"""A module from whatever a caller gives to make one: a factory's name, or a callable of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.exporting.factory import Factory
from mlflow_pt_eval.exporting.snapshot import first_line


def make_module(factory: str | Callable[..., nn.Module], kwargs: dict[str, Any]) -> nn.Module:
    """Return the module that *factory* makes; BadInput where it makes none."""
    if isinstance(factory, str):
        return Factory(factory, kwargs).build()
    what = getattr(factory, "__qualname__", type(factory).__name__)
    if isinstance(factory, nn.Module) or not callable(factory):
        raise BadInput(f"factory is a {what}: give what makes a new module, its class or package.module:callable.")
    try:
        made = factory(**kwargs)
    except Exception as error:  # the user's code can raise anything
        raise BadInput(
            f"the factory {what} failed ({type(error).__name__}: {first_line(error)}); it has to return the model "
            f"when it is called with {kwargs or 'no arguments (factory_kwargs= gives some)'}."
        ) from error
    if not isinstance(made, nn.Module):
        raise BadInput(f"the factory {what} returned a {type(made).__name__} instead of an nn.Module.")
    return made
