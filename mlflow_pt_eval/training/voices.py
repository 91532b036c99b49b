"""Who speaks for a training: rank 0 by its recorder, the other processes not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from mlflow_pt_eval.tracking.telemetry import Pending


class Voice(Protocol):
    """What every process of a training says of it, whether or not it is heard."""

    @property
    def run_id(self) -> str:
        """The MLflow run's id."""

    def describe(self, params: Mapping[str, Any]) -> None:
        """Log the params and the environment."""

    def note_data(self, loader: Any) -> None:
        """Have the loader's data set noted on the run, once."""

    def append(self, pending: Pending) -> None:
        """Take a step's metrics."""

    def point(self, key: str, value: Any, step: int) -> None:
        """Log one point of a metric."""

    def raise_failure(self) -> None:
        """Raise what went wrong in the background."""


class Silent:
    """The voice of a process that is not rank 0: it knows the run, and never talks to MLflow."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

    def describe(self, params: Mapping[str, Any]) -> None:
        """Leave it to rank 0."""

    def note_data(self, loader: Any) -> None:
        """Leave it to rank 0."""

    def append(self, pending: Pending) -> None:
        """Leave it to rank 0."""

    def point(self, key: str, value: Any, step: int) -> None:
        """Leave it to rank 0: a step's points are its own, an epoch's are those of all."""

    def raise_failure(self) -> None:
        """Nothing happens in the background here."""
