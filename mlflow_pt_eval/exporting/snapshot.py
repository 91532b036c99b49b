"""A frozen copy of a live model: CPU, eval mode, no gradients, unwrapped; the live model stays as it was."""

from __future__ import annotations

import copy
import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from mlflow_pt_eval.errors import BadInput, RegistrationFailed, StateMismatch, with_kind
from mlflow_pt_eval.exporting.unsharding import (
    fill_unsharded,
    forget_sharding,
    note_unsharded,
    whole_like,
    without_sharding,
)
from mlflow_pt_eval.state.sharding import is_part, sharded_modules
from mlflow_pt_eval.wording import listed

NAMED = 6  # keys that a line holds of each kind
_log = logging.getLogger("mlflow_pt_eval")

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def frozen_copy(model: nn.Module, weights: Mapping[str, torch.Tensor] | None = None) -> nn.Module:
    """Return *model*'s copy on the CPU, in eval mode, without gradients, wrappers and the user's hooks.

    `DistributedDataParallel`, `DataParallel` and `torch.compile` are taken off, also from submodules. *weights*, an
    unwrapped state dict, replaces the copy's own (strictly; StateMismatch names the keys); a model that is sharded
    over processes needs them. Weight normalisation and pruning, which torch implements as hooks, stay. Errors:
    RegistrationFailed for a model that cannot be copied, BadInput for what is none or has no weights yet.
    """
    inner = unwrapped(model)
    _check_weights_are_there(inner)
    if weights is None and sharded_modules(inner):
        raise RegistrationFailed(
            "this process holds only a part of the model's weights, since it is sharded: register it from a "
            "checkpoint, by RegisterBest or register_best."
        )
    try:
        made: nn.Module = copy.deepcopy(inner, _memo(inner))
    except (TypeError, RuntimeError, AttributeError) as error:
        raise RegistrationFailed(
            f"a {type(inner).__name__} cannot be copied ({with_kind(error)}); keep what "
            "cannot be copied (locks, files, generators) out of the module's attributes."
        ) from error
    forget_sharding(made)
    if weights is not None:
        load_strictly(made, weights)
    return made.eval().requires_grad_(False)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside any nesting of DDP, DataParallel and torch.compile; BadInput for what is no module."""
    if not isinstance(model, nn.Module):
        what = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        raise BadInput(f"{what} was given as a model: give an nn.Module, an object that is made already, as MyNet().")
    while (inner := _inside(model)) is not None:
        model = inner
    return model


def load_strictly(module: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Load *weights* into *module*; StateMismatch names missing, unexpected and wrongly shaped entries."""
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    reshaped = [
        f"{key}: {tuple(weights[key].shape)} instead of {tuple(own[key].shape)}"
        for key in sorted(own.keys() & weights.keys())
        if isinstance(own[key], torch.Tensor) and not is_lazy(own[key]) and own[key].shape != weights[key].shape
    ]
    wrong = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    if any(wrong.values()):
        raise StateMismatch(
            f"the weights do not fit a {type(module).__name__}: "
            + "; ".join(f"{what}: {listed(keys, NAMED)}" for what, keys in wrong.items() if keys)
            + ". Use the class and the arguments that they were trained with."
        )
    module.load_state_dict(weights)


def _check_weights_are_there(model: nn.Module) -> None:
    lazy = [name for name, held in (*model.named_parameters(), *model.named_buffers()) if is_lazy(held)]
    if lazy:
        raise BadInput(
            f"the {type(model).__name__}'s {listed(lazy, NAMED)} have no shape yet: "
            "call a lazy module once with a batch first."
        )


def _inside(model: nn.Module) -> nn.Module | None:
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
        return model.module
    return model._modules.get("_orig_mod")  # torch.compile's wrapper; its class costs seconds to import


def _memo(model: nn.Module) -> dict[int, Any]:
    """Say beforehand what deepcopy shall use: tensors on the CPU, bare submodules, no hooks of the user's."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for tensor in _tensors(module):
            if id(tensor) not in memo:  # tied weights stay tied
                memo[id(tensor)] = _on_cpu(tensor)
        for name in _HOOKS:
            memo[id(getattr(module, name))] = _torchs_own(getattr(module, name), module, name)
    note_unsharded(model, memo)
    wrappers = [module for module in model.modules() if _inside(module) is not None]
    for wrapper in reversed(wrappers):  # the innermost first
        memo[id(wrapper)] = copy.deepcopy(unwrapped(wrapper), memo)
    fill_unsharded(model, memo)
    return memo


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    held = [*module._parameters.values(), *module._buffers.values(), *vars(module).values()]
    return [value for value in held if isinstance(value, torch.Tensor)]


def _on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    if is_part(tensor):
        return whole_like(tensor)
    made = tensor.detach().to("cpu", copy=True)  # strides, and with them channels-last, are kept
    if isinstance(tensor, nn.Parameter) and type(tensor) is nn.Parameter:
        return nn.Parameter(made, requires_grad=False)
    return made


def _torchs_own(hooks: Mapping[int, Any], module: nn.Module, kind: str) -> OrderedDict[int, Any]:
    """Keep the hooks that are part of the model (weight norm, pruning); the user's could record, print or change."""
    hooks = without_sharding(hooks)
    kept = OrderedDict((key, hook) for key, hook in hooks.items() if type(hook).__module__.startswith("torch."))
    if len(kept) < len(hooks) and "forward" in kind:
        _log.warning(
            "A %s has %d forward hook(s); the published model is without them.",
            type(module).__name__,
            len(hooks) - len(kept),
        )
    return kept
