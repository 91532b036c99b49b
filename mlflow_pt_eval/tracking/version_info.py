"""One registered version as plain data, and the small language around it: its URIs, and the literals of a search."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import TAG_WEIGHTS_SHA256, check_model_name

_LOGGED_MODEL = re.compile(r"models:/(m-[^/@]+)")
_MODEL_URI = re.compile(r"models:/([^/:]+)(?:/([^/]+)|@([^/@]+))")


@dataclass(frozen=True, kw_only=True)
class VersionInfo:
    """One version of a registered model; `created` in milliseconds since 1970, `aliases` sorted."""

    name: str
    version: int
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    run_id: str | None
    model_id: str | None
    source: str
    status: str
    created: int

    @classmethod
    def of(cls, found: Any, aliases: Iterable[str] | None = None) -> VersionInfo:
        """Make plain data of MLflow's entity, which holds its own aliases unless it comes from a search."""
        source = str(found.source or "")
        logged = _LOGGED_MODEL.fullmatch(source)
        return cls(
            name=found.name,
            version=int(found.version),
            aliases=tuple(sorted(found.aliases if aliases is None else aliases)),
            tags=dict(found.tags),
            run_id=found.run_id or None,
            model_id=logged[1] if logged else None,  # the entity's own `model_id` is empty on MLflow's stores
            source=source,
            status=str(found.status),
            created=int(found.creation_timestamp),
        )

    @property
    def uri(self) -> str:
        """The version's URI with its number: what is recorded, since an alias moves."""
        return f"models:/{self.name}/{self.version}"

    @property
    def weights_sha256(self) -> str | None:
        """The digest of the weights that it was registered with."""
        return self.tags.get(TAG_WEIGHTS_SHA256)


def parse_uri(uri: str) -> tuple[str, str]:
    """Split `models:/name/3` or `models:/name@alias` into the name and the version or alias; BadInput otherwise.

    A name may hold '@': as MLflow reads it, the alias stands behind the last one.

    >>> parse_uri("models:/digits@champion")
    ('digits', 'champion')
    """
    found = _MODEL_URI.fullmatch(uri) if isinstance(uri, str) else None
    if found is None:
        raise BadInput(f"{uri!r} does not name a registered version: write models:/NAME/VERSION or models:/NAME@ALIAS.")
    return check_model_name(found[1]), found[2] or found[3]


def quoted(text: str) -> str:
    """Return *text* as a literal of MLflow's filter language, which knows no escapes.

    >>> quoted("digits"), quoted("it's")
    ("'digits'", '"it\\'s"')
    """
    for quote in "'", '"':
        if quote not in text:
            return f"{quote}{text}{quote}"
    raise BadInput(f"{text!r} holds both kinds of quotes, which MLflow cannot search for; choose another name.")
