"""Sixteen trainings at once on a team's server: nothing is lost, nothing comes twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path

import mlflow
import pytest
import torch
from loops import Parts, wrapped
from services import object_store, team_server

import mlflow_pt_eval as mpe
from mlflow_pt_eval import names
from mlflow_pt_eval.checkpoints import verify

pytestmark = pytest.mark.slow

TRAININGS, EPOCHS, BATCHES = 16, 4, 8
MOST_SECONDS = 400  # for all of them, on two cores


def train(number: int, folder: str) -> None:
    """Train and register in a process of its own; leave a note of every step's loss."""
    os.chdir(folder)
    parts, losses = Parts(), []
    torch.manual_seed(number)
    for layer in (parts.model[0], parts.model[4]):
        layer.reset_parameters()
    step = parts.step

    def noting(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = step(x, y)
        losses.append(float(loss))
        return loss

    parts.step = noting
    callbacks = [mpe.ModelCheckpoint(when_busy="wait"), mpe.RegisterBest("many", input_example=torch.zeros(2, 4))]
    run = wrapped(parts, EPOCHS, callbacks=callbacks, run_name=f"training {number}")
    note = {"run_id": run.run_id, "version": run.registered_version, "losses": losses}
    Path(f"{number}.json").write_text(json.dumps(note))


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """PostgreSQL, S3, users; one worker, as the other tests have it."""
    with (
        object_store(tmp_path_factory.mktemp("s3")) as bucket,
        team_server(tmp_path_factory.mktemp("team"), bucket) as running,
    ):
        yield running


def test_sixteen_trainings_at_once_lose_nothing(team, monkeypatch, tmp_path):
    """Each run is finished and has each of its points once; each checkpoint is whole; sixteen versions are theirs."""
    for key, value in {**team.environment, "MLFLOW_EXPERIMENT_NAME": "many"}.items():
        monkeypatch.setenv(key, value)
    mlflow.set_tracking_uri(team.uri)
    context = multiprocessing.get_context("forkserver")  # the libraries are imported once, before it forks
    context.set_forkserver_preload(["mlflow_pt_eval.training.run", "mlflow_pt_eval.registration", "loops"])
    processes = [context.Process(target=train, args=(number, str(tmp_path))) for number in range(TRAININGS)]
    for process in processes:
        process.start()
    deadline = time.monotonic() + MOST_SECONDS
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0))
    late = [process for process in processes if process.is_alive()]
    for process in late:
        process.kill()
    assert not late
    assert {process.exitcode for process in processes} == {0}

    notes = [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(TRAININGS)]
    client = mlflow.MlflowClient()
    for note in notes:
        run = client.get_run(note["run_id"])
        assert (run.info.status, run.data.tags[names.TAG_RESUMABLE]) == ("FINISHED", "false")
        points = client.get_metric_history(note["run_id"], "train_loss")
        assert sorted((p.step, p.value) for p in points) == list(enumerate(note["losses"]))
        assert len(points) == EPOCHS * BATCHES
        for key in ("val_loss", "val_accuracy", "train_loss_epoch"):
            assert sorted(p.step for p in client.get_metric_history(note["run_id"], key)) == list(range(EPOCHS))
        assert set(verify(note["run_id"]).values()) == {None}
        version = client.get_model_version("many", str(note["version"]))
        assert version.tags[names.TAG_RUN_ID] == note["run_id"]
    assert sorted(note["version"] for note in notes) == list(range(1, TRAININGS + 1))
    assert not (tmp_path / names.STAGING_DIR).exists()
