"""Frozen dataclasses of numbers, text, arrays and each other to strict JSON and back, without losing a bit."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import numpy as np

from mlflow_pt_eval.errors import BadInput


def encode(value: Any) -> Any:
    """Return plain data for strict JSON: NaN and infinities, which it lacks, become 'nan', 'inf' and '-inf'."""
    if isinstance(value, np.ndarray):
        return value.tolist() if value.dtype.kind != "f" or np.isfinite(value).all() else encode(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    return value


def decode(cls: type[Any], data: Any) -> Any:
    """Read what `encode` wrote of an instance of *cls*; BadInput naming the field that is missing or misshapen."""
    try:
        return _dataclass(cls, data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise BadInput(f"this is no stored {cls.__name__} ({reason}); evaluate again.") from error


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _dataclass(cls: Any, data: Any) -> Any:
    return cls(**{name: _value(hint, data[name]) for name, hint in _hints(cls).items()})


def _value(hint: Any, data: Any) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint):
        return _dataclass(hint, data)
    if origin is np.ndarray:
        return _array(inner, data)
    if origin is tuple:
        return tuple(_value(inner[0], item) for item in data)  # every tuple here holds one type
    if origin is Mapping:
        return {key: _value(inner[1], item) for key, item in data.items()}
    if origin in (types.UnionType, typing.Union):
        return None if data is None else _value(inner[0], data)
    if origin is typing.Literal:
        return _one_of(inner, data)
    return hint(data)


def _array(parameters: tuple[Any, ...], data: Any) -> Any:
    """Rebuild an array; its dtype is NDArray's second parameter, dtype[float64] or dtype[int64]."""
    (scalar,) = typing.get_args(parameters[1])
    return np.asarray(data, dtype=object if _has_text(data) else None).astype(scalar)


def _has_text(data: Any) -> bool:
    return any(isinstance(item, str) for item in data)


def _one_of(choices: tuple[Any, ...], data: Any) -> Any:
    if data not in choices:
        raise ValueError(f"{data!r} is none of {', '.join(map(repr, choices))}")
    return data
