"""A pyfunc over the published models that MLflow's own PyTorch loader has no form for: several inputs, a factory …"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.exporting.folder import load_folder, read_info
from mlflow_pt_eval.exporting.inputs import Example


class Predictor:
    """What `mlflow.pyfunc.load_model` wraps: NumPy arrays in, NumPy arrays out, on the CPU."""

    def __init__(self, folder: Path) -> None:
        self._module = load_folder(folder)
        self._call = read_info(folder).call or "single"

    def get_raw_model(self) -> torch.nn.Module:
        """Return the module itself."""
        return self._module

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Return the outputs for *data* (an array, or a mapping of them): an array, or a dict of arrays by name."""
        if isinstance(data, pd.DataFrame):
            data = data.to_numpy(dtype=np.float32)
        arrays = data if isinstance(data, Mapping) else {"input": data}
        if not isinstance(data, Mapping) and self._call != "single":
            raise BadInput("this model has several inputs; send a mapping of their names to arrays.")
        tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}
        found = Example(self._call, tensors).run(self._module)
        plain = {name: (t.float() if t.dtype == torch.bfloat16 else t).numpy() for name, t in found.items()}
        return plain[""] if plain.keys() == {""} else plain


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> Predictor:
    # MLflow calls this by its name.
    return Predictor(Path(path))
