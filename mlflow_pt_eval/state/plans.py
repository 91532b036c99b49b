"""What to hand to each live object's `load_state_dict`, and what would not fit: known before anything is changed."""

from __future__ import annotations

import copy
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import LBFGS, Adafactor, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mlflow_pt_eval.state.wrappers import clean_key, unwrapped_names, wrap

# torch's own optimizers keep one tensor a parameter, shaped like it; these two don't.
_OTHER_SHAPES = (LBFGS, Adafactor)


@dataclass
class Plan:
    """One live object's part of a restore: what to load (None: nothing fits) and what does not fit, by name."""

    load: Any
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)


def make_plan(name: str, live: Any, saved: Any) -> Plan:
    """Compare *saved* (decoded; the tree's own tensors) with the *live* object; *name* starts every name in the plan.

    The plan's `load` shares no tensor with *saved* that the live object could keep.
    """
    if isinstance(live, nn.Module):
        return _plan_module(name, live, saved)
    if isinstance(live, Optimizer):
        different = list(_optimizer_differences(name, live, saved))
        return Plan(None if different else _copied(saved), different=different)
    if isinstance(live, LRScheduler | torch.amp.GradScaler):
        return _plan_by_keys(name, live.state_dict(), saved)
    return Plan(_copied(saved))


def _copied(value: Any) -> Any:
    """Return a deep copy, also of tensors in layouts that torch has no deep copy of."""
    own = {id(tensor): tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in _compressed(value)}
    return copy.deepcopy(value, own)


def _compressed(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in compressed sparse layouts (CSR, BSR …) that stand in containers."""
    if isinstance(value, torch.Tensor):
        if value.layout not in (torch.strided, torch.sparse_coo):
            yield value
    elif isinstance(value, Mapping | list | tuple | deque):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _compressed(item)


def keep_dtypes(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Give an optimizer's state the dtypes it was saved with: loading has cast it to those of the parameters."""
    for index, parameter in numbered(optimizer, saved):
        for key, value in saved["state"].get(index, {}).items():
            now = optimizer.state[parameter].get(key)
            if isinstance(value, torch.Tensor) and isinstance(now, torch.Tensor) and now.dtype != value.dtype:
                optimizer.state[parameter][key] = value.to(now.device, copy=True)


def _plan_module(name: str, module: nn.Module, saved: Any) -> Plan:
    """Compare by names without wrappers; what is missing or does not fit is filled up from the live module."""
    if not isinstance(saved, Mapping):
        return Plan(None, different=[f"{name} (a {type(saved).__name__} in the checkpoint, no mapping)"])
    names, live = unwrapped_names(module), module.state_dict()
    keys = {clean_key(key, names): key for key in live}
    bad = {clean: why for clean, key in keys.items() if clean in saved and (why := _misfit(live[key], saved[clean]))}
    fitting = {clean: _own(clean, saved[clean]) for clean in keys if clean in saved and clean not in bad}
    filled = OrderedDict((clean, fitting.get(clean, live[key])) for clean, key in keys.items())
    vars(filled).update(vars(saved) if isinstance(saved, OrderedDict) else {})
    return Plan(
        wrap(filled, keys, names) if fitting or not keys else None,
        missing=[f"{name}.{key}" for key in keys if key not in saved],
        unexpected=[f"{name}.{key}" for key in saved if key not in keys],
        different=[f"{name}.{key} ({why})" for key, why in bad.items()],
    )


def _own(key: str, value: Any) -> Any:
    """Return *value* as a module may have it: parameters and buffers are copied by the module, the rest is not."""
    return _copied(value) if key.endswith("_extra_state") or not isinstance(value, torch.Tensor) else value


def _misfit(live: Any, saved: Any) -> str:
    """Say why a saved parameter, buffer or extra state does not fit the live one; '' if it does."""
    if isinstance(live, torch.Tensor) != isinstance(saved, torch.Tensor):
        return f"a {type(saved).__name__} in the checkpoint, a {type(live).__name__} here"
    if not isinstance(live, torch.Tensor) or is_lazy(live):
        return ""
    if live.shape != saved.shape:
        return f"shape {tuple(saved.shape)} in the checkpoint, {tuple(live.shape)} here"
    return "" if live.dtype == saved.dtype else f"{saved.dtype} in the checkpoint, {live.dtype} here"


def _plan_by_keys(name: str, live: Mapping[str, Any], saved: Mapping[str, Any]) -> Plan:
    """Tell another kind of scheduler or scaler by its public keys; load only if all are there and no other."""
    here, there = ({key for key in state if not key.startswith("_")} for state in (live, saved))
    missing = [f"{name}.{key}" for key in sorted(here - there)]
    unexpected = [f"{name}.{key}" for key in sorted(there - here)]
    return Plan(None if missing or unexpected else _copied(saved), missing=missing, unexpected=unexpected)


def _optimizer_differences(name: str, optimizer: Optimizer, saved: Any) -> Iterator[str]:
    """Name what keeps *saved* from being this optimizer's state."""
    if not isinstance(saved, Mapping) or not {"state", "param_groups"} <= saved.keys():
        yield f"{name} (no state of an optimizer)"
        return
    here, there = optimizer.param_groups, saved["param_groups"]
    if len(here) != len(there):
        yield f"{name}.param_groups ({len(there)} groups in the checkpoint, {len(here)} here)"
        return
    misfits = [why for pair in enumerate(zip(there, here, strict=True)) if (why := _group_misfit(*pair))]
    yield from (f"{name}.param_groups.{why}" for why in misfits)
    if not misfits and type(optimizer).__module__.startswith("torch.optim"):
        yield from (f"{name}.state.{why}" for why in _shape_misfits(optimizer, saved))


def _group_misfit(number: int, groups: tuple[Mapping[str, Any], Mapping[str, Any]]) -> str:
    """Say why one parameter group does not fit: another number of parameters, or another kind of optimizer."""
    there, here = groups
    if len(there["params"]) != len(here["params"]):
        return f"{number}.params ({len(there['params'])} parameters in the checkpoint, {len(here['params'])} here)"
    gone, more = sorted(here.keys() - there.keys()), sorted(there.keys() - here.keys())
    # One side alone may have more: a scheduler adds keys, and so does a newer torch.
    if gone and more:
        return f"{number} (another optimizer: {', '.join(more)} in the checkpoint, {', '.join(gone)} here)"
    return ""


def _shape_misfits(optimizer: Optimizer, saved: Mapping[str, Any]) -> Iterator[str]:
    """Name state that belongs to a parameter of another shape, as when the model's parts were reordered."""
    if isinstance(optimizer, _OTHER_SHAPES):
        return
    for index, parameter in numbered(optimizer, saved):
        for key, value in saved["state"].get(index, {}).items():
            shaped = isinstance(value, torch.Tensor) and value.dim() and not is_lazy(parameter)
            if shaped and value.shape != parameter.shape:
                here = tuple(parameter.shape)
                yield f"{index}.{key} (shape {tuple(value.shape)} in the checkpoint, the parameter has {here})"


def numbered(optimizer: Optimizer, saved: Mapping[str, Any]) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield each live parameter with the number that the saved state has for it."""
    for there, here in zip(saved["param_groups"], optimizer.param_groups, strict=True):
        yield from zip(there["params"], here["params"], strict=True)
