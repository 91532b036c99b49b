"""The cells of the page's tables: numbers cut to what is read, with all their digits on hovering; names."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from numbers import Integral, Real
from typing import Final, TypeGuard

from mlflow_pt_eval.report.markup import Markup, tag
from mlflow_pt_eval.wording import score, significant

ONE_LINE: Final = 12  # characters of a name that is never broken; a longer one may be, in a narrow pane
UNDEFINED: Final = "–"


def short(value: float) -> str:
    """Return *value* to four decimals, or to three significant digits where those would leave little of it.

    >>> short(0.5), short(0.00007441), short(0.0), short(0.99999)
    ('0.5000', '7.44e-05', '0.0000', '>0.9999')
    """
    return f"{value:.3g}" if 0 < abs(value) < 0.001 else score(value)


def number(value: float | None) -> Markup:
    """Return a cell with a metric or a difference as `short` writes it."""
    return _digits(value, short)


def rate(value: float | None) -> Markup:
    """Return a cell with a share from 0 to 1, in four decimals as the others of its column."""
    return _digits(value, score)


def threshold(value: float) -> Markup:
    """Return a cell with a score as figures write thresholds."""
    return tag("td", significant(value), class_="n", title=repr(value))


def count(value: int) -> Markup:
    """Return a cell with a whole number."""
    return tag("td", f"{value:,}", class_="n")


def index(value: int) -> Markup:
    """Return a cell with a whole number that is a place, not an amount: without separators."""
    return tag("td", str(value), class_="n")


def interval(ends: tuple[float, float] | None) -> Markup:
    """Return a cell with an interval's *ends*, an empty one where there is no interval."""
    if ends is None:
        return tag("td", class_="n")
    low, high = ends
    return tag("td", f"{score(low)} – {score(high)}", class_="n", title=f"{low!r} – {high!r}")


def name(text: str) -> Markup:
    """Return a cell with a user's text, which a narrow pane breaks only where it is long."""
    return tag("td", text, class_="name" if len(text) <= ONE_LINE else "long")


def value(of: object) -> Markup:
    """Return a cell with whatever it is."""
    if not is_number(of):
        return name(UNDEFINED if of is None else str(of))
    return index(int(of)) if isinstance(of, Integral) else number(float(of))


def is_number(of: object) -> TypeGuard[Real]:
    """Say whether `value` writes *of* as a number, which stands to the right."""
    return isinstance(of, Real) and not isinstance(of, bool)


def _digits(value: float | None, written: Callable[[float], str]) -> Markup:
    if value is None or not isfinite(value):
        return tag("td", UNDEFINED if value is None else str(value), class_="n")
    return tag("td", written(value), class_="n", title=repr(float(value)))
