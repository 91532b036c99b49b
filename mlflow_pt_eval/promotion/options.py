"""The usual gates from the usual options: what the command line and `promote` take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlflow_pt_eval.decisions import Gate
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.gates import ClassDropGate, LatencyGate, MetricGate, SizeGate, ThresholdGate


def gates_of(given: Gate | Iterable[Gate]) -> tuple[Gate, ...]:
    """Return the gates that are given, several or one; BadInput for what is none."""
    several = isinstance(given, Iterable) and not isinstance(given, type | str | Mapping)
    gates: tuple[Any, ...] = tuple(given) if several else (given,)  # type: ignore[arg-type]
    for gate in gates:
        if isinstance(gate, type) or not callable(getattr(gate, "check", None)):
            what = f"the class {gate.__name__}" if isinstance(gate, type) else repr(gate)
            raise BadInput(f"gates holds {what}, which is no gate: give such as gates=[MetricGate(metric='f1_macro')].")
    return gates


def gates_for(
    *,
    metric: str = "accuracy",
    split: str = "test",
    min_delta: float = 0.0,
    threshold: float | None = None,
    max_class_drop: float | None = None,
    confidence: float | None = None,
    tolerance: float = 0.0,
    max_size_mb: float | None = None,
    max_latency_ms: float | None = None,
) -> tuple[Gate, ...]:
    """Return the gates that these options ask for: always the metric's, and one for each other option that is given.

    *metric* may have the split in front (`test_accuracy`). BadInput for a value that makes no sense.
    """
    if isinstance(metric, str):
        metric = metric.removeprefix(f"{split}_")
    gates: list[Gate] = [MetricGate(metric=metric, min_delta=min_delta, confidence=confidence, tolerance=tolerance)]
    if threshold is not None:
        gates.append(ThresholdGate(metric=metric, threshold=threshold))
    if max_class_drop is not None:
        gates.append(ClassDropGate(max_class_drop=max_class_drop))
    if max_size_mb is not None:
        gates.append(SizeGate(max_mb=max_size_mb))
    if max_latency_ms is not None:
        gates.append(LatencyGate(max_ms=max_latency_ms))
    return tuple(gates)
