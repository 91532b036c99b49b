"""What a promotion is decided from and what it decides, as frozen data: facts, checks, the decision."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mlflow_pt_eval.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of one version: its metrics (without the split's prefix), its classes' recalls, its size and speed.

    `recalls` has one entry a class, in the model's order. `size_bytes` is what the version takes in the store,
    `latency_ms` the median time of one prediction of its input example on the CPU; None where not measured.
    """

    model_uri: str
    metrics: Mapping[str, float]
    recalls: Sequence[tuple[str, float]] = ()
    size_bytes: int | None = None
    latency_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A paired interval of candidate minus champion, in the metric's own units."""

    estimate: float
    low: float
    high: float


def _no_interval(metric: str, confidence: float) -> Interval:
    raise BadInput(f"no paired interval of {metric!r} can be had: the predictions of both versions are needed for it.")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The candidate and the champion (None: there is none yet), evaluated on the same data.

    `interval(metric, confidence)` gives the paired interval; it is asked only by a gate that needs it.
    """

    candidate: Facts
    champion: Facts | None
    interval: Callable[[str, float], Interval] = _no_interval


@dataclass(frozen=True, kw_only=True)
class Check:
    """One gate's answer: *detail* is a line with the numbers that decided, *numbers* the same for machines."""

    gate: str
    passed: bool
    detail: str
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{'pass' if self.passed else 'FAIL'}  {self.gate}: {self.detail}"

    def to_json(self) -> dict[str, Any]:
        """Return plain data; numbers that JSON lacks as strings."""
        numbers = {key: value if math.isfinite(value) else str(value) for key, value in self.numbers.items()}
        return {"gate": self.gate, "passed": self.passed, "detail": self.detail, "numbers": numbers}


class Gate(Protocol):
    """What decides one thing about a pair."""

    def check(self, pair: Pair) -> Check:
        """Answer with the numbers that decide."""
        ...


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided about a version, from what, by whom and when.

    `champion` is the version that the alias pointed to, None if to none. `passed` is the answer; `moved` says whether
    the alias points to the version because of it (not on a dry run, and not where it pointed there already).
    `run_id` is the run that holds this as `decision.json`, None where nothing was recorded.
    """

    name: str
    version: int
    alias: str
    champion: int | None
    passed: bool
    checks: tuple[Check, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    split: str
    dataset_digest: str | None = None
    evaluation_run_id: str | None = None
    champion_evaluation_run_id: str | None = None
    who: str
    when: str
    dry_run: bool = False
    moved: bool = False
    run_id: str | None = None

    @property
    def model_uri(self) -> str:
        """The version that it is about."""
        return f"models:/{self.name}/{self.version}"

    def to_json(self) -> dict[str, Any]:
        """Return plain data, everything that is known."""
        plain = {key: value for key, value in vars(self).items() if key != "checks"}
        return {**plain, "inputs": dict(self.inputs), "checks": [check.to_json() for check in self.checks]}

    def lines(self) -> list[str]:
        """Describe the decision for people: what was asked, each check with its numbers, what came of it."""
        champion = "none yet" if self.champion is None else f"version {self.champion}"
        head = f"{self.name} version {self.version} for the alias {self.alias!r} (now: {champion})"
        if self.dataset_digest is not None:
            head += f", on split {self.split!r} with digest {self.dataset_digest}"
        return [head, *map(str, self.checks), self._outcome()]

    def _outcome(self) -> str:
        if self.version == self.champion:
            return f"nothing to do: version {self.version} is {self.alias!r} already"
        if not self.passed:
            return f"refused: {self.alias!r} stays where it is"
        target = f"{self.alias!r} points to version {self.version}"
        return f"promoted: {target} now" if self.moved else f"would be promoted: {target} then; nothing was moved"
