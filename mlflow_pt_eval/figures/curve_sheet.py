"""What ROC and precision-recall figures share: the square, the legend beside it, the bundle of many curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mlflow_pt_eval.figures.labels import places_in, some_names
from mlflow_pt_eval.figures.legends import Entry, legend_beside, legend_inside
from mlflow_pt_eval.figures.scales import unit_square
from mlflow_pt_eval.figures.style import MUTED, dress, figure_of, heading, place, series, sheet
from mlflow_pt_eval.metrics.result import Evaluation, Floats, PrecisionRecallCurve, RocCurve
from mlflow_pt_eval.wording import score

NAMED: Final = 10  # curves up to which each has its own colour and label
WORST: Final = 3  # curves that are named of more than that
BUNDLE: Final = 200  # curves that a bundle shows at most
SIDE: Final = 540  # px of the square
LEFT_TO_RIGHT: Final = "\u200e"  # in front of a line that a name in Arabic, say, would else turn round as a whole
DASHED: Final[dict[str, Any]] = {"color": MUTED, "linewidth": 1.0, "linestyle": (0, (4, 3))}

Points = tuple[Floats, Floats]
Look = dict[str, Any]
Curve = TypeVar("Curve", RocCurve, PrecisionRecallCurve)
Thin = Callable[[Curve, int], Points]


@dataclass
class Sheet:
    """Axes over [0, 1] x [0, 1] that curves are drawn into, and the legend's entries so far."""

    ax: Axes
    own: bool  # whether the figure is ours, with the legend's place beside the axes
    entries: list[Entry] = field(default_factory=list)
    drawn: list[tuple[list[Points], Look]] = field(default_factory=list)
    marks: list[tuple[float, float, Look]] = field(default_factory=list)

    def line(self, points: Points, label: str, **look: Any) -> None:
        """Draw a curve and give it an entry in the legend."""
        self.drawn.append(([points], {"linewidth": 1.6, "linestyle": "-", **look}))
        draw_curves(self.ax, *self.drawn[-1])
        self.entries.append((Line2D([], [], marker="", **self.drawn[-1][1]), LEFT_TO_RIGHT + label))

    def bundle(self, curves: Sequence[Points], label: str) -> None:
        """Draw many curves as a light background with one entry in the legend."""
        look: Look = {"linewidth": 0.8, "linestyle": "-", "color": "#4d7ea8", "zorder": 1}
        self.drawn.append((list(curves), {**look, "alpha": max(0.15, min(0.6, 12 / len(curves)))}))
        draw_curves(self.ax, *self.drawn[-1])
        self.entries.append((Line2D([], [], marker="", **{**look, "alpha": 0.6}), label))

    def point(self, x: float, y: float, label: str, **look: Any) -> None:
        """Mark a point and give it an entry in the legend."""
        edge: Look = {"markersize": 9, "markeredgecolor": "white", "markeredgewidth": 1, "linestyle": "none"}
        self.marks.append((x, y, {"zorder": 5, "clip_on": False, **edge, **look}))  # whole also at the frame
        draw_mark(self.ax, *self.marks[-1])
        self.entries.append((Line2D([], [], **self.marks[-1][-1]), label))

    def words(self, label: str) -> None:
        """Add a line of words to the legend."""
        self.entries.append((Line2D([], [], linestyle="none", marker=""), label))

    def finish(self, title: str, *, corner: str) -> Figure:
        """Add the legend, beside the axes in our own figure, in *corner* of somebody else's; return the figure."""
        if self.own:
            legend_beside(figure_of(self.ax), 74 + SIDE + 20, 76, self.entries, title=title)
        else:
            legend_inside(self.ax, corner, self.entries, title=title)
        return figure_of(self.ax)


def draw_curves(ax: Axes, curves: Sequence[Points], look: Look) -> None:
    """Draw *curves* with one look into *ax*, whose limits stay."""
    lines = LineCollection([np.column_stack(points) for points in curves], **{"zorder": 3, "antialiased": True, **look})
    ax.add_collection(lines, autolim=False)


def draw_mark(ax: Axes, x: float, y: float, look: Look) -> None:
    """Mark a point of *ax*, whose limits stay."""
    ax.add_line(Line2D([x], [y], **look))


def open_sheet(ax: Axes | None, *, title: str, subtitle: str, x: str, y: str) -> Sheet:
    """Make the axes of a figure with *title*, or dress *ax*."""
    own = ax is None
    if ax is None:
        figure = sheet(SIDE + 136)
        heading(figure, title, subtitle)
        ax = place(figure, 74, 74, SIDE, SIDE)
    unit_square(dress(ax), x, y)
    return Sheet(ax, own)


def draw_classes(
    sheet: Sheet, evaluation: Evaluation, curves: Sequence[Curve], area: Callable[[Curve], float], thin: Thin[Curve]
) -> list[int]:
    """Draw a curve for each class: up to 10 in colours of their own, of more a light bundle and the lowest 3.

    *area* is what a curve is named by, *thin* gives its points for so many cells of the axes. Return which are named.
    """
    chosen = list(range(len(curves)))
    what = "labels" if evaluation.task == "multilabel" else "classes"
    if len(curves) > NAMED:
        order = sorted(chosen, key=lambda k: area(curves[k]))
        shown, chosen = spread(order), [k for k in order[:WORST] if area(curves[k]) < 1]
        sheet.bundle([thin(curves[k], 200) for k in shown], bundle_label(len(shown), len(curves), what))
    if len(curves) > len(chosen) > 0:
        sheet.words(f"The lowest of {len(curves):,}:")
    for index, (k, name) in enumerate(zip(chosen, curve_names(evaluation, curves, chosen), strict=True)):
        label = f"{score(area(curves[k]))}  {name}"
        sheet.line(thin(curves[k], 1000), label, **series(index), zorder=4.5)  # thinner than an average, and over it
    if len(curves) < len(evaluation.class_names):
        sheet.words(_missing(len(evaluation.class_names) - len(curves), what))
    return chosen


def _missing(count: int, what: str) -> str:
    """Say how many have no curve: classes that are absent, or labels that are nowhere or everywhere."""
    return f"{count:,} absent" if what == "classes" else f"{count:,} of the {what} undefined"


def spread(order: Sequence[int], limit: int = BUNDLE) -> list[int]:
    """Return at most *limit* of *order*, evenly spread over it with both ends."""
    picked = np.linspace(0, len(order) - 1, min(limit, len(order))).round().astype(int)
    return [order[k] for k in picked]


def curve_names(evaluation: Evaluation, curves: Sequence[Curve], chosen: Sequence[int]) -> list[str]:
    """Return the legend's labels of the *chosen* curves: their classes' names, and indices where those are needed."""
    own, classes = [curve.name for curve in curves], evaluation.class_names
    places = places_in(own, classes)
    names, at = (own, list(chosen)) if places is None else (classes, [places[k] for k in chosen])
    word = "label" if evaluation.task == "multilabel" else "class"
    return list(some_names(names, at, 165, 9.5, word=word).values())


def bundle_label(shown: int, of: int, what: str) -> str:
    """Say which curves a bundle holds."""
    return f"all {of:,} {what}" if shown == of else f"{shown:,} of {of:,} {what}"
