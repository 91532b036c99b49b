"""Params: logged once; what changed on a resume is recorded as a drift table instead of an error."""

from __future__ import annotations

import json
import logging
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Param

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import PARAM_DRIFT_FILE, TAG_PARAM_DRIFT
from mlflow_pt_eval.redaction import redact
from mlflow_pt_eval.tracking.runs import get_run, set_tags
from mlflow_pt_eval.tracking.store import Store

_LONGEST = 6000  # MLflow cuts what is longer, without a word
_SECRET = re.compile(r"passw(or)?d|secret|api_?key|credential|private_?key", re.IGNORECASE)
# Of a login, not of a text: `pad_token`, `token_type` and numbers of tokens are no secrets.
_TOKEN = re.compile(r"(access|api|auth|bearer|git\w*|hf|hub|id|refresh|session)_?token(?!s|izer)|token$", re.IGNORECASE)
_OF_TEXT = re.compile(r"(bos|class|cls|end|eos|image|mask|pad|sep|start|unk)_?token$", re.IGNORECASE)
_KEY = re.compile(r"[\w\-. :/]{1,250}")
_log = logging.getLogger("mlflow_pt_eval")


@dataclass(frozen=True)
class Drift:
    """A param whose value differs from the one that the run was started with."""

    key: str
    before: str
    now: str


def flatten(params: Mapping[str, Any], prefix: str = "", *, quiet: bool = False) -> dict[str, str]:
    """Make params flat texts: nested mappings join their keys with dots; secrets and passwords in URIs are hidden.

    What is hidden or cut is said, unless *quiet*.

    >>> flatten({"lr": 1e-3, "model": {"width": 64}})
    {'lr': '0.001', 'model.width': '64'}
    """
    flat: dict[str, str] = {}
    for key, value in params.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            more = flatten(value, f"{name}.", quiet=quiet)
        else:
            more = {_checked(name): _text(name, value, quiet=quiet)}
        if both := sorted(flat.keys() & more.keys()):
            raise BadInput(f"two params come to the key {both[0]!r}, since nested keys are joined by dots: rename one.")
        flat |= more
    return flat


def _checked(name: str) -> str:
    if not _KEY.fullmatch(name):
        raise BadInput(
            f"{name!r} is not a param key that MLflow takes: use letters, digits, '_', '-', '.', ' ', ':', '/'."
        )
    return name


def _text(name: str, value: Any, *, quiet: bool) -> str:
    if _is_secret(name, value):
        if not quiet:
            _log.warning("the param %r looks like a secret: its value is not logged", name)
        return "***"
    text = redact(str(value))
    if len(text) > _LONGEST and not quiet:
        _log.warning("the param %r is %d characters long, of which MLflow keeps %d", name, len(text), _LONGEST)
    return text[:_LONGEST]


def _is_secret(name: str, value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return False
    is_token = _TOKEN.search(name) and not _OF_TEXT.search(name) and not isinstance(value, int | float)
    return _SECRET.search(name) is not None or bool(is_token)


def log_params(store: Store, run_id: str, params: Mapping[str, Any]) -> list[Drift]:
    """Log what the run does not hold yet; return, and record as a tag and an artifact, what differs from it."""
    there = get_run(store, run_id).data.params
    flat = flatten(params)
    new = [Param(key, value) for key, value in flat.items() if key not in there]
    for start in range(0, len(new), 100):  # MLflow's limit of params a call
        store.client.log_batch(run_id, params=new[start : start + 100])
    drift = [
        Drift(key, there[key], value) for key, value in flat.items() if key in there and not _same(there[key], value)
    ]
    if drift:
        _record(store, run_id, drift)
    return drift


def _record(store: Store, run_id: str, drift: list[Drift]) -> None:
    table = {d.key: {"before": d.before, "now": d.now} for d in drift}
    for d in drift:
        _log.warning("the param %r was %s when the run began and is %s now", d.key, d.before, d.now)
    store.client.log_dict(run_id, table, PARAM_DRIFT_FILE)
    set_tags(store, run_id, {TAG_PARAM_DRIFT: json.dumps(table, sort_keys=True)})


def _same(before: str, now: str) -> bool:
    """Compare as texts, then as numbers; `mlflow run` logs its own params with the shell's quotes around them."""
    unquoted = _unquote(before)
    if now in (before, unquoted):
        return True
    try:
        return float(unquoted) == float(now)
    except ValueError:
        return False


def _unquote(text: str) -> str:
    try:
        return "".join(shlex.split(text)) if text[:1] in "'\"" else text
    except ValueError:
        return text
