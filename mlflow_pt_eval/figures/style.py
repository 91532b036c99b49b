"""How every figure looks: sizes in pixels, colours that colour-blind readers tell apart, one typeface.

Everything is set on the objects themselves, never in `rcParams`, which are the whole process's: a figure of ours
looks the same whatever style the user's own plots have, and drawing one changes nothing for them. What no object can
hold, `text.hinting`, `path.snap` and `lines.scale_dashes`, is matplotlib's own in all its styles but "classic". Text
is never read as mathtext or TeX, since class names may hold any character.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any, Final

from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Affine2D

from mlflow_pt_eval.figures.plain import PlainFigure
from mlflow_pt_eval.wording import shorten

DPI: Final = 100
WIDTH: Final = 900  # px: what the MLflow UI shows without scaling in a wide pane, and halves in a narrow one

INK: Final = "#1f2933"
MUTED: Final = "#5b6673"
FAINT: Final = "#d3d9e0"

# Okabe and Ito's colours without their yellow, which white paper swallows; dashes tell the second round apart.
_COLORS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
BLUE, VERMILION, GREEN = _COLORS[:3]
_DASHES: Final = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))

# Typefaces for scripts that matplotlib's own lacks; used where the machine has them.
_WIDER: Final = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Nirmala UI",
)


def series(index: int) -> dict[str, Any]:
    """Return the colour and the dashes of the *index*-th curve: distinct up to 24."""
    return {"color": _COLORS[index % len(_COLORS)], "linestyle": _DASHES[index // len(_COLORS) % len(_DASHES)]}


@cache
def families() -> tuple[str, ...]:
    """Return the typefaces that text is set in, the first that has a glyph winning."""
    installed = set(font_manager.get_font_names())
    return ("DejaVu Sans", *(name for name in _WIDER if name in installed))


@cache
def glyphs() -> frozenset[int]:
    """Return the code points that some typeface of `families` can draw."""
    fonts = (font_manager.get_font(font_manager.findfont(name)) for name in families())
    return frozenset(point for font in fonts for point in font.get_charmap())


@cache
def _ruler() -> Any:
    return FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()


@lru_cache(4096)
def _width(text: str, size: float) -> float:
    font = font_manager.FontProperties(family=list(families()), size=size)
    width: float = _ruler().get_text_width_height_descent(text, font, False)[0]
    return width


def widest(texts: Iterable[str], size: float) -> float:
    """Return the width in px of the longest of *texts*, set in *size* points."""
    return max((_width(text, size) for text in texts), default=0.0)


def fit(text: str, room: float, size: float) -> str:
    """Cut *text* in its middle until it needs no more than *room* px, set in *size* points."""
    length = min(len(text), 3 * int(room / size) + 2)  # no letter is narrower than a quarter of its height
    cut = shorten(text, length)
    while _width(cut, size) > room and length > 1:
        length -= 1
        cut = shorten(text, length)
    return cut


def lettering(size: float, color: str = INK, **more: Any) -> dict[str, Any]:
    """Return the properties of a text of *size* points that no `rcParams` can change."""
    plain = {"fontfamily": list(families()), "fontstyle": "normal", "fontweight": "normal", "fontvariant": "normal"}
    return {**plain, "fontsize": size, "color": color, "usetex": False, "parse_math": False, **more}


def sheet(height: int, width: int = WIDTH) -> Figure:
    """Return an empty white figure of *width* x *height* px with an Agg canvas."""
    figure = PlainFigure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white", layout=None)
    figure.set_layout_engine("none")
    FigureCanvasAgg(figure)
    return figure


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes to *figure* at a rectangle in px from its top left corner."""
    across, down = figure.get_size_inches() * DPI
    return dress(figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down)))


def board(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add a bare area to *figure* whose data coordinates are px from its own top left corner."""
    ax = place(figure, left, top, width, height)
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.set_axis_off()
    return ax


def add_to(figure: Figure, artist: Artist) -> None:
    """Add *artist* to *figure*, its coordinates being px from its top left corner."""
    across, down = figure.get_size_inches() * DPI
    artist.set_transform(Affine2D().scale(1 / across, -1 / down).translate(0, 1) + figure.transFigure)
    figure.add_artist(artist)


def figure_of(ax: Axes) -> Figure:
    """Return the whole figure that *ax* belongs to."""
    return ax.figure if isinstance(ax.figure, Figure) else ax.figure.figure


def dress(ax: Axes) -> Axes:
    """Give *ax* the house's frame and background, and no ticks: `scales` draws what is needed of them."""
    ax.set_facecolor("white")
    for spine in ax.spines.values():
        spine.set(visible=True, color=FAINT, linewidth=0.8)
    ax.set(xticks=[], yticks=[])
    ax.minorticks_off()
    ax.grid(False)
    return ax


def say(ax: Axes, x: float, y: float, text: str, *, size: float = 9, color: str = INK, **more: Any) -> Text:
    """Write *text* at (x, y) of *ax*, in data coordinates unless a transform is given."""
    return ax.text(x, y, text, **lettering(size, color, **more))


def note(ax: Axes, text: str) -> None:
    """Write *text* in the middle of *ax*: why there is nothing else to see."""
    box = {"facecolor": "white", "edgecolor": FAINT, "linewidth": 1, "boxstyle": "round,pad=0.6"}
    middle = {"transform": ax.transAxes, "ha": "center", "va": "center", "linespacing": 1.5}
    say(ax, 0.5, 0.5, text, size=10.5, color=MUTED, bbox=box, **middle)


def heading(figure: Figure, title: str, subtitle: str = "") -> None:
    """Write a title and a line of small print at the top left of *figure*, cut to its width."""
    across, down = figure.get_size_inches() * DPI
    left, room = 24 / across, across - 36
    bold = lettering(13.5, va="top", fontweight="bold")  # an eighth wider than what is measured
    figure.text(left, 1 - 16 / down, fit(title, room / 1.13, 13.5), **bold)
    figure.text(left, 1 - 41 / down, fit(subtitle, room, 9.5), **lettering(9.5, MUTED, va="top"))
