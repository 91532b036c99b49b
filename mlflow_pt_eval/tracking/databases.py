"""SQLite files as tracking stores: which one a URI names, looked at before MLflow opens it, and built whole.

MLflow tries for 100 seconds to open what can never be opened, and fills any SQLite file with tables of its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from mlflow_pt_eval.errors import BadInput, StorageFailed, StoreBroken
from mlflow_pt_eval.files import storage_errors

SQLITE = "sqlite:///"
_TRIES = 3  # of MLflow's ten, between which it waits for 100 seconds in all
_MAGIC = b"SQLite format 3\0"
_MLFLOWS = {"experiments", "alembic_version"}  # the tables that even a half-made store of MLflow's has
_ELSEWHERE = "choose another store with MLFLOW_TRACKING_URI, such as sqlite:////path/to/mlflow.db"


def absolute(uri: str) -> str:
    """Return a SQLite URI with the file's absolute path, as seen from the working directory; any other as it is."""
    if not uri.startswith(SQLITE) or uri == SQLITE or ":memory:" in uri:
        return uri
    path = Path(unquote(uri[len(SQLITE) :]))
    return uri if path.is_absolute() else f"{SQLITE}{Path.cwd() / path}"


def database_of(uri: str) -> Path | None:
    """Return the file that a SQLite URI names; None for a database in memory and for any other store."""
    if not uri.startswith(SQLITE) or ":memory:" in uri or uri == SQLITE:
        return None
    return Path(unquote(uri[len(SQLITE) :].partition("?")[0]))


def examine(database: Path, *, to_write: bool) -> bool:
    """Say whether *database* is there and holds something; False where MLflow may still make a store of it.

    Errors, at once: BadInput for what can be no tracking store, StoreBroken for a damaged one, StorageFailed where
    permission to read, or with *to_write* to write, is missing.
    """
    try:
        found = database.stat()
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        file = next(place for place in database.parents if place.exists() and not place.is_dir())
        raise BadInput(f"there can be no tracking store {database}: {file} is a file. {_other(file)}") from None
    except PermissionError as error:
        raise _forbidden(database, "looked for") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no file"
        raise BadInput(f"{database} is {kind}, where the tracking store's database should be. {_other(database)}")
    _look_inside(database, found.st_size)
    if to_write and not (os.access(database, os.W_OK) and os.access(database.parent, os.W_OK | os.X_OK)):
        raise _forbidden(database, "written to")  # SQLite's journal is written beside it
    return found.st_size > 0


def _look_inside(database: Path, size: int) -> None:
    try:
        with database.open("rb") as file:
            head = file.read(len(_MAGIC))
    except PermissionError as error:
        raise _forbidden(database, "read") from error
    if size and head != _MAGIC:
        raise BadInput(
            f"{database} ({size:,} bytes) is not an SQLite database, so it is no tracking store. {_other(database)}"
        )
    if (tables := _tables(database)) and not tables & _MLFLOWS:
        raise BadInput(
            f"{database} is the database of something else than MLflow (its tables: {', '.join(sorted(tables)[:5])}): "
            f"nothing was written to it; {_ELSEWHERE}."
        )


def _tables(database: Path) -> set[str]:
    try:
        # As MLflow opens it; a lock is waited for there.
        with contextlib.closing(sqlite3.connect(database, timeout=0)) as opened:
            return {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return set()
        raise StorageFailed(
            f"{database} could not be opened ({error}): mend the permissions there, then run again."
        ) from error
    except sqlite3.DatabaseError as error:
        raise damaged(database, str(error)) from error


def damaged(database: Path | str, reason: str) -> StoreBroken:
    """Return the error for a database that SQLite cannot read any more."""
    return StoreBroken(
        f"the tracking store {database} is damaged ({reason}): restore it from a backup, or save what can be read with "
        "`sqlite3 FILE .recover`; to begin with an empty store, move it away."
    )


def _forbidden(database: Path, what: str) -> StorageFailed:
    return StorageFailed(
        f"the tracking store {database} may not be {what}: permission is denied, or the file system is read-only. "
        f"Mend the permissions of the file and its folder, or {_ELSEWHERE}."
    )


def _other(path: Path) -> str:
    return f"Move {path.name} away, or {_ELSEWHERE}."


def build(database: Path) -> None:
    """Make a database under a temporary name and link it into place, so that of many first starts one wins.

    StorageFailed where the folder takes no file; BadInput where it can be no folder.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    try:
        with storage_errors(database.parent), _new_folder(database) as folder:
            fresh = folder / database.name
            with _quiet(logging.WARNING):
                made = SqlAlchemyStore(f"{SQLITE}{fresh}", (database.parent / "mlartifacts").as_uri())
                made.engine.dispose()
            _checkpoint_journal(fresh)
            with contextlib.suppress(FileExistsError):  # another process was first; its database is as good
                os.link(fresh, database)
    except StorageFailed as error:
        raise StorageFailed(f"no tracking store could be made: {error} Or {_ELSEWHERE}.") from error


@contextlib.contextmanager
def _new_folder(database: Path) -> Iterator[Path]:
    database.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{database.name}.", dir=database.parent) as folder:
        yield Path(folder)


def _checkpoint_journal(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


@contextlib.contextmanager
def few_tries() -> Iterator[None]:
    """Let MLflow open a database three times instead of ten, and say nothing of it meanwhile."""
    from mlflow.store.db import utils

    before, utils.MAX_RETRY_COUNT = utils.MAX_RETRY_COUNT, _TRIES
    try:
        with _quiet(logging.ERROR):
            yield
    finally:
        utils.MAX_RETRY_COUNT = before


@contextlib.contextmanager
def _quiet(level: int) -> Iterator[None]:
    # Some hundred lines on a newcomer's first start, all of them about tables that never held anything.
    names = ("alembic", "mlflow.store.db.utils", "mlflow.store.tracking.sqlalchemy_store")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, old in before.items():
            logging.getLogger(name).setLevel(old)
