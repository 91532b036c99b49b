"""A model's example input, whatever its form: one array, several, or a mapping of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import LABEL_KEYS
from mlflow_pt_eval.predict.model import takes_whole

Call = Literal["single", "positional", "keywords", "mapping"]
"""How a model takes its inputs: `model(x)`, `model(a, b)`, `model(a=a, b=b)` or `model({"a": a, "b": b})`."""


@dataclass(frozen=True, eq=False)
class Example:
    """An input of a model: named CPU tensors in the order that the model takes them, and how it takes them."""

    call: Call
    tensors: Mapping[str, torch.Tensor]

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments of a call with this example."""
        if self.call == "mapping":
            return (dict(self.tensors),)
        return () if self.call == "keywords" else tuple(self.tensors.values())

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments of a call with this example."""
        return dict(self.tensors) if self.call == "keywords" else {}

    @property
    def batch(self) -> int:
        """The number of samples: the length of the first input."""
        return next(iter(self.tensors.values())).shape[0]

    def batched(self) -> list[str]:
        """Return the names of the inputs whose first dimension is the batch."""
        return [name for name, tensor in self.tensors.items() if tensor.ndim and tensor.shape[0] == self.batch]

    def at_least_two(self) -> Example:
        """Return this example, a batch of one doubled: torch.export takes a dimension of size 1 for a constant."""
        if self.batch != 1:
            return self
        batched = self.batched()
        return replace(self, tensors={k: torch.cat([t, t]) if k in batched else t for k, t in self.tensors.items()})

    def ask(self, model: nn.Module) -> Any:
        """Return what *model* gives for this example, computed without gradients."""
        with torch.no_grad():
            return model(*self.args, **self.kwargs)

    def run(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Return *model*'s outputs by name, '' for a lone tensor; computed without gradients."""
        return named_outputs(self.ask(model))


def read_example(data: Any, model: nn.Module) -> Example:
    """Make an example of an array or tensor, a tuple or list of them (arguments), or a mapping.

    A mapping's parts are keywords, or it is an argument itself where *model* `takes_whole` mappings. Errors: BadInput
    for anything else, for labels, for no samples and for a first input without a batch dimension.
    """
    if isinstance(data, Mapping):
        tensors = {str(name): _tensor(value, f"the example's {name!r}") for name, value in data.items()}
        call: Call = "mapping" if takes_whole(model, tensors) else "keywords"
        if labels := next((name for name in LABEL_KEYS if name in tensors), None):
            raise BadInput(
                f"the input example holds {labels!r}, which evaluations take out of each batch: give the inputs alone."
            )
    elif isinstance(data, tuple | list):
        tensors = {
            name: _tensor(value, f"the example's input {index}")
            for index, (name, value) in enumerate(zip(_argument_names(model, len(data)), data, strict=True))
        }
        call = "positional"
    else:
        tensors, call = {"input": _tensor(data, "the example")}, "single"
    if not tensors:
        raise BadInput("the input example is empty; give one batch as the model takes it, such as x[:2].")
    return _with_samples(Example(call, tensors))


def check_example(data: Any) -> None:
    """Refuse what is no example whatever the model: errors as `read_example`."""
    read_example(data, nn.Identity())


def named_outputs(output: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return the tensors in a model's output by their path: '' for a lone one, 'logits', '0', 'aux.1' …

    The parts of a mapping, a named tuple or a dataclass have names, those of another tuple or list numbers.

    >>> sorted(named_outputs({"logits": torch.zeros(2), "aux": (torch.ones(1), None)}))
    ['aux.0', 'logits']
    """
    if isinstance(output, torch.Tensor):
        return {prefix: output.detach()}
    if isinstance(output, Mapping):
        parts = [(str(key), value) for key, value in output.items()]
    elif hasattr(output, "_fields"):
        parts = list(output._asdict().items())
    elif is_dataclass(output) and not isinstance(output, type):
        parts = list(vars(output).items())
    elif isinstance(output, tuple | list):
        parts = [(str(index), value) for index, value in enumerate(output)]
    else:
        return {}
    found: dict[str, torch.Tensor] = {}
    for key, value in parts:
        found |= named_outputs(value, f"{prefix}.{key}" if prefix else key)
    return found


def _with_samples(example: Example) -> Example:
    name, first = next(iter(example.tensors.items()))
    if first.ndim == 0 or first.shape[0] == 0:
        raise BadInput(
            f"the example's first input ({name!r}) has the shape {tuple(first.shape)}; "
            "give a batch with at least one sample, such as x[:2]."
        )
    return example


def _tensor(value: Any, what: str) -> torch.Tensor:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(np.array(value))  # owned: a view of the user's array could change under us
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
    raise BadInput(f"{what} is {kind}; give a NumPy array of numbers or a torch.Tensor, or a tuple or dict of them.")


def _parameters(model: nn.Module) -> list[inspect.Parameter]:
    return list(inspect.signature(model.forward).parameters.values())


def _argument_names(model: nn.Module, count: int) -> list[str]:
    by_position = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    names = [p.name for p in _parameters(model) if p.kind in by_position][:count]
    return names + [f"input_{index}" for index in range(len(names), count)]
