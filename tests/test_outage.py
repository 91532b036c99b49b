"""The tracking server goes away, answers with errors, hangs up in mid-upload: nothing is lost, nothing comes twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import torch
from loops import Crash, Parts, wrapped
from proxy import proxied

import mlflow_pt_eval as mpe
from mlflow_pt_eval.checkpoints import verify
from mlflow_pt_eval.errors import StoreUnavailable
from mlflow_pt_eval.syncing import sync
from mlflow_pt_eval.training import finishing

pytestmark = pytest.mark.slow

EPOCHS = 4
WAIT = mpe.ModelCheckpoint(when_busy="wait")


@pytest.fixture
def proxy(server, monkeypatch):
    """A way to the real server that can be disturbed."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    with proxied(server) as running:
        mlflow.set_tracking_uri(running.uri)
        yield running


@pytest.fixture(scope="module")
def undisturbed(server, tmp_path_factory):
    """The same training on a server that behaves."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("undisturbed"))
    mlflow.set_tracking_uri(server)
    parts = Parts()
    run = wrapped(parts, EPOCHS, callbacks=[WAIT])
    found = series(run.run_id)
    os.chdir(before)
    return parts.model.state_dict(), found


def series(run_id):
    """Every point that the store holds of a run."""
    client = mlflow.MlflowClient()
    keys = client.get_run(run_id).data.metrics
    return {key: sorted((m.step, m.value) for m in client.get_metric_history(run_id, key)) for key in keys}


def disturb(proxy, mode, *, until=None):
    """Disturb the way from the second epoch on, until another begins."""

    def before_step(epoch, batch):
        if (epoch, batch) == (1, 0):
            proxy.mode = mode
        if (epoch, batch) == (until, 0):
            proxy.mode = "open"

    return before_step


@pytest.mark.parametrize("mode", ["away", "busy", "cut", "slow"])
def test_a_disturbance_that_ends_leaves_no_trace(proxy, undisturbed, mode):
    """The loop goes on; when the server is back, every point is there once and the checkpoints are whole."""
    weights, points = undisturbed
    parts = Parts()
    run = wrapped(parts, EPOCHS, callbacks=[WAIT], before_step=disturb(proxy, mode, until=3))
    for key, value in weights.items():
        assert torch.equal(parts.model.state_dict()[key], value)
    assert series(run.run_id) == points
    assert mlflow.get_run(run.run_id).info.status == "FINISHED"
    assert set(verify(run.run_id).values()) == {None}
    assert not Path(".mlflow_pt_eval").exists()


def test_a_server_that_stays_away_is_one_error_and_sync_sends_the_rest(proxy, undisturbed, monkeypatch):
    """What could not be sent is kept and named; sync sends it; a resume then registers as if nothing had been."""
    weights, points = undisturbed
    register = mpe.RegisterBest("after-an-outage", input_example=torch.zeros(2, 4))
    with monkeypatch.context() as impatient:
        impatient.setattr(finishing, "_WAIT_AT_END", 2.0)
        with pytest.raises(StoreUnavailable, match=r"kept in .*\.mlflow_pt_eval.*`mlflow-pt-eval sync") as error:
            wrapped(Parts(), EPOCHS, callbacks=[WAIT, register], before_step=disturb(proxy, "away"))
    run_id = str(error.value).split("of the run ")[1].split()[0]
    assert proxy.refused > 0
    proxy.mode = "open"
    (sent,) = sync()
    assert (sent.run_id, sent.checkpoints[-1]) == (run_id, "epoch=0003-step=000000032")
    assert series(run_id) == points
    assert mlflow.get_run(run_id).info.status == "FAILED"
    assert not Path(".mlflow_pt_eval").exists()
    parts = Parts()
    run = wrapped(parts, EPOCHS, callbacks=[WAIT, register], resume=run_id)
    assert (run.registered_version, mlflow.get_run(run_id).info.status) == (1, "FINISHED")
    for key, value in weights.items():
        assert torch.equal(parts.model.state_dict()[key], value)
    assert series(run_id) == points


def test_a_resume_sends_what_was_staged_by_itself(proxy, undisturbed, monkeypatch):
    """A crash during an outage: the staged checkpoint is the one that the resume goes on from."""
    weights, points = undisturbed
    with monkeypatch.context() as impatient:
        impatient.setattr(finishing, "_WAIT_AT_END", 1.0)
        with pytest.raises(Crash):
            wrapped(Parts(), EPOCHS, callbacks=[WAIT], before_step=disturb(proxy, "away"), crash_at=(2, 3))
    (staged,) = {path.parent.parent.name for path in Path(".mlflow_pt_eval").rglob("state.pt")}
    proxy.mode = "open"
    parts, seen = Parts(), []
    wrapped(parts, EPOCHS, callbacks=[WAIT], resume=staged, before_step=lambda e, b: seen.append(e))
    assert seen[0] == 2
    for key, value in weights.items():
        assert torch.equal(parts.model.state_dict()[key], value)
    assert series(staged) == points


def test_during_an_outage_staging_holds_only_what_would_be_kept(proxy, monkeypatch):
    """However long the server is away, checkpoints don't pile up."""
    monkeypatch.setattr(finishing, "_WAIT_AT_END", 1.0)
    most = []

    def before_step(epoch, batch):
        if (epoch, batch) == (1, 0):
            proxy.mode = "away"
        most.append(staged())

    def staged():  # not by rglob, which fails on a folder that goes meanwhile
        return sum("manifest.json" in files for _, _, files in os.walk(".mlflow_pt_eval"))

    with pytest.raises(StoreUnavailable):
        wrapped(Parts(), 12, callbacks=[WAIT], before_step=before_step)
    assert max(most) <= 4
    assert staged() <= 2


def test_a_server_that_is_killed_and_restarted(tmp_path, undisturbed):
    """The real thing: kill -9 in mid-training, the same server again on the same port two epochs later."""
    from servers import _await_health, _command, _environment, free_port

    _, points = undisturbed
    folder, uri = tmp_path / "server", f"http://127.0.0.1:{free_port()}"
    folder.mkdir()
    processes: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        with (folder / "log").open("wb") as log:
            options = {"cwd": folder, "env": _environment(), "stdout": log, "stderr": log, "start_new_session": True}
            processes.append(subprocess.Popen(_command(uri), **options))
        _await_health(processes[-1], f"{uri}/health", folder / "log")

    def kill() -> None:
        os.killpg(processes[-1].pid, signal.SIGKILL)
        processes[-1].wait()

    def before_step(epoch: int, batch: int) -> None:
        if (epoch, batch) == (1, 2):
            kill()
        if (epoch, batch) == (3, 0):
            start()

    start()
    try:
        mlflow.set_tracking_uri(uri)
        run = wrapped(Parts(), EPOCHS, callbacks=[WAIT], before_step=before_step)
        assert series(run.run_id) == points
        assert set(verify(run.run_id).values()) == {None}
    finally:
        kill()


def test_the_command_says_it_in_one_line(proxy):
    """`sync` with nothing to do, and with a run that has nothing staged here."""
    command = [sys.executable, "-m", "mlflow_pt_eval", "sync"]
    nothing = subprocess.run(command, capture_output=True, text=True)
    assert (nothing.returncode, nothing.stdout) == (0, "nothing is staged here\n")
    unknown = subprocess.run([*command, "abc"], capture_output=True, text=True)
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("mlflow-pt-eval: nothing of the run 'abc' is staged in")
