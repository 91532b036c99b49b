"""Numbers and names as people read them, in figures, pages and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def shorten(text: str, limit: int) -> str:
    """Cut *text* to *limit* characters in its middle: names that differ often do so at their ends.

    >>> shorten("golden_retriever_female", 15)
    'golden_…_female'
    """
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :]}"


def listed(texts: Sequence[str], limit: int) -> str:
    """Return the first *limit* of *texts*, and how many more there are.

    >>> listed(["a", "b", "c"], 2), listed(["a"], 2)
    ('a, b and 1 more', 'a')
    """
    more = len(texts) - limit
    return ", ".join(texts[:limit]) + (f" and {more} more" if more > 0 else "")


def score(value: float, digits: int = 4) -> str:
    """Return *value* with *digits* decimals; what is short of 1 is never shown as 1, nor more than 0 as 0.

    >>> score(0.99999), score(1.0), score(0.5), score(0.00001)
    ('>0.9999', '1.0000', '0.5000', '<0.0001')
    """
    step = 10.0**-digits
    if 1 - step / 2 <= value < 1:
        return f">{1 - step:.{digits}f}"
    if 0 < value < step / 2:
        return f"<{step:.{digits}f}"
    return f"{value:.{digits}f}"


def significant(value: float) -> str:
    """Return a score in four figures, one that is short of 1 never as 1.

    >>> significant(0.25), significant(0.00003), significant(0.99999)
    ('0.2500', '3.000e-05', '0.99999')
    """
    text = f"{value:#.4g}"
    return f"{value:.7g}" if text == "1.000" and value < 1 else text


def percent(share: float, digits: int = 1) -> str:
    """Return *share* in per cent without the sign, under `score`'s rule.

    >>> percent(0.999999), percent(0.123, 0), percent(0.0)
    ('>99.9', '12', '0')
    """
    if share in (0, 1):
        return f"{share * 100:.0f}"
    step = 10.0**-digits
    value = share * 100
    if value > 100 - step / 2:
        return f">{100 - step:.{digits}f}"
    return f"<{step:.{digits}f}" if value < step / 2 else f"{value:.{digits}f}"


def compact(count: int) -> str:
    """Return *count* in at most four characters.

    >>> compact(999), compact(1250), compact(48_600), compact(999_999), compact(7_200_000)
    ('999', '1.2k', '49k', '1M', '7.2M')
    """
    value, power = float(count), 0
    while value >= 999.5 and power < 3:
        value, power = value / 1000, power + 1
    digits = 1 if power and value < 9.95 else 0
    return f"{value:.{digits}f}".removesuffix(".0") + ("", "k", "M", "G")[power]


def counted(count: int, one: str, several: str | None = None) -> str:
    """Return a number and what it is of; the plural is the singular and an s, where no other is given.

    >>> counted(1, "sample"), counted(2000, "sample"), counted(3, "class", "classes")
    ('1 sample', '2,000 samples', '3 classes')
    """
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def text_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows in aligned columns: numbers to the right, None as '-'.

    >>> print(text_table(("metric", "value"), [("accuracy", 0.98765), ("loss", None)]))
    metric     value
    accuracy  0.9877
    loss           -
    """
    cells = [[shown(value) for value in row] for row in rows]
    widths = [max([len(h), *(len(row[i]) for row in cells)]) for i, h in enumerate(headers)]
    numeric = [all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(headers))]
    lines = []
    for line in [list(headers), *cells]:
        aligned = [c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric, strict=True)]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def shown(value: Any) -> str:
    """Return a value as a table shows it.

    >>> shown(0.98765), shown(None), shown(["a", "b"])
    ('0.9877', '-', 'a, b')
    """
    if value is None:
        return "-"
    if isinstance(value, float):
        return score(value) if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(str, value)) or "-"
    return str(value)


def class_difference(new: Sequence[str], old: Sequence[str]) -> str | None:
    """Say where two models' class names, each in the order of its outputs, are of other classes; None if they agree.

    A model whose classes have numbers only was registered without names, and agrees with any.

    >>> class_difference(["no", "yes"], ["yes", "no"])
    "class 0 is 'no' and 'yes'"
    >>> class_difference(["no", "yes"], ["0", "1"]), class_difference(["1", "0"], ["0", "1"])
    (None, "class 0 is '1' and '0'")
    """
    if len(new) != len(old):
        return f"there are {len(new)} and {len(old)} classes"
    unnamed = [str(place) for place in range(len(new))]
    if unnamed in (list(new), list(old)) and set(new).isdisjoint(old):
        return None
    places = (place for place, (one, other) in enumerate(zip(new, old, strict=True)) if one != other)
    return next((f"class {place} is {new[place]!r} and {old[place]!r}" for place in places), None)
