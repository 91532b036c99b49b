"""The end of a training as a tree, and where two such ends differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mlflow_pt_eval.state import Buffers, first_difference

if TYPE_CHECKING:
    from mlflow_pt_eval.training.session import Session

_OWN = ("epoch", "step", "rng", "loader", "generators", "further_generators", "account")
_WHERE = ("consumed", "exhausted", "length", "workers_kept")  # of a loader's position: the rest is how to get there
_MODEL, _OPTIMIZER = "model_state_dict", "optimizer_state_dict"


def end_of(session: Session) -> dict[str, Any]:
    """Return what a training leaves at its end: its state, random states, the loader's position, the counters."""
    progress = session.progress
    complete = bool(progress.history) and not progress.epoch_open
    snapshot = session.captures.snapshot(session.ranks, complete=complete)
    tree = {**snapshot.account, **Buffers().copy(snapshot.state)}
    account = {key: value for key, value in tree["progress"].items() if key != "ranks"}
    loaders = tree["progress"]["ranks"][0]["position"] or {"first": {}, "further": []}
    position = loaders["first"]
    return {
        "rng": tree["rng"],
        "loader": {key: position[key] for key in _WHERE if position},
        "generators": position.get("generators", {}),
        "further_generators": loaders["further"],
        "epoch": tree["epoch"],
        "step": tree["step"],
        "account": account,
        **{key: value for key, value in tree.items() if key.endswith("_state_dict")},
    }


def idle_generators(before: Mapping[str, Any], end: Mapping[str, Any]) -> list[str]:
    """Name the global generators that stand at a training's end where they stood before it."""
    after = end["rng"][0]
    return [name for kind, name in _of_kind(after) if _same(before[kind], after[kind])]


def differences(whole: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Name what differs between two ends, one line a part, causes before their effects; nothing if they are equal.

    Random states come first, then the loader, then what steers the optimizer (schedulers, learning rates), the
    optimizer, the model: a wrong learning rate changes every weight, but not the other way round.
    """
    return list(_differences(whole, other))


def _differences(whole: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    ours, theirs = whole["rng"][0], other["rng"][0]
    yield from (name for kind, name in _of_kind(ours) if not _same(ours[kind], theirs[kind]))
    for part in _in_order({**whole, **other}):
        pair = [{part: _steering_first(tree[part])} if part in tree else {} for tree in (whole, other)]
        found = first_difference(*pair)
        if found is not None:
            yield _readable(found)


def _of_kind(rng: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in rng:
        yield kind, {"python": "Python RNG", "cuda": "CUDA RNG"}.get(kind, f"{kind} RNG")


def _same(a: Any, b: Any) -> bool:
    return first_difference({"state": a}, {"state": b}) is None


def _in_order(tree: Mapping[str, Any]) -> list[str]:
    states = [key for key in tree if key not in (*_OWN, _MODEL, _OPTIMIZER)]
    order = ["generators", "loader", *states, _OPTIMIZER, _MODEL, "epoch", "step", "account"]
    return [part for part in order if part in tree]


def _steering_first(value: Any) -> Any:
    """Put an optimizer's learning rates before what they have led to."""
    if isinstance(value, Mapping) and "param_groups" in value:
        return {"param_groups": value["param_groups"], **value}
    return value


def _readable(difference: str) -> str:
    for start, words in (("loader.", "the loader's position: "), ("generators.", "the loader's own generator: ")):
        if difference.startswith(start):
            return words + difference.removeprefix(start)
    return difference
