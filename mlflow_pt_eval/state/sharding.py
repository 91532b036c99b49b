"""State that processes hold in parts, as torch's `fully_shard` leaves it: each one's part taken out of a tree.

What is held in parts are DTensors. A tree is kept without them; each process keeps its part of each by the key that
names its place, and says which part of the whole it is. `resharding` puts the parts back.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlflow_pt_eval.errors import BadInput, PtEvalError
from mlflow_pt_eval.state.codec import DICTS, path_text
from mlflow_pt_eval.state.tree import Stateful

SHARDS_KEY = "shards"  # in a checkpoint's tree: which part of which tensor lies where
_WORKS = (
    "What works are torch's fully_shard over all processes in one dimension of a mesh, DistributedDataParallel, and "
    "one process."
)
Path = tuple[Any, ...]


@dataclass(frozen=True)
class Shard:
    """This process's part of a state: its *tensors* by key, and the *wholes* that they are parts of, by the same."""

    tensors: dict[str, torch.Tensor]
    wholes: Mapping[str, tuple[Path, Any]]

    def described(self) -> dict[str, dict[str, Any]]:
        """Say of each tensor which part of which whole it is, as plain data; torch.distributed.checkpoint plans it."""
        return {key: _described(key, *whole) for key, whole in self.wholes.items()}


def is_part(value: object) -> bool:
    """Say whether a value is a tensor of which each process holds a part."""
    tensors = sys.modules.get("torch.distributed.tensor")  # where nobody has loaded it, there is none
    return isinstance(value, torch.Tensor) and tensors is not None and isinstance(value, tensors.DTensor)


def sharded_modules(model: nn.Module) -> list[nn.Module]:
    """Return the modules in *model* that `fully_shard` was called on."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return [] if fsdp is None else [module for module in model.modules() if isinstance(module, fsdp.FSDPModule)]


def check_sharding(state: Mapping[str, Stateful], size: int) -> bool:
    """Return whether modules of *state* are sharded over the *size* processes; BadInput if in a way not known here."""
    found = False
    for key, part in state.items():
        if isinstance(part, nn.Module):
            found |= _check_module(key, part, size)
    return found


def take_shard(tree: Mapping[str, Any]) -> tuple[dict[str, Any], Shard]:
    """Return *tree* (of `capture_state`) without what is held in parts, and this process's parts, live still."""
    wholes: dict[str, tuple[Path, Any]] = {}
    rest = _without(tree, (), wholes)
    with torch.no_grad():
        tensors = {key: whole.to_local() for key, (_, whole) in wholes.items()}
    return rest, Shard(tensors, wholes)


def index_of(described: Sequence[Mapping[str, Any]], files: Sequence[str]) -> dict[str, Any]:
    """Put together what each process says of its part, in *files*; PtEvalError if anything of a whole is missing."""
    index: dict[str, Any] = {}
    for parts, file in zip(described, files, strict=True):
        for key, part in parts.items():
            whole = index.setdefault(key, {name: part[name] for name in ("path", "shape", "dtype")} | {"chunks": []})
            if torch.Size(part["sizes"]).numel():
                whole["chunks"].append({"file": file, "offsets": part["offsets"], "sizes": part["sizes"]})
    for key, whole in index.items():
        there = sum(torch.Size(chunk["sizes"]).numel() for chunk in whole["chunks"])
        if there != torch.Size(whole["shape"]).numel():
            raise PtEvalError(f"the processes hold {there} values of {key}, which has the shape {whole['shape']}.")
    return index


def _check_module(key: str, module: nn.Module, size: int) -> bool:
    for inner in module.modules():
        if type(inner).__name__ == "FullyShardedDataParallel":
            raise BadInput(f"state[{key!r}] holds a FullyShardedDataParallel, the older kind of sharding. {_WORKS}")
    by_fsdp = sharded_modules(module)
    if not by_fsdp and not any(map(is_part, (*module.parameters(), *module.buffers()))):
        return False
    parts = {name: value for name, value in module.state_dict().items() if is_part(value)}
    for name, value in parts.items():
        _check_part(f"state[{key!r}]: {name}", value, size)
    if parts and not by_fsdp:
        raise BadInput(f"state[{key!r}] is sharded by something else than fully_shard. {_WORKS}")
    return bool(parts)


def _check_part(name: str, value: Any, size: int) -> None:
    from torch.distributed.tensor import Shard as Sharded

    mesh, placements = value.device_mesh, value.placements
    if mesh.ndim != 1 or mesh.size() != size or type(placements[0]) is not Sharded:
        raise BadInput(f"{name} lies on a mesh {tuple(mesh.shape)} of {size} processes as {placements}. {_WORKS}")


def _without(value: Any, path: Path, wholes: dict[str, tuple[Path, Any]]) -> Any:
    """Rebuild the mappings of a tree without the parts in them, which are noted."""
    if type(value) not in DICTS:
        if is_part(value):
            raise BadInput(f"{path_text(path)} is held in parts by several processes; in a list it cannot be saved.")
        if isinstance(value, list | tuple):
            for number, item in enumerate(value):
                _without(item, (*path, number), wholes)
        return value
    made = type(value)()
    for key, item in value.items():
        here = (*path, key)
        if is_part(item):
            wholes[_key_of(here, wholes)] = (here, item)
        else:
            made[key] = _without(item, here, wholes)
    if type(value) is OrderedDict:
        vars(made).update(vars(value))  # the `_metadata` of a state_dict
    return made


def _key_of(path: Path, taken: Mapping[str, Any]) -> str:
    key = path_text(path)
    if key in taken or not all(type(part) in (str, int) for part in path):
        raise BadInput(f"{key} is held in parts by several processes; only under plain names can it be saved.")
    return key


def _described(key: str, path: Path, whole: Any) -> dict[str, Any]:
    from torch.distributed.checkpoint.default_planner import create_default_local_save_plan

    _check_part(key, whole, whole.device_mesh.size())
    (item,) = create_default_local_save_plan({key: whole}, False).items
    assert item.tensor_data is not None
    chunk = item.tensor_data.chunk
    return {
        "path": list(path),
        "shape": tuple(whole.shape),
        "dtype": whole.dtype,
        "offsets": tuple(chunk.offsets),
        "sizes": tuple(chunk.sizes),
    }
