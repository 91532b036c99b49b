"""Weights as people keep them by hand: a state dict or a checkpoint that holds one, in a torch or safetensors file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mlflow_pt_eval.errors import BadInput, CheckpointDamaged, NotFound
from mlflow_pt_eval.files import readable_size
from mlflow_pt_eval.state import load_tree

# The textbooks' and the well-known trainers' names for the model's part of a checkpoint, the most explicit first.
_MODEL_KEYS = ("model_state_dict", "state_dict", "model_state", "model", "net", "network", "weights", "params")
_WRAPPERS = ("module.", "_orig_mod.")


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """What a file holds: a state dict, its names as they stand there, and the epoch that it says it is of."""

    weights: Mapping[str, torch.Tensor]
    epoch: int | None

    def named_as(self, own: Collection[str]) -> dict[str, torch.Tensor]:
        """Return the weights without the prefixes of DDP and torch.compile, unless a module's names *own* have them."""
        named = {key.replace("._orig_mod.", "."): value for key, value in self.weights.items()}
        while not named.keys() & set(own):
            prefix = next((p for p in _WRAPPERS if all(key.startswith(p) for key in named)), None)
            if prefix is None or not named:
                break
            named = {key.removeprefix(prefix): value for key, value in named.items()}
        return named


def read_weights(path: Path) -> WeightsFile:
    """Read a file without executing anything in it.

    Errors: NotFound; UnsafeFile for a pickled model, with the way round it; BadInput for a file that is damaged, or
    holds no state dict, saying what it holds.
    """
    if not path.is_file():
        raise NotFound(f"there is no file {path}." if not path.is_dir() else f"{path} is a folder, not a file.")
    if path.suffix.lower() == ".safetensors":
        try:
            return WeightsFile(load_file(path), None)
        except SafetensorError as error:
            raise BadInput(f"{path} is not a whole safetensors file ({error}).") from error
    try:
        tree = load_tree(path)
    except CheckpointDamaged as error:
        raise BadInput(
            f"{path} ({readable_size(path.stat().st_size)}) is no whole PyTorch file: it is cut off, damaged, or of "
            "another kind. Copy it anew, or save the weights by torch.save(model.state_dict(), path)."
        ) from error
    if _is_state_dict(tree):
        return WeightsFile(tree, None)
    if isinstance(tree, Mapping):
        for key in _MODEL_KEYS:
            if _is_state_dict(tree.get(key)):
                epoch = tree.get("epoch")
                return WeightsFile(tree[key], epoch if type(epoch) is int else None)
    raise BadInput(f"{path} holds no state dict but {_described(tree)}; give the weights, or a checkpoint with them.")


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and isinstance(part, torch.Tensor) for key, part in value.items())
    )


def _described(tree: Any) -> str:
    if not isinstance(tree, Mapping):
        return f"a {type(tree).__name__}"
    return f"a mapping with the keys {', '.join(map(str, list(tree)[:8]))}" if tree else "an empty mapping"
