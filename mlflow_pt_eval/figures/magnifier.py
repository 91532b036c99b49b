"""The upper left corner of a ROC figure enlarged, where all the curves of a good model are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from mlflow_pt_eval.figures.curve_sheet import Points, Sheet, draw_curves, draw_mark
from mlflow_pt_eval.figures.scales import scales
from mlflow_pt_eval.figures.style import DPI, MUTED, add_to, figure_of, place, say

SIZES: Final = (0.02, 0.05, 0.1, 0.2)  # sides of the corner
SIDE: Final = 310  # px of what it is enlarged to
BESIDE, ABOVE = 70, 74  # px from there to the end of what has to be empty, at its left and from the frame's lower side


def corner_size(curves: Sequence[Points]) -> float | None:
    """Return the side of the smallest corner in which every curve bends well inside; None if there is none.

    None as well where the curves run along the axes: there is nothing to enlarge.
    """
    if not curves or all(_height(points, SIZES[0] / 10) > 1 - SIZES[0] / 10 for points in curves):
        return None
    return next((size for size in SIZES if all(_height(points, size / 2) > 1 - size for points in curves)), None)


def _height(points: Points, at: float) -> float:
    return float(np.interp(at, *points))


def magnify(sheet: Sheet, size: float) -> None:
    """Draw the corner of *size* again in the lower right of our own figure, if that is empty."""
    figure, rect = figure_of(sheet.ax), sheet.ax.get_window_extent()
    left, above = rect.x1 - SIDE - BESIDE, rect.y0 + SIDE + ABOVE
    if _enters(sheet, left, above):
        return
    height = figure.get_size_inches()[1] * DPI
    corner = (left, height - above), rect.x1 - 1 - left, above - rect.y0 - 1
    add_to(figure, Rectangle(*corner, color="white", linewidth=0, zorder=1))
    inset = place(figure, rect.x1 - SIDE - 22, height - rect.y0 - SIDE - 50, SIDE, SIDE)
    for curves, look in sheet.drawn:
        draw_curves(inset, curves, look)
    for x, y, look in sheet.marks:
        if x <= size and y >= 1 - size:
            draw_mark(inset, x, y, look)
    _frame(inset, size)
    across, down = np.array([0, size, size, 0, 0]), np.array([1, 1, 1 - size, 1 - size, 1])
    sheet.ax.plot(across, down, color=MUTED, linewidth=0.8, linestyle="-", marker="")
    say(inset, 0, 1.03, "the upper left corner, enlarged", color=MUTED, transform=inset.transAxes)


def _enters(sheet: Sheet, left: float, above: float) -> bool:
    """Say whether a curve, which ascends, comes into the lower right from *left* on and below *above*, in px."""
    x, y = sheet.ax.transData.inverted().transform((left, above))
    return any(_height(points, x) < y for curves, _ in sheet.drawn for points in curves)


def _frame(inset: Axes, size: float) -> None:
    air = size / 60
    inset.set(xlim=(-air, size), ylim=(1 - size, 1 + air), zorder=2)
    across = {0.0: "0", size / 2: f"{size / 2:g}", size: f"{size:g}"}
    scales(inset, across, {1 - at: f"{1 - at:g}" for at in across})
