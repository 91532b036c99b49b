"""Which registered version a model already is: the same weights, and the same said of what they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlflow_pt_eval.errors import NotFound
from mlflow_pt_eval.exporting.folder import ModelInfo
from mlflow_pt_eval.names import Outputs
from mlflow_pt_eval.tracking.models import recorded
from mlflow_pt_eval.tracking.registry import versions_with_weights
from mlflow_pt_eval.tracking.store import Store


@dataclass(frozen=True, kw_only=True)
class Twins:
    """The versions with a model's weights, lowest first: those that are the same model, and why the others are not."""

    same: tuple[int, ...]
    others: tuple[tuple[int, str], ...]


def find_twins(store: Store, name: str, sha256: str, *, outputs: Outputs, class_names: Sequence[str] | None) -> Twins:
    """Compare what each version of *name* with these weights records with what is asked for; None asks for nothing."""
    same, others = [], []
    for info in versions_with_weights(store, name, sha256):
        try:
            reason = _difference(recorded(store, info.uri), outputs, class_names)
        except NotFound as error:
            reason = str(error)
        if reason is None:
            same.append(info.version)
        else:
            others.append((info.version, reason))
    return Twins(same=tuple(same), others=tuple(others))


def _difference(found: ModelInfo, outputs: Outputs, class_names: Sequence[str] | None) -> str | None:
    if found.outputs != outputs:
        return f"it records outputs={found.outputs!r}, and {outputs!r} is given"
    if class_names is not None and found.class_names != tuple(map(str, class_names)):
        had = "no class names" if found.class_names is None else f"the class names {', '.join(found.class_names)}"
        return f"it records {had}, and {', '.join(map(str, class_names))} are given"
    return None
