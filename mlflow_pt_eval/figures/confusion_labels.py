"""Multilabel confusion: one 2 x 2 matrix for each label, all in one pair of axes."""

from __future__ import annotations

from math import ceil
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from mlflow_pt_eval.figures import tint
from mlflow_pt_eval.figures.cells import Cell, CellText
from mlflow_pt_eval.figures.labels import describe, some_names
from mlflow_pt_eval.figures.style import INK, MUTED, board, figure_of, heading, sheet, widest
from mlflow_pt_eval.metrics.result import Evaluation
from mlflow_pt_eval.wording import compact, percent

SHOWN: Final = 20
ACROSS: Final = 5
CELL: Final = 62  # px of a cell's side
APART_X, APART_Y = 172, 176  # px from one matrix to the next
KEY: Final = "In each: upper row = label absent, lower row = present; left column = predicted absent, right = present"
CORRECT: Final = np.array([[True, False], [False, True]])


def label_matrices(evaluation: Evaluation, *, normalize: bool, ax: Axes | None) -> Figure:
    """Draw [[true negatives, false positives], [false negatives, true positives]] of every label."""
    shown = _chosen(evaluation)
    rows = -(-len(shown) // ACROSS)
    columns = -(-len(shown) // rows)
    width, height = max(columns * APART_X, ceil(widest([KEY], 9)) + 12), rows * APART_Y + 34
    if ax is None:
        figure = sheet(76 + height, width=width + 24)
        heading(figure, _title(normalize, len(shown), len(evaluation.class_names)), describe(evaluation))
        ax = board(figure, 24, 66, width, height)
    ax.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    ax.set_axis_off()
    _draw(ax, evaluation, shown, columns, normalize)
    return figure_of(ax)


def _chosen(evaluation: Evaluation) -> list[int]:
    """Return the labels to show, in their own order: all, or those with the lowest F1."""
    by_f1 = sorted(range(len(evaluation.per_class)), key=lambda k: evaluation.per_class[k].f1)
    return sorted(by_f1[:SHOWN])


def _title(normalize: bool, shown: int, count: int) -> str:
    which = f", the {shown} of {count:,} labels with the lowest F1" if shown < count else ""
    return f"Confusion by label, {'% of each row' if normalize else 'counts'}{which}"


def _draw(ax: Axes, evaluation: Evaluation, shown: list[int], columns: int, normalize: bool) -> None:
    names = some_names(evaluation.class_names, shown, APART_X - 12, 9, word="label")
    squares, colors, texts, titles = [], [], [], [Cell(0, 10, KEY, MUTED)]
    for slot, k in enumerate(shown):
        left, top = APART_X * (slot % columns), 56 + APART_Y * (slot // columns)
        titles.append(Cell(left, top - 12, names[k], INK))
        words, paint = _cells(evaluation.confusion[k], normalize)
        for i, j in np.ndindex(2, 2):
            x, y = left + CELL * j, top + CELL * i
            squares.append([(x, y), (x + CELL, y), (x + CELL, y + CELL), (x, y + CELL)])
            colors.append(paint[i, j] / 255)
            texts.append(Cell(x + CELL / 2, y + CELL / 2, words[2 * i + j], tint.on(paint[i, j])))
    edges: dict[str, Any] = {"edgecolors": "white", "linewidths": 1.2, "antialiaseds": True}
    ax.add_collection(PolyCollection(squares, facecolors=colors, **edges), autolim=False)
    ax.add_artist(CellText(texts, 9.5))
    ax.add_artist(CellText(titles, 9, align=0))


def _cells(counts: npt.NDArray[np.int64], normalize: bool) -> tuple[list[str], tint.Pixels]:
    """Return the texts of a 2 x 2 matrix, row by row, and its colours."""
    shares = tint.shares(counts)
    paint = tint.paint(shares if normalize else counts, CORRECT, normalize=normalize, scale=np.sqrt)
    if normalize:
        rows = zip(shares.tolist(), counts.sum(axis=1).tolist(), strict=True)
        return [f"{percent(share)} %" if support else "–" for row, support in rows for share in row], paint
    return [f"{n:,}" if n < 1_000_000 else compact(n) for n in counts.ravel().tolist()], paint
