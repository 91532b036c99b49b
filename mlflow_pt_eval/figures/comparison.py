"""Several evaluations' metrics side by side, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlflow_pt_eval.figures.cells import Cell, CellText
from mlflow_pt_eval.figures.labels import describe, display_names
from mlflow_pt_eval.figures.style import FAINT, INK, MUTED, WIDTH, board, figure_of, heading, note, series, sheet
from mlflow_pt_eval.metrics.result import Evaluation
from mlflow_pt_eval.names import COMPARISON_CSV, direction
from mlflow_pt_eval.wording import score

SHOWN: Final = (
    "accuracy",
    "balanced_accuracy",
    "f1",
    "f1_macro",
    "roc_auc",
    "roc_auc_macro",
    "average_precision",
    "average_precision_macro",
    "log_loss",
    "expected_calibration_error",
)
ROW, LOW_ROW, HEAD = 22, 16, 40  # px of an evaluation's row, of many evaluations', and of a metric's name above them
FEW: Final = 6  # evaluations that have high rows
TALLEST: Final = 1600  # px of all rows
LEFT, RIGHT = 310, 600  # px at which the scales begin and end

Interval = tuple[float, float]


def metric_comparison(
    evaluations: Mapping[str, Evaluation], *, metrics: Sequence[str] | None = None, ax: Axes | None = None
) -> Figure:
    """Draw each metric of each evaluation as a point, with its 95 % interval where there is one.

    *evaluations* are keyed by their labels; *metrics* are keys without the split (default: those of the usual ones
    that any of them has), as many as fit into 1,600 px; the subtitle counts the others. Every metric has a scale of
    its own, fitted to what is shown and marked at its ends.
    """
    keys = [key for key in metrics or SHOWN if any(_value(e, key) is not None for e in evaluations.values())]
    block = HEAD + _row(evaluations) * len(evaluations)
    left_out = max(len(keys) - max(TALLEST // block, 1), 0)
    keys = keys[: len(keys) - left_out]
    height = max(block * len(keys), 120)
    if ax is None:
        figure = sheet(84 + height)
        heading(figure, "Metrics compared, with 95 % intervals", _subtitle(evaluations, left_out))
        ax = board(figure, 24, 66, WIDTH - 48, height)
    ax.set(xlim=(0, WIDTH - 48), ylim=(height, 0))
    ax.set_axis_off()
    if not keys:
        note(ax, "There is nothing to compare.")
    for place, key in enumerate(keys):
        _block(ax, block * place, key, evaluations)
    return figure_of(ax)


def _subtitle(evaluations: Mapping[str, Evaluation], left_out: int) -> str:
    first = next(iter(evaluations.values()), None)
    more = f"{left_out} more metric{'s are' if left_out > 1 else ' is'} in {COMPARISON_CSV}" if left_out else ""
    return " · ".join(part for part in (describe(first, model=False) if first else "", more) if part)


def _row(evaluations: Mapping[str, Evaluation]) -> int:
    """Return the px of an evaluation's row."""
    return ROW if len(evaluations) <= FEW else LOW_ROW


def _value(evaluation: Evaluation, key: str) -> float | None:
    value = evaluation.metrics.get(key)
    return value if value is not None and isfinite(value) else None


def _block(ax: Axes, top: float, key: str, evaluations: Mapping[str, Evaluation]) -> None:
    low, high = _range(key, evaluations)
    hint = " (lower is better)" if direction(key) == "min" else ""
    ax.add_artist(CellText([Cell(0, top + 26, key.replace("_", " ") + hint)], 9.5, align=0))
    ends = [Cell(LEFT, top + 26, score(low), MUTED), Cell(RIGHT, top + 26, score(high), MUTED)]
    ax.add_artist(CellText(ends, 8))
    texts, values = [], []
    names = display_names(list(evaluations), LEFT - 30, 9, word="model")
    for row, (name, evaluation) in enumerate(zip(names, evaluations.values(), strict=True)):
        y = top + HEAD + _row(evaluations) * (row + 0.5) - 2
        texts.append(Cell(12, y, name, MUTED))
        values.append(Cell(RIGHT + 24, y, _text(evaluation, key)))
        _mark(ax, y, row, _value(evaluation, key), evaluation.intervals.get(key), (low, high))
    ax.add_artist(CellText(texts, 9, align=0))
    ax.add_artist(CellText(values, 9, align=0))


def _range(key: str, evaluations: Mapping[str, Evaluation]) -> Interval:
    """Return the ends of a metric's scale: what is shown and a tenth more, 0.02 wide at least, not beyond 0 and 1."""
    shown = [value for e in evaluations.values() if (value := _value(e, key)) is not None]
    shown += [end for e in evaluations.values() for end in e.intervals.get(key, ())]
    low, high = min(shown), max(shown)
    room = max((high - low) * 0.1, (0.02 - (high - low)) / 2)
    return max(low - room, 0.0) if low >= 0 else low - room, min(high + room, 1.0) if high <= 1 else high + room


def _text(evaluation: Evaluation, key: str) -> str:
    value = _value(evaluation, key)
    if value is None:
        return "–"
    if key not in evaluation.intervals:
        return score(value)
    low, high = evaluation.intervals[key]
    return f"{score(value)}   ({score(low)} to {score(high)})"


def _mark(ax: Axes, y: float, row: int, value: float | None, interval: Interval | None, ends: Interval) -> None:
    def across(at: float) -> float:
        return LEFT + (RIGHT - LEFT) * (at - ends[0]) / (ends[1] - ends[0])

    ax.plot([LEFT, RIGHT], [y, y], color=FAINT, linewidth=0.8, linestyle="-", marker="")
    color = series(row)["color"]
    if interval is not None:
        ax.plot([across(at) for at in interval], [y, y], color=color, linewidth=3, alpha=0.5, linestyle="-", marker="")
    if value is not None:
        ax.plot([across(value)], [y], color=color, marker="o", markersize=7, markeredgecolor=INK, markeredgewidth=0.6)
