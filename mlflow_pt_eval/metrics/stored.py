"""Reading the table of predictions back: the labels, and the scores or as much of them as was stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.inputs import Scores, complain
from mlflow_pt_eval.metrics.predictions import guess_task
from mlflow_pt_eval.metrics.probability import TOP
from mlflow_pt_eval.metrics.result import Floats
from mlflow_pt_eval.names import Task

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
        return self._classes("label")

    @property
    def predictions(self) -> npt.NDArray[Any]:
        """The predictions, in the labels' form."""
        return self._classes("prediction")

    @property
    def losses(self) -> Floats | None:
        """Each sample's loss, float64 (N,), where there was a criterion."""
        return self.column("loss") if "loss" in self.table else None

    def column(self, name: str, dtype: type[np.floating[Any]] = np.float64) -> npt.NDArray[Any]:
        """Return a column of numbers; BadInput if it is missing."""
        need(self.table, [name])
        return self.table[name].to_numpy(dtype)

    def _classes(self, name: str) -> npt.NDArray[Any]:
        values, several = self.table[name], self.task == "multilabel"
        if _holds_lists(values) != several:
            form = "a list of labels" if several else "one class"
            raise BadInput(f"the predictions' task is {self.task}, which has {form} in each row's {name!r}.")
        flat = _numbers(values)
        beyond = (flat < 0) | (flat >= len(self.class_names))
        complain(flat, beyond, f"{name}s", f"outside 0 … {len(self.class_names) - 1}", "name all classes")
        return indicators(values, len(self.class_names)) if several else flat


def read(frame: pd.DataFrame | str | Path, *, task: Task | None, class_names: Sequence[str] | None) -> Stored:
    """Read a frame of `predictions_frame`, or the parquet file of one; NotFound or BadInput if it is none.

    `task` and `class_names` are those stored beside the table unless given; without any, the columns tell.
    """
    table = _table(frame)
    need(table, ["label", "prediction"])
    if not len(table):
        raise BadInput("the predictions have 0 rows: give at least one.")
    places = [int(name[12:]) for name in table.columns if name.startswith("probability_") and name[12:].isdecimal()]
    columns = [f"probability_{place}" for place in range(max(places, default=-1) + 1)]
    need(table, columns)
    kind = task or table.attrs.get("task") or guess_task(1 + _holds_lists(table["label"]), (len(table), len(columns)))
    names = class_names if class_names is not None else table.attrs.get("class_names")
    scores = table[columns].to_numpy(np.float32) if columns else None
    count = len(columns) or _count(table)
    return Stored(table, kind, tuple(map(str, range(count) if names is None else names)), scores)


def need(table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise BadInput for the first of *columns* that *table* lacks."""
    if missing := [name for name in columns if name not in table.columns]:
        raise BadInput(f"the predictions have no column {missing[0]!r}: write them with predictions_frame.")


def indicators(lists: pd.Series[Any], labels: int) -> Ints:
    """Turn lists of set labels into 0 and 1 of shape (N, labels)."""
    marks = np.zeros((len(lists), labels), np.int64)
    marks[np.repeat(np.arange(len(lists)), lists.str.len()), np.concatenate(lists.to_numpy()).astype(np.int64)] = 1
    return marks


def _table(frame: pd.DataFrame | str | Path) -> pd.DataFrame:
    if isinstance(frame, pd.DataFrame):
        return frame
    if not Path(frame).is_file():
        raise NotFound(f"there is no file {str(frame)!r}: give a predictions.parquet.")
    return pd.read_parquet(frame)


def _holds_lists(column: pd.Series[Any]) -> bool:
    return column.dtype == object and pd.api.types.is_list_like(column.iloc[0])


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
    complain(flat, wrong, f"{column.name}s", "no whole numbers", "give each class's number, 0 … K-1")
    return numbers.astype(np.int64)


def _count(table: pd.DataFrame) -> int:
    """Count the classes that the stored ones show there are."""
    shown = (table[name] for name in ("label", "prediction", *TOPS) if name in table.columns)
    return 1 + max(int(_numbers(column).max(initial=-1)) for column in shown)
