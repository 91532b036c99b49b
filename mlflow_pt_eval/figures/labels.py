"""The texts of figures: class names made short, drawable and distinct; the small print."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Final

from mlflow_pt_eval.figures.style import fit, glyphs, widest
from mlflow_pt_eval.metrics.result import Evaluation
from mlflow_pt_eval.wording import counted, shorten

CUT: Final = "…"  # what `shorten` puts where it cuts
_log = logging.getLogger("mlflow_pt_eval")
_told: Final[list[str]] = []  # the name that was warned of: one warning is enough for a process


def drawable(text: str) -> str:
    """Return *text* on one line, without the characters that no typeface here can draw; empty if nothing is seen."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    shown = " ".join("".join(c if ord(c) in glyphs() else " " for c in text).split())
    return shown if _seen(shown) else ""


def _seen(text: str) -> str:
    """Return *text* without what only changes the letters beside it: joiners, marks of direction, selectors."""
    if text.isascii():
        return text
    kept = (c for c in text if unicodedata.category(c) != "Cf" and not "\ufe00" <= c <= "\ufe0f")
    return " ".join("".join(kept).split())


def readable(name: str, index: int, *, word: str = "class") -> str:
    """Return what can be drawn of *name*; *word* and *index* if that is nothing, which is said once."""
    shown = drawable(name)
    if shown:
        return shown
    if name.strip() and not _told:
        _told.append(name)
        said = "no typeface here can draw the name %r, so that figures say '%s %d': %s"
        _log.warning(said, name, word, index, "install one that has it, such as Noto Sans CJK")
    return f"{word} {index}"


def display_names(names: Sequence[str], room: float, size: float, *, word: str = "class") -> list[str]:
    """Return one drawable, distinct label for each of *names* that needs no more than *room* px in *size* points.

    A name of which nothing can be drawn becomes *word* and its index; labels that would be equal get '#' and theirs.
    """
    labels = [fit(readable(name, k, word=word), room, size) for k, name in enumerate(names)]
    seen = Counter(map(_seen, labels))
    return [label if seen[_seen(label)] == 1 else _numbered(label, k, room, size) for k, label in enumerate(labels)]


def some_names(
    names: Sequence[str], chosen: Sequence[int], room: float, size: float, *, word: str = "class"
) -> dict[int, str]:
    """Return a label for each index in *chosen* that can be no other one's of all *names*, as `display_names` does.

    Where a cut label could stand for another name as well, '#' and the index follow it.
    """
    plain = [_seen(drawable(name)) for name in names]
    labels = {k: fit(readable(names[k], k, word=word), room, size) for k in chosen}
    seen = Counter(plain)
    doubtful = {
        k
        for k, label in zip(labels, map(_seen, labels.values()), strict=True)
        if (sum(_may_stand_for(label, name) for name in plain) if CUT in label else seen[label]) > 1
    }
    return {k: _numbered(label, k, room, size) if k in doubtful else label for k, label in labels.items()}


def _may_stand_for(label: str, name: str) -> bool:
    head, cut, tail = label.partition(CUT)
    return name == label or (bool(cut) and len(name) > len(label) and name.startswith(head) and name.endswith(tail))


def _numbered(label: str, index: int, room: float, size: float) -> str:
    number = f" #{index}"
    return fit(label, room - widest([number], size), size) + number


def places_in(names: Sequence[str], of: Sequence[str]) -> list[int] | None:
    """Return where *names*, some of *of* in its order, stand in it; None if they are no such selection."""
    rest = enumerate(of)
    places = [next((place for place, other in rest if other == name), None) for name in names]
    found = [place for place in places if place is not None]
    return found if len(found) == len(names) else None


def describe(evaluation: Evaluation, *, model: bool = True) -> str:
    """Return the small print of a figure: model (unless there are several), data, split, number of samples."""
    parts = [evaluation.model_uri if model else None, evaluation.dataset_name, f"{evaluation.split} split"]
    shown = [shorten(said, 44) for part in parts if part and (said := drawable(part))]
    return " · ".join([*shown, counted(evaluation.n_samples, "sample")])
