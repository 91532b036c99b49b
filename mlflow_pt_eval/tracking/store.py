"""The tracking store: which one, made whole on first use, with artifacts where they can be found again."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from mlflow_pt_eval.errors import BadInput, NotFound, PtEvalError, StoreUnavailable
from mlflow_pt_eval.redaction import redact
from mlflow_pt_eval.tracking.credentials import without_credentials
from mlflow_pt_eval.tracking.databases import SQLITE, absolute, build, database_of, examine, few_tries
from mlflow_pt_eval.tracking.refusals import answering, in_one_line, refused_by_disk, unknown_registry
from mlflow_pt_eval.tracking.refusals import unavailable as unavailable  # for all of `tracking`

# MLflow blocks a call for four minutes when its server is away. Ours are retried by the code that
# can wait, so a single call gives up early; what the user has set stays.
_HTTP_DEFAULTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
_DELETED = re.compile(r"The run (\w+) must be in the 'active' state")


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
        database = database_of(self.tracking_uri)
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


def connect(tracking_uri: str | None = None, *, registry_uri: str | None = None, make: bool = True) -> Store:
    """Return the store at *tracking_uri*, or the one that MLflow's settings choose.

    The default is `sqlite:///mlflow.db` in the working directory, made absolute here, so that a later change of
    directory changes nothing. With *make* a SQLite file that is not there is made; without, for what only makes
    sense with what is stored already, it is an error.
    Errors: NotFound where there is no store and none is made, BadInput for what can be none, StoreBroken for a
    damaged or half-made database, StorageFailed for one that may not be read or written, StoreUnavailable for a
    server that does not answer.
    """
    uri = without_credentials(absolute(tracking_uri or mlflow.get_tracking_uri()))
    if _is_server(uri):
        for key, value in _HTTP_DEFAULTS.items():
            os.environ.setdefault(key, value)
        # A retry's jitter is drawn from Python's global generator, on whichever thread it happens: during an outage
        # that would change the user's random numbers.
        os.environ["MLFLOW_HTTP_REQUEST_BACKOFF_JITTER"] = "0"
    chosen = mlflow.get_registry_uri() if registry_uri is None else registry_uri
    registry = uri if chosen == mlflow.get_tracking_uri() else without_credentials(absolute(chosen))
    database = database_of(uri)
    with answering(uri, database), contextlib.nullcontext() if _is_server(uri) else few_tries():
        for one in dict.fromkeys((database, database_of(registry))):
            if one is not None:
                _prepare(one, make=make)
        client = MlflowClient(tracking_uri=uri, registry_uri=registry)
        client.search_experiments(max_results=1)
    return Store(client, uri, registry)


def is_made() -> bool:
    """Say whether there is a store already where `connect` would make one."""
    database = database_of(absolute(mlflow.get_tracking_uri()))
    return database is None or examine(database, to_write=False)


def _prepare(database: Path, *, make: bool) -> None:
    if examine(database, to_write=make):
        return
    if not make:
        raise NotFound(
            f"there is no tracking store yet at {SQLITE}{database}: change to the folder where the training was "
            "started, or name its store with MLFLOW_TRACKING_URI, such as sqlite:////path/to/mlflow.db."
        )
    if not database.exists():
        build(database)


def deleted(run_id: str) -> str:
    """Say that a run was deleted, and how to bring it back."""
    return f"the run {run_id} is deleted; restore it with `mlflow runs restore --run-id {run_id}`."


@contextlib.contextmanager
def reaching(store: Store, what: str) -> Iterator[None]:
    """Turn the many ways in which a server can be away into StoreUnavailable, which names *what* was not done.

    What a store refuses is an error of ours, too: NotFound where the run was deleted.
    """
    try:
        yield
    except PtEvalError:
        raise
    except Exception as error:
        if unavailable(error):
            raise StoreUnavailable(f"{what}: {store.shown} does not answer ({in_one_line(error)}).") from error
        if refused := refused_by_disk(error, store.shown) or unknown_registry(error, store.registry_uri):
            raise refused from error
        if found := _DELETED.search(str(error)):
            raise NotFound(f"{what}: {deleted(found[1])}") from error
        raise


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _new_folder(root: Path, name: str) -> Path:
    from mlflow_pt_eval.names import artifact_name

    return root / artifact_name(name)


def _chosen_in_process() -> bool:
    return mlflow.tracking.fluent._active_experiment_id is not None or "MLFLOW_EXPERIMENT_ID" in os.environ
