"""What the tests share: a store of their own, a model that shows mistakes, a short way to write a history."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

# Some tests fork: a child of a process in which OpenMP has threads would wait for them for ever.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["GIT_PYTHON_REFRESH"] = "quiet"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"

import mlflow
import pytest
import torch
from servers import tracking_server
from torch import nn

from mlflow_pt_eval.records import EpochRecord, History
from mlflow_pt_eval.tracking.store import connect


@pytest.fixture(scope="session")
def blank_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, made once a session: to make its tables takes seconds."""
    path = tmp_path_factory.mktemp("blank") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture(autouse=True)
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank_database: Path) -> Iterator[str]:
    """A SQLite store in the test's own folder, which is the working directory too: no test touches a real server."""
    for key in [key for key in os.environ if key.startswith(("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT", "MLFLOW_TRACKING"))]:
        monkeypatch.delenv(key)
    monkeypatch.chdir(tmp_path)
    _copy_database(blank_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.tracking.fluent._active_experiment_id = None
    yield uri
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.tracking.fluent._active_experiment_id = None
    mlflow.set_tracking_uri(None)


def _copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new, new:
        old.backup(new)
        # The default experiment's artifacts belong beside its database, as if it had been made there.
        roots = (source.parent.as_uri(), target.parent.as_uri())
        new.execute("UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)", roots)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real tracking server over HTTP, one for all tests of the session that ask for it: use names of your own."""
    with tracking_server(tmp_path_factory.mktemp("server")) as uri:
        yield uri


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
