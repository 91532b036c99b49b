"""Whether a module of the user's computes what the stored model does whose weights it has taken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]
from torch import nn

from mlflow_pt_eval.errors import first_line
from mlflow_pt_eval.exporting.folder import MLMODEL_FILE, load_folder, read_info
from mlflow_pt_eval.exporting.inputs import Example
from mlflow_pt_eval.exporting.prove import difference
from mlflow_pt_eval.predict.model import evaluating, scores_in

EXAMPLE_FILE = "input_example.json"


def doubt_of(folder: Path, module: nn.Module, device: torch.device) -> str | None:
    """Return why *module*, on *device* with the weights in *folder*, cannot be shown to give what the model there does.

    None if both give the same scores for the example that is stored with the model.
    """
    try:
        example = _stored_example(folder, device)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return "no input example is stored with it on which both could be compared"
    try:
        stored = scores_in(example.ask(load_folder(folder, device=device)))
    except Exception as error:  # a factory's module is the user's code
        return f"it does not give outputs of its own to compare with ({first_line(error)})"
    try:
        with evaluating(module):
            own = scores_in(example.ask(module))
    except Exception as error:
        return f"the module fails on the input example that is stored with it ({first_line(error)})"
    told = difference(stored.cpu(), own.cpu())
    return None if told is None else f"for the input example that is stored with it the module's scores differ: {told}"


def _stored_example(folder: Path, device: torch.device) -> Example:
    """Read the example as MLflow keeps it: the values as JSON, their types in the signature."""
    described = yaml.safe_load((folder / MLMODEL_FILE).read_text(encoding="utf-8"))
    specs = json.loads(described["signature"]["inputs"])
    values = json.loads((folder / EXAMPLE_FILE).read_text(encoding="utf-8"))
    call = read_info(folder).call or "single"
    if call == "single":  # in a mapping where MLflow itself has written it
        values = {"input": values["inputs"] if isinstance(values, dict) else values}
    types = [np.dtype(spec["tensor-spec"]["dtype"]) for spec in specs]
    tensors = {
        name: torch.from_numpy(np.array(value, dtype)).to(device)
        for (name, value), dtype in zip(values.items(), types, strict=True)
    }
    return Example(call, tensors).at_least_two()
