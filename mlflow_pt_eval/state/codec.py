"""What `torch.load(weights_only=True)` refuses, in a form that it takes; `decoding` gives it back.

Tensors, numbers, text, tuples, sets, `Counter` and `OrderedDict` pass as they are, so that a checkpoint reads like
what its owner put in. Everything else that can be kept stands as `{MARK: kind, ...}`; a type without such a form is
refused, by name and place.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from mlflow_pt_eval.errors import BadInput

MARK = "__mlflow_pt_eval__"

TENSORS = (torch.Tensor, torch.nn.Parameter)
ATOMS = frozenset(
    {type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.layout, torch.Size}
)
EASY_ATOMS = ATOMS - {int, bytes}  # those that need no second look
_NAMES = {str}
DICTS: tuple[type, ...] = (dict, OrderedDict, Counter)

# The unpickler of weights_only reads integers of up to 255 bytes.
_LARGE = 1 << 2030
FACTORIES: dict[str, type] = {kind.__name__: kind for kind in (int, float, str, list, dict, set, tuple, bool)}


class Refused(Exception):
    """A value that cannot be kept, with the way to it (innermost part first)."""

    def __init__(self, kind: type, reason: str = "") -> None:
        super().__init__(kind, reason)
        self.kind, self.reason = kind, reason
        self.parts: list[object] = []


def path_text(parts: Iterable[object]) -> str:
    """Return 'optimizer_state_dict.state.3.exp_avg' for the parts of that path."""
    return ".".join(str(part) for part in parts)


def encode(value: Any, *, name: str = "") -> Any:
    """Return *value* with everything that `weights_only=True` refuses replaced; containers are new, tensors are not.

    BadInput names the place (starting with *name*) and the type of a value that has no form.
    """
    try:
        return encode_value(value)
    except Refused as refused:
        refused.parts += [name] if name else []
        raise refusal(refused) from None
    except RecursionError:
        raise BadInput(f"{name or 'the value'} holds itself or is nested too deeply for a checkpoint.") from None


def refusal(refused: Refused) -> BadInput:
    """Return the error that tells a user what cannot be kept."""
    place = path_text(reversed(refused.parts)) or "the value"
    kind = f"{refused.kind.__module__}.{refused.kind.__qualname__}".removeprefix("builtins.")
    return BadInput(
        f"{place} is a {kind}, which a checkpoint cannot hold{refused.reason}. Let state_dict() return tensors, "
        "arrays, numbers, text and containers of them, and rebuild the rest in load_state_dict()."
    )


def encode_value(value: Any) -> Any:
    """Return *value* in a form that weights_only takes, or raise Refused."""
    kind = type(value)
    if kind in TENSORS:
        if value.is_meta:
            raise Refused(kind, " without data (it is on the meta device)")
        if value.is_nested:
            raise Refused(kind, " while it is nested")
        return value
    form = _FORMS.get(kind)
    if form is not None:
        return form(value)
    if isinstance(value, np.generic):
        return {MARK: "scalar", **_array_form(np.asarray(value))}
    raise Refused(kind)


def _same(value: Any) -> Any:
    return value


def _int_form(value: int) -> Any:
    return value if -_LARGE < value < _LARGE else {MARK: "int", "hex": hex(value)}


def _bytes_form(value: bytes) -> Any:
    return value or {MARK: "bytes"}  # torch reads bytes, but not empty ones


def _items(values: Iterable[Any]) -> list[Any]:
    """Encode the items of a sequence, noting the place of one that is refused."""
    items: list[Any] = []
    try:
        for value in values:
            items.append(encode_value(value))
    except Refused as refused:
        refused.parts.append(len(items))
        raise
    return items


def _dict_form(value: dict[Any, Any]) -> Any:
    """Encode a mapping; as pairs where a key needs a form itself (or is our own mark)."""
    if not has_plain_keys(value):
        return _pairs_form(value)
    made = type(value)()
    for key, item in value.items():
        made[key] = _encode_item(key, item)
    if type(value) is OrderedDict and vars(value):
        vars(made).update(_dict_form(vars(value)))
    return made


def _pairs_form(value: dict[Any, Any]) -> Any:
    pairs = [(_encode_key(key), _encode_item(key, item)) for key, item in value.items()]
    return {MARK: "dict", "type": type(value).__name__, "pairs": pairs}


def _encode_item(key: Any, item: Any) -> Any:
    try:
        return encode_value(item)
    except Refused as refused:
        refused.parts.append(key)
        raise


def _encode_key(key: Any) -> Any:
    try:
        return encode_value(key)
    except Refused as refused:
        refused.parts[:] = [f"(key {key!r:.60})"]
        raise


def has_plain_keys(value: dict[Any, Any]) -> bool:
    """Say whether a mapping can stand as it is, as far as its keys go."""
    # Most have names only, which is seen at once; a training waits for this.
    return MARK not in value and (set(map(type, value)) <= _NAMES or all(map(_plain, value)))


def _plain(value: Any) -> bool:
    """Say whether a hashable value needs no form."""
    kind = type(value)
    if kind is tuple:
        return all(map(_plain, value))
    if kind is int:
        return -_LARGE < value < _LARGE
    return kind in ATOMS and value != b""


def _set_form(value: set[Any] | frozenset[Any]) -> Any:
    if type(value) is set and all(map(_plain, value)):
        return set(value)
    return {MARK: type(value).__name__, "items": _items(value)}


def _deque_form(value: deque[Any]) -> Any:
    return {MARK: "deque", "items": _items(value), "maxlen": value.maxlen}


def _defaultdict_form(value: defaultdict[Any, Any]) -> Any:
    factory = value.default_factory
    name = None if factory is None else getattr(factory, "__name__", "")
    if name is not None and FACTORIES.get(name) is not factory:
        raise Refused(defaultdict, f" with the factory {factory!r}")
    return {MARK: "defaultdict", "factory": name, "value": _dict_form(dict(value))}


def _range_form(value: range) -> Any:
    return {MARK: "range", "value": (value.start, value.stop, value.step)}


def _ndarray_form(value: np.ndarray[Any, Any]) -> Any:
    return {MARK: "ndarray", **_array_form(value)}


def _array_form(value: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return an array of any dtype without objects as its bytes (the array's own where possible), dtype and shape."""
    if value.dtype.hasobject:
        raise Refused(type(value), f" with dtype {value.dtype}")
    fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    flat = np.ascontiguousarray(value.T if fortran else value).reshape(-1).view(np.uint8)
    return {
        "dtype": np.lib.format.dtype_to_descr(value.dtype),
        "shape": tuple(value.shape),
        "fortran": fortran,
        "data": torch.from_numpy(flat if flat.flags.writeable else flat.copy()),
    }


_FORMS: dict[type, Callable[[Any], Any]] = {
    **dict.fromkeys(ATOMS, _same),
    **dict.fromkeys(DICTS, _dict_form),
    int: _int_form,
    bytes: _bytes_form,
    bytearray: bytearray,
    list: _items,
    tuple: lambda value: tuple(_items(value)),
    set: _set_form,
    frozenset: _set_form,
    deque: _deque_form,
    defaultdict: _defaultdict_form,
    range: _range_form,
    np.ndarray: _ndarray_form,
}
