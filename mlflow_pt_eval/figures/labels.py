"""The texts of figures: class names made short, drawable and distinct; the small print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mlflow_pt_eval.figures.style import glyphs
from mlflow_pt_eval.metrics.result import Evaluation
from mlflow_pt_eval.wording import shorten


def drawable(text: str) -> str:
    """Return *text* on one line, without the characters that no typeface here can draw."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    return " ".join("".join(c if ord(c) in glyphs() else " " for c in text).split())


def display_names(names: Sequence[str], limit: int = 18, *, indices: Sequence[int] | None = None) -> list[str]:
    """Return one short, drawable, distinct label for each of *names*, whose class indices are 0 … K-1 or *indices*.

    A name of which nothing can be drawn becomes 'class <index>'; labels that would be equal get '#<index>'.
    """
    at = range(len(names)) if indices is None else indices
    labels = [shorten(drawable(name) or f"class {k}", limit) for k, name in zip(at, names, strict=True)]
    seen = Counter(labels)
    return [
        label if seen[label] == 1 else f"{shorten(label, limit - 5)} #{k}" for k, label in zip(at, labels, strict=True)
    ]


def describe(evaluation: Evaluation, *, model: bool = True) -> str:
    """Return the small print of a figure: model (unless there are several), data, split, number of samples."""
    parts = [evaluation.model_uri if model else None, evaluation.dataset_name, f"{evaluation.split} split"]
    shown = [shorten(drawable(part), 44) for part in parts if part]
    return " · ".join([*shown, f"{evaluation.n_samples:,} samples"])
