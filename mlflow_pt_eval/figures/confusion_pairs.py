"""Beside a confusion matrix without numbers: the most frequent confusions by name, and the keys to its colours."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from mlflow_pt_eval.figures import tint
from mlflow_pt_eval.figures.cells import Cell, CellText
from mlflow_pt_eval.figures.labels import display_names
from mlflow_pt_eval.figures.style import MUTED, WIDTH, add_to
from mlflow_pt_eval.metrics.result import Evaluation
from mlflow_pt_eval.wording import compact, percent

Marks = list[tuple[float, str]]

LISTED: Final = 10
SHARES: Final = (0.01, 0.1, 0.25, 0.5, 1.0)


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
    shares, counts = _share_marks(), _count_marks(int(evaluation.confusion.max(initial=0)))
    unit = "% of the true class" if normalize else "samples"
    _key(figure, left, 492, "Blues", f"correct, {unit}", shares[0] if normalize else counts)
    _key(figure, left, 540, "Oranges", f"errors, {unit}", shares[1] if normalize else counts)


def _share_marks() -> tuple[Marks, Marks]:
    """Return where shares stand on the scale of what is right, which is linear, and on that of errors."""
    texts = [f"{share:.0%}" for share in SHARES]
    return list(zip(SHARES[1:], texts[1:], strict=True)), list(zip(np.sqrt(SHARES).tolist(), texts, strict=True))


def _count_marks(most: int) -> Marks:
    """Return where the powers of ten and the largest count stand on the scale of both."""
    most = max(most, 1)
    counts = np.array([10**power for power in range(19) if 10**power < most / 2] + [most])
    at = tint.logarithm(counts) / tint.logarithm(np.array(most))
    return list(zip(at.tolist(), map(compact, counts.tolist()), strict=True))


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


def _key(figure: Figure, left: float, top: float, ramp: str, title: str, marks: Marks) -> None:
    """Draw a colour scale of 220 x 10 px, one line a px, with its marks below."""
    lines = [[(left + x, top + 14), (left + x, top + 24)] for x in range(220)]
    colors = tint.ramp(ramp)[np.arange(220) * 256 // 220] / 255
    add_to(figure, LineCollection(lines, colors=colors, linewidths=1.0, antialiaseds=False))
    add_to(figure, CellText([Cell(left, top + 5, title, MUTED)], 8, align=0))
    add_to(figure, CellText([Cell(left + 220 * at, top + 33, text, MUTED) for at, text in marks], 7.5))
