"""A password in a server's URI reaches the server, and nobody else."""

from __future__ import annotations

import os
import traceback

import pytest

from mlflow_pt_eval.errors import StoreUnavailable
from mlflow_pt_eval.tracking.credentials import without_credentials
from mlflow_pt_eval.tracking.runs import create_run, get_run, set_tags
from mlflow_pt_eval.tracking.store import connect

AWAY = "http://ada:very%40secret@127.0.0.1:1"


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    """No credentials are set, and those that the test sets are gone afterwards."""
    for key in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(key, "")
        monkeypatch.delenv(key)


def test_a_servers_password_moves_to_mlflows_variables():
    """Decoded, as MLflow sends it; a second call with the same URI gives the same."""
    for _ in range(2):
        assert without_credentials(AWAY) == "http://127.0.0.1:1"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "ada"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "very@secret"


def test_somebody_elses_variables_stay(monkeypatch):
    """Two servers, two users: the second keeps its URI, with which it works."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ben")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "other")
    assert without_credentials(AWAY) == AWAY


@pytest.mark.parametrize("uri", ["sqlite:///x.db", "postgresql://me:pw@host/db", "https://host:5000", "http://me@host"])
def test_any_other_uri_stays(uri):
    """Databases take their passwords from their URIs."""
    assert without_credentials(uri) == uri


def test_an_error_about_the_server_shows_no_password(monkeypatch):
    """Neither in our line nor in the errors behind it, which Python prints too."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StoreUnavailable, match="the tracking server http://127.0.0.1:1 does not answer") as error:
        connect(AWAY)
    shown = "".join(traceback.format_exception(error.value))
    assert "very" not in shown


def test_tags_hide_passwords_and_tokens(tracking):
    """A git remote's address may hold a token; MLflow notes it on every run."""
    store = connect()
    run = create_run(store, {"remote": "https://ghp_12@host/code.git"}, "e")
    set_tags(store, run.run_id, {"database": "postgresql://me:secret@host/db"})
    tags = get_run(store, run.run_id).data.tags
    assert (tags["remote"], tags["database"]) == ("https://***@host/code.git", "postgresql://me:***@host/db")
