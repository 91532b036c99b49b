"""Data for an evaluation: whatever holds samples and labels, read once, whole and in order.

`load_data` makes `Data` of a DataLoader, a Dataset, `(X, y)`, a table or a SPEC string; `digest` names its content.
"""

from __future__ import annotations

from mlflow_pt_eval.data.batches import Arrays, Batch, Data, Inputs, Stream
from mlflow_pt_eval.data.digest import digest
from mlflow_pt_eval.data.loading import load_data
from mlflow_pt_eval.data.sharing import share
from mlflow_pt_eval.data.spec import load_spec

__all__ = ["Arrays", "Batch", "Data", "Inputs", "Stream", "digest", "load_data", "load_spec", "share"]
