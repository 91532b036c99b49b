"""HTML that escapes by default: what is not made by `tag` is text, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

VOID = frozenset({"img", "meta"})


class Markup(str):
    """HTML that was made here; every other string is escaped when it gets into a tag."""

    __slots__ = ()


def tag(name: str, /, *children: str | Markup, **attributes: str | int | None) -> Markup:
    """Return an element; attributes that are None are left out, a trailing '_' of their names too.

    >>> str(tag("p", "a < b", tag("b", "!"), class_="x"))
    '<p class="x">a &lt; b<b>!</b></p>'
    """
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    head = "".join(f' {key}="{escape(str(value))}"' for key, value in pairs)
    if name in VOID:
        return Markup(f"<{name}{head}>")
    return Markup(f"<{name}{head}>{join(children)}</{name}>")


def join(parts: Iterable[str | Markup]) -> Markup:
    """Put parts together, escaping those that are text."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts))


def table(head: Iterable[str | Markup], rows: Iterable[Markup], **attributes: str | int | None) -> Markup:
    """Return a table of *rows* (each a `row`) under the words (or `th`s) of *head*."""
    top = tag(
        "thead", tag("tr", *(word if isinstance(word, Markup) else tag("th", word, scope="col") for word in head))
    )
    return tag("div", tag("table", top, tag("tbody", *rows), **attributes), class_="scroll")


def number_heads(*words: str) -> list[Markup]:
    """Return heads of columns of numbers, which stand to the right."""
    return [tag("th", word, scope="col", class_="n") for word in words]


def row(*cells: str | Markup, class_: str | None = None) -> Markup:
    """Return a table's row; a cell that is no `td` yet becomes one."""
    made = (cell if isinstance(cell, Markup) and cell.startswith("<td") else tag("td", cell) for cell in cells)
    return tag("tr", *made, class_=class_)
