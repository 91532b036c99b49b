"""Many short texts drawn as one artist: the numbers in a matrix's cells, the names at its sides, the lines of a list.

A third of the time of as many `Text` objects, and deaf to every setting that could change them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, radians, sin
from typing import Any, NamedTuple

from matplotlib.artist import Artist
from matplotlib.font_manager import FontProperties

from mlflow_pt_eval.figures.style import INK, families


class Cell(NamedTuple):
    """A text and its anchor, in the coordinates of whatever the `CellText` is added to."""

    x: float
    y: float
    text: str
    color: str = INK


class CellText(Artist):  # type: ignore[misc, unused-ignore]
    """Texts of one size; all are centred vertically by the height of a digit, so that rows look alike."""

    def __init__(
        self,
        cells: Sequence[Cell],
        size: float,
        *,
        align: float = 0.5,
        angle: float = 0.0,
        shift: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Take the texts and their size in points.

        *align* says which part of a text lies on its anchor: 0 its left end, 0.5 the middle, 1 the right end;
        *angle* turns it, in degrees; *shift* moves it right and up, in points.
        """
        super().__init__()
        self.cells = tuple(cells)
        self.align, self.angle, self.shift = align, angle, shift
        self.font = FontProperties(family=list(families()), size=size)
        self.set_zorder(4)

    def draw(self, renderer: Any) -> None:
        """Draw the texts with *renderer*'s own primitive, measuring each distinct one once."""
        if not self.get_visible() or not self.cells:
            return
        widths = {text: self._measure(renderer, text)[0] for text in {cell.text for cell in self.cells}}
        _, height, descent = self._measure(renderer, "0")
        half, along, up = (height - descent) / 2, cos(radians(self.angle)), sin(radians(self.angle))
        right, rise = (renderer.points_to_pixels(1) * part for part in self.shift)
        top = renderer.get_canvas_width_height()[1] if renderer.flipy() else None
        pen = renderer.new_gc()
        anchors = self.get_transform().transform([(cell.x, cell.y) for cell in self.cells])
        for cell, (x, y) in zip(self.cells, anchors.tolist(), strict=True):
            back = self.align * widths[cell.text]
            left, base = x + right - back * along + half * up, y + rise - back * up - half * along
            pen.set_foreground(cell.color)
            renderer.draw_text(pen, left, base if top is None else top - base, cell.text, self.font, self.angle)
        pen.restore()
        self.stale = False

    def _measure(self, renderer: Any, text: str) -> tuple[float, float, float]:
        found: tuple[float, float, float] = renderer.get_text_width_height_descent(text, self.font, False)
        return found
