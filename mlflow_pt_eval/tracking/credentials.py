"""Passwords out of URIs, into the variables that MLflow reads them from."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit, urlunsplit

_USER, _PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"


def without_credentials(uri: str) -> str:
    """Return a server's URI without user and password, which are put into MLflow's variables for this process.

    MLflow writes a URI as it is into its errors and log lines; from the variables nothing is shown. Where the
    variables hold somebody else's credentials, the URI stays as it is: it is what the user has asked for.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or parts.username is None or parts.password is None:
        return uri
    given = {_USER: unquote(parts.username), _PASSWORD: unquote(parts.password)}
    if any(os.environ.get(key, value) != value for key, value in given.items()):
        return uri
    os.environ.update(given)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
