"""The names of a model's classes, as a caller gives them: each a text of its own, or refused before anything runs."""

from __future__ import annotations

from collections.abc import KeysView, Mapping, ValuesView
from numbers import Integral
from typing import Any

from mlflow_pt_eval.errors import BadInput

_GIVEN = "class_names (--class-names)"


def check_class_names(names: Any) -> tuple[str, ...]:
    """Return *names*, a list, tuple, array or column of texts, in their order; whole numbers become their digits.

    BadInput for what has no order of its own, and for a name that is no text, blank, given twice or not to be
    written as UTF-8.

    >>> check_class_names(["ant", 7])
    ('ant', '7')
    """
    if not is_list(names) or not len(names):
        what = f"an empty {type(names).__name__}" if is_list(names) else f"a {type(names).__name__}"
        raise BadInput(f"{_GIVEN} is {what}: give a list of names, in the order of the model's outputs.")
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        text = _text(name, place)
        if text in places:
            raise BadInput(f"{_GIVEN} gives classes {places[text]} and {place} one name, {text!r}: give each its own.")
        places[text] = place
    return tuple(places)


def is_list(values: Any) -> bool:
    """Say whether *values* stand in an order of their own, one after the other: no text, no set, no mapping.

    >>> is_list(["a"]), is_list({"a": 1}.keys()), is_list("a"), is_list({"a"}), is_list({"a": 1}), is_list(3)
    (True, True, False, False, False, False)
    """
    if isinstance(values, str | bytes | Mapping) or getattr(values, "ndim", 1) != 1:
        return False
    return isinstance(values, KeysView | ValuesView) or (hasattr(values, "__len__") and hasattr(values, "__getitem__"))


def _text(name: Any, place: int) -> str:
    if not isinstance(name, str | Integral):
        raise BadInput(f"{_GIVEN} gives class {place} a {type(name).__name__} for a name: give texts.")
    text = str(name)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInput(
            f"{_GIVEN} gives class {place} the name {text!r}, which cannot be written as UTF-8: give it another one."
        ) from error
    if not text.strip():
        raise BadInput(f"{_GIVEN} gives class {place} the name {text!r}, which is blank: give every class a name.")
    return text
