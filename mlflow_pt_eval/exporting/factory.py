"""The other form of a published model: the weights, and the importable callable that makes the module for them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from mlflow_pt_eval.errors import BadInput, UnsafeFile
from mlflow_pt_eval.exporting.snapshot import first_line

_SPEC = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")


@dataclass(frozen=True)
class Factory:
    """`package.module:callable` and its keyword arguments (plain JSON data): calling it makes the module."""

    spec: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _SPEC.fullmatch(self.spec):
            raise BadInput(f"{self.spec!r} is not a factory: write package.module:callable, such as net:SmallCNN.")
        if self._module == "__main__":
            raise BadInput(
                f"the factory {self.spec!r} is in the script itself, which nobody can import; move it to a module."
            )
        try:
            plain = json.loads(json.dumps(dict(self.kwargs)))
        except (TypeError, ValueError) as error:
            raise BadInput(f"the factory's arguments must be plain JSON data: {first_line(error)}.") from error
        if plain != dict(self.kwargs):
            raise BadInput(
                f"the factory's arguments {dict(self.kwargs)!r} change when they are stored as JSON: {plain!r}."
            )

    @property
    def _module(self) -> str:
        return self.spec.partition(":")[0]

    def build(self) -> nn.Module:
        """Import the callable, from the working directory too, and return what it makes.

        Errors: NotFound or BadInput where it cannot be imported, fails, or makes something else than an `nn.Module`;
        UnsafeFile for a callable of the standard library or `torch.hub`: a stored model names what is called here,
        and none of those makes a module.
        """
        # Not at the top: data sets need pandas, which the fresh process that proves a graph has no use for.
        from mlflow_pt_eval.data.spec import find_callable

        top = self._module.partition(".")[0]
        if top in sys.stdlib_module_names or (self._module + ".").startswith("torch.hub."):
            raise UnsafeFile(f"the factory {self.spec!r} is not called: no function of {self._module} makes a model.")
        function = find_callable(self.spec)
        try:
            made = function(**self.kwargs)
        except Exception as error:  # the user's code can raise anything
            raise BadInput(
                f"the factory {self.spec!r} failed ({type(error).__name__}: {first_line(error)}); it has to return "
                f"the model when it is called with {dict(self.kwargs) or 'no arguments'}."
            ) from error
        if not isinstance(made, nn.Module):
            raise BadInput(f"the factory {self.spec!r} returned a {type(made).__name__} instead of an nn.Module.")
        return made
