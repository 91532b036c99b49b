"""What all processes of a training agree on at the end of an epoch: one history, one step, one reason to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow_pt_eval.errors import BadInput


def agree(said: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge what each process says, in the order of ranks.

    `log`: see `average`; `means`: sums and counts are added up, so that every step counts alike on whichever rank;
    `step`: rank 0's; `last`, `stop` and `signum`: the first that anyone has.
    """
    log = {key: average([one["log"][key] for one in said if key in one["log"]]) for key in _keys(said, "log")}
    means = {key: _total([one["means"][key] for one in said if key in one["means"]]) for key in _keys(said, "means")}
    if both := sorted(log.keys() & means.keys()):
        raise BadInput(f"{both[0]!r} was logged by run.log on one rank and by run.log_step on another; choose one.")
    return {
        "log": log,
        "means": means,
        "step": said[0]["step"],
        "last": any(one["last"] for one in said),
        "stop": next((one["stop"] for one in said if one["stop"] is not None), None),
        "signum": next((one["signum"] for one in said if one["signum"] is not None), None),
    }


def average(values: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Return [value, count] of several ranks' [value, count], where a count may be None.

    Equal values stay as they are, to the bit. If all have a count, each weighs by its own and those of nothing
    don't count; otherwise it is the plain mean over the ranks that logged the key.
    """
    numbers, counts = [float(value) for value, _ in values if value is not None], [count for _, count in values]
    known = [count for count in counts if count is not None]
    total = math.fsum(known) if len(known) == len(counts) else None
    if all(value == numbers[0] for value in numbers):
        return [numbers[0], total]
    if total is None:
        return [_sum(numbers) / len(numbers), None]
    if total == 0:
        return [math.nan, total]
    return [_sum([v * c for v, c in zip(numbers, known, strict=True) if c]) / total, total]


def _total(states: Sequence[Sequence[float]]) -> list[float]:
    if all(state == states[0] for state in states):  # as when they have agreed before: the mean is that of each
        return list(states[0])
    return [_sum([total for total, _ in states]), sum(count for _, count in states)]


def _sum(values: Sequence[float]) -> float:
    """Add up exactly, in whichever order; what is not finite adds up as in any loop."""
    return math.fsum(values) if all(map(math.isfinite, values)) else sum(values)


def _keys(said: Sequence[Mapping[str, Any]], part: str) -> list[str]:
    return list(dict.fromkeys(key for one in said for key in one[part]))
