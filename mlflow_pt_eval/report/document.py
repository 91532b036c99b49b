"""The frame of every page: one HTML document that loads nothing, with its styles and its images inside."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from struct import unpack

from mlflow_pt_eval.report.markup import Markup, tag
from mlflow_pt_eval.report.style import CSS

# The page may load nothing, be it that a name in it were not escaped.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(title: str, *content: str | Markup) -> str:
    """Return a whole page of *content* under *title*, which is escaped as every text is."""
    return f"<!DOCTYPE html>\n{tag('html', _head(title), tag('body', tag('main', *content)), lang='en')}\n"


def section(title: str, *content: str | Markup) -> Markup:
    """Return a part of the page under a heading of its own."""
    return tag("section", tag("h2", title), *content)


def to_know(warnings: Sequence[str]) -> Markup:
    """Return *warnings* as a list that stands out; nothing where there are none."""
    if not warnings:
        return Markup("")
    return tag("aside", tag("strong", "To know"), tag("ul", *(tag("li", text) for text in warnings)))


def image(text: str, data: bytes) -> Markup:
    """Return a PNG as an element that has its size before it is decoded; *text* stands for it where it is not seen."""
    width, height = unpack(">II", data[16:24])
    return tag("img", src=f"data:image/png;base64,{b64encode(data).decode()}", alt=text, width=width, height=height)


def _head(title: str) -> Markup:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light"),
        tag("title", title),
        tag("style", Markup(CSS)),
    )
