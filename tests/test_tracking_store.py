"""The store: made whole, found again from anywhere, and honest about what is wrong with it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from servers import tracking_server

from mlflow_pt_eval.errors import BadInput, StoreBroken, StoreUnavailable
from mlflow_pt_eval.tracking.store import connect


def test_the_default_store_is_made_in_the_working_directory_and_stays_there(tmp_path, monkeypatch):
    """A change of directory after connecting must not change the database."""
    store = connect("sqlite:///here.db")
    monkeypatch.chdir("/")
    assert store.experiment_id("digits") == store.experiment_id("digits")
    assert (tmp_path / "here.db").is_file()


def test_artifacts_of_our_experiments_stand_beside_the_database(tmp_path):
    """Wherever the script was started, the artifacts are found with the database."""
    store = connect(f"sqlite:///{tmp_path}/deep/er/x.db")
    experiment = store.client.get_experiment(store.experiment_id("a/b#c"))
    assert experiment.artifact_location == (tmp_path / "deep/er/mlartifacts/a_b_c").as_uri()


def test_eight_first_starts_at_once_all_succeed(tmp_path):
    """MLflow's own first start breaks the database when several happen at once; ours must not."""
    code = "from mlflow_pt_eval.tracking.store import connect; print(connect('sqlite:///m.db').experiment_id('e'))"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    results = [(process.communicate(timeout=240), process.returncode) for process in started]
    assert [code for _, code in results] == [0] * 8, results
    assert len({out for (out, _), _ in results}) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".m.db")] == []


def test_a_half_made_database_is_named_with_the_way_out(tmp_path):
    """What parallel first starts of MLflow leave behind must not surface as an SQL error."""
    path = Path(tmp_path / "broken.db")
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE experiments (experiment_id INTEGER)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreBroken, match="half-made MLflow database.*delete it.*mlflow db upgrade"):
        connect(f"sqlite:///{path}")


def test_a_server_that_is_away_is_one_clear_error(monkeypatch):
    """Not four minutes of silence: one line that names the server."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StoreUnavailable, match=r"http://127.0.0.1:9 does not answer"):
        connect("http://me:secret@127.0.0.1:9")


@pytest.mark.slow
def test_a_server_that_answers_to_another_name_only_is_said(tmp_path):
    """MLflow refuses host names that it was not told of: the message says how to tell it."""
    options = ["--backend-store-uri", "sqlite:///server.db", "--allowed-hosts", "another-name"]
    with tracking_server(tmp_path, *options) as uri, pytest.raises(BadInput, match="start it with --allowed-hosts"):
        connect(uri)
