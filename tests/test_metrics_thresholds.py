"""The threshold table of a binary classifier."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import Array, close, single, single_cases

from mlflow_pt_eval.metrics import evaluate_scores, groups
from mlflow_pt_eval.metrics.result import ThresholdTable


def table_of(labels: Array, scores: Array) -> ThresholdTable | None:
    """Return the table of an evaluation."""
    return evaluate_scores(labels, scores, task="binary", bootstrap=0).curves.thresholds


def rates_at(labels: Array, score: Array, threshold: float) -> tuple[float, ...]:
    """Return (tpr, fpr, precision, F1) of predicting class 1 from *threshold* on, as the words say it."""
    guess = score >= threshold
    tp, fp, positives = (guess & (labels == 1)).sum(), (guess & (labels == 0)).sum(), (labels == 1).sum()
    return tp / positives, fp / (len(labels) - positives), tp / (tp + fp), 2 * tp / (positives + tp + fp)


def assert_table(table: ThresholdTable, labels: Array, score: Array) -> None:
    """Compare each row, and the marked ones with the best of all thresholds."""
    for row in range(len(table.threshold)):
        mine = (table.tpr[row], table.fpr[row], table.precision[row], table.f1[row])
        assert mine == pytest.approx(rates_at(labels, score, table.threshold[row]), abs=1e-12)
    everywhere = np.array([rates_at(labels, score, threshold) for threshold in np.unique(score)])
    assert close(table.f1[table.best_f1_index], everywhere[:, 3].max())
    gain = table.tpr[table.youden_index] - table.fpr[table.youden_index]
    assert close(gain, (everywhere[:, 0] - everywhere[:, 1]).max()) or gain < 0
    assert (np.diff(table.threshold) < 0).all()
    assert table.tpr[-1] == 1


@settings(max_examples=60, deadline=None)
@given(single_cases(classes=st.just(2)))
def test_each_row_is_what_its_threshold_does(case: tuple[Array, Array]) -> None:
    """And the marked rows are the best of all thresholds; without one of the classes there is no table."""
    labels, scores = case
    table = table_of(labels, scores)
    assert (table is None) == (len(np.unique(labels)) == 1)
    if table is not None:
        assert_table(table, labels, scores[:, 1].astype(np.float64))


@pytest.mark.parametrize("long", [1, 1 << 19])
def test_the_best_rows_survive_the_thinning(long: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 1,000 rows of 6,000 thresholds, the two best among them, also where a row is cut into slices."""
    monkeypatch.setattr(groups, "LONG", long)
    monkeypatch.setattr(groups, "BLOCK_VALUES", 700)
    labels, scores = single(9, 12_000, 2)
    table = table_of(labels, scores)
    assert table is not None
    assert len(table.threshold) <= 1000
    positive = np.unique(scores[labels == 1, 1])
    at = np.array([rates_at(labels, scores[:, 1], threshold) for threshold in positive])
    assert close(table.f1[table.best_f1_index], at[:, 3].max())
    youden = table.tpr[table.youden_index] - table.fpr[table.youden_index]
    assert close(youden, (at[:, 0] - at[:, 1]).max())
