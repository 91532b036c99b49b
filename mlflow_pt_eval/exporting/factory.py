"""The other form of a published model: the weights, and the importable callable that makes the module for them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

from torch import nn

from mlflow_pt_eval.errors import BadInput, UnsafeFile, first_line, with_kind

_SPEC = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")

# Packages that read pickles, run commands or start programs, and of which no class is a model. The standard library's
# are refused, too, and of torch everything but its layers.
_NO_FACTORIES = {"numpy", "pandas", "mlflow", "joblib", "sklearn", "yaml", "mlflow_pt_eval"}


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

        It is code of the reader's own packages, which a stored model only names: a class of modules, or a plain
        function that its module's own package defines, where that module knows torch. Nothing else is called.

        Errors: NotFound or BadInput where it cannot be imported, fails, or makes something else than an `nn.Module`;
        UnsafeFile for any other callable, such as a function of torch itself, of the standard library or of a
        package that reads pickles.
        """
        return module_made_by(self._found(), self.kwargs, what=repr(self.spec))

    def _found(self) -> Callable[..., Any]:
        # Not at the top: data sets need pandas, which the fresh process that proves a graph has no use for.
        from mlflow_pt_eval.data.spec import find_callable

        self._refuse(_why_not_imported(self._module))
        try:
            found = find_callable(self.spec)
        except SystemExit as error:
            raise BadInput(f"importing {self._module} ended with SystemExit: {first_line(error)}.") from error
        self._refuse(_why_not_called(found, self._module, self.spec.partition(":")[2]))
        return found

    def _refuse(self, reason: str | None) -> None:
        if reason is not None:
            raise UnsafeFile(
                f"the factory {self.spec!r} is not called: {reason}. Name a class of your own, or a function that "
                "makes the model in a module of yours that imports torch."
            )


def module_made_by(call: Callable[..., Any], kwargs: Mapping[str, Any], *, what: str) -> nn.Module:
    """Return what *call*, the factory that messages name *what*, makes; BadInput where that is no module."""
    try:
        made = call(**kwargs)
    except (Exception, SystemExit) as error:  # the user's code can raise anything
        raise BadInput(
            f"the factory {what} failed ({with_kind(error)}); it has to return the model "
            f"when it is called with {dict(kwargs) or 'no arguments (factory_kwargs= gives some)'}."
        ) from error
    if not isinstance(made, nn.Module):
        raise BadInput(f"the factory {what} returned a {type(made).__name__} instead of an nn.Module.")
    return made


def _why_not_imported(module: str) -> str | None:
    """Return why a factory's module is not even imported, which runs it; None for one that may be."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top in _NO_FACTORIES:
        return f"no function of {top} makes a model of yours"
    if _within(module, "torch") and not _within(module, "torch.nn"):
        return "of torch itself, only the layers in torch.nn are"
    if any(part.startswith("__") for part in module.split(".")):
        return f"{module} is a program"
    return None


def _why_not_called(found: Any, module: str, path: str) -> str | None:
    """Return why what stands at *path* in *module* is not called: it must make modules, and be the module's own."""
    owner: Any = sys.modules[module]
    for name in path.split(".")[:-1]:
        owner = getattr(owner, name)
        if not isinstance(owner, type):
            return f"{name} is no class of {module}"
    home = str(getattr(found, "__module__", ""))
    if isinstance(found, type) and issubclass(found, nn.Module):
        return None if _why_not_imported(home) is None else f"{home} makes no model of yours"
    if not isinstance(found, FunctionType):
        return f"it is a {type(found).__name__}, neither a class of modules nor a plain function"
    if home.partition(".")[0] != module.partition(".")[0]:
        return f"it is from {home}, another package than {module}"
    if _within(home, "torch") or (_within(home, "torchvision") and not _within(home, "torchvision.models")):
        return f"no function of {home} makes a model of yours"
    if not any(_is_torchs(value) for value in getattr(sys.modules.get(home), "__dict__", {}).values()):
        return f"{home} has nothing of torch in it"
    return None


def _is_torchs(value: Any) -> bool:
    """Say whether a module's global is torch, a part of it, or a class of modules: the mark of who makes models."""
    if isinstance(value, ModuleType):
        return _within(value.__name__, "torch")
    return isinstance(value, type) and issubclass(value, nn.Module)


def _within(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")
