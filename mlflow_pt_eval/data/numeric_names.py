"""Labels that are numbers beside class names that are numbers: is label 1 the class named "1", or output 1?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mlflow_pt_eval.data.label_lists import as_array
from mlflow_pt_eval.data.labels import ClassIndex, Labels, as_labels
from mlflow_pt_eval.errors import BadInput

_SHOWN = 20  # classes that a message writes out


def read_labels(raw: Any, index: ClassIndex | None) -> tuple[Labels, str | None]:
    """Return `as_labels`, and what has to be said of how they were read.

    Numbers beside *index*'s names are the names' where they cannot be outputs. BadInput where they can be either, and
    are of other classes then. A tensor's are outputs, as a cross-entropy takes them.
    """
    labels = as_labels(raw, index=index)
    if index is None or not index.text_only or isinstance(raw, torch.Tensor) or labels.ndim != 1:
        return labels, None
    names = [str(name) for name in index.numbers]
    places = {int(name): place for place, name in enumerate(names) if _is_number(name)}
    if all(name == place for name, place in places.items()):
        return labels, None
    if index.applies(array := as_array(raw)) or array.dtype.kind == "b":  # texts have been looked up
        return labels, None
    return _by_name(labels, places, names)


def _is_number(name: str) -> bool:
    """Say so of a whole number as it is written: "01" is another class than "1"."""
    digits = name.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 19 and str(int(name)) == name


def _by_name(labels: Labels, places: Mapping[int, int], names: list[str]) -> tuple[Labels, str | None]:
    seen = np.unique(labels).tolist()
    apart = [label for label in seen if places.get(label, label) != label]
    if not apart or not places.keys() >= set(seen):
        return labels, None
    first = apart[0]
    if seen[0] >= 0 and seen[-1] < len(names):
        raise BadInput(_two_readings(first, places[first], names))
    found = np.array([places[label] for label in seen], np.int64)[np.searchsorted(seen, labels)]
    return found, f"the labels are read as the names of classes: {first} is output {places[first]}"


def _two_readings(label: int, place: int, names: list[str]) -> str:
    by_name, outputs = ",".join(names), ",".join(map(str, range(len(names))))
    if len(names) > _SHOWN:
        by_name, outputs = f"{names[0]},{names[1]},…", "0,1,…"
    return (
        f"a label {label} can be the class named {label}, which is output {place}, or output {label}, which is named "
        f"{names[label]!r}: say what stands for each output, classes=[{by_name}] or classes=[{outputs}] "
        f"(--classes={by_name} or --classes={outputs})."
    )
