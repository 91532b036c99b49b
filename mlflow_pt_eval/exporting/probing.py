"""What a graph refuses although the model that it was made of takes it: numbers of samples, lengths, sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from mlflow_pt_eval.exporting.inputs import Example
from mlflow_pt_eval.predict.model import evaluating

_LARGEST = 4_000_000  # values of an example that is made twice as long


def refused_batch(graph: nn.Module, model: nn.Module, example: Example) -> int | None:
    """Return a number of samples that *graph* refuses and *model* does not: another one than the example's, or one."""
    for count in (3 if example.batch == 2 else 2, 1):
        if _only(model, graph, _with_samples(example, count)):
            return count
    return None


def refused_size(graph: nn.Module, model: nn.Module, example: Example) -> str | None:
    """Name a size that *graph* refuses in another dimension than the batch, and *model* does not.

    Dimensions of one size are taken for the same thing, such as a text's length and its mask's. Two samples tell it.
    """
    example = _with_samples(example, 2)
    batched = example.batched()
    places: dict[int, list[tuple[str, int]]] = {}
    for name, tensor in example.tensors.items():
        for dimension in range(name in batched, tensor.ndim):
            places.setdefault(tensor.shape[dimension], []).append((name, dimension))
    for size in sorted(places.keys() - {0, 1}):
        for wanted, probe in _of_other_size(example, places[size], size):
            if _only(model, graph, probe):
                name, dimension = places[size][0]
                return f"torch.export makes a graph that refuses {wanted} as dimension {dimension} of {name!r}"
    return None


def takes(module: nn.Module, example: Example) -> bool:
    """Say whether *module* gives anything for *example*; buffers that it writes to are put back."""
    with evaluating(module):
        try:
            example.ask(module)
        except Exception:  # the user's code can raise anything, and so can torch's guards
            return False
    return True


def _only(model: nn.Module, graph: nn.Module, probe: Example) -> bool:
    return not takes(graph, probe) and takes(model, probe)


def _with_samples(example: Example, count: int) -> Example:
    batched = {name: _resized(example.tensors[name], 0, count) for name in example.batched()}
    return replace(example, tensors={**example.tensors, **batched})


def _of_other_size(example: Example, places: list[tuple[str, int]], size: int) -> Iterator[tuple[int, Example]]:
    values = max(tensor.numel() for tensor in example.tensors.values())
    for wanted in dict.fromkeys((2 * size, size - 1, (size + 1) // 2)):
        if wanted < size or 2 * values <= _LARGEST:
            tensors = dict(example.tensors)
            for name, dimension in places:
                tensors[name] = _resized(tensors[name], dimension, wanted)
            yield wanted, replace(example, tensors=tensors)


def _resized(tensor: torch.Tensor, dimension: int, size: int) -> torch.Tensor:
    """Return the first *size* of a dimension, gone through again where there are fewer."""
    places = torch.arange(size) % tensor.shape[dimension]
    return tensor.index_select(dimension, places)
