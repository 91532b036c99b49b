"""Databases: what can be no store is said at once, in one line; what only reads makes none."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

import mlflow_pt_eval as mpe
from mlflow_pt_eval.cli import main
from mlflow_pt_eval.errors import BadInput, NotFound, StorageFailed, StoreBroken, StoreUnavailable
from mlflow_pt_eval.tracking.store import connect, is_made, reaching

READING = (
    ["versions", "digits"],
    ["versions", "digits", "--history"],
    ["compare", "digits"],
    ["promote", "digits", "1"],
    ["rollback", "digits"],
    ["evaluate", "models:/digits/1", "--data", "data.npz"],
    ["evaluate", "folder", "--data", "data.npz"],
    ["evaluate", "--from-run", "0a1b2c"],
    ["checkpoints", "list", "0a1b2c"],
    ["checkpoints", "verify", "0a1b2c"],
    ["checkpoints", "prune", "0a1b2c"],
)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder without a store, which is the working directory."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    return folder


def there() -> list[str]:
    """Return the names in the working directory."""
    return [path.name for path in Path.cwd().iterdir()]


def garbage(path: Path) -> None:
    path.write_text("not a database, but longer than its header")


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE invoices (id INTEGER)")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (garbage, "is not an SQLite database"),
        (Path.mkdir, "is a folder, where the tracking store's database should be"),
        (foreign, r"of something else than MLflow \(its tables: invoices\)"),
    ],
)
def test_what_is_no_store_is_said_at_once_and_left_alone(elsewhere, capsys, make, said):
    """MLflow raises an SQL error, or tries for 100 seconds, or adds its tables to somebody's database."""
    path = elsewhere / "mlflow.db"
    make(path)
    before, began = path.is_file() and path.read_bytes(), time.monotonic()
    with pytest.raises(BadInput, match=f"mlflow.db.*{said}.*MLFLOW_TRACKING_URI"):
        mpe.TrainingRun({"model": torch.nn.Linear(2, 2)}).__enter__()
    assert main(["versions", "digits"]) == 2
    assert time.monotonic() - began < 5
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("mlflow-pt-eval: ")
    assert (path.is_file() and path.read_bytes()) == before
    assert there() == ["mlflow.db"]


def test_a_file_in_the_place_of_a_folder_is_named(elsewhere):
    """The message names the file that is in the way, not the database that cannot be there."""
    (elsewhere / "runs").write_text("")
    for make in (True, False):
        with pytest.raises(BadInput, match=f"{elsewhere}/runs is a file"):
            connect("sqlite:///runs/deep/mlflow.db", make=make)


def test_a_damaged_database_is_named_with_the_way_out(elsewhere):
    """Its header is whole, its pages are not."""
    connect()
    path = elsewhere / "mlflow.db"
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 8000)
    with pytest.raises(StoreBroken, match=r"mlflow.db is damaged.*restore it from a backup"):
        connect()


@pytest.mark.parametrize("uri", ["foo://x", "sqlite://host/x.db", "sqlite:x.db", "https:/x", "mysql://me:secret@h/x"])
def test_a_uri_that_can_be_no_store_is_bad_input(elsewhere, capsys, uri):
    """An unknown kind, a form that SQLAlchemy does not read, a driver that is not installed: the user's to mend."""
    mlflow.set_tracking_uri(uri)
    assert main(["versions", "digits"]) == 2
    said = capsys.readouterr().err
    assert uri.replace("secret", "***") in said
    assert "set MLFLOW_TRACKING_URI to another" in said
    assert "secret" not in said


def test_a_folder_of_the_old_kind_is_bad_input(elsewhere, capsys):
    """MLflow takes no folder as a store any more; the message says what to do with the runs in it."""
    mlflow.set_tracking_uri(elsewhere.as_uri())
    assert main(["versions", "digits"]) == 2
    assert "mlflow migrate-filestore" in capsys.readouterr().err


def test_a_registry_that_mlflow_does_not_know_is_bad_input(tracking, monkeypatch, capsys):
    """Its URI is a variable of its own, which the message names."""
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "foo://x")
    assert main(["versions", "digits"]) == 2
    assert "'foo://x' is no registry URI" in capsys.readouterr().err


def test_a_database_server_that_is_away_is_said_soon(elsewhere):
    """Not after MLflow's ten tries, which take 100 seconds."""
    pytest.importorskip("psycopg")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"postgresql://me:\*\*\*@127.0.0.1:9/x does not answer"):
        connect("postgresql://me:secret@127.0.0.1:9/x")
    assert time.monotonic() - began < 10


def test_a_folder_that_takes_no_file_is_a_failure_of_storage(elsewhere, monkeypatch):
    """The folder may be read-only, or another user's; the message names it and the way to another store."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mlflow_pt_eval.tracking.databases.tempfile.TemporaryDirectory", refuse)
    with pytest.raises(StorageFailed, match=f"{elsewhere}: permission is denied.*MLFLOW_TRACKING_URI"):
        mpe.TrainingRun({"model": torch.nn.Linear(2, 2)}).__enter__()


def test_a_store_that_may_not_be_written_to_can_be_read(tracking, tmp_path, monkeypatch):
    """Whoever may only read gets tables; a training is refused before its first batch."""
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode & os.W_OK == 0 and may(path, mode))
    with pytest.raises(StorageFailed, match=f"{tmp_path}/mlflow.db may not be written to"):
        mpe.TrainingRun({"model": torch.nn.Linear(2, 2)}).__enter__()
    assert connect(make=False).tracking_uri == tracking


def test_a_refusal_in_the_midst_of_work_is_one_line(tracking):
    """SQLite's own words are in an error of three lines, with an address of SQLAlchemy's."""
    store = connect()
    for words, kind in (("readonly database", StorageFailed), ("disk image is malformed", StoreBroken)):
        with pytest.raises(kind, match=r"mlflow\.db") as caught, reaching(store, "nothing was done"):
            raise RuntimeError(f"(sqlite3.OperationalError) {words}\n(Background …)")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("verb", READING, ids=" ".join)
def test_what_only_reads_makes_no_store(elsewhere, capsys, verb):
    """A verb typed in the wrong folder says so, and leaves the folder as it was."""
    np.savez("data.npz", X=np.zeros((3, 2), np.float32), y=np.arange(3))
    assert main(verb) == 2
    said = capsys.readouterr().err
    if verb[1] != "folder":
        assert f"there is no tracking store yet at sqlite:///{elsewhere}/mlflow.db" in said
        assert "MLFLOW_TRACKING_URI" in said
    assert there() == ["data.npz"]


@pytest.mark.parametrize(
    "read",
    [
        lambda: mpe.list_checkpoints("0a1b2c"),
        lambda: mpe.load_checkpoint("0a1b2c"),
        lambda: mpe.load_model("models:/digits/1"),
        lambda: mpe.compare("digits"),
        lambda: mpe.evaluate("models:/digits/1", (np.zeros((3, 2), np.float32), np.arange(3)), log=False),
        lambda: mpe.evaluate(torch.nn.Linear(2, 3), (np.zeros((3, 2), np.float32), np.arange(3)), run_id="0a1b2c"),
        lambda: mpe.TrainingRun({"model": torch.nn.Linear(2, 2)}, resume="0a1b2c").__enter__(),
        lambda: mpe.register_best("0a1b2c", "digits", model=torch.nn.Linear(2, 3), input_example=torch.zeros(2, 2)),
    ],
)
def test_what_only_reads_makes_no_store_from_python_either(elsewhere, read):
    """The same, and the error is the library's own."""
    with pytest.raises(NotFound, match="there is no tracking store yet"):
        read()
    assert there() == []


def test_an_empty_file_is_no_store_to_read(elsewhere):
    """MLflow would fill it with tables; a training may."""
    (elsewhere / "mlflow.db").touch()
    assert not is_made()
    with pytest.raises(NotFound, match="no tracking store yet"):
        connect(make=False)
    assert connect().experiment_id() == "0"


def test_a_local_folder_needs_no_store(elsewhere):
    """To load a model from a folder, or to say that there is none, no database is opened."""
    for name in ("folder", elsewhere / "folder"):
        with pytest.raises(NotFound, match="is not a model's folder"):
            mpe.load_model(name)
    assert there() == []


def test_a_rehearsed_adoption_makes_no_store(elsewhere):
    """What would become which version is said in a folder without a store, too."""
    torch.save(torch.nn.Linear(2, 3).state_dict(), "model_v1.pth")
    (one,) = mpe.adopt(
        "model_v1.pth",
        name="digits",
        factory=lambda: torch.nn.Linear(2, 3),
        input_example=torch.zeros(2, 2),
        dry_run=True,
    )
    assert (one.version, one.what) == (None, "a new version")
    assert there() == ["model_v1.pth"]
