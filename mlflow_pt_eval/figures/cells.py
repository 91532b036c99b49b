"""Many short texts drawn as one artist: the numbers in a matrix's cells, the names at its sides, the lines of a list.

A third of the time of as many `Text` objects, and deaf to every setting that could change them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import cos, radians, sin
from typing import Any, NamedTuple

from matplotlib.artist import Artist
from matplotlib.font_manager import FontProperties
from matplotlib.transforms import Bbox

from mlflow_pt_eval.figures.style import INK, families


class Cell(NamedTuple):
    """A text and its anchor, in the coordinates of whatever the `CellText` is added to."""

    x: float
    y: float
    text: str
    color: str = INK


class CellText(Artist):
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
        self.set(zorder=4, clip_on=False)

    def draw(self, renderer: Any) -> None:
        """Draw the texts with *renderer*'s own primitive."""
        if not self.get_visible() or not self.cells:
            return
        top = renderer.get_canvas_width_height()[1] if renderer.flipy() else None
        pen = renderer.new_gc()
        widths = self._widths(renderer) if self.align else {}
        for cell, (left, base) in zip(self.cells, self._starts(renderer, widths), strict=True):
            pen.set_foreground(cell.color)
            renderer.draw_text(pen, left, base if top is None else top - base, cell.text, self.font, self.angle)
        pen.restore()
        self.stale = False

    def get_window_extent(self, renderer: Any = None) -> Bbox:
        """Return what the texts cover, in px: what `bbox_inches="tight"`, as notebooks save figures, goes by."""
        if not self.cells:
            return Bbox.null()
        canvas: Any = self.figure.canvas if self.figure else None
        renderer = renderer or canvas.get_renderer()
        _, height, descent = self._measure(renderer, "0pg")
        along, up = cos(radians(self.angle)), sin(radians(self.angle))
        widths = self._widths(renderer)
        corners = [
            (left + widths[cell.text] * part * along - rise * up, base + widths[cell.text] * part * up + rise * along)
            for cell, (left, base) in zip(self.cells, self._starts(renderer, widths), strict=True)
            for part in (0, 1)
            for rise in (-descent, height - descent)
        ]
        across, down = zip(*corners, strict=True)
        return Bbox.from_extents(min(across), min(down), max(across), max(down))

    def _starts(self, renderer: Any, widths: Mapping[str, float]) -> list[tuple[float, float]]:
        """Return where each text's baseline begins on the canvas, in px from its lower left corner."""
        _, height, descent = self._measure(renderer, "0")
        half, along, up = (height - descent) / 2, cos(radians(self.angle)), sin(radians(self.angle))
        right, rise = (renderer.points_to_pixels(part) for part in self.shift)
        starts = []
        for cell, (x, y) in zip(self.cells, self._anchors(), strict=True):
            back = self.align * widths.get(cell.text, 0.0)
            starts.append((x + right - back * along + half * up, y + rise - back * up - half * along))
        return starts

    def _widths(self, renderer: Any) -> dict[str, float]:
        """Return the width of each distinct text in px."""
        return {text: self._measure(renderer, text)[0] for text in {cell.text for cell in self.cells}}

    def _anchors(self) -> list[tuple[float, float]]:
        anchors: list[tuple[float, float]] = self.get_transform().transform([(c.x, c.y) for c in self.cells]).tolist()
        return anchors

    def _measure(self, renderer: Any, text: str) -> tuple[float, float, float]:
        found: tuple[float, float, float] = renderer.get_text_width_height_descent(text, self.font, False)
        return found
