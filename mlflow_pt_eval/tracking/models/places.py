"""Where a model's files may be: a local folder, or inside the artifacts of an experiment."""

from __future__ import annotations

import posixpath
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from mlflow_pt_eval.errors import PathEscape
from mlflow_pt_eval.tracking.store import Store


def local_folder(uri: str) -> Path | None:
    """Return the local path that *uri* is, or None for a store's address."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(uri) if not parts.scheme else None


def check_inside(store: Store, version: str, source: str) -> None:
    """Refuse a version that points elsewhere than into an experiment's artifacts: anyone may register any path."""
    token = None
    while True:
        page = store.client.search_experiments(max_results=1000, page_token=token)
        if any(_inside(source, experiment.artifact_location) for experiment in page):
            return
        token = page.token
        if not token:
            raise PathEscape(
                f"{version} points to {source}, which is outside the artifact store, so it is not loaded; "
                "register the model again with mlflow_pt_eval."
            )


def _inside(uri: str, root: str) -> bool:
    one, other = local_folder(uri), local_folder(root)
    if one is not None and other is not None:
        return one.resolve().is_relative_to(other.resolve())
    path, base = urlsplit(uri), urlsplit(root)
    return (path.scheme, path.netloc) == (base.scheme, base.netloc) and posixpath.normpath(
        unquote(path.path)
    ).startswith(posixpath.normpath(base.path) + "/")
