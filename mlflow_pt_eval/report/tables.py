"""The page's tables: metrics, classes, thresholds, mistakes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from mlflow_pt_eval.metrics.result import ClassMetrics, Evaluation, ThresholdTable
from mlflow_pt_eval.metrics.tables import BANDS
from mlflow_pt_eval.names import PER_CLASS_CSV, direction
from mlflow_pt_eval.report.cells import (
    UNDEFINED,
    count,
    index,
    interval,
    is_number,
    name,
    number,
    rate,
    threshold,
    value,
)
from mlflow_pt_eval.report.markup import Markup, join, number_heads, row, table, tag
from mlflow_pt_eval.report.words import meaning, metric_name
from mlflow_pt_eval.wording import score

WORST: Final = 20  # classes that are shown first when there are more
MOST: Final = 2000  # classes that a page lists at all
AROUND: Final = 2  # rows of the threshold table shown on each side of a marked one
IN_USE: Final = 0.5  # the score above which class 1 is predicted


def metrics_table(evaluation: Evaluation) -> Markup:
    """Return every metric with its 95 % interval and what it says; no column of intervals where there are none."""
    known = bool(evaluation.intervals)
    head = ("Metric", *number_heads("Value", *(["95 % interval"] if known else [])), "What it says")
    keys = [key for key in evaluation.metrics if key != "n_samples"]
    return table(head, [_metric(evaluation, key, intervals=known) for key in keys])


def _metric(evaluation: Evaluation, key: str, *, intervals: bool) -> Markup:
    lower = " (lower is better)" if direction(key) == "min" else ""
    return row(
        tag("td", tag("span", metric_name(key), title=key)),
        number(evaluation.metrics[key]),
        *([interval(evaluation.intervals.get(key))] if intervals else []),
        tag("td", meaning(key, evaluation.task) + lower, class_="hint"),
    )


def classes_table(evaluation: Evaluation) -> Markup:
    """Return the per-class table; of many classes the 20 with the lowest F1, the rest folded away.

    Classes without samples are not among those 20: of them there is nothing to find. Names that are not their own
    indices have the index beside them, by which figures call what looks like another, or cannot be drawn.
    """
    rows = evaluation.per_class
    if len(rows) <= WORST:
        return _classes(evaluation, range(len(rows)))
    by_f1 = sorted(range(len(rows)), key=lambda k: (not rows[k].support, rows[k].f1, k))
    worst, rest = by_f1[:WORST], sorted(by_f1[WORST:])
    said = f"The {WORST} of {len(rows):,} with the lowest F1; all are in {PER_CLASS_CSV}."
    cut = f" (the first {MOST:,})" if len(rest) > MOST else ""
    summary = tag("summary", f"The other {len(rest):,}, in their own order{cut}")
    parts = _classes(evaluation, worst), tag("details", summary, _classes(evaluation, rest[:MOST]))
    return join([tag("p", said, class_="hint"), *parts])


def _classes(evaluation: Evaluation, places: Iterable[int]) -> Markup:
    named = any(each.name != str(place) for place, each in enumerate(evaluation.per_class))
    numbers = number_heads("Samples", "Precision", "Recall", "F1", "ROC AUC", "Average precision")
    head = (*number_heads(*(["#"] if named else [])), "Label" if evaluation.task == "multilabel" else "Class", *numbers)
    predicted = _predicted(evaluation)
    rows = []
    for place in places:
        cells = _class(evaluation.per_class[place], ever=bool(predicted[place]))
        rows.append(row(*([index(place)] if named else []), *cells))
    return table(head, rows)


def _predicted(evaluation: Evaluation) -> Sequence[int]:
    """Return how often each class (or label) is predicted."""
    counts = evaluation.confusion
    return (counts[:, :, 1] if counts.ndim == 3 else counts.T).sum(axis=1).tolist()


def _class(of: ClassMetrics, *, ever: bool) -> tuple[Markup, ...]:
    """Return a class's cells; what is 0 by convention only, for a division by 0, is not shown as 0."""
    return (
        name(of.name),
        count(of.support),
        rate(of.precision if ever else None),
        rate(of.recall if of.support else None),
        _f1(of),
        rate(of.roc_auc),
        rate(of.average_precision),
    )


def _f1(of: ClassMetrics) -> Markup:
    if not of.support:
        return tag("td", UNDEFINED, class_="n")
    bar = f"background:linear-gradient(90deg,#d6e6f4 {100 * of.f1:.0f}%,transparent 0)"
    return tag("td", score(of.f1), class_="n", title=repr(of.f1), style=bar)


def bands_table(auc: float) -> Markup:
    """Return the words for areas under the ROC curve, the band of *auc* marked."""
    highs = (1.0, *(low for low, _ in BANDS))
    rows = [
        row(f"{low:.1f} – {high:.1f}", word, class_="marked" if low <= auc and (auc < high or high == 1.0) else None)
        for (low, word), high in zip(BANDS, highs, strict=False)
    ]
    rows.append(row("below 0.5", "worse than chance", class_="marked" if auc < 0.5 else None))
    return table(("AUC", "In words"), rows, class_="bands")


def thresholds_table(thresholds: ThresholdTable, evaluation: Evaluation) -> Markup:
    """Return the threshold table: eleven rows spread over it, those around the two marked points, and the one in use.

    That one is what *evaluation* predicts: above 0.5, so that it stands before a row at 0.5, which holds ties as well.
    """
    marks = {thresholds.youden_index: "largest Youden's J"}
    best = thresholds.best_f1_index
    marks[best] = f"{marks[best]} and best F1" if best in marks else "best F1"
    last = len(thresholds.threshold) - 1
    near = {k + step for k in marks for step in range(-AROUND, AROUND + 1)}
    shown = sorted({k for k in near if 0 <= k <= last} | set(np.linspace(0, last, 11).round().astype(int).tolist()))
    rates = (thresholds.tpr, thresholds.fpr, thresholds.precision, thresholds.f1)
    rows = [
        _threshold(float(thresholds.threshold[k]), [float(column[k]) for column in rates], marks.get(k, ""))
        for k in shown
    ]
    place = int((thresholds.threshold[shown] > IN_USE).sum())
    rows.insert(place, _threshold(IN_USE, _in_use(evaluation), "in use (above it)"))
    return table((*number_heads("Threshold", "TPR (recall)", "FPR", "Precision", "F1"), ""), rows)


def _threshold(at: float, rates: Iterable[float | None], mark: str) -> Markup:
    return row(threshold(at), *map(rate, rates), mark, class_="marked" if mark else None)


def _in_use(evaluation: Evaluation) -> list[float | None]:
    """Return TPR, FPR, precision and F1 of the predictions, as the other tables and figures have them."""
    counts = evaluation.confusion
    rates = [float(counts[true, 1] / total) if (total := counts[true].sum()) else None for true in (1, 0)]
    precision = evaluation.metrics.get("precision") if counts[:, 1].any() else None
    return [*rates, precision, evaluation.metrics.get("f1")]


def mistakes_table(mistakes: Sequence[Mapping[str, object]]) -> Markup:
    """Return a table of *mistakes*, one row each; the first one's keys are the columns."""
    head = [tag("th", key, scope="col", class_="n" if is_number(first) else None) for key, first in mistakes[0].items()]
    return table(head, [row(*(value(mistake.get(key)) for key in mistakes[0])) for mistake in mistakes])
