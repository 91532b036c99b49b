"""What two trainings have logged, point by point: every point of every metric, once each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

Series = dict[tuple[str, str, int], list[str]]  # by (kind, key, step), in the order in which they were logged


@dataclass(frozen=True)
class Logged:
    """The points that the store holds, the history that policies see, and which keys were logged anew with others."""

    series: Series
    disputed: Mapping[str, int]
    monitored: frozenset[str]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Logged:
        """Read what a rehearsal has reported."""
        series: Series = {}
        for kind, points in (("metric", data["points"]), ("history of", data["history"])):
            for key, step, value in points:
                series.setdefault((kind, key, step), []).append(value)
        return cls(series, data["disputed"], frozenset(data["monitored"]))

    @property
    def count(self) -> int:
        """The points that the store holds."""
        return sum(len(values) for (kind, _, _), values in self.series.items() if kind == "metric")


def unsteady(whole: Logged, again: Logged) -> frozenset[str]:
    """Return the keys that have other values at the same steps, and that nothing monitors: a clock's, for instance."""
    both = whole.series.keys() & again.series.keys()
    keys = {key for kind, key, step in both if whole.series[kind, key, step] != again.series[kind, key, step]}
    return frozenset(keys) - whole.monitored


def differences(whole: Logged, other: Logged, *, values_of_no_use: Set[str] = frozenset()) -> list[str]:
    """Name the first point that differs, and how many do; nothing if every point is there once, with the same value."""
    found = list(_differences(whole.series, other.series, values_of_no_use))
    for key, step in other.disputed.items():
        if key not in values_of_no_use:
            found.append(f"metric {key} at step {step} (another value when it was logged again)")
    more = f", the first of {len(found)} points that differ" if len(found) > 1 else ""
    return [found[0] + more] if found else []


def _differences(whole: Series, other: Series, ignored: Set[str]) -> Iterator[str]:
    for place, values in whole.items():
        there = other.get(place, [])
        if len(there) != len(values) or (values != there and place[1] not in ignored):
            yield f"{_name(place)} ({_listed(values)} and {_listed(there)})"
    for place, values in other.items():
        if place not in whole:
            yield f"{_name(place)} ({_listed([])} and {_listed(values)})"


def _name(place: tuple[str, str, int]) -> str:
    kind, key, step = place
    return f"{kind} {key} at {'step' if kind == 'metric' else 'epoch'} {step}"


def _listed(values: Iterable[str]) -> str:
    return " and again ".join(values) or "nothing"
