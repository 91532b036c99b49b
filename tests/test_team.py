"""A team's server: PostgreSQL and S3 behind it, users in front of it, artifacts through it and past it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import mlflow
import psycopg
import pytest
import torch
from loops import Parts, wrapped
from services import SECRETS, Team, object_store, team_server

import mlflow_pt_eval as mpe
from mlflow_pt_eval import names
from mlflow_pt_eval.checkpoints import verify
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.gates import ThresholdGate

EPOCHS = 4
WAIT = mpe.ModelCheckpoint(when_busy="wait")
EXAMPLE = torch.zeros(2, 4)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """One object store for both servers."""
    with object_store(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(scope="module", params=["proxied", pytest.param("direct", marks=pytest.mark.slow)])
def team(request, bucket, tmp_path_factory) -> Iterator[Team]:
    """A server through which artifacts go, then one past which they go: each started once."""
    with team_server(tmp_path_factory.mktemp("team"), bucket, direct=request.param == "direct") as running:
        yield running


@pytest.fixture
def member(team, monkeypatch) -> Team:
    """Be a member of the team, without an administrator's rights, in an experiment of one's own."""
    for key, value in team.environment.items():
        monkeypatch.setenv(key, value)
    mlflow.set_tracking_uri(team.uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", f"experiment {uuid.uuid4().hex[:8]}")
    return team


def series(run_id):
    """Every point that the store holds of a run."""
    client = mlflow.MlflowClient()
    keys = client.get_run(run_id).data.metrics
    return {key: sorted((m.step, m.value) for m in client.get_metric_history(run_id, key)) for key in keys}


def objects_of(team, run_id):
    """The run's objects in the bucket, seen past MLflow: path in the run's artifacts → key."""
    return {key.split(f"{run_id}/artifacts/")[1]: key for key in team.bucket.objects() if f"/{run_id}/" in key}


def train(seed, name, **options):
    """Train from other weights than other seeds do, and register the best epoch."""
    parts = Parts()
    torch.manual_seed(seed)
    for layer in (parts.model[0], parts.model[4]):
        layer.reset_parameters()
    register = mpe.RegisterBest(name, input_example=EXAMPLE)
    return wrapped(parts, EPOCHS, callbacks=[WAIT, register], **options), parts


def test_the_main_path(member):
    """Train, register, evaluate, compare, promote, roll back; every byte is in the bucket, whole."""
    name = f"net {uuid.uuid4().hex[:8]}"
    first, parts = train(1, name)
    second, _ = train(2, name)
    assert (first.registered_version, second.registered_version) == (1, 2)
    for run in (first, second):
        assert mlflow.get_run(run.run_id).info.status == "FINISHED"
        assert set(verify(run.run_id).values()) == {None}
    data = (parts.train.dataset.x, parts.train.dataset.y)
    for version in (1, 2):
        evaluation = mpe.evaluate(f"models:/{name}/{version}", data)
        (run,) = mlflow.search_runs(
            filter_string=f"tags.`{names.TAG_MODEL_URI}` = '{evaluation.model_uri}'", output_format="list"
        )
        assert {names.CONFUSION_PNG, names.REPORT_HTML} <= set(objects_of(member, run.info.run_id))
    assert {side.version for side in mpe.compare(name).sides} == {1, 2}
    client = mlflow.MlflowClient()
    for version in (1, 2):
        assert mpe.promote(name, version, gates=[ThresholdGate(threshold=0.0)]).passed
        assert int(client.get_model_version_by_alias(name, "champion").version) == version
    mpe.rollback(name)
    assert int(client.get_model_version_by_alias(name, "champion").version) == 1
    weights = mpe.load_model(f"models:/{name}@champion", into=parts.model).state_dict()
    best = mpe.load_checkpoint(first.run_id, epoch=int(client.get_model_version(name, "1").tags[names.TAG_EPOCH]))
    assert all(torch.equal(weights[key], value) for key, value in best["model_state_dict"].items())


def test_a_wrong_password_is_one_line_that_names_the_variables(member, monkeypatch):
    """Bad input, not a riddle; and the password that was tried is not repeated."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "not-her-password-5a1f")
    with pytest.raises(BadInput, match="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD") as caught:
        mpe.promote("any", 1)
    assert member.uri in str(caught.value)
    assert "5a1f" not in str(caught.value)


@pytest.mark.slow
def test_retention_frees_the_bucket(member):
    """What is not kept is deleted as objects, not only forgotten."""
    run = wrapped(Parts(), 8, callbacks=[WAIT])
    kept = {f"checkpoints/epoch={epoch:04d}-step={8 * (epoch + 1):09d}" for epoch in (6, 7)}
    stored = {path for path in objects_of(member, run.run_id) if path.startswith("checkpoints/")}
    assert stored == {f"{folder}/{file}" for folder in kept for file in (names.STATE_FILE, names.MANIFEST_FILE)}


SCRIPT = """
import os, sys
sys.path.insert(0, {tests!r})
from loops import Parts, wrapped
import mlflow_pt_eval as mpe

def before_step(epoch, batch):
    if (epoch, batch) == (2, 3):
        print("at the place", flush=True)
        sys.stdin.readline()

wrapped(
    Parts(), {epochs}, callbacks=[mpe.ModelCheckpoint(when_busy="wait", every_n_steps=1)], run_name="cut",
    before_step=before_step,
)
"""


def await_checkpoint(run_name):
    """Wait until a run's checkpoint from its second epoch on is in the store."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        (run,) = mlflow.search_runs(filter_string=f"attributes.run_name = '{run_name}'", output_format="list")
        if run.data.tags.get(names.TAG_LATEST_CHECKPOINT, "") > "epoch=0001":
            return
        time.sleep(0.1)
    raise AssertionError("no checkpoint was stored")


@pytest.mark.slow
def test_a_killed_training_is_resumed_exactly(member, tmp_path):
    """SIGKILL in the middle of an epoch: the resume ends as the training that nobody killed, each point once."""
    undisturbed = Parts()
    points = series(wrapped(undisturbed, EPOCHS, callbacks=[WAIT]).run_id)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), epochs=EPOCHS))
    with subprocess.Popen([sys.executable, script], cwd=tmp_path, stdin=-1, stdout=-1, text=True) as process:
        assert any("at the place" in line for line in process.stdout)
        await_checkpoint("cut")
        process.send_signal(signal.SIGKILL)
    parts, seen = Parts(), []
    run = wrapped(
        parts, EPOCHS, callbacks=[WAIT], run_name="cut", resume="auto", before_step=lambda e, b: seen.append((e, b))
    )
    assert (1, 0) < seen[0] <= (2, 3)
    assert series(run.run_id) == points
    for key, value in undisturbed.model.state_dict().items():
        assert torch.equal(parts.model.state_dict()[key], value)
    assert not Path(".mlflow_pt_eval").exists()


# --- credentials --------------------------------------------------------------------------------
def contents(data):
    """Bytes and, where they are an archive's, those of its members."""
    yield data
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.namelist():
                yield archive.read(member)


def everything_in(uri):
    """Every row of every table of the database, as text."""
    with psycopg.connect(uri) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            with connection.cursor().copy(f'COPY "{table}" TO STDOUT') as rows:
                yield table, b"".join(bytes(row) for row in rows)


def found_in(where, data):
    """Which secrets stand in some bytes."""
    return {(where, secret) for secret in SECRETS for part in contents(data) if secret.encode() in part}


def leaks(team, folder, *outputs):
    """Everything that was written anywhere, searched for every secret."""
    found = set()
    for key in team.bucket.objects():
        found |= found_in(key, team.bucket.read(key))
    for table, rows in everything_in(team.database):
        found |= found_in(table, rows)
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        found |= found_in(str(path), path.read_bytes())
    for output in outputs:
        found |= found_in("printed", output.encode())
    return found


LEAKY = """
import logging, os, sys
logging.basicConfig(level=logging.DEBUG)
sys.path.insert(0, {tests!r})
import torch
from loops import Parts, wrapped
import mlflow_pt_eval as mpe

def fail(epoch, batch):
    if epoch == 2:
        raise RuntimeError("no answer from " + os.environ["A_DATABASE"])

wrapped(
    Parts(), 3, before_step=fail if sys.argv[1] == "fail" else None,
    callbacks=[mpe.RegisterBest("leaky", input_example=torch.zeros(2, 4))],
    params={{"database": os.environ["A_DATABASE"], "password": os.environ["A_PASSWORD"]}},
    tags={{"source": os.environ["A_DATABASE"]}},
)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["fail", "finish"])
def test_no_credential_is_written_anywhere(member, tmp_path, ending):
    """Users', the database's and S3's, given in every way there is: none in database, bucket, staging or output."""
    script = tmp_path / "leaky.py"
    script.write_text(LEAKY.format(tests=str(Path(__file__).parent)))
    with_password = {
        "A_DATABASE": member.database,
        "A_PASSWORD": SECRETS[0],
        "MLFLOW_TRACKING_URI": member.uri_with_password,
    }
    environment = {**os.environ, **with_password, "MLFLOW_EXPERIMENT_NAME": f"leaky {ending}"}
    for key in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        del environment[key]
    done = subprocess.run(
        [sys.executable, "leaky.py", ending], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == (1 if ending == "fail" else 0), done.stderr
    said = done.stdout + done.stderr
    if ending == "fail":  # Python itself prints what the user's code has raised
        said = said[: said.rindex("Traceback (most recent call last)")]
    script.unlink()
    assert leaks(member, tmp_path, said, member.log.read_text()) == set()
