"""ROC curves: of one evaluation, and of several laid over each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlflow_pt_eval.figures import tint
from mlflow_pt_eval.figures.curve_sheet import DASHED, Look, Points, Sheet, draw_classes, open_sheet
from mlflow_pt_eval.figures.labels import describe, display_names, readable
from mlflow_pt_eval.figures.magnifier import corner_size, magnify
from mlflow_pt_eval.figures.style import BLUE, GREEN, INK, MUTED, VERMILION, figure_of, fit, note, series
from mlflow_pt_eval.metrics.result import Evaluation, RocCurve, ThresholdTable
from mlflow_pt_eval.metrics.tables import auc_band
from mlflow_pt_eval.metrics.thinning import thin_monotone
from mlflow_pt_eval.wording import score, significant

TITLES: Final = {
    "binary": "ROC curve",
    "multiclass": "ROC curves, one class against the rest",
    "multilabel": "ROC curves by label",
}
UNDEFINED: Final = "No ROC curve is defined:\nno class has both samples that are it\nand samples that are not."


def roc_curve(evaluation: Evaluation, *, ax: Axes | None = None) -> Figure:
    """Draw the ROC curves: one for binary, else one a class against the rest, with their macro and micro averages.

    Binary marks the thresholds with the largest Youden's J and the best F1, and the one in use, 0.5, above which class
    1 is predicted. Up to 10 classes each has a colour; more are a light bundle in which the three with the smallest
    AUC are named. Curves that keep to the upper left corner are shown enlarged as well. What is drawn is thinned to
    1/1000 of the axes; every AUC is that of all points. With *ax* the curves and their legend are drawn into it.
    """
    sheet = _open(ax, TITLES[evaluation.task], describe(evaluation))
    curves = evaluation.curves.roc
    if not curves:
        note(sheet.ax, UNDEFINED)
        return figure_of(sheet.ax)
    if evaluation.task == "binary":
        _single(sheet, evaluation, curves[-1])
        return _finish(sheet, "")
    _averages(sheet, evaluation)
    draw_classes(sheet, evaluation, curves, lambda curve: curve.auc, _thin)
    return _finish(sheet, "AUC")


def roc_overlay(evaluations: Mapping[str, Evaluation], *, ax: Axes | None = None) -> Figure:
    """Draw one ROC curve an evaluation: the binary one, or the macro average; *evaluations* are keyed by their labels.

    What has no such curve keeps its entry in the legend, which says so. With *ax* it is drawn into that.
    """
    first = next(iter(evaluations.values()), None)
    sheet = _open(ax, "ROC curves compared", "" if first is None else describe(first, model=False))
    if first is None:
        note(sheet.ax, "There is nothing to compare.")
        return figure_of(sheet.ax)
    names = display_names(list(evaluations), 165, 9.5, word="model")
    for place, (name, evaluation) in enumerate(zip(names, evaluations.values(), strict=True)):
        curve = _representative(evaluation)
        if curve is None:
            sheet.words(f"not defined  {name}")
        else:
            sheet.line(_thin(curve), f"{score(curve.auc)}  {name}", **{**series(place), "linewidth": 2})
    return _finish(sheet, "AUC" if first.task == "binary" else "AUC, macro average")


def _representative(evaluation: Evaluation) -> RocCurve | None:
    curves = evaluation.curves
    return next(iter(curves.roc[-1:]), None) if evaluation.task == "binary" else curves.roc_macro


def _open(ax: Axes | None, title: str, subtitle: str) -> Sheet:
    sheet = open_sheet(ax, title=title, subtitle=subtitle, x="false positive rate", y="true positive rate (recall)")
    sheet.ax.plot([0, 1], [0, 1], marker="", **DASHED)
    return sheet


def _finish(sheet: Sheet, title: str) -> Figure:
    size = corner_size([curves[0] for curves, _ in sheet.drawn if len(curves) == 1])
    if sheet.own and size is not None:
        magnify(sheet, size)
    return sheet.finish(title, corner="lower right")


def _single(sheet: Sheet, evaluation: Evaluation, curve: RocCurve) -> None:
    text = [f"AUC {score(curve.auc)}: {auc_band(curve.auc)}", *_interval(evaluation, "roc_auc")]
    text.append(f"of “{fit(readable(curve.name, 1), 190, 9.5)}”")
    sheet.line(_thin(curve), "\n".join(text), color=BLUE, linewidth=2)
    table = evaluation.curves.thresholds
    if table is not None and len(table.threshold):
        _mark(sheet, table, table.youden_index, table.best_f1_index)
    _mark_in_use(sheet, evaluation)


def _mark(sheet: Sheet, table: ThresholdTable, youden: int, best: int) -> None:
    """Mark the thresholds with the largest Youden's J, a ring that hides no point, and the best F1."""
    gain = float(table.tpr[youden] - table.fpr[youden])
    if gain <= 0:
        sheet.words("no threshold beats chance")
        return
    named = f"Youden's J {score(gain)}", f"best F1 {score(float(table.f1[best]))}"
    if youden == best:
        sheet.point(*_at(table, best, "\n".join(named)), marker="D", color=GREEN)
        return
    ring: Look = {"markersize": 14, "markerfacecolor": "none", "markeredgecolor": VERMILION, "markeredgewidth": 2}
    sheet.point(*_at(table, youden, named[0]), marker="o", **ring)
    sheet.point(*_at(table, best, named[1]), marker="D", color=GREEN)


def _mark_in_use(sheet: Sheet, evaluation: Evaluation) -> None:
    """Mark where the predictions are, by a cross so thin that it hides no other mark."""
    fpr, tpr = tint.shares(evaluation.confusion)[:, 1].tolist()
    look: Look = {"markersize": 17, "markeredgecolor": INK, "markeredgewidth": 1.2, "zorder": 6}
    sheet.point(fpr, tpr, f"in use: above 0.5\nTPR {score(tpr, 3)}, FPR {score(fpr, 3)}", marker="+", **look)


def _at(table: ThresholdTable, row: int, what: str) -> tuple[float, float, str]:
    fpr, tpr, limit = float(table.fpr[row]), float(table.tpr[row]), float(table.threshold[row])
    return fpr, tpr, f"{what}\nat threshold {significant(limit)}\nTPR {score(tpr, 3)}, FPR {score(fpr, 3)}"


def _averages(sheet: Sheet, evaluation: Evaluation) -> None:
    macro, micro = evaluation.curves.roc_macro, evaluation.curves.roc_micro
    if macro is not None:
        text = [f"{score(macro.auc)}  macro average", auc_band(macro.auc), *_interval(evaluation, "roc_auc_macro")]
        sheet.line(_thin(macro), "\n".join(text), color=INK, linewidth=2.6, zorder=4)
    if micro is not None:
        look = {"color": MUTED, "linewidth": 2.6, "linestyle": (0, (1.6, 0.8)), "zorder": 4}
        sheet.line(_thin(micro), f"{score(micro.auc)}  micro average", **look)


def _interval(evaluation: Evaluation, key: str) -> list[str]:
    if key not in evaluation.intervals:
        return []
    low, high = evaluation.intervals[key]
    return [f"95 % {score(low)} to {score(high)}"]


def _thin(curve: RocCurve, cells: int = 1000) -> Points:
    return thin_monotone(curve.fpr, curve.tpr, cells)
