"""Labels that are lists, one a sample, as a table's column holds them: 0 and 1 for each label of a multilabel task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from mlflow_pt_eval.errors import BadInput

_LISTS = (list, tuple, np.ndarray, pd.Series, torch.Tensor)
_SEVERAL = (*_LISTS, set, frozenset, dict)
WAY = (
    "for multilabel give each sample a list of K, 0 or 1 for each label, or y as an array (N, K), as in .npz (of lists "
    "of the labels that are set, sklearn's MultiLabelBinarizer(classes=...) makes one)"
)


def as_array(raw: Any) -> npt.NDArray[Any]:
    """Make an array of labels; lists of several lengths stay lists."""
    try:
        return np.asarray(raw)
    except (ValueError, TypeError):
        if not isinstance(raw, list | tuple) or not hold_lists(raw):
            raise
        return np.fromiter(raw, object, len(raw))


def hold_lists(labels: Sequence[Any] | npt.NDArray[Any]) -> bool:
    """Say whether there is a list, a set or the like among *labels*."""
    return any(isinstance(label, _SEVERAL) and not _is_number(label) for label in labels)


def stacked(labels: npt.NDArray[Any], start: int) -> npt.NDArray[Any]:
    """Make labels (N, K) of lists of K; BadInput with the first sample that has another list, or none.

    What the lists hold is not looked at. *start* is the first label's place in the data set.
    """
    lengths = [_length(label) for label in labels]
    if lengths[0] is None or len(set(lengths)) > 1:
        raise _unlike(labels, lengths, start)
    return np.stack([np.asarray(label) for label in labels])


def _unlike(labels: npt.NDArray[Any], lengths: Sequence[int | None], start: int) -> BadInput:
    """Return the complaint about the first label of another length than the first's, or that is a set or the like."""
    first = next(
        place
        for place, (label, length) in enumerate(zip(labels, lengths, strict=True))
        if length != lengths[0] or (length is None and isinstance(label, _SEVERAL))
    )
    beside = f", but label {start} is {_described(labels[0])}" if first else ""
    return BadInput(f"label {start + first} is {_described(labels[first])}{beside}: {WAY}.")


def _length(label: Any) -> int | None:
    """Return how many values a list holds; None for what is none."""
    return len(label) if isinstance(label, _LISTS) and not _is_number(label) else None


def _is_number(label: Any) -> bool:
    """Say so of an array or a tensor without a dimension."""
    return isinstance(label, np.ndarray | torch.Tensor) and not label.ndim


def _described(label: Any) -> str:
    if not isinstance(label, _SEVERAL):
        return repr(label.item() if isinstance(label, np.generic) else label)
    kind = "an array" if isinstance(label, np.ndarray) else f"a {type(label).__name__}"
    return f"{kind} of {len(label)}"
