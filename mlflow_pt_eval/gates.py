"""Gates: what a version must show before it is promoted. Facts of two versions go in, checks come out; nothing else.

A gate is anything with `check(pair) -> Check`; those here compose in any number and any order. Relative gates pass
where there is no champion yet, so that the absolute ones decide.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_pt_eval.decisions import Check, Facts, Pair
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import direction
from mlflow_pt_eval.policies import is_finite
from mlflow_pt_eval.records import improves
from mlflow_pt_eval.wording import class_difference

# What adding and subtracting fractions gets wrong: 1 - 0.85 is 0.15000000000000002, which is no more than 0.15.
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class MetricGate:
    """The candidate must be better than the champion on *metric* by more than *min_delta*.

    With *confidence* (between 0 and 1) the lower end of the paired interval of the gain must lie above
    -*tolerance*, too: a gain that chance explains does not pass. Passes where there is no champion yet.
    """

    metric: str = "accuracy"
    min_delta: float = 0.0
    confidence: float | None = None
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        _check_key(self.metric)
        _at_least_zero("min_delta", self.min_delta)
        _at_least_zero("tolerance", self.tolerance)
        if self.tolerance and self.confidence is None:
            raise BadInput(f"tolerance={self.tolerance} is of the gain's interval: give confidence, such as 0.95, too.")
        if self.confidence is not None and not (is_finite(self.confidence) and 0 < self.confidence < 1):
            raise BadInput(f"confidence is {self.confidence!r}; it must lie between 0 and 1, such as 0.95.")

    def check(self, pair: Pair) -> Check:
        """Compare the metric, and the paired interval where *confidence* asks for it."""
        gate, value = f"{self.metric} better than the champion", _metric(pair.candidate, self.metric)
        if pair.champion is None:
            return Check(gate=gate, passed=True, detail=f"{value:.6g}; {_alone(pair)}", numbers={"candidate": value})
        if self.metric == "loss" and (differ := _criteria_differ(pair.candidate, pair.champion)):
            return Check(gate=gate, passed=False, detail=differ)
        best, sign = _metric(pair.champion, self.metric), 1 if direction(self.metric) == "max" else -1
        gain = sign * (value - best)
        passed = improves(value, best, direction(self.metric), self.min_delta + _ROUNDING)
        detail = f"{value:.6g} against {best:.6g}, a gain of {gain:+.6g} (asked: more than {self.min_delta:g})"
        numbers = {"candidate": value, "champion": best, "gain": gain, "min_delta": self.min_delta}
        if self.confidence is not None:
            low, high = self._gain_interval(pair, self.confidence, sign)
            passed = passed and low > -self.tolerance
            detail += f"; {self.confidence:.0%} interval of the gain [{low:+.6g}, {high:+.6g}]"
            detail += f" (asked: lower end above {-self.tolerance or 0:g})"
            numbers |= {"low": low, "high": high, "confidence": self.confidence, "tolerance": self.tolerance}
        return Check(gate=gate, passed=passed, detail=detail, numbers=numbers)

    def _gain_interval(self, pair: Pair, confidence: float, sign: int) -> tuple[float, float]:
        found = pair.interval(self.metric, confidence)
        return (found.low, found.high) if sign > 0 else (-found.high, -found.low)


@dataclass(frozen=True, kw_only=True)
class ThresholdGate:
    """The candidate's *metric* must be at least *threshold* (at most, where smaller is better)."""

    metric: str = "accuracy"
    threshold: float

    def __post_init__(self) -> None:
        _check_key(self.metric)
        if not is_finite(self.threshold):
            raise BadInput(f"threshold is {self.threshold!r}; it must be a finite number.")

    def check(self, pair: Pair) -> Check:
        """Compare the candidate alone: the champion plays no part."""
        value, mode = _metric(pair.candidate, self.metric), direction(self.metric)
        return Check(
            gate=f"{self.metric} threshold",
            passed=not improves(self.threshold, value, mode, _ROUNDING),
            detail=f"{value:.6g} (asked: at {'least' if mode == 'max' else 'most'} {self.threshold:g})",
            numbers={"candidate": value, "threshold": self.threshold},
        )


@dataclass(frozen=True, kw_only=True)
class ClassDropGate:
    """No class's recall may be lower than the champion's by more than *max_class_drop*."""

    max_class_drop: float

    def __post_init__(self) -> None:
        _at_least_zero("max_class_drop", self.max_class_drop)

    def check(self, pair: Pair) -> Check:
        """Look at the class that lost most."""
        gate = "no class's recall drops"
        if pair.champion is None:
            return Check(gate=gate, passed=True, detail=_alone(pair))
        new, old = pair.candidate.recalls, pair.champion.recalls
        if not new or len(new) != len(old):
            counts = {"candidate_classes": float(len(new)), "champion_classes": float(len(old))}
            detail = f"the candidate has {len(new)} classes, the champion {len(old)}: they cannot be set side by side"
            return Check(gate=gate, passed=False, detail=detail, numbers=counts)
        if differ := class_difference([name for name, _ in new], [name for name, _ in old]):
            detail = f"{differ} for the candidate and the champion: their classes cannot be set side by side"
            return Check(gate=gate, passed=False, detail=detail)
        name, value, best = max(
            ((name, value, best) for (name, value), (_, best) in zip(new, old, strict=True)),
            key=lambda row: row[2] - row[1],
        )
        asked = f"(asked: no drop of more than {self.max_class_drop:g})"
        return Check(
            gate=gate,
            passed=not improves(best, value, "max", self.max_class_drop + _ROUNDING),
            detail=f"class {name!r} changes most for the worse, {best:.6g} → {value:.6g} {asked}",
            numbers={"candidate": value, "champion": best, "max_class_drop": self.max_class_drop},
        )


@dataclass(frozen=True, kw_only=True)
class SizeGate:
    """The version may take at most *max_mb* megabytes (of 1,000,000 bytes) in the store."""

    max_mb: float

    def __post_init__(self) -> None:
        _above_zero("max_mb", self.max_mb)

    def check(self, pair: Pair) -> Check:
        """Compare the stored size; one that could not be measured does not pass."""
        size = pair.candidate.size_bytes
        return _ceiling("size", None if size is None else size / 1e6, self.max_mb, "MB")


@dataclass(frozen=True, kw_only=True)
class LatencyGate:
    """One prediction of the input example, on the CPU, may take at most *max_ms* milliseconds (the median)."""

    max_ms: float

    def __post_init__(self) -> None:
        _above_zero("max_ms", self.max_ms)

    def check(self, pair: Pair) -> Check:
        """Compare the measured time; one that could not be measured does not pass."""
        return _ceiling("latency", pair.candidate.latency_ms, self.max_ms, "ms")


def _ceiling(gate: str, value: float | None, limit: float, unit: str) -> Check:
    if value is None:
        return Check(gate=gate, passed=False, detail="not measured", numbers={"limit": limit})
    return Check(
        gate=gate,
        passed=not improves(limit, value, "min"),
        detail=f"{value:.6g} {unit} (asked: at most {limit:g} {unit})",
        numbers={"candidate": value, "limit": limit},
    )


def _alone(pair: Pair) -> str:
    return f"{pair.alone}, nothing to compare with"


def _criteria_differ(candidate: Facts, champion: Facts) -> str | None:
    if candidate.criterion is None or champion.criterion is None or candidate.criterion == champion.criterion:
        return None
    return (
        f"the candidate's is the average of {candidate.criterion}, the champion's of {champion.criterion}: "
        "evaluate both with the same criterion"
    )


def _metric(facts: Facts, metric: str) -> float:
    try:
        return facts.metrics[metric]
    except KeyError:
        known = ", ".join(sorted(facts.metrics))
        raise BadInput(f"the evaluation of {facts.model_uri} has no metric {metric!r}; it has {known}.") from None


def _check_key(metric: object) -> None:
    if not isinstance(metric, str) or not metric:
        raise BadInput(f"metric is {metric!r}; it must be a metric's key without the split, such as 'accuracy'.")


def _at_least_zero(what: str, value: float) -> None:
    if not (is_finite(value) and value >= 0):
        raise BadInput(f"{what} is {value!r}; it must be a finite number, 0 or more.")


def _above_zero(what: str, value: float) -> None:
    if not (is_finite(value) and value > 0):
        raise BadInput(f"{what} is {value!r}; it must be a finite number above 0.")
