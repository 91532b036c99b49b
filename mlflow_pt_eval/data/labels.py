"""Labels as an evaluation needs them: int64, (N,) for classes or (N, K) zeros and ones for multilabel."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from mlflow_pt_eval.class_names import is_list
from mlflow_pt_eval.data.label_lists import WAY, as_array, hold_lists, stacked
from mlflow_pt_eval.errors import BadInput, PtEvalError

Labels = npt.NDArray[np.int64]

_NO_INT64 = 2.0**63  # the first number that int64 does not hold
_NUMPYS = (torch.float64, torch.float32, torch.float16)


@dataclass(frozen=True)
class ClassIndex:
    """Which number stands for which label value; with *text_only*, labels that are numbers already stay as they are.

    Booleans are text where the values are the words True and False, in any case.
    """

    numbers: Mapping[Hashable, int]
    text_only: bool = False

    def applies(self, labels: npt.NDArray[Any]) -> bool:
        """Say whether *labels* are to be looked up."""
        return (
            not self.text_only or _is_text(labels) or (labels.dtype.kind == "b" and _truths(self.numbers) is not None)
        )


def class_index(classes: Sequence[Hashable], *, text_only: bool = False) -> ClassIndex:
    """Number *classes*, the label values in the order of the model's outputs; BadInput for a value given twice.

    >>> class_index(["cat", "dog"]).numbers
    {'cat': 0, 'dog': 1}
    """
    if not is_list(classes) or not len(classes):
        what = "empty" if is_list(classes) else f"a {type(classes).__name__}"
        raise BadInput(f"classes is {what}: give a list of the label values, in the order of the model's outputs.")
    values = [value.item() if isinstance(value, np.generic) else value for value in classes]
    index: dict[Hashable, int] = {}
    for value in values:
        if not isinstance(value, Hashable):
            raise BadInput(f"classes holds a {type(value).__name__}: give the label values, numbers or texts.")
        if value in index:
            raise BadInput(f"classes names {value!r} twice; each label value stands for one output of the model.")
        index[value] = len(index)
    return ClassIndex(index, text_only)


def as_labels(raw: Any, *, index: ClassIndex | None = None, start: int = 0) -> Labels:
    """Make labels of any kind int64: (N,), or (N, K) of zeros and ones.

    Integers, booleans and floats that are whole numbers are taken as they are, `(N, 1)` as `(N,)`; with *index*
    each value is looked up in it. *start* is the first label's place in the data set, for messages.
    Errors: BadInput, with the place and the value, for a fractional or missing label, one that is not in *index*,
    and a multilabel entry that is neither 0 nor 1.
    """
    if index is None and isinstance(raw, torch.Tensor) and raw.dtype == torch.int64 and raw.ndim == 1:
        return raw.detach().cpu().numpy()  # nearly always, and a loader's batches are many
    if isinstance(raw, Mapping):
        raise BadInput(f"the labels are a mapping of {', '.join(map(str, raw))}: give one of these alone.")
    labels = _array(raw, start, stack=index is None or not any(isinstance(v, tuple | frozenset) for v in index.numbers))
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in (1, 2):
        raise BadInput(f"labels must have the shape (N,), or (N, K) for multilabel, but have {labels.shape}.")
    if index is not None and index.applies(labels):
        labels = _mapped(labels, index.numbers, start)
    if labels.dtype.kind not in "biuf":
        _refuse_missing(labels, start)
        raise _unnamed(labels, start)
    whole = _whole(labels, start)
    if whole.ndim == 2:
        _check_multilabel(whole, start)
    return whole


def check_range(labels: Labels, n_classes: int, *, start: int = 0) -> None:
    """Refuse labels outside 0 … *n_classes* - 1; BadInput with the place and the value of the first one."""
    # Unsigned, a negative number is larger than any class.
    if not labels.size or labels.view(np.uint64).max() < n_classes:
        return
    first = int(np.flatnonzero((labels < 0) | (labels >= n_classes))[0])
    between = "or" if n_classes == 2 else "to"
    raise BadInput(
        f"label {start + first} is {labels[first]}, but {apart(n_classes)}, so labels are 0 {between} {n_classes - 1}; "
        "if the data's labels are other values, give classes= (--classes), in the order of the outputs."
    )


def apart(n_classes: int) -> str:
    """Say how many classes a model knows: two are the outputs 0 and 1, or a single logit.

    >>> apart(3), apart(2)
    ('the model has 3 outputs', 'the model tells two classes apart')
    """
    return "the model tells two classes apart" if n_classes == 2 else f"the model has {n_classes} outputs"


def _array(raw: Any, start: int, *, stack: bool) -> npt.NDArray[Any]:
    try:
        if isinstance(raw, torch.Tensor):
            raw = raw.detach().cpu()
            # NumPy has no number formats as short as some of torch's.
            return (raw.float() if raw.is_floating_point() and raw.dtype not in _NUMPYS else raw).numpy()
        labels = as_array(raw)
        if not stack or labels.dtype.kind != "O" or labels.ndim != 1 or _is_text(labels) or not hold_lists(labels):
            return labels
        _refuse_missing(labels, start)
        return stacked(labels, start)
    except PtEvalError:
        raise
    except (ValueError, TypeError, RuntimeError) as error:  # lists in lists, tensors that are nowhere near
        raise BadInput(
            f"the labels are a {type(raw).__name__} that makes no array: give one label a sample; {WAY}."
        ) from error


def _mapped(labels: npt.NDArray[Any], index: Mapping[Hashable, int], start: int) -> Labels:
    if labels.ndim != 1:
        _refuse_missing(labels, start)
        if _is_text(labels):
            raise _unnamed(labels, start)
        raise BadInput(
            f"classes are for one label a sample, but the labels have the shape {labels.shape}: leave classes= out; "
            f"{WAY}."
        )
    if labels.dtype.kind == "b" and (places := _truths(index)) is not None:
        return np.where(labels, *places)
    try:
        numbers = np.array([index.get(value, -1) for value in _values(labels, index)], np.int64)
    except TypeError as error:
        raise _not_looked_up(labels, start) from error
    if (unknown := numbers < 0).any():
        _refuse_missing(labels, start, unknown)
        first = int(unknown.argmax())
        way = "add it to class_names= (--class-names) or classes=, or leave such samples out"
        if _are_bytes(labels[first : first + 1]):
            way = "it is bytes: give the labels as text (label.decode())"
        elif isinstance(labels[first], str) and all(isinstance(value, int | float) for value in index):
            way = "the label is text and the classes are numbers: give both as one of these"
        raise BadInput(
            f"label {start + first} is {_shown(labels[first : first + 1])}, which is not among the classes "
            f"({_shown(index)}); {way}."
        )
    return numbers


def _values(labels: npt.NDArray[Any], index: Mapping[Hashable, int]) -> list[Any]:
    """Return the labels as they are looked up: whole numbers as texts where all that is known are texts.

    A table's column of 1, 2 and "3+" is one of texts, of numbers without the last, and of both if it is long.
    """
    values: list[Any] = labels.tolist()
    texts = labels.dtype.kind in "iufO" and all(isinstance(value, str) for value in index)
    return [_as_text(value) for value in values] if texts else values


def _as_text(value: Any) -> Any:
    """Return a number as it is written, without a fraction that is none; everything else as it is."""
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        return value
    return str(int(value)) if float(value).is_integer() else str(value)


def _not_looked_up(labels: npt.NDArray[Any], start: int) -> BadInput:
    """Return the complaint about the first label of a kind that no class can be."""
    first = next((place for place, label in enumerate(labels) if not isinstance(label, Hashable)), 0)
    return BadInput(f"label {start + first} is a {type(labels[first]).__name__}: give one number or text a sample.")


def _truths(index: Mapping[Hashable, int]) -> tuple[int, int] | None:
    """Return the numbers of True and False where these two words are the classes."""
    words = {str(value).lower(): number for value, number in index.items()}
    return (words["true"], words["false"]) if set(words) == {"true", "false"} else None


def _refuse_missing(labels: npt.NDArray[Any], start: int, among: Any = True) -> None:
    """Name the first label, of those that *among* marks, that a table has no value for."""
    gone = np.asarray(pd.isna(labels)) & among
    if gone.any():
        first = tuple(int(place) for place in np.argwhere(gone)[0])
        raise BadInput(f"label {start + first[0]} is missing ({labels[first]}): fill it in, or leave such samples out.")


def _unnamed(labels: npt.NDArray[Any], start: int) -> BadInput:
    first, kind, way = labels.ravel()[:1], f"of the type {labels.dtype}", "classes="
    if _are_bytes(first):
        kind, way = "bytes", "them as text (label.decode()) and class_names= (--class-names)"
    elif _is_text(labels):
        kind, way = "text", "class_names= (--class-names)"
    if labels.ndim == 2:
        return BadInput(f"the labels (N, K) are {kind} (label {start} has {_shown(first)} in column 0): {WAY}.")
    return BadInput(
        f"the labels are {kind} (label {start} is {_shown(first)}): give {way}, all of them in the order of the "
        "model's outputs."
    )


def _whole(labels: npt.NDArray[Any], start: int) -> Labels:
    if labels.dtype.kind == "f":
        bad = ~np.isfinite(labels) | (np.floor(labels) != labels)
        if bad.any():
            first = tuple(int(i) for i in np.argwhere(bad)[0])
            if np.isnan(labels[first]):
                _refuse_missing(labels, start)
            raise BadInput(
                f"label {start + first[0]} is {labels[first]}, but a class is a whole number; "
                "check that the label column holds classes, not a measured value."
            )
    if labels.dtype.kind in "fu" and labels.itemsize >= 4 and (beyond := np.abs(labels) >= _NO_INT64).any():
        first = tuple(int(i) for i in np.argwhere(beyond)[0])
        raise BadInput(
            f"label {start + first[0]} is {labels[first]}, larger than any class's number; "
            "check that the label column holds classes, not a measured value or an id."
        )
    # torch warns of tensors that share a read-only array, and refuses one that is read backwards: those are copied.
    return labels.astype(np.int64, copy=not labels.flags.writeable or min(labels.strides) < 0)


def _check_multilabel(labels: Labels, start: int) -> None:
    if labels.size and (labels.min() < 0 or labels.max() > 1):
        row, column = (int(i) for i in np.argwhere((labels < 0) | (labels > 1))[0])
        raise BadInput(
            f"label {start + row} is {labels[row, column]} in column {column}, but labels of shape (N, K) are "
            f"multilabel, zeros and ones: give classes as (N,); {WAY}."
        )


def _is_text(labels: npt.NDArray[Any]) -> bool:
    kind = labels.dtype.kind
    return kind in "UST" or (kind == "O" and any(isinstance(label, str) for label in labels.ravel()))


def _are_bytes(labels: npt.NDArray[Any]) -> bool:
    return any(isinstance(label, bytes) for label in labels)


def _shown(values: Any) -> str:
    texts = [repr(v.item() if isinstance(v, np.generic) else v) for v in values]
    return ", ".join(texts[:5]) + (f", … {len(texts)} in all" if len(texts) > 5 else "")
