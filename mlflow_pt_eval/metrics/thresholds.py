"""What a binary classifier does at each threshold, and the two thresholds that people ask for."""

from __future__ import annotations

import numpy as np

from mlflow_pt_eval.metrics.groups import Groups, Ints, rows_of, walk
from mlflow_pt_eval.metrics.keys import Keys, scores_of
from mlflow_pt_eval.metrics.result import Floats, ThresholdTable

ROWS = 1000


def threshold_table(row: Keys, positives: int) -> ThresholdTable | None:
    """Return the table of a sorted row of keys of class 1; None where positives or negatives are missing.

    Class 1 is predicted where its score is at or above the threshold. The thresholds are scores of positives, from
    high to low: only there can TPR - FPR or F1 be largest. Of more than 1,000 some are shown, in equal steps of TPR,
    and always the first, the last and the two best (of equals the higher threshold).
    """
    negatives = len(row) - positives
    if not positives or not negatives:
        return None
    parts = [_notable(groups, positives, negatives) for groups in walk(rows_of(row[None], np.array([positives])))]
    tp, fp, key = (np.concatenate([part[index] for part in reversed(parts)]) for index in range(3))
    youden, best = int(np.argmax(_youden(tp, fp, positives, negatives))), int(np.argmax(_f1(tp, fp, positives)))
    spread = np.linspace(0, len(tp) - 1, min(len(tp), ROWS - 2)).round().astype(np.int64)
    shown = np.union1d(spread, [youden, best])
    tp, fp = tp[shown], fp[shown]
    return ThresholdTable(
        threshold=scores_of(key[shown]),
        tpr=tp / positives,
        fpr=fp / negatives,
        precision=tp / (tp + fp),
        f1=_f1(tp, fp, positives),
        youden_index=int(np.searchsorted(shown, youden)),
        best_f1_index=int(np.searchsorted(shown, best)),
    )


def _notable(groups: Groups, positives: int, negatives: int) -> tuple[Ints, Ints, Keys]:
    """Return (tp, fp, key), thresholds descending, of a slice's best thresholds and of one for each step of TPR."""
    tp, fp, key = groups.tp[::-1], groups.fp[::-1], groups.key[::-1]
    keep = np.ones(len(tp), bool)
    keep[1:-1] = np.diff(tp * (2 * ROWS) // positives)[1:] != 0
    if len(tp):
        keep[[int(_youden(tp, fp, positives, negatives).argmax()), int(_f1(tp, fp, positives).argmax())]] = True
    return tp[keep], fp[keep], key[keep]


def _youden(tp: Ints, fp: Ints, positives: int, negatives: int) -> Ints:
    """TPR - FPR times positives times negatives: exact."""
    return tp * negatives - fp * positives


def _f1(tp: Ints, fp: Ints, positives: int) -> Floats:
    return 2 * tp / (positives + tp + fp)
