"""Live objects to a tree, and back: exact, and checked before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import nn
from torch.optim import Optimizer

from mlflow_pt_eval.errors import BadInput, StateMismatch
from mlflow_pt_eval.state.decoding import decode
from mlflow_pt_eval.state.plans import Plan, keep_dtypes, make_plan
from mlflow_pt_eval.state.rng import preserved_rng
from mlflow_pt_eval.state.wrappers import looks_wrapped, unwrap, unwrapped_names

SUFFIX = "_state_dict"


@runtime_checkable
class Stateful(Protocol):
    """Whatever can hand out its state and take it back."""

    def state_dict(self) -> Any:
        """Return the state, as tensors, arrays, numbers, text and containers of them."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take back what `state_dict` returned."""


@dataclass(frozen=True, kw_only=True)
class RestoreReport:
    """What a restore did, by the names of the tree ('optimizer_state_dict.state.3.exp_avg').

    `restored` has the entries that were given back; `missing` what the live objects have and the tree has not;
    `unexpected` what the tree has and they have not; `different` what does not fit; these were left as they were.
    `not_saved` are the buffers of models that no state_dict holds (`persistent=False`): they are as they were built.
    """

    restored: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    not_saved: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all that was saved was given back, and nothing was left over."""
        return not (self.missing or self.unexpected or self.different)

    @property
    def mismatch(self) -> str:
        """What was missing, unexpected or different, in one line; '' if nothing was."""
        return self._said("missing", "unexpected", "different")

    def __str__(self) -> str:
        """Say all of it in one line."""
        return self._said("restored", "missing", "unexpected", "different", "not_saved")

    def _said(self, *words: str) -> str:
        parts = {word: getattr(self, word) for word in words}
        return "; ".join(f"{word.replace('_', ' ')}: {', '.join(names)}" for word, names in parts.items() if names)


def is_stateful(part: object) -> bool:
    """Say whether *part* has both methods of `Stateful` (which `isinstance` takes long to find out)."""
    return hasattr(part, "state_dict") and hasattr(part, "load_state_dict")


def check_state(state: Mapping[str, Stateful]) -> None:
    """Raise BadInput unless *state* maps names, `model` among them, to objects with a state."""
    if not isinstance(state, Mapping):
        what = "None" if state is None else f"a {type(state).__name__}"
        raise BadInput(f"state is {what}; it is a mapping of names: {{'model': model, 'optimizer': optimizer}}.")
    if "model" not in state:
        raise BadInput(f"state must have the key 'model'; it has: {', '.join(map(str, state)) or 'nothing'}.")
    for key, part in state.items():
        if not isinstance(key, str) or not key.isidentifier():
            raise BadInput(f"state has the key {key!r}: a key must be a name of letters, digits and '_'.")
        if not is_stateful(part):
            raise BadInput(
                f"state[{key!r}] is a {type(part).__name__} without state_dict() and load_state_dict(): "
                "give it both, or leave it out."
            )


def capture_state(state: Mapping[str, Stateful]) -> dict[str, Any]:
    """Return `{"model_state_dict": ..., "<key>_state_dict": ...}` of live objects, which stay as they are.

    What stands in it is live still: `Buffers.copy` makes it one's own, in the form that a checkpoint holds. Names of
    modules are without the wrappers of DDP and torch.compile.
    """
    check_state(state)
    return {key + SUFFIX: _state_of(part) for key, part in state.items()}


def restore_state(tree: Mapping[str, Any], state: Mapping[str, Stateful], *, strict: bool = True) -> RestoreReport:
    """Give live objects back what `capture_state` took from them, bit for bit; no generator is advanced.

    With *strict*, StateMismatch names every part that is missing, unexpected or does not fit, before anything is
    changed; otherwise those are left as they are and reported. *tree* stays as it is, and shares nothing with the
    live objects afterwards.
    """
    check_state(state)
    with preserved_rng():
        saved = {key: decode(tree[key + SUFFIX]) for key in state if key + SUFFIX in tree}
        plans = {key: make_plan(key + SUFFIX, state[key], part) for key, part in saved.items()}
        report = _report(tree, state, plans)
        if strict and not report.complete:
            raise StateMismatch(
                f"the checkpoint and the live objects do not hold the same parts ({report.mismatch}). Nothing was "
                "changed: build the objects as they were built then, or restore what fits with strict=False."
            )
        for key, plan in plans.items():
            if plan.load is not None:
                _load(key, state[key], plan, saved[key])
    return report


def _state_of(part: Stateful) -> Any:
    """Return a live object's state, a model's without the names of wrappers."""
    state = part.state_dict()
    return unwrap(state, unwrapped_names(part)) if isinstance(part, nn.Module) and looks_wrapped(state) else state


def _report(tree: Mapping[str, Any], state: Mapping[str, Stateful], plans: Mapping[str, Plan]) -> RestoreReport:
    """Gather what the plans found, and the entries that have no counterpart at all."""
    wanted = {key + SUFFIX for key in state}
    missing = [name for name in sorted(wanted) if name not in tree]
    unexpected = [name for name in tree if name.endswith(SUFFIX) and name not in wanted]
    return RestoreReport(
        restored=tuple(key + SUFFIX for key, plan in plans.items() if plan.load is not None),
        missing=(*missing, *(name for plan in plans.values() for name in plan.missing)),
        unexpected=(*unexpected, *(name for plan in plans.values() for name in plan.unexpected)),
        different=tuple(name for plan in plans.values() for name in plan.different),
        not_saved=tuple(name for key, part in state.items() for name in _not_saved(key, part)),
    )


def _not_saved(key: str, part: Stateful) -> Iterator[str]:
    """Name the buffers of a model that its state_dict leaves out."""
    if isinstance(part, nn.Module):
        saved = part.state_dict().keys()
        yield from (f"{key}.{name}" for name, _ in part.named_buffers(remove_duplicate=False) if name not in saved)


def _load(key: str, part: Stateful, plan: Plan, saved: Any) -> None:
    """Hand one object its state; what it refuses itself can only be found out now."""
    try:
        part.load_state_dict(plan.load)
    except Exception as error:
        raise StateMismatch(
            f"{key!r} ({type(part).__name__}) did not take its state: {type(error).__name__}: {error}. "
            "Other objects may have been restored already: build them anew before training goes on."
        ) from error
    if isinstance(part, Optimizer):
        keep_dtypes(part, saved)
