"""What a promotion is decided from and what it decides, as frozen data: facts, checks, the decision."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.ledger import Action


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of one version: its metrics (without the split's prefix), its classes' recalls, its size and speed.

    `recalls` has one entry a class, in the model's order. `size_bytes` is what the version takes in the store,
    `latency_ms` the median time of one prediction of its input example on the CPU; None where not measured.
    `criterion` describes what the metric `loss` is an average of, None where that is not known.
    """

    model_uri: str
    metrics: Mapping[str, float]
    recalls: Sequence[tuple[str, float]] = ()
    size_bytes: int | None = None
    latency_ms: float | None = None
    criterion: str | None = None


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
    """The candidate and the champion (None: there is none), evaluated on the same data.

    `interval(metric, confidence)` gives the paired interval; it is asked only by a gate that needs it. `alone` says
    why there is no champion.
    """

    candidate: Facts
    champion: Facts | None
    alone: str = "no champion yet"
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
    """What was decided about an alias, from what, by whom and when.

    `version` is the one that is to have the alias, `champion` the one that had it, None if none had. `passed` is the
    answer; `moved` says whether the alias was moved because of it (not on a dry run, and not where it pointed there
    already). `inputs` holds what was asked for. `run_id` is the run that holds this as `decision.json`, None where
    nothing was recorded.
    """

    action: Action
    name: str
    version: int
    alias: str
    champion: int | None
    passed: bool
    who: str
    when: str
    checks: tuple[Check, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    split: str | None = None
    dataset_digest: str | None = None
    evaluation_run_id: str | None = None
    champion_evaluation_run_id: str | None = None
    dry_run: bool = False
    moved: bool = False
    run_id: str | None = None

    @property
    def model_uri(self) -> str:
        """The version that it is about."""
        return f"models:/{self.name}/{self.version}"

    @property
    def unchanged(self) -> bool:
        """Whether the version has the alias already, so that there is nothing to decide."""
        return self.version == self.champion

    def to_json(self) -> dict[str, Any]:
        """Return plain data, everything that is known."""
        plain = {key: value for key, value in vars(self).items() if key != "checks"}
        return {**plain, "inputs": dict(self.inputs), "checks": [check.to_json() for check in self.checks]}

    def __str__(self) -> str:
        """Say what was asked, each check with its numbers, and what came of it: a line each."""
        had = "none has it" if self.champion is None else f"version {self.champion} has it"
        head = f"{self.name} version {self.version} for the alias {self.alias!r} ({had})"
        if self.dataset_digest is not None:
            head += f", evaluated on {self.split!r}, digest {self.dataset_digest}"
        return "\n".join([head, *map(str, self.checks), self._outcome()])

    def _outcome(self) -> str:
        if self.unchanged:
            return f"nothing to do: version {self.version} has the alias {self.alias!r} already"
        if not self.passed:
            return f"refused: the alias {self.alias!r} stays where it is"
        if not self.moved:
            return f"passed: the alias {self.alias!r} would move to version {self.version}; nothing was moved"
        done = "promoted" if self.action == "promote" else "rolled back"
        return f"{done}: the alias {self.alias!r} points to version {self.version} now"
