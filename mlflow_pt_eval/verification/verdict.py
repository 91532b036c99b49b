"""What a verification has found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlflow_pt_eval.verification.points import Stop


@dataclass(frozen=True)
class Rehearsed:
    """One point at which the training was ended and resumed, and what then differed from the whole run.

    `resumed_from` is a checkpoint's name; None means that there was none yet and it began anew.
    """

    stop: Stop
    resumed_from: str | None
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differed."""
        return not self.differences

    def lines(self) -> Iterator[str]:
        """Say it to people."""
        start = self.resumed_from or "the beginning, as nothing was saved yet"
        yield f"{self.stop}, resumed from {start}: {'equal' if self.equal else 'differs in ' + self.differences[0]}"
        yield from (f"    and in {line}" for line in self.differences[1:])

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        found = {"resumed_from": self.resumed_from, "equal": self.equal, "differences": list(self.differences)}
        return {**self.stop.to_json(), **found}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found about a script's first training.

    `differences`: between two whole runs; where there are any, the script is not deterministic and nothing was killed.
    `not_compared`: what differs between two whole runs without any effect: generators that are neither seeded nor
    drawn from, the values of metrics that nothing monitors (a clock's).
    `warnings`: what cannot be exact, though it may have been here.
    """

    script: str
    args: tuple[str, ...]
    epochs: int
    steps: int
    points: int
    differences: tuple[str, ...] = ()
    kills: tuple[Rehearsed, ...] = ()
    not_compared: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def deterministic(self) -> bool:
        """Whether two whole runs were equal."""
        return not self.differences

    @property
    def exact(self) -> bool:
        """Whether the training, killed and resumed, ended each time as the whole one did."""
        return self.deterministic and all(kill.equal for kill in self.kills)

    @property
    def first_difference(self) -> str | None:
        """The first part that differs, or None."""
        return next((line for line in (*self.differences, *(d for k in self.kills for d in k.differences))), None)

    def summary(self) -> str:
        """Say it in one line."""
        if not self.deterministic:
            return (
                f"not proved: {self.script} itself is not deterministic: two whole runs differ first in "
                f"{self.differences[0]}. Seed every generator before the training (torch.manual_seed, random.seed, "
                "numpy.random.seed, each generator of your own), and on a GPU use deterministic kernels."
            )
        bad = sum(not kill.equal for kill in self.kills)
        points = f"{len(self.kills)} point{'s' if len(self.kills) > 1 else ''}"
        if bad:
            return (
                f"not exact: resumed from {bad} of {points}, {self.script} ends differently, first in "
                f"{self.first_difference}. Something that the training depends on is not in `state`: a scheduler, a "
                "counter, a generator of your own. Give it state_dict() and load_state_dict(), and put it there."
            )
        return (
            f"exact: killed and resumed at {points}, {self.script} ends as if it had never been cut: weights, "
            f"optimizer, random states, the loader's position and all {self.points} logged points, once each."
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "script": self.script,
            "args": list(self.args),
            "exact": self.exact,
            "deterministic": self.deterministic,
            "first_difference": self.first_difference,
            "epochs": self.epochs,
            "steps": self.steps,
            "points": self.points,
            "differences": list(self.differences),
            "kills": [kill.to_json() for kill in self.kills],
            "not_compared": list(self.not_compared),
            "warnings": list(self.warnings),
        }
