"""Beside a confusion matrix without numbers: the most frequent confusions by name, and the keys to its colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlflow_pt_eval.figures import tint
from mlflow_pt_eval.figures.cells import Cell, CellText
from mlflow_pt_eval.figures.labels import display_names
from mlflow_pt_eval.figures.style import MUTED, WIDTH, add_to, board
from mlflow_pt_eval.metrics.result import Evaluation, Floats
from mlflow_pt_eval.wording import compact, percent

LISTED: Final = 10
SHARE_MARKS: Final = (0.01, 0.1, 0.25, 0.5, 1.0)


def most_confused(confusion: npt.NDArray[np.int64], limit: int = LISTED) -> list[tuple[int, int, int]]:
    """Return (true class, predicted class, count) of the most frequent errors in a (K, K) matrix, largest first.

    >>> most_confused(np.array([[9, 1, 0], [0, 9, 3], [1, 0, 9]]))
    [(1, 2, 3), (0, 1, 1), (2, 0, 1)]
    """
    flat = np.flatnonzero(confusion)
    flat = flat[flat // len(confusion) != flat % len(confusion)]
    flat = flat[np.argsort(-confusion.ravel()[flat], kind="stable")[:limit]]
    return [(int(f) // len(confusion), int(f) % len(confusion), int(confusion.flat[f])) for f in flat]


def pairs_panel(figure: Figure, left: float, evaluation: Evaluation, *, normalize: bool, indices: bool) -> None:
    """Fill *figure* from *left* on: the ten most frequent confusions, then what the colours mean.

    *indices* adds the two classes' indices, by which they are found on axes that hold no names.
    """
    _list(figure, left, evaluation, indices)
    keys = board(figure, left, 492, WIDTH - left - 8, 100)
    if normalize:
        texts = [f"{mark:.0%}" for mark in SHARE_MARKS]
        _key(keys, 0, "Blues", "correct, % of the true class", texts[1:], SHARE_MARKS[1:])
        _key(keys, 48, "Oranges", "errors, % of the true class", texts, np.sqrt(SHARE_MARKS))
    else:
        most = max(int(evaluation.confusion.max(initial=0)), 1)
        marks = [10**power for power in range(19) if 10**power < most / 2] + [most]
        at = tint.logarithm(np.array(marks)) / tint.logarithm(np.array(most))
        _key(keys, 0, "Blues", "correct, samples", [compact(n) for n in marks], at)
        _key(keys, 48, "Oranges", "errors, samples", [compact(n) for n in marks], at)
    keys.set(xlim=(0, WIDTH - left - 8), ylim=(100, 0))


def _list(figure: Figure, left: float, evaluation: Evaluation, indices: bool) -> None:
    support = evaluation.confusion.sum(axis=1).tolist()
    pairs = most_confused(evaluation.confusion)
    concerned = sorted({k for true, predicted, _ in pairs for k in (true, predicted)})
    shown = display_names([evaluation.class_names[k] for k in concerned], (WIDTH - left - 30) / 2, 9, indices=concerned)
    names = dict(zip(concerned, shown, strict=True))
    upper = [Cell(left, 76, "Most frequent confusions" if pairs else "No confusions: all predictions are right")]
    lower = [Cell(left, 94, f"true → predicted{', with indices' if indices else ''}", MUTED)] if pairs else []
    for k, (true, predicted, count) in enumerate(pairs):
        upper.append(Cell(left, 122 + 36 * k, f"{names[true]} → {names[predicted]}"))
        text = f"{count:,} of {support[true]:,} = {percent(count / support[true])} %"
        lower.append(Cell(left, 138 + 36 * k, text + (f" · {true} → {predicted}" if indices else ""), MUTED))
    add_to(figure, CellText(upper, 9, align=0))
    add_to(figure, CellText(lower, 8, align=0))


def _key(ax: Axes, top: float, ramp: str, title: str, texts: Sequence[str], at: Sequence[float] | Floats) -> None:
    """Draw a colour scale of 220 x 10 px with its marks below."""
    ax.imshow(tint.ramp(ramp)[None], extent=(0, 220, top + 24, top + 14), aspect="auto", interpolation="nearest")
    ax.add_artist(CellText([Cell(0, top + 5, title, MUTED)], 8, align=0))
    ax.add_artist(CellText([Cell(220 * x, top + 33, t, MUTED) for x, t in zip(at, texts, strict=True)], 7.5))
