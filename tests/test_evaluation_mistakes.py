"""The table of the worst mistakes: what its columns say, and that older ones are still read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mlflow_pt_eval.data import load_data
from mlflow_pt_eval.evaluation.mistakes import Mistakes, worst_mistakes
from mlflow_pt_eval.predict import Predictions

SUREST = "certainty of the surest error"


def test_the_certainty_is_that_of_the_surest_wrong_label() -> None:
    """Of a label wrongly given its score, of one missed what is left of 1; labels that are right don't count."""
    scores = np.array([[0.99, 0.7, 0.2], [0.99, 0.1, 0.4]], np.float32)
    labels = np.array([[1, 0, 1], [1, 0, 1]])
    found = Predictions(
        labels=labels, scores=scores, task="multilabel", outputs="probabilities", data_name="data", seconds=1.0
    )
    mistakes = worst_mistakes(found, list("abc"), load_data((torch.zeros(2, 3), torch.from_numpy(labels))))
    assert mistakes.columns == ("index", "missed", "wrongly given", SUREST, "loss")
    assert [(row["missed"], row["wrongly given"]) for row in mistakes.rows] == [("c", "b"), ("c", "none")]
    assert [row[SUREST] for row in mistakes.rows] == pytest.approx([0.8, 0.6])


@pytest.mark.parametrize("column", ["probability", SUREST])
def test_a_table_is_read_with_the_columns_that_it_has(tmp_path: Path, column: str) -> None:
    """Those of before called the certainty a probability."""
    row = {"index": 3, "missed": "none", "wrongly given": "b", column: 0.75, "loss": 1.5}
    written = Mistakes((row,), columns=tuple(row))
    written.write(tmp_path)
    read = Mistakes.read(tmp_path)
    assert (read.rows, read.columns) == (written.rows, written.columns)
