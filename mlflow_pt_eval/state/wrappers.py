"""A model's names without wrappers: DDP's and DataParallel's `module.`, `torch.compile`'s `_orig_mod.`.

Wrappers are told by what the modules are, not by how names look: a user's own attribute `module` keeps its name, and
an `AveragedModel`, which has parts of its own beside its `module`, is no wrapper.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn


def looks_wrapped(keys: Iterable[str]) -> bool:
    """Say whether any key of a state_dict could have a wrapper's name in it; cheap, and certain only if it says no."""
    return any("module." in key or "_orig_mod." in key for key in keys)


def unwrapped_names(module: nn.Module) -> dict[str, str]:
    """Return the name without wrappers of *module* itself ('') and of every module in it, by its live name."""
    modules = dict(module.named_modules(remove_duplicate=False))
    names = {"": ""}
    for live in modules:
        if live:
            holder, _, child = live.rpartition(".")
            names[live] = names[holder] if _wraps(modules[holder], child) else _join(names[holder], child)
    return names


def clean_key(key: str, names: Mapping[str, str]) -> str:
    """Return a state_dict's key without wrappers, by the innermost module (of `unwrapped_names`) that it names."""
    owner = key.rpartition(".")[0]
    while owner not in names:
        owner = owner.rpartition(".")[0]
    return _join(names[owner], key[len(owner) + 1 :] if owner else key)


def unwrap(state: Mapping[str, Any], names: Mapping[str, str]) -> OrderedDict[str, Any]:
    """Rename a live state_dict, and its `_metadata`, to names without wrappers."""
    clean = OrderedDict((clean_key(key, names), value) for key, value in state.items())
    metadata = getattr(state, "_metadata", None)
    # A wrapper and what it wraps come to one name; the inner one comes later and is the one that counts.
    return _with_metadata(clean, metadata and {names.get(name, name): value for name, value in metadata.items()})


def wrap(state: Mapping[str, Any], keys: Mapping[str, str], names: Mapping[str, str]) -> OrderedDict[str, Any]:
    """Rename *state* to the live names: *keys* has the live key of each clean one; any other key stays."""
    live = OrderedDict((keys.get(key, key), value) for key, value in state.items())
    metadata = getattr(state, "_metadata", None)
    return _with_metadata(live, metadata and {n: metadata[clean] for n, clean in names.items() if clean in metadata})


def _with_metadata(state: OrderedDict[str, Any], metadata: Mapping[str, Any] | None) -> OrderedDict[str, Any]:
    """Attach the versions of the modules, where torch's `load_state_dict` looks for them."""
    if metadata:
        vars(state)["_metadata"] = OrderedDict(metadata)
    return state


def _wraps(module: nn.Module, child: str) -> bool:
    """Say whether the child of that name is the very thing that *module* wraps."""
    if child == "module":
        return isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel)
    return child == "_orig_mod"


def _join(left: str, right: str) -> str:
    return f"{left}.{right}" if left else right
