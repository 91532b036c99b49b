"""What waits in staging and is damaged there: it is named and left out, and the training goes on before it, exactly."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import mlflow
import pytest
from loops import Crash, Parts, wrapped
from mlflow.entities import Metric
from soak_damage import damage

import mlflow_pt_eval as mpe
from mlflow_pt_eval.errors import CheckpointDamaged, StoreUnavailable
from mlflow_pt_eval.files import read_sealed, write_sealed
from mlflow_pt_eval.state import first_difference
from mlflow_pt_eval.syncing import sync
from mlflow_pt_eval.tracking.checkpoints import Checkpoints
from mlflow_pt_eval.tracking.outbox import Outbox
from mlflow_pt_eval.tracking.store import connect
from mlflow_pt_eval.tracking.telemetry import Telemetry, read_points
from mlflow_pt_eval.training import finishing, recorder

EPOCHS = 4
WAIT = mpe.ModelCheckpoint(when_busy="wait")


class AwayCheckpoints(Checkpoints):
    """A store that takes no checkpoint after the first two."""

    def put(self, name, staged, **how):
        if name.epoch >= 2:
            raise StoreUnavailable("the store is away")
        super().put(name, staged, **how)


class AwayTelemetry(Telemetry):
    """A store that takes no point of the third epoch or later."""

    def send(self, points):
        if any(point.key == "train_loss" and point.step >= 16 for point in points):
            raise StoreUnavailable("the store is away")
        super().send(points)


@pytest.fixture
def cut_off(monkeypatch):
    """Run a training whose store goes away after two epochs; return its id. *crash_at*: as `wrapped` takes it."""

    def run(crash_at=None):
        with monkeypatch.context() as away:
            away.setattr(recorder, "Checkpoints", AwayCheckpoints)
            away.setattr(recorder, "Telemetry", AwayTelemetry)
            away.setattr(finishing, "_WAIT_AT_END", 0.5)
            with pytest.raises(Crash if crash_at else StoreUnavailable):
                wrapped(
                    Parts(), EPOCHS, callbacks=[WAIT], run_name="cut", crash_at=crash_at, before_step=two_epochs_first
                )
        (folder,) = Path(".mlflow_pt_eval").iterdir()
        return folder.name

    return run


def two_epochs_first(epoch, batch):
    """Wait in the third epoch until the first two are stored."""
    deadline = time.monotonic() + 60
    while (epoch, batch) == (2, 0) and time.monotonic() < deadline:
        (run,) = mlflow.search_runs(output_format="list")
        if run.data.tags.get("pt_eval.latest_checkpoint", "").startswith("epoch=0001"):
            break
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, blank_database):
    """The end and the points of the training that nothing happened to."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("whole")
        patch.chdir(folder)
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        parts = Parts()
        run = wrapped(parts, EPOCHS)
        return parts.tree(), series(run.run_id)


def series(run_id):
    """Every point that the store holds of a run."""
    client = mlflow.MlflowClient()
    keys = client.get_run(run_id).data.metrics
    return {key: sorted((m.step, m.value) for m in client.get_metric_history(run_id, key)) for key in keys}


STAGED = "epoch=0002-step=000000024"


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (f"{STAGED}/state.pt", "flipped"),
        (f"{STAGED}/state.pt", "deleted"),
        (f"{STAGED}/manifest.json", "flipped"),
        (f"{STAGED}/metrics.jsonl", "cut"),
        (f"{STAGED}/metrics.jsonl", "deleted"),
    ],
)
def test_a_damaged_staged_checkpoint_is_left_out(cut_off, whole, caplog, file, kind):
    """Whatever file of it is damaged: the resume begins at the one before, and ends as the whole training does."""
    run_id = cut_off(crash_at=(3, None))
    damage(Path(".mlflow_pt_eval", run_id, file), kind, random.Random(0))
    parts, seen = Parts(), []
    wrapped(parts, EPOCHS, callbacks=[WAIT], resume=run_id, before_step=lambda e, b: seen.append(e))
    assert seen[0] == 2
    assert first_difference(whole[0], parts.tree()) is None
    assert series(run_id) == whole[1]
    assert mlflow.get_run(run_id).info.status == "FINISHED"
    assert not Path(".mlflow_pt_eval").exists()
    assert "is damaged, and the training goes on before it" in caplog.text


def test_staged_points_that_another_attempt_has_stored_meanwhile_come_once(cut_off, whole):
    """An attempt that walked back logs points anew, at another time: what it leaves staged is not stored twice."""
    run_id = cut_off(crash_at=(3, None))
    points = read_points(Path(".mlflow_pt_eval", run_id, STAGED, "metrics.jsonl"))
    assert points
    earlier = [Metric(p.key, p.value, p.timestamp - 1000, p.step) for p in points]
    mlflow.MlflowClient().log_batch(run_id, metrics=earlier)
    wrapped(Parts(), EPOCHS, callbacks=[WAIT], resume=run_id)
    assert series(run_id) == whole[1]


@pytest.mark.parametrize("file", ["metrics.jsonl", "ending.json", "epoch=0003-step=000000032/state.pt"])
def test_damaged_leftovers_of_a_finished_training_don_t_make_it_look_finished(cut_off, whole, file):
    """Points or the end are lost: `sync` leaves the run resumable, and a resume makes it whole."""
    run_id = cut_off()
    folder, store = Path(".mlflow_pt_eval", run_id), connect()
    outbox = Outbox(Checkpoints.of(store, run_id), Telemetry(store, run_id, folder / "metrics.jsonl"), folder)
    outbox.leave_ending("FINISHED", {"pt_eval.resumable": "false"})  # the store went away at the very end
    damage(folder / file, "flipped", random.Random(0))
    (sent,) = sync(run_id)
    assert len(sent.checkpoints) == {"metrics.jsonl": 0, "ending.json": 2}.get(file, 1)
    tags = mlflow.get_run(run_id).data.tags
    assert tags["pt_eval.resumable"] == "true"
    parts = Parts()
    wrapped(parts, EPOCHS, callbacks=[WAIT], resume="auto", run_name="cut")
    assert first_difference(whole[0], parts.tree()) is None
    assert series(run_id) == whole[1]
    assert mlflow.get_run(run_id).info.status == "FINISHED"


def test_a_changed_digit_in_a_stored_manifest_is_a_damage(whole):
    """The history is in the manifest: a resume must not go on with a number that nobody logged."""
    run = wrapped(Parts(), 2, callbacks=[WAIT])
    newest = sorted(Path("mlartifacts").rglob("manifest.json"))[-1]
    text = newest.read_text()
    changed = re.sub(r'(?<="val_loss": \d\.)\d', lambda digit: str((int(digit[0]) + 1) % 10), text, count=1)
    newest.write_text(changed)
    assert len(changed) == len(text)
    assert changed != text
    (manifest,) = mpe.list_checkpoints(run.run_id)
    assert manifest.epoch == 0
    parts = Parts()
    wrapped(parts, EPOCHS, resume=run.run_id)
    assert first_difference(whole[0], parts.tree()) is None


@pytest.mark.parametrize("kind", ["flipped", "cut", "deleted"])
def test_a_sealed_text_comes_back_as_it_was_or_not_at_all(tmp_path, kind):
    """At every byte."""
    path = tmp_path / "text"
    write_sealed(path, "Zeile\n\nzwei ü\n")
    assert read_sealed(path) == "Zeile\n\nzwei ü\n"
    for seed in range(100):
        write_sealed(path, "Zeile\n\nzwei ü\n")
        damage(path, kind, random.Random(seed))
        with pytest.raises(CheckpointDamaged, match="is missing|has changed since it was written"):
            read_sealed(path)
