"""What the tests share: a store of their own, a model that shows mistakes, a short way to write a history."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["GIT_PYTHON_REFRESH"] = "quiet"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"

import mlflow
import pytest
import torch
from torch import nn

from mlflow_pt_eval.records import EpochRecord, History


@pytest.fixture(autouse=True)
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A SQLite store in the test's own folder, which is the working directory too: no test touches a real server."""
    for key in [key for key in os.environ if key.startswith(("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT", "MLFLOW_TRACKING"))]:
        monkeypatch.delenv(key)
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.tracking.fluent._active_experiment_id = None
    yield uri
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.tracking.fluent._active_experiment_id = None
    mlflow.set_tracking_uri(None)


class Tiny(nn.Module):
    """Dropout and batch norm, so that a mistake with random numbers or with the mode shows."""

    def __init__(self, features: int = 4, classes: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.fixture
def tiny() -> Tiny:
    """A tiny model with fixed weights."""
    torch.manual_seed(0)
    return Tiny()


@pytest.fixture
def history() -> Callable[..., History]:
    """Build a history: `history(val_accuracy=[0.5, 0.7, None])`, None for an epoch that did not log the key."""

    def build(**series: list[float | None]) -> History:
        length = max((len(values) for values in series.values()), default=0)
        return History(
            tuple(
                EpochRecord(e, 10 * (e + 1), {k: v[e] for k, v in series.items() if e < len(v) and v[e] is not None})
                for e in range(length)
            )
        )

    return build
