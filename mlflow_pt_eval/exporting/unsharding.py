"""The copy of a module that torch's `fully_shard` has sharded in place: its own classes again, and whole parameters.

Sharding gives a module another class, which refuses to be copied, and leaves each process a part of its parameters.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mlflow_pt_eval.state.sharding import sharded_modules

_STATE_KEYS = ("__composable_api_state_key", "_is_fsdp_managed_module", "_fsdp_use_orig_params")
_HOOKS = ("_state_dict_pre_hooks", "_state_dict_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")


def note_unsharded(model: nn.Module, memo: dict[int, Any]) -> None:
    """Put into deepcopy's *memo* modules that will be the copies of the sharded ones; empty still."""
    for module in sharded_modules(model):
        original: type[nn.Module] = type(module).__mro__[type(module)._orig_cls_mro_index]  # type: ignore[attr-defined]
        memo[id(module)] = original.__new__(original)


def fill_unsharded(model: nn.Module, memo: dict[int, Any]) -> None:
    """Give the modules of `note_unsharded` what they hold; *memo* has the copies of the tensors by now."""
    sharded = sharded_modules(model)
    for module in model.modules() if sharded else ():
        for name in _HOOKS:
            memo[id(getattr(module, name))] = without_sharding(getattr(module, name))
    for module in sharded:
        held = {key: value for key, value in vars(module).items() if not key.startswith(_STATE_KEYS)}
        memo[id(module)].__setstate__(copy.deepcopy(held, memo))


def forget_sharding(module: nn.Module) -> None:
    """Take off a copy what `fully_shard` has noted in the modules below those that it was called on."""
    for inner in module.modules():
        for key in [key for key in vars(inner) if key.startswith(_STATE_KEYS)]:
            delattr(inner, key)


def without_sharding(hooks: Mapping[int, Any]) -> OrderedDict[int, Any]:
    """Return *hooks* without those by which sharded modules gather their parameters."""
    return OrderedDict((key, hook) for key, hook in hooks.items() if not _shards(hook))


def whole_like(tensor: torch.Tensor) -> torch.Tensor:
    """Return an empty whole tensor on the CPU for one of which this process has a part."""
    made = torch.zeros(tensor.shape, dtype=tensor.dtype)
    return nn.Parameter(made, requires_grad=False) if isinstance(tensor, nn.Parameter) else made


def _shards(hook: Any) -> bool:
    target = getattr(hook, "hook", hook)  # torch's own wrapper of state_dict hooks
    target = getattr(target, "func", target)  # functools.partial
    return str(getattr(target, "__module__", "")).startswith("torch.distributed.")
