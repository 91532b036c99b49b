"""The parts of MLflow that its evaluator plugin is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.models.evaluation.artifacts import (
    CsvEvaluationArtifact,
    ImageEvaluationArtifact,
    JsonEvaluationArtifact,
    ParquetEvaluationArtifact,
    TextEvaluationArtifact,
)
from mlflow.models.evaluation.base import EvaluationResult, ModelEvaluator

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import META_CLASS_NAMES, TAG_OUTPUTS
from mlflow_pt_eval.tracking.runs import OpenRun

__all__ = ["EvaluationResult", "ModelEvaluator", "artifacts_of", "ask", "logged_model_of", "recorded"]

_KINDS = {
    "png": ImageEvaluationArtifact,
    "csv": CsvEvaluationArtifact,
    "json": JsonEvaluationArtifact,
    "parquet": ParquetEvaluationArtifact,
    "html": TextEvaluationArtifact,
}


def artifacts_of(run: OpenRun) -> dict[str, Any]:
    """Return the files at the root of a run's artifacts by their names, in the form in which MLflow gives results."""
    root = run.store.client.get_run(run.run_id).info.artifact_uri
    names = [entry.path for entry in run.store.client.list_artifacts(run.run_id) if not entry.is_dir]
    endings = {name: name.rpartition(".")[2] for name in names}
    return {name: _KINDS[ending](uri=f"{root}/{name}") for name, ending in endings.items() if ending in _KINDS}


def ask(model: Any, rows: npt.NDArray[Any], columns: pd.DataFrame | None) -> npt.NDArray[Any]:
    """Return a pyfunc model's outputs for *rows*, (N, D), given in the form that its signature wants.

    That is an array of the signature's type and shape, or, for a model of named columns, a table like *columns*.
    """
    schema = model.metadata.get_input_schema() if getattr(model, "metadata", None) is not None else None
    if schema is not None and schema.is_tensor_spec():
        if len(schema.inputs) > 1:
            raise BadInput(f"the model has {len(schema.inputs)} inputs, and MLflow hands an evaluator only one.")
        spec = schema.inputs[0]
        fed: Any = rows.astype(spec.type, copy=False).reshape(-1, *spec.shape[1:])
    elif columns is not None:
        fed = pd.DataFrame(rows, columns=columns.columns).astype(columns.dtypes.to_dict())
    else:
        fed = rows
    outputs = model.predict(fed)
    if isinstance(outputs, dict):
        outputs = outputs.get("logits", next(iter(outputs.values())) if len(outputs) == 1 else None)
    if outputs is None:
        raise BadInput("the model returned several outputs, none of them called 'logits'.")
    return np.asarray(outputs)


def logged_model_of(model: Any, otherwise: str | None) -> str | None:
    """Return the id of the logged model that a pyfunc model was loaded from, as far as it says so.

    MLflow hands an evaluator no id for `models:/name/1` on its own stores, or that of whatever model is active.
    """
    metadata = getattr(model, "metadata", None)
    return getattr(model, "model_id", None) or getattr(metadata, "model_id", None) or otherwise


def recorded(model: Any) -> dict[str, Any]:
    """Return the `outputs` and `class_names` that a pyfunc model was registered with, None where nothing was said."""
    metadata = getattr(model, "metadata", None)
    found = (getattr(metadata, "metadata", None) or {}) if metadata is not None else {}
    names = found.get(META_CLASS_NAMES)
    return {"outputs": found.get(TAG_OUTPUTS), "class_names": None if names is None else tuple(map(str, names))}
