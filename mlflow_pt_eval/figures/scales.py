"""The numbers at the sides of axes, drawn as few artists: matplotlib's own ticks take half of a figure's time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from mlflow_pt_eval.figures.cells import Cell, CellText
from mlflow_pt_eval.figures.style import DPI, FAINT, MUTED, lettering, widest

MARK: Final = 4  # px that a mark stands out of the frame
POINTS: Final = 72 / DPI  # in a px
FIFTHS: Final = {at: f"{at:.1f}" for at in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)}


def scales(ax: Axes, x: Mapping[float, str], y: Mapping[float, str], *, grid: bool = True) -> None:
    """Write the labels of *x* and *y* at their positions along the lower and the left side of *ax*.

    The limits of *ax* have to be set already; they stay as they are.
    """
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    rect = ax.get_window_extent()
    out_x, out_y = MARK * (right - left) / rect.width, MARK * (high - low) / rect.height
    marks = [[(at, low - out_y), (at, high if grid else low)] for at in x]
    marks += [[(left - out_x, at), (right if grid else left, at)] for at in y]
    look: dict[str, Any] = {"colors": FAINT, "linewidths": 0.6, "antialiaseds": True, "zorder": 0.5, "clip_on": False}
    ax.add_collection(LineCollection(marks, **look), autolim=False)
    ax.add_artist(CellText([Cell(at, low, text, MUTED) for at, text in x.items()], 9, shift=(0, -11)))
    ax.add_artist(CellText([Cell(left, at, text, MUTED) for at, text in y.items()], 9, align=1, shift=(-5.5, 0)))


def axis_names(ax: Axes, x: str, y: str, *, below: float, beside: float) -> None:
    """Name both axes, *below* and *beside* px away from the frame, where the labels of the scales are."""
    ax.set_xlabel(x, labelpad=below * POINTS, **lettering(10, MUTED))
    ax.set_ylabel(y, labelpad=beside * POINTS, **lettering(10, MUTED))


def unit_square(ax: Axes, x: str, y: str) -> None:
    """Set both axes to [0, 1] with a little air, a grid of fifths, and their names."""
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    scales(ax, FIFTHS, FIFTHS)
    axis_names(ax, x, y, below=27, beside=widest(FIFTHS.values(), 9) + 12)
