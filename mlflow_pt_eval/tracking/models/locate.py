"""From a model's URI to its folder: registered versions, logged models, run artifacts and local folders."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from mlflow.entities import LoggedModel, LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlflow_pt_eval.errors import BadInput, NotFound, PathEscape
from mlflow_pt_eval.exporting.folder import MLMODEL_FILE, ModelInfo, read_info
from mlflow_pt_eval.names import TAG_WEIGHTS_SHA256
from mlflow_pt_eval.tracking.models.places import check_inside, local_folder
from mlflow_pt_eval.tracking.registry import missing, resolve_uri
from mlflow_pt_eval.tracking.runs import get_run
from mlflow_pt_eval.tracking.store import Store, reaching
from mlflow_pt_eval.tracking.version_info import quoted

_LOGGED = re.compile(r"models:/(m-[^/@]+)")
_RUN = re.compile(r"runs:/([^/]+)/(.+)")
_NAME = re.compile(r"[^/:@\\.]+(/\d+|@[\w-]+)?")  # a version may be meant; a file's name has a dot
_UNFINISHED = (LoggedModelStatus.PENDING, LoggedModelStatus.FAILED)
_COPIES = 10  # a version may be a copy of a copy; a circle ends somewhere


@dataclass(frozen=True, kw_only=True)
class Located:
    """Where a model's files are, and what it is called: `uri` has the version's number, never an alias.

    `weights_sha256` is what the store, not the model's own folder, has as the digest of its weights.
    """

    uri: str
    location: str
    name: str | None = None
    version: int | None = None
    model_id: str | None = None
    run_id: str | None = None
    weights_sha256: str | None = None


_WANTED = "models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-ID, runs:/RUN_ID/PATH or a local folder."


def in_store(model_uri: object) -> bool:
    """Say whether *model_uri* names something in a store, which a local folder does not need.

    >>> in_store("models:/digits/3"), in_store("exported/digits")
    (True, False)
    """
    return isinstance(model_uri, str) and model_uri.startswith(("models:/", "runs:/"))


@contextlib.contextmanager
def located(store: Store | None, model_uri: str) -> Iterator[tuple[Located, Path]]:
    """Give where *model_uri* leads to, and its folder, which is a download for the block where the store is remote.

    For a local folder *store* may be None. Errors: NotFound, saying what there is; PathEscape for a version whose
    source is outside the artifact store; BadInput for a URI of no known kind; StoreUnavailable.
    """
    if store is None or not in_store(model_uri):
        local = _of_folder(model_uri)
        yield local, Path(local.location)
        return
    with reaching(store, f"{model_uri} was not loaded"), tempfile.TemporaryDirectory(prefix="pt_eval_model.") as place:
        found = locate(store, model_uri)
        yield found, _brought(store, found, Path(place))


def recorded(store: Store, model_uri: str) -> ModelInfo:
    """Return what *model_uri*'s folder says of the model, without fetching the model itself. Errors as `located`."""
    with reaching(store, f"{model_uri} was not read"), tempfile.TemporaryDirectory(prefix="pt_eval_model.") as place:
        return read_info(_brought(store, locate(store, model_uri), Path(place), only=MLMODEL_FILE))


def locate(store: Store, model_uri: str) -> Located:
    """Return where *model_uri* (see `load_version`) leads to, without reading a file of the model."""
    if logged := _LOGGED.fullmatch(model_uri):
        return _of_logged_model(store, logged[1])
    if model_uri.startswith("models:/"):
        return _of_version(store, model_uri, _COPIES)
    if run := _RUN.fullmatch(model_uri):
        return _of_run(store, run[1], run[2])
    return _of_folder(model_uri)


def _of_folder(model_uri: str) -> Located:
    if not isinstance(model_uri, str):
        raise BadInput(f"{model_uri!r} is not a model's URI: write {_WANTED}")
    folder = local_folder(model_uri)
    if folder is None:
        raise BadInput(f"{model_uri!r} is not a model's URI: write {_WANTED}")
    if not (folder / MLMODEL_FILE).is_file():
        raise NotFound(f"{folder} is not a model's folder: it has no file {MLMODEL_FILE}{_meant(model_uri)}.")
    return Located(uri=str(folder.absolute()), location=str(folder.absolute()))


def _meant(uri: str) -> str:
    """Return a hint where *uri* may be a registered model's name, with or without a version or an alias."""
    if Path(uri).exists() or not _NAME.fullmatch(uri):
        return ""
    return f"; a registered model's version is models:/{uri}" + ("" if "/" in uri or "@" in uri else "/VERSION")


def _brought(store: Store, found: Located, into: Path, *, only: str = "") -> Path:
    """Do what `download` does; of a run, say which models it has where it has not the one that is named."""
    try:
        return download(store, found.location, into, only=only)
    except NotFound as error:
        run = _RUN.fullmatch(found.uri)
        if run is None:
            raise
        logged = _logged_models(store, get_run(store, run[1]))
        has = ", ".join(sorted({model.name for model in logged})) or "none"
        raise NotFound(f"the run {run[1]} has no model {run[2]!r}; the models that it has: {has}.") from error


def download(store: Store, location: str, into: Path, *, only: str = "") -> Path:
    """Return the folder at the artifact URI *location*, brought into the new folder *into* unless it is local.

    *only* names the one file that is needed of it.
    """
    gone = NotFound(f"the model's files are gone from {location}; restore them, or register the model again.")
    folder = local_folder(location)
    if folder is not None:
        gone = NotFound(f"the model's files are gone from {folder}; restore them, or register the model again.")
    else:
        into.mkdir(exist_ok=True)
        repository = get_artifact_repository(location, store.tracking_uri, store.registry_uri)
        try:
            # That one file is missing is an error of its own kind on every store, so it is looked for first.
            if only and only not in {entry.path for entry in repository.list_artifacts()}:
                raise gone
            found = Path(repository.download_artifacts(only, str(into)))
        except MlflowException as error:
            if not missing(error):
                raise
            raise gone from error
        folder = into if only else found
    if not (folder / MLMODEL_FILE).is_file():
        raise gone
    return folder


def _of_logged_model(store: Store, model_id: str) -> Located:
    try:
        logged = store.client.get_logged_model(model_id)
    except MlflowException as error:
        if not missing(error):
            raise
        raise NotFound(f"there is no logged model {model_id!r} in {store.shown}, or it is deleted.") from error
    if logged.status in _UNFINISHED:
        raise NotFound(
            f"models:/{model_id} is {logged.status}: it was never published whole, or never proved itself; load "
            "another one, or register the model again."
        )
    return Located(
        uri=f"models:/{model_id}",
        location=logged.artifact_location,
        model_id=model_id,
        run_id=logged.source_run_id or None,
        weights_sha256=logged.tags.get(TAG_WEIGHTS_SHA256),
    )


def _of_version(store: Store, uri: str, copies: int) -> Located:
    info = resolve_uri(store, uri)
    if info.model_id is not None:
        found = _of_logged_model(store, info.model_id)
    elif info.source.startswith("models:/") and copies:
        found = _of_version(store, info.source, copies - 1)
    elif run := _RUN.fullmatch(info.source):
        found = _of_run(store, run[1], run[2])
    else:
        check_inside(store, info.uri, info.source)
        found = Located(uri=info.uri, location=info.source)
    return replace(
        found,
        uri=info.uri,
        name=info.name,
        version=info.version,
        run_id=info.run_id or found.run_id,
        weights_sha256=info.weights_sha256 or found.weights_sha256,
    )


def _of_run(store: Store, run_id: str, path: str) -> Located:
    """Find a run's model: a logged model of that name, as MLflow 3 makes them, or a folder among its artifacts."""
    if ".." in unquote(path).split("/"):
        raise PathEscape(f"runs:/{run_id}/{path} leads out of the run's artifacts.")
    run = get_run(store, run_id)
    if named := _logged_models(store, run, f" and name = {quoted(path)}"):
        whole = [model for model in named if model.status not in _UNFINISHED]
        return _of_logged_model(store, (whole or named)[0].model_id)
    return Located(uri=f"runs:/{run_id}/{path}", location=f"{run.info.artifact_uri.rstrip('/')}/{path}", run_id=run_id)


def _logged_models(store: Store, run: Run, also: str = "") -> list[LoggedModel]:
    """Return a run's logged models, the newest first."""
    return store.client.search_logged_models(
        [run.info.experiment_id],
        filter_string=f"source_run_id = {quoted(run.info.run_id)}{also}",
        order_by=[{"field_name": "creation_timestamp", "ascending": False}],
        max_results=50,
    )
