"""An input example from data: what a SPEC string names, cut to its first samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from mlflow_pt_eval.data import load_data, load_spec
from mlflow_pt_eval.data.batches import each
from mlflow_pt_eval.errors import BadInput

_ROWS = 2  # of a data set, as the example: two show that the batch is free


def read_spec_example(given: Any) -> Any:
    """Return one batch: *given*, or the first samples of the data that a SPEC string names; BadInput for others."""
    if not isinstance(given, str):
        return given
    found = load_spec(given)
    if isinstance(found, torch.Tensor | np.ndarray | Mapping):
        return found
    if isinstance(found, pd.DataFrame):
        return _table_rows(found)
    batch = next(load_data(found, batch_size=_ROWS).batches())
    return each(batch.inputs, lambda part: part[:_ROWS])


def _table_rows(table: pd.DataFrame) -> npt.NDArray[np.float32]:
    """Return a table's first rows, all of whose columns are inputs: which one the label would be is not said."""
    text = [str(name) for name, kind in table.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
    if text:
        raise BadInput(
            f"the input example's column {text[0]!r} holds no numbers; give a table of the model's inputs alone."
        )
    return table.iloc[:_ROWS].to_numpy(np.float32)
