"""What the registry holds, as tables: the versions of a model, and how its aliases moved."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from mlflow_pt_eval.names import (
    TAG_ALIAS_LEDGER_PREFIX,
    TAG_DATASET_DIGEST,
    TAG_EPOCH,
    TAG_MONITOR,
    TAG_TEST_ACCURACY,
    TAG_VALUE,
)
from mlflow_pt_eval.tracking import registry
from mlflow_pt_eval.tracking.aliases import read_ledger
from mlflow_pt_eval.tracking.store import Store, connect, reaching
from mlflow_pt_eval.tracking.version_info import VersionInfo

_log = logging.getLogger("mlflow_pt_eval")
_VERSIONS = ["version", "aliases", "epoch", "monitor", "value", "test_accuracy", "dataset_digest", "run_id", "created"]
_HISTORY = ["at", "alias", "action", "before", "after", "by", "run_id"]


def versions(name: str) -> pd.DataFrame:
    """Return one row a version of *name*, lowest first: its aliases, its best epoch, its validation and test values.

    A warning names an alias whose logged model is deleted: `mlflow gc` would take the version's files with it.
    """
    store = connect(make=False)
    with reaching(store, f"the versions of {name} were not read"):
        found = registry.versions(store, name)
        for info in found:
            _warn_if_doomed(store, info)
    return pd.DataFrame([_row(info) for info in found], columns=_VERSIONS).astype({"epoch": "Int64"})


def history(name: str) -> pd.DataFrame:
    """Return one row a move of any alias of *name*, oldest first, as far back as the ledgers reach.

    `before` and `after` are versions, `before` missing where the alias was set for the first time.
    """
    store = connect(make=False)
    with reaching(store, f"the history of {name} was not read"):
        rows = sorted(_moves(store, name), key=lambda row: row["at"])
    return pd.DataFrame(rows, columns=_HISTORY).astype({"before": "Int64", "after": "Int64"})


def _moves(store: Store, name: str) -> Iterator[dict[str, Any]]:
    for key in sorted(registry.model_tags(store, name)):
        if key.startswith(TAG_ALIAS_LEDGER_PREFIX):
            alias = key.removeprefix(TAG_ALIAS_LEDGER_PREFIX)
            for move in read_ledger(store, name, alias):
                yield {"alias": alias, **vars(move)}


def _row(info: VersionInfo) -> dict[str, Any]:
    return {
        "version": info.version,
        "aliases": list(info.aliases),
        "epoch": _number(info.tags.get(TAG_EPOCH)),
        "monitor": info.tags.get(TAG_MONITOR),
        "value": _number(info.tags.get(TAG_VALUE)),
        "test_accuracy": _number(info.tags.get(TAG_TEST_ACCURACY)),
        "dataset_digest": info.tags.get(TAG_DATASET_DIGEST),
        "run_id": info.run_id,
        "created": datetime.fromtimestamp(info.created / 1000, UTC).isoformat(timespec="seconds"),
    }


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:  # a tag is anybody's to write
        return None


def _warn_if_doomed(store: Store, info: VersionInfo) -> None:
    if info.aliases and not registry.has_model(store, info):
        _log.warning(
            "%s has the alias %s, but its logged model %s is deleted: `mlflow gc` would delete the version's files for "
            "good. Register the model again, and move the alias to that version.",
            info.uri,
            ", ".join(info.aliases),
            info.model_id,
        )
