"""The tracking store: which one, made whole on first use, with artifacts where they can be found again."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from mlflow_pt_eval.errors import BadInput, NotFound, StoreBroken, StoreUnavailable
from mlflow_pt_eval.redaction import redact
from mlflow_pt_eval.tracking.credentials import without_credentials

_SQLITE = "sqlite:///"
_log = logging.getLogger("mlflow_pt_eval")

# MLflow blocks a call for four minutes when its server is away. Ours are retried by the code that
# can wait, so a single call gives up early; what the user has set stays.
_HTTP_DEFAULTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}


@dataclass(frozen=True)
class Store:
    """A tracking store and its registry: everything in `tracking` takes one first."""

    client: MlflowClient
    tracking_uri: str
    registry_uri: str

    @property
    def shown(self) -> str:
        """The tracking URI without a password, for messages."""
        return redact(self.tracking_uri)

    def artifact_root(self) -> Path | None:
        """Return the folder for artifacts beside a SQLite database; None for any other store."""
        database = _database(self.tracking_uri)
        return None if database is None else database.parent / "mlartifacts"

    def experiment_id(self, name: str | None = None) -> str:
        """Return the experiment *name*'s id, or the one that MLflow's settings choose; made if it is not there.

        Of an experiment that this makes in a SQLite store, the artifacts go to `mlartifacts/` beside the database.
        """
        name = name or (None if _chosen_in_process() else os.environ.get("MLFLOW_EXPERIMENT_NAME"))
        if name is None:
            return str(mlflow.tracking.fluent._get_experiment_id() or "0")
        found = self._find(name)
        if found is None:
            found = self._create(name)
        if found.lifecycle_stage != "active":
            raise BadInput(
                f"the experiment {name!r} is deleted; restore it (`mlflow experiments restore`) or name another."
            )
        return str(found.experiment_id)

    def _find(self, name: str) -> Experiment | None:
        return self.client.get_experiment_by_name(name)

    def _create(self, name: str) -> Experiment:
        root = self.artifact_root()
        try:
            # The path must not depend on the experiment's id, which is not known before it is made.
            location = None if root is None else _new_folder(root, name).as_uri()
            self.client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # made by another process a moment ago
                raise
        found = self._find(name)
        if found is None:
            raise NotFound(f"the experiment {name!r} was made in {self.shown}, but is not there.")
        return found


def connect(tracking_uri: str | None = None, *, registry_uri: str | None = None) -> Store:
    """Return the store at *tracking_uri*, or the one that MLflow's settings choose.

    The default is `sqlite:///mlflow.db` in the working directory, made absolute here, so that a later change of
    directory changes nothing. Errors: StoreBroken for a half-made database, StoreUnavailable for a server that
    does not answer, BadInput for a URI that MLflow does not know.
    """
    uri = without_credentials(_absolute(tracking_uri or mlflow.get_tracking_uri()))
    if uri.startswith(("http://", "https://")):
        for key, value in _HTTP_DEFAULTS.items():
            os.environ.setdefault(key, value)
        # A retry's jitter is drawn from Python's global generator, on whichever thread it happens: during an outage
        # that would change the user's random numbers.
        os.environ["MLFLOW_HTTP_REQUEST_BACKOFF_JITTER"] = "0"
    database = _database(uri)
    if database is not None and not database.exists():
        _build(database)
    if registry_uri is None:
        chosen = mlflow.get_registry_uri()
        registry_uri = uri if chosen == mlflow.get_tracking_uri() else without_credentials(_absolute(chosen))
    with _answering(uri, database):
        client = MlflowClient(tracking_uri=uri, registry_uri=registry_uri)
        client.search_experiments(max_results=1)
    return Store(client, uri, registry_uri)


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


_AWAY = ("Max retries exceeded", "Connection", "timed out", "timeout exception", "database is locked", "error code 5")


@contextlib.contextmanager
def reaching(store: Store, what: str) -> Iterator[None]:
    """Turn the many ways in which a server can be away into StoreUnavailable, which names *what* was not done."""
    try:
        yield
    except StoreUnavailable:
        raise
    except Exception as error:
        if unavailable(error):
            raise StoreUnavailable(f"{what}: {store.shown} does not answer ({_first_line(error)}).") from error
        raise


@contextlib.contextmanager
def _answering(uri: str, database: Path | None) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if database is not None and _half_made(error):
            raise StoreBroken(
                f"{database} is a half-made MLflow database (MLflow's own first start, several times at once, leaves "
                f"such a one): {_first_line(error)}. If nothing in it is wanted, delete it; otherwise stop whatever "
                f"uses it and run `mlflow db upgrade {redact(uri)}`."
            ) from error
        if unavailable(error):
            raise StoreUnavailable(
                f"the tracking server {redact(uri)} does not answer: {_first_line(error)}. "
                "Start it, or choose another with MLFLOW_TRACKING_URI."
            ) from error
        if isinstance(error, MlflowException) and (refused := _refused(str(error))):
            raise BadInput(f"the tracking server {redact(uri)} {refused}") from error
        raise


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


def _first_line(error: BaseException) -> str:
    return redact(str(error).strip().splitlines()[0][:300]) if str(error).strip() else type(error).__name__


def _absolute(uri: str) -> str:
    if not uri.startswith(_SQLITE) or uri == _SQLITE or ":memory:" in uri:
        return uri
    path = Path(unquote(uri[len(_SQLITE) :]))
    return uri if path.is_absolute() else f"{_SQLITE}{Path.cwd() / path}"


def _database(uri: str) -> Path | None:
    if not uri.startswith(_SQLITE) or ":memory:" in uri or uri == _SQLITE:
        return None
    return Path(unquote(uri[len(_SQLITE) :].partition("?")[0]))


def _build(database: Path) -> None:
    """Make a database under a temporary name and link it into place, so that of many first starts one wins."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{database.name}.", dir=database.parent) as folder:
        fresh = Path(folder) / database.name
        with _quiet_migrations():
            made = SqlAlchemyStore(f"{_SQLITE}{fresh}", (database.parent / "mlartifacts").as_uri())
            made.engine.dispose()
        _checkpoint_journal(fresh)
        with contextlib.suppress(FileExistsError):  # another process was first; its database is as good
            os.link(fresh, database)


def _checkpoint_journal(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


@contextlib.contextmanager
def _quiet_migrations() -> Iterator[None]:
    # Some hundred lines on a newcomer's first start, all of them about tables that never held anything.
    names = ("alembic", "mlflow.store.db.utils", "mlflow.store.tracking.sqlalchemy_store")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _new_folder(root: Path, name: str) -> Path:
    from mlflow_pt_eval.names import artifact_name

    return root / artifact_name(name)


def _chosen_in_process() -> bool:
    return mlflow.tracking.fluent._active_experiment_id is not None or "MLFLOW_EXPERIMENT_ID" in os.environ
