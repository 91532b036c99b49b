"""Back from the forms in which `codec` writes what `torch.load(weights_only=True)` refuses."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from mlflow_pt_eval.errors import CheckpointDamaged
from mlflow_pt_eval.state.codec import DICTS, FACTORIES, MARK


def decode(value: Any) -> Any:
    """Return what `encode` was given: new containers, and the tensors that *value* holds themselves.

    CheckpointDamaged for a form that no version up to this one writes.
    """
    kind = type(value)
    if kind is dict and MARK in value:
        return _decode_marked(value)
    if kind in DICTS:
        return _rebuilt(value)
    if kind is list:
        return [decode(item) for item in value]
    if kind is tuple:
        return tuple(decode(item) for item in value)
    return value


def _rebuilt(value: Any) -> Any:
    """Return a dict, OrderedDict or Counter like *value* with each item (not the keys) decoded.

    An OrderedDict keeps its attributes, such as the `_metadata` of a model's state_dict.
    """
    made = type(value)()
    for key, item in value.items():
        made[key] = decode(item)
    if type(value) is OrderedDict and vars(value):
        vars(made).update(decode(vars(value)))
    return made


def _decode_marked(form: dict[str, Any]) -> Any:
    """Return what a form stands for."""
    try:
        return _DECODERS[form[MARK]](form)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointDamaged(
            f"a value of the kind {form[MARK]!r} cannot be read ({type(error).__name__}: {error}). "
            "Use the version of mlflow_pt_eval that wrote the checkpoint, or an older checkpoint."
        ) from error


def _decode_array(form: dict[str, Any]) -> np.ndarray[Any, Any]:
    dtype = np.lib.format.descr_to_dtype(form["dtype"])
    flat = np.frombuffer(form["data"].numpy().tobytes(), dtype=dtype).copy()
    shape = form["shape"]
    return flat.reshape(shape[::-1]).T if form["fortran"] else flat.reshape(shape)


def _decode_dict(form: dict[str, Any]) -> Any:
    made = {kind.__name__: kind for kind in DICTS}[form["type"]]()
    for key, item in form["pairs"]:
        made[decode(key)] = decode(item)
    return made


def _decode_defaultdict(form: dict[str, Any]) -> Any:
    factory = None if form["factory"] is None else FACTORIES[form["factory"]]
    return defaultdict(factory, decode(form["value"]))


_DECODERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "int": lambda form: int(form["hex"], 16),
    "bytes": lambda form: b"",
    "dict": _decode_dict,
    "defaultdict": _decode_defaultdict,
    "set": lambda form: set(decode(form["items"])),
    "frozenset": lambda form: frozenset(decode(form["items"])),
    "deque": lambda form: deque(decode(form["items"]), form["maxlen"]),
    "range": lambda form: range(*form["value"]),
    "ndarray": _decode_array,
    "scalar": lambda form: _decode_array(form)[()],
}
