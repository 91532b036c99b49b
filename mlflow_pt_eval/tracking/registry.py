"""The model registry: versions as plain data, aliases and tags, each addressed by a name and a number that is an int.

Calls return what stands in the store at that moment; nothing is cached. Moving an alias safely is `aliases`' business.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service import utils as _ambient

from mlflow_pt_eval import names
from mlflow_pt_eval.errors import NotFound
from mlflow_pt_eval.names import TAG_WEIGHTS_SHA256, check_alias, check_model_name
from mlflow_pt_eval.tracking.store import Store
from mlflow_pt_eval.tracking.version_info import VersionInfo, parse_uri, quoted

_AMBIENT = threading.Lock()
_SHOWN = 12  # of the names or versions that exist, in a message that one is missing


def resolve_uri(store: Store, uri: str) -> VersionInfo:
    """Return the version that `models:/name/3`, `models:/name@alias` or `models:/name/latest` means now."""
    name, wanted = parse_uri(uri)
    return resolve(store, name, f"@{wanted}" if uri.endswith(f"@{wanted}") else wanted)


def resolve_beside(store: Store, name: str, said: int | str) -> VersionInfo:
    """Return the version of *name* that `resolve` finds, or the one that *said* is the whole URI of, of any model."""
    if isinstance(said, str) and said.startswith("models:"):
        return resolve_uri(store, said)
    return resolve(store, name, said)


def resolve(store: Store, name: str, version_or_alias: int | str) -> VersionInfo:
    """Return the version that a number, an alias or 'latest' means now; NotFound says what there is instead.

    With '@' in front it is an alias, also of digits alone, which MLflow lets people set.
    """
    check_model_name(name)
    text = names.version_or_alias(version_or_alias)
    try:
        return VersionInfo.of(_get(store, name, text))
    except MlflowException as error:
        # MLflow answers a missing alias with the code for a bad parameter.
        if not missing(error) and error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        wanted = f"version {text}" if text.isdecimal() else f"alias {text.removeprefix('@')!r}"
        raise NotFound(f"{name!r} has no {wanted}; it has {_listed(versions(store, name))}.") from error


def _get(store: Store, name: str, text: str) -> Any:
    if text.isdecimal():
        return store.client.get_model_version(name, text)
    return store.client.get_model_version_by_alias(name, text.removeprefix("@"))


def versions(store: Store, name: str) -> list[VersionInfo]:
    """Return every version of *name* that is not deleted, lowest number first; NotFound if there is no such model."""
    check_model_name(name)
    aliases = _aliases(store, name)
    return [VersionInfo.of(found, _of(aliases, found)) for found in _search(store, f"name = {quoted(name)}")]


def versions_of_run(store: Store, run_id: str) -> list[VersionInfo]:
    """Return the versions of any model that were registered from the run."""
    return [VersionInfo.of(found, ()) for found in _search(store, f"run_id = {quoted(run_id)}")]


def versions_of_model(store: Store, model_id: str) -> list[VersionInfo]:
    """Return the versions of any model that were made of the logged model."""
    return [VersionInfo.of(found, ()) for found in _search(store, f"source_path = {quoted(f'models:/{model_id}')}")]


def versions_with_weights(store: Store, name: str, sha256: str) -> Iterator[VersionInfo]:
    """Give the versions of *name* that hold exactly these weights and can still be loaded, lowest number first.

    A version whose logged model was deleted does not count: MLflow keeps it READY, but its bytes are on their way out.
    """
    check_model_name(name)
    same = f"name = {quoted(name)} and tags.`{TAG_WEIGHTS_SHA256}` = {quoted(sha256)}"
    for found in _search(store, same):
        info = VersionInfo.of(found)
        if info.status == "READY" and has_model(store, info):
            yield info


def has_model(store: Store, info: VersionInfo) -> bool:
    """Say whether the logged model that the version points to is there and not deleted.

    True for a version that was made from something else than a logged model: nothing can be said of that here.
    """
    if info.model_id is None:
        return True
    try:
        store.client.get_logged_model(info.model_id)
    except MlflowException as error:
        if missing(error):
            return False
        raise
    return True


def create_version(store: Store, name: str, *, model_id: str, run_id: str | None, tags: Mapping[str, str]) -> int:
    """Register the logged model *model_id* as a new version of *name*, made if it is not there; return its number.

    The store chooses the number: two processes that register at once both succeed, each with its own.
    """
    ensure_model(store, name)
    with _ambient_store(store):
        made = store.client.create_model_version(
            name,
            f"models:/{model_id}",
            run_id,
            tags=dict(tags),
            model_id=model_id,
            await_creation_for=0,  # READY at once on MLflow's own stores; waiting for it writes a log line
        )
    return int(made.version)


def ensure_model(store: Store, name: str) -> None:
    """Make the registered model *name* unless it is there, or is being made by another process."""
    try:
        store.client.create_registered_model(check_model_name(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def get_alias(store: Store, name: str, alias: str) -> int | None:
    """Return the version that *alias* points to, or None; NotFound if there is no such model."""
    return _aliases(store, name).get(check_alias(alias))


def set_alias(store: Store, name: str, alias: str, version: int) -> None:
    """Point *alias* to *version*, whatever it pointed to before; NotFound if that version is not there."""
    check_alias(alias)
    try:
        store.client.set_registered_model_alias(name, alias, str(version))
    except MlflowException as error:
        if not missing(error):
            raise
        raise NotFound(f"{name!r} has no version {version}; it has {_listed(versions(store, name))}.") from error


def tag_version(store: Store, name: str, version: int, tags: Mapping[str, str]) -> None:
    """Set tags on a version, in their order."""
    for key, value in tags.items():
        store.client.set_model_version_tag(name, str(version), key, value)


def model_tags(store: Store, name: str) -> dict[str, str]:
    """Return the tags of the registered model itself; NotFound if there is no such model."""
    return dict(_model(store, name).tags)


def missing(error: MlflowException) -> bool:
    """Say whether MLflow refused because what was named is not there."""
    return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")


def _model(store: Store, name: str) -> Any:
    try:
        return store.client.get_registered_model(check_model_name(name))
    except MlflowException as error:
        if not missing(error):
            raise
        raise NotFound(f"there is no registered model {name!r} in {store.shown}; {_models(store)}.") from error


def _aliases(store: Store, name: str) -> dict[str, int]:
    return {alias: int(version) for alias, version in _model(store, name).aliases.items()}


def _search(store: Store, filter_string: str) -> Iterator[Any]:
    token = None
    while True:
        page = store.client.search_model_versions(
            filter_string, max_results=1000, order_by=["version_number ASC"], page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _of(aliases: Mapping[str, int], found: Any) -> list[str]:
    return [alias for alias, version in aliases.items() if version == int(found.version)]


def _listed(known: list[VersionInfo]) -> str:
    if not known:
        return "no versions at all"
    shown = [" ".join([str(i.version), *(f"@{alias}" for alias in i.aliases)]) for i in known[-_SHOWN:]]
    more = f" and {len(known) - _SHOWN} older" if len(known) > _SHOWN else ""
    return f"{', '.join(shown)}{more}"


def _models(store: Store) -> str:
    found = store.client.search_registered_models(max_results=_SHOWN)
    if not found:
        return "nothing is registered there yet"
    return f"registered are {', '.join(sorted(m.name for m in found))}{' and more' if found.token else ''}"


@contextmanager
def _ambient_store(store: Store) -> Iterator[None]:
    """Let MLflow find the logged model: on a database, the registry asks the process-wide tracking URI for it.

    Only the variable is changed: `mlflow.set_tracking_uri` would also rewrite the environment and reset tracing.
    """
    with _AMBIENT:
        before = _ambient._tracking_uri
        _ambient._tracking_uri = store.tracking_uri
        try:
            yield
        finally:
            _ambient._tracking_uri = before
