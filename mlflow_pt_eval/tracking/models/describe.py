"""The files with which MLflow recognises a model's folder: MLmodel, the input example, the environment."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]
from mlflow.entities import LoggedModel
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

import mlflow_pt_eval
from mlflow_pt_eval.exporting.candidate import Candidate
from mlflow_pt_eval.exporting.folder import DATA_DIR, MLMODEL_FILE, ModelInfo
from mlflow_pt_eval.exporting.inputs import Example

_EXAMPLE_FILE = "input_example.json"
_SERVING_EXAMPLE_FILE = "serving_input_example.json"
_EXAMPLE_VALUES = 100_000  # more would make a text of megabytes; the samples are cut to as many as fit


def describe(folder: Path, candidate: Candidate, info: ModelInfo, logged: LoggedModel, run_id: str | None) -> None:
    """Write MLflow's files into *folder*, so that `mlflow.pytorch`, `mlflow.pyfunc` and `mlflow models serve` load it.

    One tensor in and one out: by MLflow's own loader, which needs nothing of this package. Several, or a factory's
    form: as a pyfunc by `pyfunc_loader`, which does.
    """
    ours = info.form == "factory" or candidate.given.call != "single" or "" not in candidate.expected
    model = Model(
        artifact_path=logged.artifact_location,
        run_id=run_id,
        model_uuid=logged.model_id,
        model_id=logged.model_id,
        metadata=info.metadata(),
        signature=_signature(candidate),
        saved_input_example_info=_write_example(folder, candidate.given),
    )
    if info.form == "exported":
        model.add_flavor("pytorch", model_data=DATA_DIR, pytorch_version=str(torch.__version__), code=None)
    # What `mlflow.pyfunc.add_to_model` writes; importing it costs a second and warns the user of MLflow's own types.
    model.add_flavor(
        "python_function",
        loader_module="mlflow_pt_eval.tracking.models.pyfunc_loader" if ours else "mlflow.pytorch",
        python_version=platform.python_version(),
        env={"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        # Where there is a GPU, MLflow would ask the graph, which is on the CPU, to be on it, and refuse it.
        config={"device": "cpu"},
        **({} if ours else {"data": DATA_DIR}),
    )
    _write_environment(folder, requirements(ours))
    model.model_size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    model.save(str(folder / MLMODEL_FILE))


def requirements(ours: bool) -> list[str]:
    """Return what the model needs to be served, pinned; local suffixes such as +cpu are on no package index."""
    names = ["mlflow", "torch", "numpy", *(["safetensors"] if ours else [])]
    pinned = [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]
    return [*pinned, f"mlflow-pt-eval=={mlflow_pt_eval.__version__}"] if ours else pinned


def _signature(candidate: Candidate) -> ModelSignature:
    example, batched = candidate.example, candidate.example.batched()
    inputs = [
        _spec(tensor, None if candidate.given.call == "single" else name, free=name in batched)
        for name, tensor in example.tensors.items()
    ]
    outputs = [
        _spec(tensor, name or None, free=tensor.shape[:1] == (example.batch,))
        for name, tensor in candidate.expected.items()
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _spec(tensor: torch.Tensor, name: str | None, *, free: bool) -> TensorSpec:
    return TensorSpec(_numpy_type(tensor), (-1, *tensor.shape[1:]) if free else tuple(tensor.shape), name)


def _numpy_type(tensor: torch.Tensor) -> np.dtype[Any]:
    # NumPy has no bfloat16; what comes out of a served model is float32 then.
    return np.dtype("float32") if tensor.dtype == torch.bfloat16 else tensor.new_empty(0).numpy().dtype


def _write_example(folder: Path, given: Example) -> dict[str, str]:
    per_sample = sum(t.numel() for t in given.tensors.values()) // given.batch
    rows = max(1, min(given.batch, _EXAMPLE_VALUES // max(per_sample, 1)))
    batched = given.batched()
    values = {k: (t[:rows] if k in batched else t).tolist() for k, t in given.tensors.items()}
    data = next(iter(values.values())) if given.call == "single" else values
    (folder / _EXAMPLE_FILE).write_text(json.dumps(data), encoding="utf-8")
    (folder / _SERVING_EXAMPLE_FILE).write_text(json.dumps({"inputs": data}), encoding="utf-8")
    return {"artifact_path": _EXAMPLE_FILE, "serving_input_path": _SERVING_EXAMPLE_FILE, "type": "ndarray"}


def _write_environment(folder: Path, pinned: list[str]) -> None:
    python = platform.python_version()
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": pinned}],
    }
    here = {
        "python": python,
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }
    (folder / "requirements.txt").write_text("\n".join(pinned) + "\n", encoding="utf-8")
    (folder / "conda.yaml").write_text(yaml.safe_dump(conda, sort_keys=False), encoding="utf-8")
    (folder / "python_env.yaml").write_text(yaml.safe_dump(here, sort_keys=False), encoding="utf-8")
