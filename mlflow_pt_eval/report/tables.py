"""The page's tables: metrics, classes, thresholds, mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from numbers import Integral, Real
from typing import Final, TypeGuard

import numpy as np

from mlflow_pt_eval.metrics.result import ClassMetrics, Evaluation, ThresholdTable
from mlflow_pt_eval.metrics.tables import BANDS
from mlflow_pt_eval.names import PER_CLASS_CSV, direction
from mlflow_pt_eval.report.markup import Markup, join, row, table, tag
from mlflow_pt_eval.report.words import METRICS, metric_name
from mlflow_pt_eval.wording import score

WORST: Final = 20  # classes that are shown first when there are more
MOST: Final = 2000  # classes that a page lists at all
AROUND: Final = 2  # rows of the threshold table shown on each side of a marked one


def number(value: float | None) -> Markup:
    """Return a cell with *value* to four decimals, or significant digits where it is small; all digits on hovering."""
    if value is None or not isfinite(value):
        return tag("td", "–" if value is None else str(value), class_="n")
    text = f"{value:.3e}" if 0 < abs(value) < 0.001 else score(value)
    return tag("td", text, class_="n", title=repr(float(value)))


def count(value: int) -> Markup:
    """Return a cell with a whole number."""
    return tag("td", f"{value:,}", class_="n")


def metrics_table(evaluation: Evaluation) -> Markup:
    """Return every metric with its 95 % interval and what it says."""
    rows = [_metric(evaluation, key) for key in evaluation.metrics if key != "n_samples"]
    return table(("Metric", "Value", "95 % interval", "What it says"), rows, class_="metrics")


def _metric(evaluation: Evaluation, key: str) -> Markup:
    lower = " (lower is better)" if direction(key) == "min" else ""
    interval = evaluation.intervals.get(key)
    ends = tag("td", class_="n")
    if interval is not None:
        low, high = interval
        ends = tag("td", f"{score(low)} – {score(high)}", class_="n", title=f"{low!r} – {high!r}")
    name = tag("td", tag("span", metric_name(key), title=key))
    return row(name, number(evaluation.metrics[key]), ends, tag("td", METRICS.get(key, "") + lower, class_="hint"))


def classes_table(evaluation: Evaluation) -> Markup:
    """Return the per-class table; of many classes the 20 with the lowest F1, the rest folded away."""
    rows = evaluation.per_class
    if len(rows) <= WORST:
        return _classes(rows)
    by_f1 = sorted(range(len(rows)), key=lambda k: (rows[k].f1, k))
    worst, rest = by_f1[:WORST], sorted(by_f1[WORST:])
    said = f"The {WORST} of {len(rows):,} with the lowest F1; all are in {PER_CLASS_CSV}."
    cut = f" (the first {MOST:,})" if len(rest) > MOST else ""
    summary = tag("summary", f"The other {len(rest):,}, in their own order{cut}")
    return join(
        [
            tag("p", said, class_="hint"),
            _classes([rows[k] for k in worst]),
            tag("details", summary, _classes([rows[k] for k in rest[:MOST]])),
        ]
    )


def _classes(rows: Sequence[ClassMetrics]) -> Markup:
    head = ("Class", "Samples", "Precision", "Recall", "F1", "ROC AUC", "Average precision")
    return table(head, [_class(r) for r in rows], class_="classes")


def _class(r: ClassMetrics) -> Markup:
    bar = f"background:linear-gradient(90deg,#d6e6f4 {100 * r.f1:.0f}%,transparent 0)"
    f1 = tag("td", score(r.f1), class_="n", title=repr(r.f1), style=bar)
    name = tag("td", r.name, class_="name")
    return row(
        name,
        count(r.support),
        number(r.precision),
        number(r.recall),
        f1,
        number(r.roc_auc),
        number(r.average_precision),
    )


def bands_table(auc: float) -> Markup:
    """Return the words for areas under the ROC curve, the band of *auc* marked."""
    highs = (1.0, *(low for low, _ in BANDS))
    rows = [
        row(f"{low:.1f} – {high:.1f}", word, class_="marked" if low <= auc and (auc < high or high == 1.0) else None)
        for (low, word), high in zip(BANDS, highs, strict=False)
    ]
    rows.append(row("below 0.5", "worse than chance", class_="marked" if auc < 0.5 else None))
    return table(("AUC", "In words"), rows, class_="bands")


def thresholds_table(thresholds: ThresholdTable) -> Markup:
    """Return the threshold table: eleven rows spread over it, and those around the two marked points."""
    marks = {thresholds.youden_index: "largest Youden's J"}
    best = thresholds.best_f1_index
    marks[best] = f"{marks[best]} and best F1" if best in marks else "best F1"
    last = len(thresholds.threshold) - 1
    near = {k + step for k in marks for step in range(-AROUND, AROUND + 1)}
    shown = sorted({k for k in near if 0 <= k <= last} | set(np.linspace(0, last, 11).round().astype(int).tolist()))
    columns = (thresholds.threshold, thresholds.tpr, thresholds.fpr, thresholds.precision, thresholds.f1)
    rows = [
        row(*(number(float(c[k])) for c in columns), marks.get(k, ""), class_="marked" if k in marks else None)
        for k in shown
    ]
    return table(("Threshold", "TPR (recall)", "FPR", "Precision", "F1", ""), rows, class_="thresholds")


def mistakes_table(mistakes: Sequence[Mapping[str, object]]) -> Markup:
    """Return a table of *mistakes*, one row each; the first one's keys are the columns."""
    head = [tag("th", key, scope="col", class_="n" if _numeric(value) else None) for key, value in mistakes[0].items()]
    return table(head, [row(*(_value(mistake.get(key)) for key in mistakes[0])) for mistake in mistakes])


def _numeric(value: object) -> TypeGuard[Real]:
    return isinstance(value, Real) and not isinstance(value, bool)


def _value(value: object) -> Markup:
    """Return a cell: a whole number, which may be an index, without separators; other numbers as `number` does."""
    if not _numeric(value):
        return tag("td", "–" if value is None else str(value), class_="name")
    return tag("td", str(int(value)), class_="n") if isinstance(value, Integral) else number(float(value))
