"""A criterion as a text that stays the same from one process to the next, and differs where its losses would."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any, Final

from torch import nn

from mlflow_pt_eval.state import weights_sha256
from mlflow_pt_eval.wording import shorten

LONGEST: Final = 1000  # characters; MLflow cuts a tag at 8,000


def describe_criterion(criterion: Any) -> str:
    """Name a criterion's class with its settings, or a function with its module.

    Settings are public numbers and a `reduction`; other texts are left out, since nobody knows what stands in them.
    Weights and buffers count with their digest.

    >>> describe_criterion(nn.MSELoss(reduction="sum"))
    'torch.nn.modules.loss.MSELoss(reduction=sum)'
    >>> describe_criterion(nn.functional.cross_entropy)
    'torch.nn.functional.cross_entropy'
    """
    return shorten(_described(criterion), LONGEST)


def _described(criterion: Any) -> str:
    if isinstance(criterion, nn.Module):
        parts = [f"{name}={_described(child)}" for name, child in criterion.named_children()]
        own = {key: value for key, value in criterion.state_dict().items() if "." not in key}
        parts += [f"state={weights_sha256(own)[:12]}"] if own else []
        return f"{_name(type(criterion))}({', '.join([*_settings(vars(criterion)), *parts])})"
    if isinstance(criterion, functools.partial):
        return f"{_described(criterion.func)}({', '.join(_settings(criterion.keywords))})"
    if hasattr(criterion, "__qualname__"):
        return _name(criterion)
    return f"{_name(type(criterion))}({', '.join(_settings(getattr(criterion, '__dict__', {})))})"


def _settings(found: dict[str, Any]) -> list[str]:
    return [
        f"{key}={value}"
        for key, value in sorted(found.items())
        if not key.startswith("_")
        and key != "training"
        and (key == "reduction" or isinstance(value, bool | int | float))
    ]


def _name(thing: Any) -> str:
    """Return a class's or function's name; what a script defines is called as an import of the script calls it."""
    module = thing.__module__
    if module == "__main__":
        module = Path(getattr(sys.modules["__main__"], "__file__", None) or module).stem
    return f"{module}.{thing.__qualname__}"
