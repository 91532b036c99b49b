"""Where two state trees differ first, to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mlflow_pt_eval.state.codec import path_text

_RNG_NAMES = {"python": "Python RNG", "numpy": "numpy RNG", "torch": "torch RNG", "cuda": "CUDA RNG"}
Path = tuple[Any, ...]


def first_difference(a: Any, b: Any) -> str | None:
    """Return the name of the first part in which two trees differ, with short values; None if they are the same.

    Give both as captured, both from files or both decoded. Exact: a type, a dtype, the sign of a zero count; the order
    of keys, strides, devices and gradients don't, and NaN equals NaN. Global generators are named for people ('numpy
    RNG').

    >>> first_difference({"epoch": 1, "loss": 0.5}, {"epoch": 1, "loss": 0.25})
    'loss (0.5 and 0.25)'
    """
    found = _compare(a, b, ())
    if found is None:
        return None
    path, what = found
    return f"{_readable(path)} ({what})"


def _readable(path: Path) -> str:
    """Return the path's text; 'numpy RNG of rank 1' for what is below `rng`."""
    if len(path) >= 3 and path[0] == "rng" and path[2] in _RNG_NAMES:
        return _RNG_NAMES[path[2]] + (f" of rank {path[1]}" if path[1] else "")
    return path_text(path) or "the whole"


def _compare(a: Any, b: Any, path: Path) -> tuple[Path, str] | None:
    """Return the place and the nature of the first difference."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return _at(path, _tensors(a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return _mappings(a, b, path)
    if type(a) is not type(b):
        return path, f"{_short(a)} and {_short(b)}"
    if isinstance(a, list | tuple):
        return _sequences(a, b, path)
    if isinstance(a, np.ndarray):
        return _at(path, _arrays(a, b))
    return _at(path, None if _same(a, b) else f"{_short(a)} and {_short(b)}")


def _at(path: Path, what: str | None) -> tuple[Path, str] | None:
    return None if what is None else (path, what)


def _mappings(a: Mapping[Any, Any], b: Mapping[Any, Any], path: Path) -> tuple[Path, str] | None:
    for key in a:
        if key not in b:
            return (*path, key), "only in the first"
        found = _compare(a[key], b[key], (*path, key))
        if found:
            return found
    more = next((key for key in b if key not in a), None)
    return None if len(a) == len(b) else ((*path, more), "only in the second")


def _sequences(a: Any, b: Any, path: Path) -> tuple[Path, str] | None:
    for index, (left, right) in enumerate(zip(a, b, strict=False)):
        found = _compare(left, right, (*path, index))
        if found:
            return found
    return _at(path, None if len(a) == len(b) else f"{len(a)} and {len(b)} items")


def _same(a: Any, b: Any) -> bool:
    """Say whether two values of one type are the same, a NaN being itself and 0.0 not being -0.0."""
    if isinstance(a, float | complex | np.floating | np.complexfloating):
        return repr(a) == repr(b)
    return bool(a == b)


def _arrays(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> str | None:
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"{a.dtype} {a.shape} and {b.dtype} {b.shape}"
    same = a.tobytes() == b.tobytes() or np.array_equal(a, b, equal_nan=a.dtype.kind in "fcmM")
    return None if same else "other values"


def _tensors(a: torch.Tensor, b: torch.Tensor) -> str | None:
    """Say how two tensors differ: dtype, shape, or the largest difference and where it is."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"{a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}"
    a, b = (t.detach().cpu().resolve_conj().resolve_neg() for t in (a, b))
    if a.layout is not torch.strided:
        a, b = a.to_dense(), b.to_dense()
    if torch.equal(_bits(a), _bits(b)):
        return None
    apart = _apart(a, b)
    if not apart.any():
        return None
    return _largest(a, b, apart)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor's bytes."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _apart(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return where two tensors differ, NaN being itself."""
    if not (a.is_floating_point() or a.is_complex()):
        return a != b
    if a.is_complex():
        return _apart(torch.view_as_real(a), torch.view_as_real(b)).any(-1)
    a, b = a.double(), b.double()  # exact, also for the 8-bit types, which cannot be compared themselves
    return ((a != b) & ~(a.isnan() & b.isnan())) | ((a == 0) & (b == 0) & (a.signbit() != b.signbit()))


def _largest(a: torch.Tensor, b: torch.Tensor, apart: torch.Tensor) -> str:
    """Name the largest difference and the place of it; a NaN or an infinity on one side counts as largest."""
    wide = torch.complex128 if a.is_complex() else torch.float64
    sizes = (a.to(wide) - b.to(wide)).abs().nan_to_num(nan=torch.inf).where(apart, torch.tensor(-1.0).double())
    place = [int(i) for i in torch.unravel_index(sizes.argmax(), a.shape)]
    return f"max |difference| {sizes.max().item():.2g} at {place}"


def _short(value: Any) -> str:
    """Return a value's text, cut to fit a line."""
    if isinstance(value, torch.Tensor):
        return f"a tensor {tuple(value.shape)}"
    if isinstance(value, dict | list | tuple | np.ndarray):
        return f"a {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
