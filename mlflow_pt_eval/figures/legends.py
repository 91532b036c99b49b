"""Legends whose labels may begin with '_' or hold '$', which matplotlib's own hides or sets as a formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mlflow_pt_eval.figures.cells import Cell, CellText
from mlflow_pt_eval.figures.style import INK, MUTED, add_to, lettering, widest

Entry = tuple[Line2D, str]

SIZES: Final = (11.0, 10.0, 9.5)  # points beside axes, the largest that the place allows
INSIDE: Final = 8.0  # points in axes
SAMPLE: Final = 32  # px of a line's sample
INDENT: Final = SAMPLE + 9  # px from there to the words
GAP: Final = 6  # px from one entry to the next


def legend_beside(figure: Figure, left: float, top: float, entries: Sequence[Entry], *, title: str = "") -> None:
    """Write a legend straight onto *figure*, in px from its top left corner: a third of the time of one in axes.

    What does not fit above the figure's lower edge is counted.
    """
    size = _size(figure, left, top, entries)
    line = _line(size)
    cells, y = [], top + line / 2
    if title:
        cells.append(Cell(left, y, title, MUTED))
        y += line + GAP
    for k, (handle, label) in enumerate(entries):
        if y + line * (label.count("\n") + 2) + GAP > figure.bbox.height:
            cells.append(Cell(left + INDENT, y, f"… and {len(entries) - k} more", MUTED))
            break
        handle.set_data(([left, left + SAMPLE], [y, y]) if _is_line(handle) else ([left + SAMPLE / 2], [y]))
        add_to(figure, handle)
        for text in label.split("\n"):
            cells.append(Cell(left + INDENT, y, text, INK))
            y += line
        y += GAP
    add_to(figure, CellText(cells, size, align=0))


def _size(figure: Figure, left: float, top: float, entries: Sequence[Entry]) -> float:
    lines = [text for _, label in entries for text in label.split("\n")]
    wide, high = figure.bbox.width - left - INDENT - 8, figure.bbox.height - top - (len(entries) + 1) * GAP
    fitting = (size for size in SIZES if widest(lines, size) <= wide and _line(size) * (len(lines) + 2) <= high)
    return next(fitting, SIZES[-1])


def _line(size: float) -> float:
    """Return the px from one line of *size* points to the next."""
    return round(1.75 * size)


def _is_line(handle: Line2D) -> bool:
    return handle.get_linestyle() not in {"None", "none", "", " "}


def legend_inside(ax: Axes, corner: str, entries: Sequence[Entry], *, title: str = "") -> None:
    """Add a legend in a *corner* of *ax*."""
    frame = {"frameon": True, "framealpha": 0.9, "edgecolor": "none", "facecolor": "white", "fancybox": False}
    space = {"borderpad": 0.4, "labelspacing": 0.3, "handletextpad": 0.6, "handlelength": 2.4, "handleheight": 0.7}
    fixed: dict[str, Any] = {"numpoints": 1, "markerscale": 0.8, "shadow": False, "borderaxespad": 0.5}
    handles = [handle for handle, _ in entries]
    made = ax.legend(handles, ["x"] * len(handles), loc=corner, fontsize=INSIDE, **frame, **space, **fixed)
    for text, (_, label) in zip(made.get_texts(), entries, strict=True):
        text.set(text=label, linespacing=1.2, **lettering(INSIDE))
    made.set_title(title)
    made.get_title().set(**lettering(INSIDE, MUTED))
    made.set_alignment("left")
