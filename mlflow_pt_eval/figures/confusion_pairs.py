"""Beside a confusion matrix without numbers: the most frequent confusions by name, and the keys to its colours."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from mlflow_pt_eval.figures import tint
from mlflow_pt_eval.figures.cells import Cell, CellText
from mlflow_pt_eval.figures.labels import drawable, some_names
from mlflow_pt_eval.figures.style import MUTED, WIDTH, add_to, widest
from mlflow_pt_eval.metrics.result import Evaluation
from mlflow_pt_eval.wording import compact, percent

Marks = list[tuple[float, str]]

LISTED: Final = 10  # pairs
STACKED: Final = 8  # pairs whose names need a line each
MARGIN: Final = 20  # px at the right of the list and of the keys, whose last mark is centred on their end
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
    """Fill *figure* from *left* on: the most frequent confusions, then what the colours mean.

    *indices* adds the two classes' indices, by which they are found on axes that hold no names; names that had to be
    cut have them in any case, and names that are the indices never.
    """
    _list(figure, left, evaluation, indices)
    shares, counts = _share_marks(), _count_marks(int(evaluation.confusion.max(initial=0)))
    unit = "% of the true class" if normalize else "samples"
    _key(figure, left, 504, "Blues", f"correct, {unit}", shares[0] if normalize else counts)
    _key(figure, left, 552, "Oranges", f"errors, {unit}", shares[1] if normalize else counts)


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
    """Write the pairs, each with its share below it; names that are too long for one line stand on two."""
    pairs, room = most_confused(evaluation.confusion), WIDTH - left - MARGIN
    names = _names(evaluation, pairs, room)
    stacked = widest((f"{names[true]} → {names[predicted]}" for true, predicted, _ in pairs), 9) > room
    pairs = pairs[: STACKED if stacked else LISTED]
    support = evaluation.confusion.sum(axis=1).tolist()
    numbered = {k for k in names if _numbered(evaluation, k, names[k], indices)}
    upper = [Cell(left, 76, "Most frequent confusions" if pairs else "No confusions: all predictions are right")]
    lower = [Cell(left, 94, f"true → predicted{', with indices' if numbered else ''}", MUTED)] if pairs else []
    for k, (true, predicted, count) in enumerate(pairs):
        y = 120 + (48 if stacked else 36) * k
        names_here = [f"{names[true]} →", names[predicted]] if stacked else [f"{names[true]} → {names[predicted]}"]
        upper += [Cell(left, y + 13 * row, text) for row, text in enumerate(names_here)]
        tail = f" · {true} → {predicted}" if numbered & {true, predicted} else ""
        lower.append(Cell(left, y + 13 * len(names_here) + 2, _share(count, support[true], tail, room), MUTED))
    add_to(figure, CellText(upper, 9, align=0))
    add_to(figure, CellText(lower, 8, align=0))


def _share(count: int, of: int, tail: str, room: float) -> str:
    """Return how many of the true class a pair is, in whole numbers where they fit into *room* px."""
    share = f" = {percent(count / of)} %{tail}"
    text = f"{count:,} of {of:,}{share}"
    return text if widest([text], 8) <= room else f"{compact(count)} of {compact(of)}{share}"


def _names(evaluation: Evaluation, pairs: list[tuple[int, int, int]], room: float) -> dict[int, str]:
    concerned = sorted({k for true, predicted, _ in pairs for k in (true, predicted)})
    return some_names(evaluation.class_names, concerned, room - widest([" →"], 9), 9)


def _numbered(evaluation: Evaluation, index: int, label: str, always: bool) -> bool:
    name = drawable(evaluation.class_names[index])
    return name != str(index) and (always or label != name)


def _key(figure: Figure, left: float, top: float, ramp: str, title: str, marks: Marks) -> None:
    """Draw a colour scale of at most 220 x 10 px, one line a px, with its marks below."""
    width = min(220, int(WIDTH - left - MARGIN))
    lines = [[(left + x, top + 14), (left + x, top + 24)] for x in range(width)]
    colors = tint.ramp(ramp)[np.arange(width) * 256 // width] / 255
    add_to(figure, LineCollection(lines, colors=colors, linewidths=1.0, antialiaseds=False))
    add_to(figure, CellText([Cell(left, top + 5, title, MUTED)], 8, align=0))
    add_to(figure, CellText([Cell(left + width * at, top + 33, text, MUTED) for at, text in marks], 7.5))
