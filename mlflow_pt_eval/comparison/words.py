"""A comparison as a few lines of text: what the command line prints, and a notebook shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from mlflow_pt_eval.names import REPORT_HTML
from mlflow_pt_eval.wording import text_table

if TYPE_CHECKING:
    from mlflow_pt_eval.comparison.result import Comparison

# The table's heads that are longer than what stands below them.
_HEADS: Final = {
    "accuracy_difference": "difference",
    "mcnemar_p": "p",
    "right_to_wrong": "lost",
    "wrong_to_right": "won",
}


def summary(comparison: Comparison, *, most: int | None = None) -> str:
    """Return the short table, of many versions the first *most*, and below it what was compared on what."""
    frame = comparison.frame().rename(columns=_HEADS)
    rows = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    more = len(rows) - len(rows[:most])
    return "\n".join(
        [
            text_table(list(frame.columns), rows[:most]),
            *([f"and {more} more versions, all of them in .frame()"] if more else []),
            *_beneath(comparison),
        ]
    )


def _beneath(comparison: Comparison) -> Iterator[str]:
    """Say what was compared on what, where its page is, and what the table's short heads mean."""
    labels = {side.uri: side.label for side in comparison.sides}
    data = comparison.dataset_name or f"the data with digest {comparison.dataset_digest}"
    yield f"baseline {labels[comparison.baseline]}, {comparison.n_samples:,} samples of {data}"
    if comparison.run_id is not None:
        yield f"page: {REPORT_HTML} in run {comparison.run_id}"
    yield (
        "difference: of the accuracy, with its 95 % interval; p: of McNemar's test; "
        "lost, won: samples now wrong, now right"
    )
