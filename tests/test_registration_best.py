"""The best epoch of a run that is over is registered from its checkpoints alone."""

from __future__ import annotations

import json
import math
from pathlib import Path

import mlflow
import pytest
import torch
from conftest import Tiny
from mlflow.entities import Metric

from mlflow_pt_eval.errors import BadInput, CheckpointDamaged, MetricNotLogged, NotFound
from mlflow_pt_eval.names import MANIFEST_FILE, STATE_FILE, CheckpointName
from mlflow_pt_eval.records import EpochRecord, History, Manifest
from mlflow_pt_eval.registration import register_best
from mlflow_pt_eval.state import capture_state, save_tree
from mlflow_pt_eval.tracking.checkpoints import Checkpoints
from mlflow_pt_eval.tracking.models import load_version
from mlflow_pt_eval.tracking.registry import resolve_uri
from mlflow_pt_eval.tracking.store import Store, connect

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=["sqlite", "http"])
def each_store(request: pytest.FixtureRequest, tracking: str) -> Store:
    """The test's own SQLite store, and a real server over HTTP."""
    uri = tracking if request.param == "sqlite" else request.getfixturevalue("server")
    mlflow.set_tracking_uri(uri)
    return connect(uri)


@pytest.fixture
def store(tracking: str) -> Store:
    """The test's own SQLite store."""
    return connect(tracking)


def weights_of(epoch: int) -> Tiny:
    """Return the model as it was after *epoch*."""
    torch.manual_seed(epoch)
    return Tiny().eval()


def run_with(store: Store, values: list[float | None], kept: list[int], partial: int | None = None) -> str:
    """Leave a finished run whose epochs logged *values*, with checkpoints of the epochs *kept*."""
    run_id = str(store.client.create_run(store.experiment_id("best")).info.run_id)
    records = [
        EpochRecord(epoch, 10 * (epoch + 1), {"other": 1.0} | ({} if value is None else {"val_accuracy": value}))
        for epoch, value in enumerate(values)
    ]
    finite = [(e, v) for e, v in enumerate(values) if v is not None and math.isfinite(v)]
    store.client.log_batch(run_id, metrics=[Metric("val_accuracy", v, 1, e) for e, v in finite])
    for epoch in kept:
        commit(store, run_id, History(tuple(records[: epoch + 1])), records[epoch], complete=True)
    if partial is not None:
        commit(
            store, run_id, History(tuple(records[:partial])), EpochRecord(partial, 10 * partial + 5, {}), complete=False
        )
    store.client.set_terminated(run_id)
    return run_id


def commit(store: Store, run_id: str, history: History, record: EpochRecord, *, complete: bool) -> None:
    name = CheckpointName(step=record.step, complete=complete, epoch=record.epoch)
    staged = Path("staged", str(name))
    staged.mkdir(parents=True)
    entry = save_tree(capture_state({"model": weights_of(record.epoch)}), staged / STATE_FILE)
    manifest = Manifest(
        epoch=record.epoch,
        step=record.step,
        complete=complete,
        history=history,
        files={STATE_FILE: entry},
        metrics=record.metrics,
    )
    (staged / MANIFEST_FILE).write_text(json.dumps(manifest.to_json()))
    Checkpoints.of(store, run_id).put(name, staged)


def test_the_best_epoch_is_registered(each_store: Store) -> None:
    """Its weights, its epoch, step and value, and its metrics on the logged model."""
    run_id = run_with(each_store, [0.5, 0.9, 0.7], kept=[0, 1, 2], partial=3)
    model = Tiny()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    version = register_best(run_id, "after", model=model, input_example=X)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(load_version(each_store, f"models:/after/{version}")(X), weights_of(1)(X))
    info = resolve_uri(each_store, "models:/after@challenger")
    wanted = {"run_id": run_id, "epoch": "1", "step": "20", "monitor": "val_accuracy", "value": "0.9"}
    assert {key: info.tags[f"pt_eval.{key}"] for key in wanted} == wanted
    logged = each_store.client.get_logged_model(str(info.model_id))
    assert [(m.key, m.value, m.step) for m in logged.metrics or []] == [("val_accuracy", 0.9, 1)]


def test_the_direction_is_the_users(store: Store) -> None:
    """mode='min' takes the smallest; NaN is never the best."""
    run_id = run_with(store, [0.5, math.nan, 0.2], kept=[0, 1, 2])
    register_best(run_id, "smallest", model=Tiny(), input_example=X, mode="min", alias=None)
    assert torch.equal(load_version(store, "models:/smallest/1")(X), weights_of(2)(X))


def test_the_best_that_is_kept_is_registered_and_said(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Epoch 1 was the best, but retention did not keep it."""
    run_id = run_with(store, [0.5, 0.9, 0.7], kept=[0, 2])
    register_best(run_id, "kept", model=Tiny(), input_example=X)
    assert torch.equal(load_version(store, "models:/kept/1")(X), weights_of(2)(X))
    assert "that of epoch 1, which has no whole checkpoint; epoch 2 is registered" in caplog.text


def test_a_damaged_best_is_passed_over_and_said(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """One changed byte, and the next best is taken; if none is whole, that is an error."""
    run_id = run_with(store, [0.5, 0.9], kept=[0, 1])
    best, other = (Path(str(Checkpoints.of(store, run_id).folder), str(p)) for p in checkpoint_files(store, run_id))
    damage(best)
    register_best(run_id, "damaged", model=Tiny(), input_example=X)
    assert torch.equal(load_version(store, "models:/damaged/1")(X), weights_of(0)(X))
    assert "checkpoint passed over: epoch=0001" in caplog.text
    damage(other)
    with pytest.raises(CheckpointDamaged, match="none of the run .* has a whole checkpoint; see `mlflow-pt-eval"):
        register_best(run_id, "damaged", model=Tiny(), input_example=X)


def checkpoint_files(store: Store, run_id: str) -> list[str]:
    return [f"{name.path}/{STATE_FILE}" for name in reversed(Checkpoints.of(store, run_id).committed())]


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("values", "kept", "error", "said"),
    [
        ([None, None], [0, 1], MetricNotLogged, "'val_accuracy' was never logged .*logged were: other"),
        ([math.nan, math.inf], [0, 1], MetricNotLogged, "'val_accuracy' was never a finite number"),
        ([0.5], [], NotFound, "has no checkpoint of a finished epoch"),
    ],
)
def test_nothing_to_register_is_an_error(
    store: Store, values: list[float | None], kept: list[int], error: type[Exception], said: str
) -> None:
    """It says what was logged, or that there is no checkpoint."""
    run_id = run_with(store, values, kept)
    with pytest.raises(error, match=said):
        register_best(run_id, "nothing", model=Tiny(), input_example=X)


def test_names_are_checked_first(store: Store) -> None:
    """A bad name is said before a run is looked for."""
    with pytest.raises(BadInput, match="cannot name a registered model"):
        register_best("no such run", "a/b", model=Tiny(), input_example=X)
    with pytest.raises(NotFound, match="no run 'nosuch'"):
        register_best("nosuch", "fine", model=Tiny(), input_example=X)
