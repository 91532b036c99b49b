"""What a training sets on its modules beside their state_dict: parameters that are frozen, modules in eval mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from mlflow_pt_eval.state.wrappers import looks_wrapped, unwrapped_names

# By kind, an attribute's name: `requires_grad` of parameters, `training` of modules.
Flags = dict[str, dict[str, bool]]
_KINDS = ("requires_grad", "training")


def capture_flags(state: Mapping[str, object]) -> Flags:
    """Return `requires_grad` of each parameter and `training` of each module in *state*, by name ('model.0.weight').

    Names are without wrappers; a wrapper and what it wraps have one name, for which the inner one's flag stands.
    """
    flags: Flags = {kind: {} for kind in _KINDS}
    for kind, name, holder in _holders(state):
        flags[kind][name] = getattr(holder, kind)
    return flags


def restore_flags(state: Mapping[str, object], saved: Mapping[str, Mapping[str, bool]]) -> None:
    """Put back what `capture_flags` returned; what has no flag in *saved* is left as it is.

    Modes are set one by one, not by `train()`: a model whose `train()` keeps parts in eval mode is what it was, too.
    """
    for kind, name, holder in _holders(state):
        flag = saved[kind].get(name)
        if flag is not None and getattr(holder, kind) is not flag and _can_be(holder, flag):
            setattr(holder, kind, flag)


def other_flags(flags: Mapping[str, Mapping[str, bool]], than: Mapping[str, Mapping[str, bool]]) -> Flags:
    """Return those of *flags* that are otherwise *than* those of the same names."""
    return {
        kind: {name: flag for name, flag in flags[kind].items() if than[kind].get(name, flag) is not flag}
        for kind in _KINDS
    }


def _holders(state: Mapping[str, object]) -> Iterator[tuple[str, str, object]]:
    for key, part in state.items():
        if not isinstance(part, nn.Module):
            continue
        modules = dict(part.named_modules(remove_duplicate=False))
        names = unwrapped_names(part) if looks_wrapped(f"{live}." for live in modules) else None
        for live, module in modules.items():
            clean = live if names is None else names[live]
            name = f"{key}.{clean}" if clean else key
            yield "training", name, module
            for attribute, parameter in module._parameters.items():
                if parameter is not None:
                    yield "requires_grad", f"{name}.{attribute}", parameter


def _can_be(holder: object, flag: bool) -> bool:
    """Say whether a parameter can require gradients: one of integers, as of a quantised layer, cannot."""
    whole = isinstance(holder, torch.Tensor) and not (holder.is_floating_point() or holder.is_complex())
    return not (flag and whole)
