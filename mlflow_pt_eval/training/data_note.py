"""Noting on the run what it is trained on."""

from __future__ import annotations

import hashlib
from typing import Any

from mlflow_pt_eval.data import Arrays, digest, load_data
from mlflow_pt_eval.errors import PtEvalError
from mlflow_pt_eval.tracking.datasets import log_inputs
from mlflow_pt_eval.tracking.store import Store

_SPLIT = "train"


def note_training_data(store: Store, run_id: str, loader: Any) -> None:
    """Log the loader's data set as the run's input, with the full digest if it lies in memory.

    Reading any other data set would run the user's code, and its random numbers, a second time: there the digest
    says 'unread', with a hash of the data set's type and length only.
    """
    dataset = getattr(loader, "dataset", None)
    if dataset is None:
        return
    name, length = type(dataset).__qualname__, _length(dataset)
    source = f"{type(dataset).__module__}.{name}"
    known = _digest(loader) or "unread-" + hashlib.sha256(f"{source} {length}".encode()).hexdigest()[:16]
    log_inputs(
        store, run_id, name=name, digest=known, source=source, split=_SPLIT, n_samples=length or 0, model_id=None
    )


def _digest(loader: Any) -> str | None:
    try:
        data = load_data(loader)
    except PtEvalError:  # not samples with labels of classes: nothing that an evaluation could read
        return None
    return digest(data) if isinstance(data, Arrays) else None


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:
        return None
