"""Reliability diagram: does a confidence of 90 % mean that nine of ten are right?"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlflow_pt_eval.figures.curve_sheet import unit_square
from mlflow_pt_eval.figures.labels import describe
from mlflow_pt_eval.figures.style import (
    BLUE,
    MUTED,
    VERMILION,
    axis_labels,
    dress,
    figure_of,
    heading,
    lettering,
    note,
    place,
    say,
    sheet,
    ticks,
)
from mlflow_pt_eval.metrics.result import CalibrationBins, Evaluation, Floats
from mlflow_pt_eval.wording import compact, percent, score

UNDEFINED: Final = "No calibration is defined for this evaluation."
EXPLAINED: Final = """\
Expected calibration error: the gap between
confidence and accuracy in each bin, averaged
over the samples.

Points on the dashed line: confidence is deserved.
Whiskers: 95 % intervals of the accuracy.
Orange: the gap."""


def calibration_curve(evaluation: Evaluation, *, ax: Axes | None = None) -> Figure:
    """Draw accuracy against confidence in bins of the top class's probability, and how many samples each holds.

    The whiskers are 95 % Wilson intervals of the accuracy; on the diagonal confidence is deserved. The histogram
    of the samples and the words at its side are left out where *ax* is given.
    """
    bins = evaluation.curves.calibration
    if ax is not None:
        _diagram(dress(ax), bins)
        return figure_of(ax)
    figure = sheet(676)
    heading(figure, "Calibration of the predicted class", describe(evaluation))
    _diagram(place(figure, 74, 74, 430, 430), bins)
    if bins is not None and bins.count.sum():
        _histogram(place(figure, 74, 556, 430, 70), bins)
        _words(figure, evaluation, bins)
    return figure


def _diagram(ax: Axes, bins: CalibrationBins | None) -> None:
    unit_square(ax, "confidence (probability of the predicted class)", "accuracy")
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), marker="")
    if bins is None or not bins.count.sum():
        note(ax, UNDEFINED)
        return
    say(ax, 0.04, 0.93, "under-confident", color=MUTED)
    say(ax, 0.96, 0.05, "over-confident", color=MUTED, ha="right")
    held = bins.count > 0
    x, y, low, high = bins.confidence[held], bins.accuracy[held], *_wilson(bins.accuracy[held], bins.count[held])
    ax.vlines(x, x, y, color=VERMILION, linewidth=5, alpha=0.35, zorder=2)
    ax.vlines(x, low, high, color=BLUE, linewidth=1.2, linestyle="-", zorder=3)
    ax.plot(x, y, linestyle="none", marker="o", markersize=7, color=BLUE, markeredgecolor="white", markeredgewidth=1)


def _wilson(share: Floats, count: npt.NDArray[np.int64], z: float = 1.959963984540054) -> tuple[Floats, Floats]:
    """Return the 95 % score interval of each *share* of *count* (Wilson 1927)."""
    scale = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z / scale * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


def _histogram(ax: Axes, bins: CalibrationBins) -> None:
    total = int(bins.count.sum())
    ax.bar(
        bins.edges[:-1],
        bins.count / total,
        np.diff(bins.edges),
        align="edge",
        color=BLUE,
        edgecolor="white",
        linewidth=1,
    )
    top = float(bins.count.max()) / total
    ax.set(xlim=(-0.01, 1.01), ylim=(0, top * 1.08))
    ticks(ax.xaxis, [], [])
    ticks(ax.yaxis, [0, top], ["0", compact(int(bins.count.max()))])
    axis_labels(ax, "", "samples")


def _words(figure: Figure, evaluation: Evaluation, bins: CalibrationBins) -> None:
    """Write the error in numbers and the verdict at the right of the diagram."""
    held = bins.count > 0
    weight = bins.count[held] / bins.count.sum()
    confidence, accuracy = float(weight @ bins.confidence[held]), float(weight @ bins.accuracy[held])
    error = evaluation.metrics.get("expected_calibration_error")
    gap = confidence - accuracy
    verdict = f"{'over' if gap > 0 else 'under'}-confident by {percent(abs(gap))} points on the whole"
    lines = [f"mean confidence {percent(confidence)} %", f"accuracy {percent(accuracy)} %", verdict]
    style: dict[str, Any] = {"va": "top", "linespacing": 1.5}
    if error is not None:
        figure.text(530 / 900, 1 - 80 / 676, f"ECE {score(error)}", **lettering(13, va="top"))
    figure.text(530 / 900, 1 - 112 / 676, "\n".join(lines), **lettering(10, **style))
    figure.text(530 / 900, 1 - 200 / 676, EXPLAINED, **lettering(9, MUTED, **style))
