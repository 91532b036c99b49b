"""Reliability diagram: does a confidence of 90 % mean that nine of ten are right?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlflow_pt_eval.figures.labels import describe
from mlflow_pt_eval.figures.scales import axis_names, scales, unit_square
from mlflow_pt_eval.figures.style import (
    BLUE,
    INK,
    MUTED,
    VERMILION,
    dress,
    figure_of,
    heading,
    lettering,
    note,
    place,
    say,
    sheet,
    widest,
)
from mlflow_pt_eval.metrics.result import CalibrationBins, Evaluation, Floats
from mlflow_pt_eval.wording import compact, percent, score

UNDEFINED: Final = "No calibration is defined for this evaluation."
SHEET: Final = (900, 676)  # px
WORDS_LEFT: Final = 530 / SHEET[0]


@dataclass(frozen=True)
class Words:
    """What the axes and the numbers are called: a predicted class's confidence, or each label's probability."""

    title: str
    x: str
    y: str
    confidence: str
    accuracy: str
    too_high: str
    too_low: str
    counted: str


CLASSES: Final = Words(
    title="Calibration of the predicted class",
    x="confidence (probability of the predicted class)",
    y="accuracy",
    confidence="mean confidence",
    accuracy="accuracy",
    too_high="over-confident",
    too_low="under-confident",
    counted="samples",
)
LABELS: Final = Words(
    title="Calibration of the labels' probabilities",
    x="probability of a label",
    y="share of them that are present",
    confidence="mean probability",
    accuracy="labels present",
    too_high="too high",
    too_low="too low",
    counted="labels",
)
EXPLAINED: Final = """\
Expected calibration error: the distance of the
points from the dashed line, averaged over the
{counted}.

On the line: the probability is deserved.
Whiskers: 95 % intervals of the share.
Orange: the gap."""


def calibration_curve(evaluation: Evaluation, *, ax: Axes | None = None) -> Figure:
    """Draw accuracy against confidence in bins of the top class's probability, and how many samples each holds.

    Multilabel: the share of labels that are present against their probability. The whiskers are 95 % Wilson
    intervals; on the diagonal confidence is deserved. The histogram of the samples and the words at its side are
    left out where *ax* is given.
    """
    bins, words = evaluation.curves.calibration, LABELS if evaluation.task == "multilabel" else CLASSES
    if ax is not None:
        _diagram(dress(ax), bins, words)
        return figure_of(ax)
    figure = sheet(SHEET[1], width=SHEET[0])
    heading(figure, words.title, describe(evaluation))
    _diagram(place(figure, 74, 74, 430, 430), bins, words)
    if bins is not None and bins.count.sum():
        _histogram(place(figure, 74, 556, 430, 70), bins, words)
        _write(figure, evaluation, bins, words)
    return figure


def _diagram(ax: Axes, bins: CalibrationBins | None, words: Words) -> None:
    unit_square(ax, words.x, words.y)
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), marker="")
    if bins is None or not bins.count.sum():
        note(ax, UNDEFINED)
        return
    held = bins.count > 0
    x, y, low, high = bins.confidence[held], bins.accuracy[held], *_wilson(bins.accuracy[held], bins.count[held])
    ax.vlines(x, x, y, color=VERMILION, linewidth=5, alpha=0.35, zorder=2, antialiased=True)
    ax.vlines(x, low, high, color=BLUE, linewidth=1.2, linestyle="-", zorder=3, antialiased=True)
    ax.plot(x, y, linestyle="none", marker="o", markersize=7, color=BLUE, markeredgecolor="white", markeredgewidth=1)
    _name_sides(ax, words, x, np.minimum(low, y), np.maximum(high, y))


def _name_sides(ax: Axes, words: Words, x: Floats, low: Floats, high: Floats) -> None:
    """Say what is above and below the diagonal, in corners where no mark, from *low* to *high* at *x*, stands."""
    box = {"facecolor": "white", "linewidth": 0, "alpha": 0.85, "boxstyle": "square,pad=0.2"}
    look: dict[str, Any] = {"color": MUTED, "bbox": box, "zorder": 5, "va": "center"}
    say(ax, _free(0.02, 1, x[high > 0.92]), 0.965, words.too_low, **look)
    say(ax, _free(0.98, -1, x[low < 0.08]), 0.035, words.too_high, ha="right", **look)


def _free(corner: float, way: int, taken: Floats) -> float:
    """Return where words from *corner* on, 0.24 wide, begin beside the marks at *taken*; at *corner* if nowhere."""
    starts = [corner + way * step / 50 for step in range(30)]
    return next((s for s in starts if not (np.abs((taken - s) * way - 0.12) < 0.14).any()), corner)


def _wilson(share: Floats, count: npt.NDArray[np.int64], z: float = 1.959963984540054) -> tuple[Floats, Floats]:
    """Return the 95 % score interval of each *share* of *count* (Wilson 1927)."""
    scale = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z / scale * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


def _histogram(ax: Axes, bins: CalibrationBins, words: Words) -> None:
    most = int(bins.count.max())
    look: dict[str, Any] = {"align": "edge", "color": BLUE, "edgecolor": "white", "linewidth": 1}
    ax.bar(bins.edges[:-1], bins.count / most, np.diff(bins.edges), **look)
    ax.set(xlim=(-0.01, 1.01), ylim=(0, 1.08))
    scales(ax, {}, {0: "0", 1: compact(most)}, grid=False)
    axis_names(ax, "", words.counted, below=0, beside=max(32, widest([compact(most)], 9) + 12))


def _write(figure: Figure, evaluation: Evaluation, bins: CalibrationBins, words: Words) -> None:
    """Write the error in numbers and the verdict at the right of the diagram."""
    held = bins.count > 0
    weight = bins.count[held] / bins.count.sum()
    confidence, accuracy = float(weight @ bins.confidence[held]), float(weight @ bins.accuracy[held])
    lines = [f"{words.confidence} {percent(confidence)} %", f"{words.accuracy} {percent(accuracy)} %"]
    lines.append(_verdict(confidence - accuracy, words))
    error = evaluation.metrics.get("expected_calibration_error")
    parts = [("" if error is None else f"ECE {score(error)}", 80, 13.0, INK), ("\n".join(lines), 112, 10.0, INK)]
    for text, top, size, color in [*parts, (EXPLAINED.format(counted=words.counted), 200, 9.0, MUTED)]:
        figure.text(WORDS_LEFT, 1 - top / SHEET[1], text, **lettering(size, color, va="top", linespacing=1.5))


def _verdict(gap: float, words: Words) -> str:
    if abs(gap) < 0.0005:
        return "neither too high nor too low on the whole"
    return f"{words.too_high if gap > 0 else words.too_low} by {percent(abs(gap))} points on the whole"
