"""A full disk, a store that refuses: an error at the next commit, the older checkpoints whole, nothing swallowed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import mlflow
import pytest
import torch
from loops import Crash, Parts, wrapped
from mlflow.exceptions import MlflowException

import mlflow_pt_eval as mpe
from mlflow_pt_eval.checkpoints import verify
from mlflow_pt_eval.errors import NotFound, StorageFailed, StoreUnavailable
from mlflow_pt_eval.tracking import store as store_room
from mlflow_pt_eval.tracking.checkpoints import Checkpoints
from mlflow_pt_eval.tracking.store import connect
from mlflow_pt_eval.tracking.telemetry import Telemetry
from mlflow_pt_eval.training import finishing, recorder

WAIT = mpe.ModelCheckpoint(when_busy="wait")

FULL = """
import sys
sys.path.insert(0, {tests!r})
import resource, signal
import mlflow_pt_eval as mpe
from loops import Parts, wrapped

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def before_step(epoch, batch):
    if (epoch, batch) == (2, 0):  # from here on, no file may grow beyond what is left of this quota
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))

try:
    wrapped(Parts(), 6, callbacks=[mpe.ModelCheckpoint(when_busy="wait")], before_step=before_step)
finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.slow
def test_a_full_disk_is_an_error_that_names_the_folder_and_leaves_the_older_checkpoints_whole(tmp_path, server):
    """Not one warning and a FINISHED run: the training fails at the next commit."""
    script = tmp_path / "full.py"
    script.write_text(FULL.format(tests=str(Path(__file__).parent)))
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server}  # the database must not be on the same full disk
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"StorageFailed: cannot use {tmp_path}/.mlflow_pt_eval" in done.stderr
    assert "were needed" in done.stderr
    mlflow.set_tracking_uri(server)
    run = mlflow.search_runs(output_format="list", filter_string="status = 'FAILED'")[0]
    problems = verify(run.info.run_id)
    assert 1 <= len(problems) <= 2  # the second was perhaps still being written when the disk was full
    assert set(problems.values()) == {None}
    parts = Parts()
    assert len(wrapped(parts, 6, resume=run.info.run_id).history) == 6


class SlowAtFirst(Telemetry):
    """Takes what it is sent only once it may, and notes it."""

    may, sent = threading.Event(), []

    def send(self, points):
        self.may.wait(60)
        super().send(points)
        self.sent.extend((point.key, point.step) for point in points)


def test_a_server_that_is_slow_is_sent_each_point_once(monkeypatch):
    """Checkpoints keep a copy of what was not sent before them: to send that too would make it slower still."""
    monkeypatch.setattr(recorder, "Telemetry", SlowAtFirst)
    wrapped(Parts(), 4, callbacks=[WAIT], before_step=lambda epoch, _: SlowAtFirst.may.set() if epoch == 3 else None)
    assert len(SlowAtFirst.sent) == len(set(SlowAtFirst.sent))
    assert {step for key, step in SlowAtFirst.sent if key == "train_loss"} == set(range(32))


class Slow(Checkpoints):
    """A store that takes a checkpoint only once the training has said that it is slow."""

    said = threading.Event()

    def put(self, *arguments, **options):
        self.said.wait(60)
        super().put(*arguments, **options)


class Listening(logging.Handler):
    """Hears that the store is slow."""

    def emit(self, record):
        if "the store is slow" in record.getMessage():
            Slow.said.set()


def test_a_clean_end_waits_for_a_store_that_is_slow(monkeypatch, caplog):
    """It works, so the end is clean, however long the last upload takes."""
    monkeypatch.setattr(recorder, "Checkpoints", Slow)
    monkeypatch.setattr(finishing, "_WAIT_AT_END", 0.1)
    listening = Listening()
    logging.getLogger("mlflow_pt_eval").addHandler(listening)
    try:
        run = wrapped(Parts(), 1, callbacks=[WAIT])
    finally:
        logging.getLogger("mlflow_pt_eval").removeHandler(listening)
    assert mlflow.get_run(run.run_id).info.status == "FINISHED"
    assert caplog.text.count(f"the store is slow: the training ends when all of the run {run.run_id} is sent") == 1


class NoDeletes(Checkpoints):
    """A store that takes everything and gives nothing back, as some object stores are set up."""

    def delete(self, name):
        raise StorageFailed(f"{name} must not be deleted here")


def test_a_store_that_refuses_deletes_keeps_everything_with_one_warning(monkeypatch, caplog):
    """Retention is no reason to end a training."""
    monkeypatch.setattr(recorder, "Checkpoints", NoDeletes)
    run = wrapped(Parts(), 4, callbacks=[WAIT])
    assert len(Checkpoints.of(connect(), run.run_id).committed()) == 4
    assert caplog.text.count("refuses to delete") == 1
    assert mlflow.get_run(run.run_id).info.status == "FINISHED"


class FullAfter(Checkpoints):
    """A store that refuses every file from the third checkpoint on."""

    def _store_file(self, source, path):
        if "epoch=0002" in path:
            raise StorageFailed(f"cannot use {path}: the disk is full")
        super()._store_file(source, path)


def test_a_store_that_is_full_fails_the_run_and_keeps_the_checkpoint_staged(monkeypatch):
    """What the store refused stays in staging; a resume sends it when there is room again."""
    monkeypatch.setattr(recorder, "Checkpoints", FullAfter)
    with pytest.raises(StorageFailed, match="the disk is full"):
        wrapped(Parts(), 8, callbacks=[WAIT])
    (run,) = mlflow.search_runs(output_format="list")
    assert run.info.status == "FAILED"
    monkeypatch.setattr(recorder, "Checkpoints", Checkpoints)
    parts = Parts()
    wrapped(parts, 8, resume=run.info.run_id)
    whole = Parts()
    wrapped(whole, 8)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(parts.model.state_dict()[key], value)


@pytest.mark.parametrize(
    ("epoch", "said"), [(0, "before its first checkpoint"), (1, "goes on from epoch=0000-step=000000008")]
)
def test_a_checkpoint_that_could_not_be_written_is_not_named(monkeypatch, caplog, epoch, said):
    """The last line of a training that fails names the one before it, if there is one."""
    write = recorder.write_payload

    def full(snapshot, folder, *, needed):
        if snapshot.name.epoch == epoch:
            raise StorageFailed(f"cannot use {folder}: the disk is full")
        return write(snapshot, folder, needed=needed)

    monkeypatch.setattr(recorder, "write_payload", full)
    with pytest.raises(StorageFailed, match="the disk is full"):
        wrapped(Parts(), 3, callbacks=[WAIT])
    assert caplog.messages[-1].endswith(said)


def test_a_run_that_is_deleted_while_it_trains_is_one_clear_error():
    """With the command that brings it back; not MLflow's own error."""

    def before_step(epoch, batch):
        if (epoch, batch) == (1, 0):
            (run,) = mlflow.search_runs(output_format="list")
            mlflow.MlflowClient().delete_run(run.info.run_id)

    with pytest.raises(
        NotFound, match=r"the run \w{32} is deleted; restore it with `mlflow runs restore --run-id \w+`"
    ):
        wrapped(Parts(), 8, callbacks=[WAIT], before_step=before_step)


def test_a_newer_attempt_elsewhere_stops_the_older(monkeypatch):
    """Across hosts no lock can help: the newest attempt wins, the older ends with an error at its next commit."""
    from mlflow_pt_eval.errors import RunConflict
    from mlflow_pt_eval.tracking import attempts
    from mlflow_pt_eval.tracking.runs import get_run, set_tags

    def before_step(epoch, batch):
        if (epoch, batch) == (2, 0):  # as another host's start would
            (run,) = mlflow.search_runs(output_format="list")
            store = connect()
            _, noted = attempts.next_attempt(get_run(store, run.info.run_id).data.tags, None)
            set_tags(store, run.info.run_id, noted)

    with pytest.raises(RunConflict, match="was taken over by attempt 2"):
        wrapped(Parts(), 8, callbacks=[WAIT], before_step=before_step)


class GoesAway(mlflow.MlflowClient):
    """A client whose server is gone after so many calls."""

    calls_left = -1

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if callable(found) and not name.startswith("_"):
            if GoesAway.calls_left == 0:
                raise MlflowException("API request to http://away failed with exception: Max retries exceeded")
            GoesAway.calls_left -= 1
        return found


@pytest.mark.parametrize("resume", [False, True])
def test_a_server_that_goes_away_during_the_start_is_one_clear_error(monkeypatch, resume):
    """At whichever call: never MLflow's own error, and a later start works."""
    if resume:
        with pytest.raises(Crash):
            wrapped(Parts(), 2, callbacks=[WAIT], run_name="away", crash_at=(1, 0))
    monkeypatch.setattr(store_room, "MlflowClient", GoesAway)
    parts, failed = Parts(), 0
    state = {"model": parts.model, "optimizer": parts.optimizer, "scheduler": parts.scheduler}
    while failed < 60:
        monkeypatch.setattr(GoesAway, "calls_left", failed)
        run = mpe.TrainingRun(state, run_name="away", resume="auto" if resume else None)
        try:
            with run:
                monkeypatch.setattr(GoesAway, "calls_left", -1)
                assert len(run.history) == resume
            break
        except StoreUnavailable:
            failed += 1
    assert 5 < failed < 60


class DiesBehindTheManifest(Checkpoints):
    """A store whose process is gone as soon as a checkpoint's manifest has arrived."""

    def put(self, name, staged, **how):
        super().put(name, staged, **how)
        raise Crash


def test_a_run_whose_process_died_behind_its_first_manifest_is_found_again(monkeypatch):
    """Before it could say on the run which checkpoint is the latest: `resume="auto"` goes on with it."""
    monkeypatch.setattr(recorder, "Checkpoints", DiesBehindTheManifest)
    with pytest.raises(Crash):
        wrapped(Parts(), 2, callbacks=[WAIT], run_name="early")
    monkeypatch.setattr(recorder, "Checkpoints", Checkpoints)
    (cut,) = mlflow.search_runs(output_format="list")
    assert "pt_eval.latest_checkpoint" not in cut.data.tags
    run = wrapped(Parts(), 2, callbacks=[WAIT], run_name="early", resume="auto")
    assert (run.run_id, len(run.history)) == (cut.info.run_id, 2)
    (ended,) = mlflow.search_runs(output_format="list")
    assert ended.data.tags["pt_eval.latest_checkpoint"].startswith("epoch=0001")
