"""Letting a run go: nothing stays behind, and what the next process has there is not touched."""

from __future__ import annotations

import threading
from pathlib import Path

import mlflow
import pytest
import torch

import mlflow_pt_eval as mpe
from mlflow_pt_eval.errors import BadInput, StateMismatch
from mlflow_pt_eval.files import RunLock
from mlflow_pt_eval.tracking.checkpoints import Checkpoints
from mlflow_pt_eval.tracking.outbox import LOCK_FILE, Outbox, staging_folder
from mlflow_pt_eval.tracking.store import connect
from mlflow_pt_eval.tracking.telemetry import Telemetry


def trained(width: int = 2, **options) -> str:
    """Train one epoch; return the run's id."""
    with mpe.TrainingRun({"model": torch.nn.Linear(width, width)}, **options) as run:
        for _ in run.epochs(1):
            pass
    return run.run_id


def test_a_resume_that_fails_leaves_nothing_behind():
    """Neither threads nor a folder, however often it is tried."""
    run_id = trained()
    for _ in range(2):
        with pytest.raises(StateMismatch):
            trained(3, resume=run_id)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("mlflow_pt_eval")]
    assert not Path(".mlflow_pt_eval").exists()
    assert trained(resume=run_id) == run_id


def test_a_run_is_entered_once_and_keeps_no_memory_of_checkpoints():
    """The object stays with the user, for its history; what copied the state is as large as the state."""
    run = mpe.TrainingRun({"model": torch.nn.Linear(2, 2)})
    with run:
        for _ in run.epochs(1):
            pass
    assert run._session.recorder._buffers.nbytes == 0
    with pytest.raises(BadInput, match="was used already: make a new one, with resume="), run:
        pass
    assert mlflow.get_run(run.run_id).info.status == "FINISHED"


def test_a_training_that_cannot_be_locked_is_one_clear_error_and_a_failed_run():
    """A file of the staging folder's name is in the way; no run is left that seems to be at work."""
    Path(".mlflow_pt_eval").touch()
    with pytest.raises(BadInput, match="has to be a folder, but a file is in the way"):
        trained()
    (run,) = mlflow.search_runs(output_format="list")
    assert run.info.status == "FAILED"


class TakenAtOnce(RunLock):
    """A lock that another takes, and stages below, the moment that it is free."""

    def release(self) -> None:
        super().release()
        self.next = RunLock(self.path).acquire()
        (self.path.parent / "epoch=0002-step=000000000").mkdir()


def test_the_next_process_keeps_what_it_has_begun():
    """It may take the run up between the release and the folder's removal."""
    store, run_id = connect(), trained()
    folder = staging_folder(run_id)
    outbox = Outbox(Checkpoints.of(store, run_id), Telemetry(store, run_id, folder / "metrics.jsonl"), folder)
    lock = TakenAtOnce(folder / LOCK_FILE).acquire()
    (folder / "epoch=0001-step=000000000").mkdir()
    outbox.let_go(lock)
    assert {path.name for path in folder.iterdir()} == {LOCK_FILE, "epoch=0002-step=000000000"}
    lock.next.release()
