"""Tables: a file's, and of a table's columns the inputs, one matrix of numbers, and the labels."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlflow_pt_eval.errors import BadInput, with_kind
from mlflow_pt_eval.wording import listed

_SHOWN = 12  # columns or names that a message lists
_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal", "boolean")  # pandas' words for objects


def read_table(path: Path, target: Hashable | None) -> pd.DataFrame:
    """Read a `.csv` or `.parquet` file; BadInput for one that is none."""
    try:
        if path.suffix.lower() != ".csv":
            return pd.read_parquet(path)
        table = pd.read_csv(path)
        name = str(target)
        # pandas gives the second of two columns of one name another, and so hides it.
        if f"{name}.1" in table.columns:
            _refuse_twice(pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0].tolist(), name)
        if name in table.columns and _reads_names_as_missing(table[name]):
            # pandas takes NA, None, null … for missing, which are good names of classes.
            table[name] = pd.read_csv(path, keep_default_na=False, na_values=[""])[name]
        return table
    except BadInput:
        raise
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own errors are ValueErrors
        raise BadInput(f"{path} cannot be read as a table: {with_kind(error)}") from error


def _reads_names_as_missing(labels: pd.Series[Any]) -> bool:
    gone = labels.isna()
    return bool(gone.all() or (gone.any() and not pd.api.types.is_numeric_dtype(labels.dtype)))


def split_table(table: pd.DataFrame, target: Hashable | None) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
    """Split a table into the columns beside *target*, in their order, as one matrix of float32, and *target* itself."""
    columns = [str(column) for column in table.columns]
    if target is None or str(target) not in columns:
        had = "no target column is named" if target is None else f"the table has no column {target!r}"
        raise BadInput(f"{had}; name the label's with --target (target=): one of {listed(columns, _SHOWN)}.")
    _refuse_twice(columns, str(target))
    if not len(table):
        shown = listed(columns, _SHOWN)
        raise BadInput(f"the table has 0 rows below its columns {shown}: there is nothing to evaluate.")
    inputs = table.loc[:, [column != str(target) for column in columns]]
    one = pd.DataFrame(matrix(inputs), columns=inputs.columns, copy=False)
    return one, _labels(table.iloc[:, columns.index(str(target))])


def check_label_columns(labels: pd.DataFrame, names: Sequence[Hashable]) -> None:
    """Refuse columns of labels (N, K) that are the class *names* in another order than that of the model's outputs."""
    columns, outputs = list(labels.columns), list(names)
    texts = all(isinstance(column, str) for column in columns)
    if not texts or columns == outputs or sorted(columns) != sorted(map(str, outputs)):
        return
    place = next(place for place, column in enumerate(columns) if column != outputs[place])
    way = f"y[{outputs}]" if len(outputs) <= _SHOWN else "y[class_names]"
    raise BadInput(
        f"column {place} of the labels is {columns[place]!r}, but output {place} is {outputs[place]!r} by the class "
        f"names: give the columns in the outputs' order, {way}."
    )


def matrix(table: pd.DataFrame) -> npt.NDArray[np.float32]:
    """Return a table's columns, in their order, as one float32 matrix, NaN where a value is missing."""
    for place, dtype in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype) or dtype.kind == "c":
            raise _no_number(table.iloc[:, place])
    return table.to_numpy(np.float32, na_value=np.nan)


def _no_number(column: pd.Series[Any]) -> BadInput:
    """Return the complaint about a column of another kind, with the first value that is to blame."""
    wrong = (pd.to_numeric(column, errors="coerce").isna() & column.notna()).to_numpy()
    if column.dtype.kind == "O" and wrong.any():
        first = int(wrong.argmax())
        what = f"no number for sample {first} but {column.iloc[first]!r}"
    elif column.dtype == object and pd.api.types.infer_dtype(column) in _NUMBERS:
        what = "numbers as objects: make them numbers by .astype(float)"
    else:
        what = f"values of the type {column.dtype}, no real numbers"
    return BadInput(f"the column {str(column.name)!r} holds {what}; a table's inputs are one matrix of numbers.")


def _refuse_twice(columns: list[str], target: str) -> None:
    if (count := columns.count(target)) > 1:
        raise BadInput(f"the table has {count} columns {target!r}: keep the one that holds the labels.")


def _labels(column: pd.Series[Any]) -> npt.NDArray[Any]:
    if pd.api.types.is_bool_dtype(column.dtype) and not column.hasnans:
        return column.to_numpy(np.bool_)
    if column.dtype.kind == "c":
        return column.to_numpy()
    # pandas' own integer types have a value for "missing", which becomes NaN here and is refused by name later.
    return column.to_numpy(np.float64 if pd.api.types.is_numeric_dtype(column.dtype) else None)
