"""Reading the table of predictions back: the labels, and the scores or as much of them as was stored."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlflow_pt_eval.class_names import check_class_names
from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.inputs import OVER_ONE, ROW_SUM, Mask, Scores, complain, sums_to_one
from mlflow_pt_eval.metrics.multilabel import THRESHOLD
from mlflow_pt_eval.metrics.predictions import guess_task
from mlflow_pt_eval.metrics.probability import TOP
from mlflow_pt_eval.metrics.result import Floats
from mlflow_pt_eval.names import Task

HINT = "store probabilities (softmax or sigmoid of the model's outputs)"
MAKER = "mlflow_pt_eval.metrics.predictions_frame(labels, scores)"
COLUMNS = f"give 'label', 'prediction' and, for each class, 'probability_0', 'probability_1' …, as {MAKER} makes them"
CONTRADICTED = "not of the highest probability", f"give them as {MAKER} makes them"
NUMBERED = re.compile(r"probability_\d+")
TOPS = tuple(f"top_{place + 1}" for place in range(TOP))


@dataclass(frozen=True, eq=False)
class Stored:
    """A table of predictions, its task and class names; `scores` (N, K) where all were stored."""

    table: pd.DataFrame
    task: Task
    class_names: tuple[str, ...]
    scores: Scores | None

    @property
    def labels(self) -> npt.NDArray[Any]:
        """The labels as `evaluate_scores` takes them; BadInput if one is none of the classes."""
        return self.classes("label")

    @property
    def predictions(self) -> npt.NDArray[Any]:
        """The predictions, in the labels' form."""
        return self.classes("prediction")

    @property
    def losses(self) -> Floats | None:
        """Each sample's loss, float64 (N,), where there was a criterion."""
        return self.column("loss") if "loss" in self.table else None

    def column(self, name: str, dtype: type[np.floating[Any]] = np.float64) -> npt.NDArray[Any]:
        """Return a column of numbers; BadInput if it is missing, or holds anything else."""
        need(self.table, [name])
        return _floats(self.table[name], dtype)

    def probabilities(self, name: str) -> Scores:
        """Return a column of probabilities, float32 (N,); BadInput if it is missing, or holds anything else."""
        need(self.table, [name])
        return _probabilities(self.table[name])

    def classes(self, name: str) -> npt.NDArray[Any]:
        """Return a column of classes, (N,), or of lists of them as 0 and 1, (N, K); BadInput for anything else."""
        need(self.table, [name])
        values, several = self.table[name], self.task == "multilabel"
        if _holds_lists(values) != several:
            form = "a list of labels" if several else "one class"
            raise BadInput(f"the predictions' task is {self.task}, which has {form} in each row's {name!r}.")
        flat, count = _numbers(values), len(self.class_names)
        what = "class names" if self.scores is None else "probability columns"
        how = f"not from 0 to below {count}, the number of {what}"
        complain(flat, (flat < 0) | (flat >= count), _said(name), how, "give one for each class")
        return indicators(values, count) if several else flat

    def refuse_contradictions(self) -> None:
        """Raise BadInput for the first prediction that is not what the probabilities beside it say."""
        guess = self.predictions
        complain(guess, self._contradicted(guess), "predictions", *CONTRADICTED)

    def _contradicted(self, guess: npt.NDArray[Any]) -> Mask:
        if self.scores is not None:
            several = self.task == "multilabel"
            return guess != (self.scores > THRESHOLD if several else self.scores.argmax(axis=1))
        if self.task == "multilabel":  # of so many labels only the highest probabilities are stored
            return np.zeros(guess.shape, bool)
        own, best = self.probabilities("probability_label"), self.probabilities("probability_prediction")
        return (own > best) | ((self.labels == guess) & (own != best))


def read(frame: pd.DataFrame | str | Path, *, task: Task | None, class_names: Sequence[str] | None) -> Stored:
    """Read a frame of `predictions_frame`, or the parquet file of one; NotFound or BadInput if it is none.

    `task` and `class_names` are those stored beside the table unless given; without any, the columns tell.
    """
    table = _table(frame)
    need(table, ["label", "prediction"])
    if not len(table):
        raise BadInput("the predictions have 0 rows: give at least one.")
    places = [int(name[12:]) for name in map(str, table.columns) if NUMBERED.fullmatch(name)]
    columns = [f"probability_{place}" for place in range(max(places, default=-1) + 1)]
    need(table, columns)
    kind = task or table.attrs.get("task") or guess_task(1 + _holds_lists(table["label"]), (len(table), len(columns)))
    if not columns and kind != "multilabel" and "probability_label" not in table:
        raise BadInput(f"the predictions hold no probabilities: {COLUMNS}.")
    names = table.attrs.get("class_names") if class_names is None else check_class_names(class_names)
    scores = _scores(table, columns, kind) if columns else None
    count = len(columns) or _count(table)
    if names is not None and columns and len(names) != count:
        raise BadInput(
            f"there are {len(names)} class names and {count} columns of probabilities: give one name for each."
        )
    return Stored(table, kind, tuple(map(str, range(count) if names is None else names)), scores)


def need(table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise BadInput for the first of *columns* that *table* lacks, or has more than once."""
    there = Counter(table.columns)
    for name in columns:
        if not there[name]:
            raise BadInput(f"the predictions have no column {name!r}: {COLUMNS}.")
        if there[name] > 1:
            raise BadInput(f"the predictions have {there[name]} columns {name!r}: keep one of them.")


def indicators(lists: pd.Series[Any], labels: int) -> Ints:
    """Turn lists of set labels into 0 and 1 of shape (N, labels)."""
    marks = np.zeros((len(lists), labels), np.int64)
    marks[np.repeat(np.arange(len(lists)), lists.map(len)), np.concatenate(lists.to_numpy()).astype(np.int64)] = 1
    return marks


def _table(frame: pd.DataFrame | str | Path) -> pd.DataFrame:
    if isinstance(frame, pd.DataFrame):
        return frame
    if not isinstance(frame, str | Path):
        raise BadInput(
            f"the predictions are a {type(frame).__name__}: give a DataFrame, or the path of a parquet file."
        )
    if not Path(frame).is_file():
        raise NotFound(f"there is no file {str(frame)!r}: give a predictions.parquet.")
    try:
        return pd.read_parquet(frame)
    except (ValueError, OSError) as error:  # pyarrow's are either
        raise BadInput(
            f"{str(frame)!r} is no parquet file that can be read: give a predictions.parquet, or a DataFrame, such as "
            "pd.read_csv(path)."
        ) from error


def _scores(table: pd.DataFrame, columns: Sequence[str], task: Task) -> Scores:
    scores = np.stack([_probabilities(table[name]) for name in columns], axis=1)
    if task != "multilabel" and len(columns) > 1 and not sums_to_one(scores):
        sums = scores.sum(axis=1, dtype=np.float64)
        complain(sums, ~(np.abs(sums - 1) <= ROW_SUM), "the row's sum of probabilities", "not 1", HINT)
    return scores


def _probabilities(column: pd.Series[Any]) -> Scores:
    """Return a column of probabilities, float32 (N,); BadInput with the first value that is none."""
    values = _floats(column, np.float32)
    complain(values, ~np.isfinite(values), str(column.name), "NaN or infinite", HINT)
    complain(values, (values < 0) | (values > np.float32(1 + OVER_ONE)), str(column.name), "outside 0 … 1", HINT)
    return values


def _floats(column: pd.Series[Any], dtype: type[np.floating[Any]]) -> npt.NDArray[Any]:
    """Return a column's numbers; BadInput for what is none (NaN is one)."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype, na_value=np.nan)
    values = column.to_numpy(object)
    numbers = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    complain(values, np.isnan(numbers) & ~column.isna().to_numpy(bool), str(column.name), "no numbers", "give numbers")
    return numbers.astype(dtype)


def _holds_lists(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_list_like(column.iloc[0])


def _numbers(column: pd.Series[Any]) -> npt.NDArray[Any]:
    """Return a column's class numbers, or those of its lists in one row; BadInput for what is no whole number."""
    try:
        flat = np.concatenate(column.to_numpy()) if _holds_lists(column) else column.to_numpy()
    except ValueError as error:
        raise BadInput(f"the predictions' column {column.name!r} holds lists, but not in every row.") from error
    if flat.dtype.kind in "biu":
        return flat
    numbers = pd.to_numeric(pd.Series(flat, dtype=object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = ~np.isfinite(numbers) | (numbers != np.floor(numbers))
    complain(flat, wrong, _said(str(column.name)), "no whole numbers", "give each class's number, 0 … K-1")
    return numbers.astype(np.int64)


def _said(name: str) -> str:
    return f"{name}s" if name in ("label", "prediction") else name


def _count(table: pd.DataFrame) -> int:
    """Count the classes that the stored ones show there are."""
    shown = [name for name in ("label", "prediction", *TOPS) if name in table.columns]
    need(table, shown)
    return 1 + max(int(_numbers(table[name]).max(initial=-1)) for name in shown)
