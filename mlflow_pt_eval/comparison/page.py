"""A comparison as one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mlflow_pt_eval.comparison.result import Comparison
from mlflow_pt_eval.comparison.sides import Against, MetricDifference
from mlflow_pt_eval.metrics import McNemar
from mlflow_pt_eval.names import FLIPS_CSV, direction
from mlflow_pt_eval.report.cells import name, number, value
from mlflow_pt_eval.report.document import document, image, section, to_know
from mlflow_pt_eval.report.markup import Markup, number_heads, row, table, tag
from mlflow_pt_eval.report.words import metric_name

FLIPS_SHOWN: Final = 50  # of each version; all of them are in the table of flips
CLASSES_SHOWN: Final = 20  # those whose recall changed most

_NOTE: Final = (
    "Intervals are 95 % intervals of a paired bootstrap over the samples: both models see the same resamples. Each "
    "interval and p-value holds for itself; they are not corrected for the number of comparisons on this page."
)


def render(comparison: Comparison, figures: Mapping[str, bytes]) -> str:
    """Return the page: what was compared on what, all metrics, *figures* (PNGs by what they show), each version."""
    names = ", ".join(side.label for side in comparison.sides)
    return document(
        f"Comparison of {names}",
        _header(comparison, names),
        to_know(comparison.warnings),
        section("Metrics", _metrics(comparison)),
        *(section(text, image(f"{text}: {names}", data)) for text, data in figures.items()),
        *([section("Differences to the baseline", tag("p", _NOTE, class_="hint"))] if comparison.against else []),
        *(_against(comparison, one) for one in comparison.against),
    )


def _header(comparison: Comparison, names: str) -> Markup:
    facts = {
        "Baseline": comparison.baseline,
        "Data set": comparison.dataset_name,
        "Digest": comparison.dataset_digest,
        "Split": comparison.split,
        "Samples": f"{comparison.n_samples:,}",
        "Run": comparison.run_id,
    }
    lines = [tag("div", tag("dt", key), tag("dd", value)) for key, value in facts.items() if value]
    return tag("header", tag("h1", f"Comparison of {names}"), tag("dl", *lines))


def _metrics(comparison: Comparison) -> Markup:
    sides = comparison.sides
    keys = dict.fromkeys(key for side in sides for key in side.evaluation.metrics if key != "n_samples")
    return table(
        ("Metric", *number_heads(*(side.label for side in sides))),
        [row(_metric_cell(key), *(number(side.evaluation.metrics.get(key)) for side in sides)) for key in keys],
    )


def _metric_cell(key: str) -> Markup:
    lower = " (lower is better)" if direction(key) == "min" else ""
    return tag("td", tag("span", metric_name(key), title=key), lower)


def _against(comparison: Comparison, one: Against) -> Markup:
    labels = {side.uri: side.label for side in comparison.sides}
    return section(
        f"{labels[one.uri]} against {labels[comparison.baseline]}",
        _differences(one),
        tag("p", _mcnemar_text(one.mcnemar)),
        _classes(one),
        _flips(one),
    )


def _differences(one: Against) -> Markup:
    if not one.differences:
        return tag("p", "No metric has a paired interval on these samples.", class_="hint")
    head = ("Metric", *number_heads("Difference", "95 % from", "to"), "")
    return table(head, [_difference(found) for found in one.differences])


def _difference(found: MetricDifference) -> Markup:
    marked = "marked" if found.verdict != "unclear" else None
    said = {"better": "better", "worse": "worse", "unclear": "no clear difference"}[found.verdict]
    return row(
        _metric_cell(found.metric), number(found.difference), number(found.low), number(found.high), said, class_=marked
    )


def _mcnemar_text(found: McNemar) -> str:
    kind = "exact" if found.exact else "chi-squared, continuity-corrected"
    return (
        f"{found.only_baseline:,} samples went from right to wrong, {found.only_candidate:,} from wrong to right; if "
        f"neither were better, so uneven a split would come about with p = {found.p_value:.3g} (McNemar, {kind})."
    )


def _classes(one: Against) -> Markup:
    changed = sorted((c for c in one.classes if c.change), key=lambda c: -abs(c.change))  # NaN is no change to show
    changed = [c for c in changed if c.change == c.change]
    if not changed:
        return tag("p", "No class's recall changed.", class_="hint")
    rows = [row(name(c.name), number(c.baseline), number(c.version), number(c.change)) for c in changed[:CLASSES_SHOWN]]
    more = len(changed) - len(rows)
    said = f"The {len(rows)} classes whose recall changed most; {more:,} more changed." if more else ""
    return tag(
        "div", table(("Class", *number_heads("Recall before", "after", "Change")), rows), tag("p", said, class_="hint")
    )


def _flips(one: Against) -> Markup:
    if not one.flips:
        return Markup("")
    shown = one.flips[:FLIPS_SHOWN]
    rows = [row(value(f.index), f.change, name(f.label), name(f.baseline), name(f.version)) for f in shown]
    words = f"The samples that flipped ({len(one.flips):,}; all of them are in {FLIPS_CSV})"
    head = (*number_heads("Index"), "Change", "Label", "Baseline says", "Version says")
    return tag("details", tag("summary", words), table(head, rows))
