"""Confusion matrices: numbers in the cells to 20 classes; above, a map of the errors and a list of the worst."""

from __future__ import annotations

from math import cos, radians, sin
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlflow_pt_eval.figures import tint
from mlflow_pt_eval.figures.cell_numbers import COLUMNS, SPACIOUS, class_columns, number_cells
from mlflow_pt_eval.figures.cells import Cell, CellText
from mlflow_pt_eval.figures.confusion_labels import label_matrices
from mlflow_pt_eval.figures.confusion_pairs import pairs_panel
from mlflow_pt_eval.figures.labels import describe, display_names
from mlflow_pt_eval.figures.scales import axis_names, scales
from mlflow_pt_eval.figures.style import MUTED, WIDTH, dress, figure_of, heading, place, sheet, widest
from mlflow_pt_eval.metrics.result import Evaluation

ANNOTATED: Final = 20  # classes up to which every cell holds its number
NAMED: Final = 50  # classes up to which every row and column has its name
SIDE: Final = 520  # px of the matrix, and so the most classes that have pixels of their own
PAIR: Final = 400  # px of the matrix of two classes
BESIDE: Final = 50  # px at the left of the names
NAME, LONGEST = 115, 195  # px of a name among many classes, and among so few that two fill a matrix of two
BLOCKS: Final = SIDE // 2  # squares in a row where there are more classes

TRUE, PREDICTED = "true class", "predicted class"


def confusion_matrix(evaluation: Evaluation, *, normalize: bool = False, ax: Axes | None = None) -> Figure:
    """Draw the confusion matrix: row = true class, column = predicted class; blue = correct, orange = errors.

    *normalize* shows each row in per cent of its class instead of counts. Up to 20 classes every cell holds its
    number; above, colours show where the errors are and a list beside the matrix names the most frequent ones.
    Above 520 classes each square of 2 x 2 px shows the largest of the cells that it covers, one on the diagonal what
    is right from corner to corner and the errors at both sides. Multilabel: one 2 x 2 matrix for each label, the 20
    with the lowest F1 if there are more. With *ax* only the matrix itself is drawn, into it.
    """
    if evaluation.task == "multilabel":
        return label_matrices(evaluation, normalize=normalize, ax=ax)
    if len(evaluation.confusion) <= ANNOTATED:
        return _annotated(evaluation, normalize, ax)
    return _mapped(evaluation, normalize, ax)


def _annotated(evaluation: Evaluation, normalize: bool, ax: Axes | None) -> Figure:
    count = len(evaluation.class_names)
    names = display_names(evaluation.class_names, _name_room(count) if ax is None else NAME, 9)
    if ax is None:
        ax = _room(evaluation, names, normalize)
        class_columns(ax, evaluation.confusion)
    _show(ax, evaluation, normalize, scale=np.sqrt)
    lines = np.arange(count - 1) + 0.5
    for draw in (ax.hlines, ax.vlines):
        draw(lines, -0.5, count - 0.5, color="white", linewidth=1.2, antialiased=True)
    _name_axes(ax, names, slant=45, size=9)
    number_cells(ax, evaluation.confusion, normalize=normalize)
    return figure_of(ax)


def _room(evaluation: Evaluation, names: list[str], normalize: bool) -> Axes:
    """Make a figure with room for the names around the matrix, and for three columns at its right."""
    left = max(96, BESIDE + widest(names, 9))
    side = min(SIDE, WIDTH - COLUMNS - left) if len(names) > 2 else PAIR
    figure = sheet(round(100 + side + 36 + _depth(names, side, 45, 9)), width=round(left + side + COLUMNS))
    heading(figure, _title(normalize), describe(evaluation))
    return place(figure, left, 100, side, side)


def _name_room(count: int) -> float:
    """Return the px of a name beside *count* classes: what the matrix can spare while its cells stay spacious."""
    spare = WIDTH - COLUMNS - BESIDE - (SPACIOUS * count if count > 2 else PAIR)
    return min(max(spare, NAME), LONGEST)


def _mapped(evaluation: Evaluation, normalize: bool, ax: Axes | None) -> Figure:
    count = len(evaluation.confusion)
    size = _name_size((SIDE if ax is None else ax.get_window_extent().height) / count)
    names = display_names(evaluation.class_names, 12 * size, size) if count <= NAMED else []
    if ax is None:
        left = 44 + widest(names, size) if names else 78
        figure = sheet(round(70 + SIDE + 36 + (_depth(names, SIDE, 90, size) if names else 20)))
        heading(figure, _title(normalize), describe(evaluation))
        pairs_panel(figure, left + SIDE + 26, evaluation, normalize=normalize, indices=not names)
        ax = place(figure, left, 70, SIDE, SIDE)
    _show(ax, evaluation, normalize, scale=tint.logarithm)
    if names:
        _name_axes(ax, names, slant=90, size=size)
    else:
        _number_axes(ax, count)
    return figure_of(ax)


def _name_size(row: float) -> float:
    """Return the points of names in rows of *row* px, with some air between them."""
    return min(max(0.6 * row, 7.0), 9.0)


def _title(normalize: bool) -> str:
    return "Confusion matrix, % of each true class" if normalize else "Confusion matrix, counts"


def _show(ax: Axes, evaluation: Evaluation, normalize: bool, scale: tint.Scale) -> None:
    """Paint the cells, so that class k lies at k in both axes whatever the number of pixels."""
    count = len(evaluation.confusion)
    values = tint.shares(evaluation.confusion) if normalize else evaluation.confusion
    colors = tint.paint(*tint.pool(values, count if count <= SIDE else BLOCKS), normalize=normalize, scale=scale)
    edges = (-0.5, count - 0.5, count - 0.5, -0.5)
    opaque = np.full((*colors.shape[:2], 4), 255, np.uint8)  # drawn in two thirds of the time of three channels
    opaque[..., :3] = colors
    ax.imshow(opaque, interpolation="nearest", origin="upper", aspect="equal", extent=edges)
    dress(ax)


def _flat(names: list[str], side: float, size: float) -> bool:
    return widest(names, size) < side / len(names) - 4


def _depth(names: list[str], side: float, slant: float, size: float) -> float:
    """Return the px that the names need below a matrix of *side* px."""
    return 24 if _flat(names, side, size) else widest(names, size) * sin(radians(slant)) + 12


def _name_axes(ax: Axes, names: list[str], *, slant: float, size: float) -> None:
    """Write the classes' names below and at the left of the matrix, and what the axes are beyond them."""
    side, last = ax.get_window_extent().width, len(names) - 0.5
    below = [Cell(k, last, name, MUTED) for k, name in enumerate(names)]
    ax.add_artist(CellText([Cell(-0.5, k, name, MUTED) for k, name in enumerate(names)], size, align=1, shift=(-4, 0)))
    if _flat(names, side, size):
        ax.add_artist(CellText(below, size, shift=(0, -size)))
    else:
        ax.add_artist(CellText(below, size, align=1, angle=slant, shift=(2 * cos(radians(slant)), -5)))
    axis_names(ax, PREDICTED, TRUE, below=_depth(names, side, slant, size), beside=widest(names, size) + 10)


def _number_axes(ax: Axes, count: int) -> None:
    """Mark about six round class indices on both axes."""
    step = next(10**power * lead for power in range(1, 12) for lead in (1, 2, 5) if count <= 7 * 10**power * lead)
    marks = {float(k): f"{k:,}" for k in range(0, count, step)}
    scales(ax, marks, marks, grid=False)
    axis_names(
        ax, f"{PREDICTED} (index{_pooled(count)})", f"{TRUE} (index)", below=27, beside=widest(marks.values(), 9) + 12
    )


def _pooled(count: int) -> str:
    """Say how many cells a square stands for where they have none of their own."""
    most = -(-count // BLOCKS)
    return "" if count <= SIDE else f"; each square: the largest of up to {most} × {most} cells"
