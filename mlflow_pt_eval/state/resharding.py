"""Parts of a sharded state put back: each process reads what it needs of them, or one process all of it.

torch.distributed.checkpoint plans which piece of which file goes where, so that another number of processes, and one
alone, read the same values. The files are ours (`save_tree`), and read without a pickle being executed.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

import torch
from torch.optim import Optimizer

from mlflow_pt_eval.errors import CheckpointDamaged
from mlflow_pt_eval.state.plans import numbered
from mlflow_pt_eval.state.sharding import SHARDS_KEY, Path, is_part, take_shard
from mlflow_pt_eval.state.tree import SUFFIX, Stateful, capture_state

Open = Callable[[str], FilePath]  # gives the verified file of that name


def assemble(tree: Mapping[str, Any], open_file: Open, *, only: Collection[str] | None = None) -> dict[str, Any]:
    """Return a checkpoint's tree with every tensor whole, on the CPU; with *only*, those under these entries.

    CheckpointDamaged if a part is not what the tree says of it; what *open_file* raises.
    """
    index = {k: whole for k, whole in _index(tree).items() if only is None or whole["path"][0] in only}
    wholes = {key: torch.empty(whole["shape"], dtype=whole["dtype"]) for key, whole in index.items()}
    kept = {key: value for key, value in tree.items() if only is None or key in only}
    return _put_back(kept, index, wholes, open_file)


def take_up_shards(tree: Mapping[str, Any], state: Mapping[str, Stateful], open_file: Open) -> dict[str, Any]:
    """Return a checkpoint's tree with each tensor as the live objects hold theirs: whole, or this process's part.

    The checkpoint may be of another number of processes, or of one. No process waits for another.
    """
    live = {path: value for path, value in take_shard(capture_state(state))[1].wholes.values()}
    like = live | dict(_like_parameters(tree, state))
    index = _index(tree)
    targets = {key: _target(whole, like.get(tuple(whole["path"]))) for key, whole in index.items()}
    made = _put_back(tree, index, targets, open_file)
    for path, value in like.items():
        _share_out(made, path, value)
    return made


def _index(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    index: Mapping[str, Any] = tree.get(SHARDS_KEY, {})
    return index


def _like_parameters(tree: Mapping[str, Any], state: Mapping[str, Stateful]) -> Iterator[tuple[Path, Any]]:
    """Yield each place of a saved optimizer's state with its parameter, where that is held in parts here."""
    places: dict[Path, list[Path]] = {}
    for whole in _index(tree).values():
        places.setdefault(tuple(whole["path"][:3]), []).append(tuple(whole["path"]))
    for key, part in state.items():
        entry = key + SUFFIX
        saved = tree.get(entry)
        if not isinstance(part, Optimizer) or not isinstance(saved, Mapping):
            continue
        groups = saved.get("param_groups", [])
        if list(map(_length, groups)) != list(map(_length, part.param_groups)):
            continue  # another optimizer: `restore_state` says so
        for number, parameter in numbered(part, saved):
            if is_part(parameter):
                start = (entry, "state", number)
                whole_ones = ((*start, name) for name in saved.get("state", {}).get(number, {}))
                yield from ((place, parameter) for place in (*places.get(start, ()), *whole_ones))


def _length(group: Mapping[str, Any]) -> int:
    return len(group["params"])


def _target(whole: Mapping[str, Any], like: Any) -> torch.Tensor:
    if like is not None and tuple(like.shape) == tuple(whole["shape"]):
        return torch.empty_like(like.detach(), dtype=whole["dtype"])
    return torch.empty(whole["shape"], dtype=whole["dtype"])


def _share_out(tree: dict[str, Any], path: Path, like: Any) -> None:
    """Leave of a tensor that was saved whole this process's part, where it is held in parts here."""
    from torch.distributed.tensor import distribute_tensor

    holder: Any = tree
    for step in path[:-1]:
        holder = holder.get(step, {}) if isinstance(holder, Mapping) else {}
    value = holder.get(path[-1])
    if isinstance(value, torch.Tensor) and not is_part(value) and value.shape == like.shape:
        whole = value.detach().to(like.device)
        holder[path[-1]] = distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)


def _put_back(
    tree: Mapping[str, Any], index: Mapping[str, Any], targets: dict[str, torch.Tensor], open_file: Open
) -> dict[str, Any]:
    """Fill *targets* from the files, and return the tree with each at its place; *tree* stays as it is."""
    if targets:
        _load(index, targets, open_file)
    made = {key: _copied(value) for key, value in tree.items() if key != SHARDS_KEY}
    for key, target in targets.items():
        *steps, last = index[key]["path"]
        holder: Any = made
        for step in steps:
            holder = holder.get(step) if isinstance(holder, dict) else None
        if not isinstance(holder, dict):
            raise CheckpointDamaged(f"the tree has no place for {key}, of which there are parts.")
        holder[last] = target
    return made


def _copied(value: Any) -> Any:
    """Return new mappings with the same values in them."""
    if not isinstance(value, dict):
        return value
    made = copy.copy(value)
    for key, item in value.items():
        made[key] = _copied(item)
    return made


def _load(index: Mapping[str, Any], targets: dict[str, torch.Tensor], open_file: Open) -> None:
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.state_dict_loader import load

    from mlflow_pt_eval.state.shard_reader import ShardReader

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        try:
            load(targets, storage_reader=ShardReader(index, open_file), no_dist=True)
        except CheckpointException as error:
            raise next(iter(error.failures.values()))[0] from error
