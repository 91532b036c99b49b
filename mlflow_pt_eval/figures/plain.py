"""A figure that is deaf to what every artist takes from `rcParams` where nobody says otherwise."""

from __future__ import annotations

from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text


class PlainFigure(Figure):
    """Draws its lines' ends, edges and letters as matplotlib does by itself, without sketches and effects."""

    def draw(self, renderer: Any) -> None:
        """Draw the figure with *renderer*."""
        for artist in self.findobj(include_self=False):
            _make_plain(artist)
        super().draw(renderer)


def _make_plain(artist: Artist) -> None:
    artist.set_sketch_params(None)
    artist.set_path_effects([])
    if isinstance(artist, Line2D | Patch | Text):  # collections say it themselves: some are drawn without
        artist.set_antialiased(True)
    box = artist.get_bbox_patch() if isinstance(artist, Text) else None
    if box is not None:  # which is nobody's child
        _make_plain(box)
    if isinstance(artist, Line2D):
        artist.set_solid_capstyle("projecting")
        artist.set_dash_capstyle("butt")
        artist.set_solid_joinstyle("round")
        artist.set_dash_joinstyle("round")
        artist.set_fillstyle("full")
