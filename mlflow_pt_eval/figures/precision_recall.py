"""Precision-recall curves."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlflow_pt_eval.figures.curve_sheet import DASHED, Points, Sheet, draw_classes, open_sheet
from mlflow_pt_eval.figures.labels import describe, readable
from mlflow_pt_eval.figures.style import BLUE, INK, figure_of, fit, note, series
from mlflow_pt_eval.figures.thinning import as_steps, steps, thin_envelope
from mlflow_pt_eval.metrics.result import Evaluation, PrecisionRecallCurve
from mlflow_pt_eval.wording import percent, score

TITLES: Final = {
    "binary": "Precision-recall curve",
    "multiclass": "Precision-recall curves, one class against the rest",
    "multilabel": "Precision-recall curves by label",
}
UNDEFINED: Final = "No precision-recall curve is defined:\nno class has samples that are it."
ALIKE: Final = 0.03  # between the lowest and the highest baseline: their marks would be one blot


def precision_recall_curve(evaluation: Evaluation, *, ax: Axes | None = None) -> Figure:
    """Draw the precision-recall curves, each class against the rest, and the share of positives as their baseline.

    From one recall to the next the precision is the next one's, as average precision sums it. Up to 10 classes
    each has a colour; more are a light bundle under the mean over the classes, and the three with the smallest
    average precision are named. Thinned to 1/1000 of the recall axis, in which the whole range of the precision
    stays; every average precision is that of all points. With *ax* the curves and their legend are drawn into it.
    """
    title = TITLES[evaluation.task]
    sheet = open_sheet(ax, title=title, subtitle=describe(evaluation), x="recall", y="precision")
    curves = evaluation.curves.precision_recall
    if not curves:
        note(sheet.ax, UNDEFINED)
        return figure_of(sheet.ax)
    if evaluation.task == "binary":
        _single(sheet, curves[-1])
        return sheet.finish("", corner="lower left")
    _mean(sheet, evaluation, curves)
    _classes(sheet, evaluation, curves)
    return sheet.finish("average precision", corner="lower left")


def _single(sheet: Sheet, curve: PrecisionRecallCurve) -> None:
    name = fit(readable(curve.name, 1), 190, 9.5)
    label = f"average precision {score(curve.average_precision)}\nof “{name}”"
    sheet.line(_thin(curve), label, color=BLUE, linewidth=2)
    baseline = f"baseline: {percent(curve.prevalence)} %\nof the samples are positive"
    sheet.line(_level(curve.prevalence), baseline, **DASHED)


def _classes(sheet: Sheet, evaluation: Evaluation, curves: tuple[PrecisionRecallCurve, ...]) -> None:
    named = draw_classes(sheet, evaluation, curves, lambda curve: curve.average_precision, _thin)
    levels = [curve.prevalence for curve in curves]
    if max(levels) - min(levels) <= ALIKE:
        sheet.line(_level(float(np.mean(levels))), _alike(min(levels), max(levels)), **DASHED)
        return
    for place, k in enumerate(named):
        look = {**series(place), "linestyle": "-", "linewidth": 1.5}
        sheet.ax.plot([-0.01, 0.02], [levels[k]] * 2, marker="", **look)
    if named:
        sheet.words("Marks at the left edge:\neach curve's baseline,\nthe share of positives")


def _alike(low: float, high: float) -> str:
    """Return what one line says of all baselines."""
    digits = 0 if low >= 0.02 else 1
    ends = percent(low, digits), percent(high, digits)
    return f"baseline of each: about {ends[0]} %" if ends[0] == ends[1] else f"baselines: {ends[0]} to {ends[1]} %"


def _mean(sheet: Sheet, evaluation: Evaluation, curves: tuple[PrecisionRecallCurve, ...]) -> None:
    """Draw the mean precision over the classes at each recall, whose area is the macro average."""
    at = np.linspace(0, 1, 501)
    mean = np.mean([steps(curve.recall, curve.precision, at) for curve in curves], axis=0)
    area = evaluation.metrics.get("average_precision_macro", float(np.mean([c.average_precision for c in curves])))
    sheet.line(as_steps(at, mean), f"{score(area)}  macro average", color=INK, linewidth=2.6, zorder=4)


def _level(height: float) -> Points:
    return np.array([0.0, 1.0]), np.array([height, height])


def _thin(curve: PrecisionRecallCurve, cells: int = 1000) -> Points:
    return as_steps(*thin_envelope(curve.recall, curve.precision, cells))
