"""What a store's many errors mean: away for a while, refused, broken, or never a store at all."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import requests
from mlflow.exceptions import InvalidUrlException, MlflowException
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException

from mlflow_pt_eval.errors import BadInput, PtEvalError, StorageFailed, StoreBroken, StoreUnavailable, first_line
from mlflow_pt_eval.redaction import redact
from mlflow_pt_eval.tracking.databases import damaged

_AWAY = ("Max retries exceeded", "Connection", "timed out", "timeout exception", "database is locked", "error code 5")
_KINDS = "sqlite:///FILE, http://HOST:PORT or postgresql://USER@HOST/DATABASE"
_CHOOSE = "set MLFLOW_TRACKING_URI to another"


def unavailable(error: BaseException) -> bool:
    """Say whether an error means that the server is away or out of order, so that the same call may succeed later."""
    if isinstance(
        error, StoreUnavailable | requests.ConnectionError | requests.Timeout | ConnectionError | TimeoutError
    ):
        return True
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code >= 500 or error.response.status_code == 429
    if isinstance(error, MlflowException):
        text = str(error)
        return any(sign in text for sign in _AWAY) or (error.get_http_status_code() >= 500 and "API request to" in text)
    return "database is locked" in str(error)


def refused_by_disk(error: BaseException, shown: str) -> PtEvalError | None:
    """Return the error that says it if SQLite's file may not be written to, has no room or is damaged; else None."""
    text = str(error)
    if "readonly database" in text:
        return StorageFailed(
            f"the tracking store {shown} may not be written to: permission is denied, or the file system is read-only. "
            "Mend the permissions of the file and its folder, or choose another store with MLFLOW_TRACKING_URI."
        )
    if "database or disk is full" in text:
        return StorageFailed(f"the tracking store {shown} cannot be written to: the disk is full. Free space there.")
    if "disk image is malformed" in text or "file is not a database" in text:
        return damaged(shown, in_one_line(error))
    return None


def unknown_registry(error: BaseException, registry_uri: str) -> BadInput | None:
    """Return the error for a registry's URI that MLflow does not know, which shows at the first call only."""
    if "Model Registry features are not supported" not in str(error):
        return None
    return BadInput(
        f"{redact(registry_uri)!r} is no registry URI that MLflow knows: set MLFLOW_REGISTRY_URI to another."
    )


@contextlib.contextmanager
def answering(uri: str, database: Path | None) -> Iterator[None]:
    """Turn what MLflow raises where a store is opened into an error of ours, which says what to do."""
    try:
        yield
    except PtEvalError:
        raise
    except Exception as error:
        meant = _of_database(uri, database, error) if database is not None else None
        meant = meant or _of_server(uri, error) or _of_uri(uri, error)
        if meant is None:
            raise
        raise meant from error


def _of_database(uri: str, database: Path, error: Exception) -> PtEvalError | None:
    if _half_made(error):
        return StoreBroken(
            f"{database} is a half-made MLflow database (MLflow's own first start, several times at once, leaves "
            f"such a one): {in_one_line(error)}. If nothing in it is wanted, delete it; otherwise stop whatever "
            f"uses it and run `mlflow db upgrade {redact(uri)}`."
        )
    return refused_by_disk(error, str(database))


def _of_server(uri: str, error: Exception) -> PtEvalError | None:
    from sqlalchemy.exc import DBAPIError  # with a server of MLflow's it is not needed at all

    # Of a database server whose driver says that it cannot connect; a SQLite file was looked at before.
    if unavailable(error) or (isinstance(error, DBAPIError) and not isinstance(error.orig, sqlite3.Error)):
        return StoreUnavailable(
            f"the tracking server {redact(uri)} does not answer: {in_one_line(error)}. "
            "Start it, or choose another with MLFLOW_TRACKING_URI."
        )
    if isinstance(error, MlflowException) and (refused := _refused(str(error))):
        return BadInput(f"the tracking server {redact(uri)} {refused}")
    return None


def _of_uri(uri: str, error: Exception) -> BadInput | None:
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    shown = redact(uri)
    if isinstance(error, UnsupportedModelRegistryStoreURIException | ArgumentError | NoSuchModuleError):
        return BadInput(f"{shown!r} is no tracking URI that MLflow knows: {_CHOOSE}, such as {_KINDS}.")
    if isinstance(error, InvalidUrlException):
        return BadInput(f"{shown!r} is not the address of a tracking server: {_CHOOSE}, such as http://HOST:PORT.")
    if isinstance(error, ModuleNotFoundError):
        return BadInput(
            f"the tracking store {shown} needs the database driver {error.name!r}, which is not installed: install it, "
            f"or {_CHOOSE}."
        )
    if "MLFLOW_ALLOW_FILE_STORE" in str(error):
        return BadInput(
            f"the tracking URI {shown} is a folder, which MLflow takes as a store no more: {_CHOOSE}, such as "
            "sqlite:///mlflow.db (`mlflow migrate-filestore` takes the runs over), or MLFLOW_ALLOW_FILE_STORE=true."
        )
    return None


def _refused(text: str) -> str:
    """Say what a server's refusal means, and what to do; '' where it has not refused."""
    if "error code 401" in text:
        return (
            "does not know this user name and password: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to "
            "those that its administrator has made."
        )
    if "error code 403" in text and "Invalid Host header" in text:
        return "does not answer to this host name: start it with --allowed-hosts, which lists the names to answer to."
    return ""


def _half_made(error: Exception) -> bool:
    signs = (
        "no such table",
        "no such column",
        "duplicate column",
        "already exists",
        "out-of-date database schema",
        "can't locate revision",
    )
    return any(sign in str(error).lower() for sign in signs)


def in_one_line(error: BaseException) -> str:
    """Return an error's first line without a password."""
    return redact(first_line(error))
