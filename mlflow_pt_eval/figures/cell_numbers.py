"""What is written into and beside the cells of a confusion matrix that is small enough for it."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from mlflow_pt_eval.figures import tint
from mlflow_pt_eval.figures.cells import Cell, CellText
from mlflow_pt_eval.figures.style import MUTED, add_to, figure_of, widest
from mlflow_pt_eval.wording import compact, percent

Counts = npt.NDArray[np.int64]

SPACIOUS: Final = 80  # px of a cell's side from which it holds both the count and the share
ZEROS: Final = 10  # classes up to which an empty cell says 0
LARGEST, SMALLEST = 15.0, 7.0  # points
AIM: Final = 11.0  # points below which a number of more than "9,999" is not worth its digits
ZERO: Final = "#7b8794"
RIGHTS: Final = (64, 135, 206)  # px from the matrix at which the columns of `class_columns` end
COLUMNS: Final = 215  # px that they take


def number_cells(ax: Axes, confusion: Counts, *, normalize: bool) -> None:
    """Write the count or the share into every cell, and the other one below it where there is room."""
    cell = ax.get_window_extent().width / len(confusion)
    ink = _inks(confusion, normalize)
    counts = _counts(confusion, cell)
    shares = _shares(confusion, digits=1 if cell >= 45 else 0)
    if cell >= SPACIOUS:
        signed = [share if share == "–" else f"{share} %" for share in shares]
        _write_two(ax, ink, *((signed, counts) if normalize else (counts, signed)), cell=cell)
        return
    texts = shares if normalize else counts
    ax.add_artist(CellText(_grid(texts, ink), _fit(texts, cell)))


def _counts(confusion: Counts, cell: float) -> list[str]:
    """Return each cell's count; the long ones compact where they would make all others small, all if that is no help.

    >>> _counts(np.array([[257_012, 12], [1_234, 7]]), 52.0)
    ['257k', '12', '1,234', '7']
    """
    numbers = confusion.ravel().tolist()
    texts = [f"{n:,}" for n in numbers]
    for longest, size in ((5, AIM), (0, SMALLEST)):
        if _fit(texts, cell) < min(size, 0.36 * cell):
            texts = [text if len(text) <= longest else compact(n) for n, text in zip(numbers, texts, strict=True)]
    return texts


def _shares(confusion: Counts, digits: int) -> list[str]:
    """Return each cell's share of its row in per cent; a class without samples has none."""
    rows = zip(tint.shares(confusion).tolist(), confusion.sum(axis=1).tolist(), strict=True)
    return [percent(share, digits) if support else "–" for shares, support in rows for share in shares]


def _write_two(ax: Axes, ink: list[str], upper: list[str], lower: list[str], *, cell: float) -> None:
    size = _fit(upper, cell)
    ax.add_artist(CellText(_grid(upper, ink), size, shift=(0, 0.45 * size)))
    ax.add_artist(CellText(_grid(lower, ink), min(9.5, _fit(lower, cell)), shift=(0, -0.75 * size)))


def class_columns(ax: Axes, confusion: Counts) -> None:
    """Write each class's size, recall and precision at the right of its row of *ax*."""
    hits, support, predicted = (n.tolist() for n in (np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)))
    columns = {
        "n": [f"{n:,}" if n < 100_000 else compact(n) for n in support],
        "recall": list(map(_ratio, hits, support)),
        "precision": list(map(_ratio, hits, predicted)),
    }
    rect = ax.get_window_extent()
    top, row = figure_of(ax).bbox.height - rect.y1, rect.height / len(confusion)
    titles = [Cell(rect.x1 + right, top - 14, title, MUTED) for right, title in zip(RIGHTS, columns, strict=True)]
    cells = []
    for right, texts in zip(RIGHTS, columns.values(), strict=True):
        cells += [Cell(rect.x1 + right, top + (k + 0.5) * row, text) for k, text in enumerate(texts)]
    add_to(figure_of(ax), CellText(titles, 9.5, align=1))
    add_to(figure_of(ax), CellText(cells, 10, align=1))


def _ratio(hits: int, of: int) -> str:
    return f"{percent(hits / of)} %" if of else "–"


def _inks(confusion: Counts, normalize: bool) -> list[str]:
    """Return a colour for each cell's text, row by row; '' for an empty cell that says nothing."""
    values = tint.shares(confusion) if normalize else confusion
    correct = np.eye(len(confusion), dtype=bool)
    colors = tint.paint(values, correct, normalize=normalize, scale=np.sqrt).reshape(-1, 3)
    zero = ZERO if len(confusion) <= ZEROS else ""
    return [tint.on(color) if n else zero for color, n in zip(colors, confusion.ravel().tolist(), strict=True)]


def _grid(texts: list[str], ink: list[str]) -> list[Cell]:
    count = round(len(texts) ** 0.5)
    cells = (Cell(k % count, k // count, text, color) for k, (text, color) in enumerate(zip(texts, ink, strict=True)))
    return [cell for cell in cells if cell.color]


def _fit(texts: list[str], cell: float) -> float:
    """Return the size in points at which the longest text fits into a cell of *cell* px with some air around it."""
    return min(LARGEST, 0.36 * cell, 10 * 0.8 * cell / max(widest(texts, 10), 1))
