"""Loading: any model that MLflow can name becomes a module in eval mode, and nothing in it is executed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.exporting.folder import Form, load_folder, read_info
from mlflow_pt_eval.names import Outputs
from mlflow_pt_eval.state import preserved_rng
from mlflow_pt_eval.tracking.models.locate import located
from mlflow_pt_eval.tracking.store import Store, connect


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A loaded model and where it comes from; call it, or its `module`, as you would the live one.

    `uri` is `models:/name/N` for a version, however it was asked for. What the registration did not record (MLflow's
    own `log_model` records none of it) is None.
    """

    module: nn.Module
    uri: str
    name: str | None
    version: int | None
    model_id: str | None
    run_id: str | None
    outputs: Outputs | None
    class_names: tuple[str, ...] | None
    form: Form | None
    weights_sha256: str | None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the module's outputs."""
        return self.module(*args, **kwargs)


def load_version(
    store: Store, model_uri: str, *, into: nn.Module | None = None, device: str | torch.device = "auto"
) -> LoadedModel:
    """Load `models:/name/3`, `models:/name@alias`, `models:/m-…`, `runs:/id/path` or a local folder.

    *into* takes the weights, strictly, instead of the exported graph. *device* "auto" is CUDA where there is one.
    Errors: NotFound, UnsafeFile, PathEscape, StateMismatch, BadInput, StoreUnavailable.
    """
    where = resolve_device(device)
    with preserved_rng(), located(store, model_uri) as (found, folder):
        info = read_info(folder)
        return LoadedModel(
            module=load_folder(folder, into=into, device=where),
            uri=found.uri,
            name=found.name,
            version=found.version,
            model_id=found.model_id or info.model_id,
            run_id=found.run_id or info.run_id,
            outputs=info.outputs,
            class_names=info.class_names,
            form=info.form,
            weights_sha256=info.weights_sha256,
        )


def load_model(model_uri: str, *, into: nn.Module | None = None, device: str | torch.device = "auto") -> nn.Module:
    """Return a published model in eval mode: its exported graph, or *into* with its weights (strictly loaded).

    *model_uri* is `models:/name/3`, `models:/name@alias`, `models:/m-…`, `runs:/id/path` or a local model folder;
    *device* "auto" is CUDA where there is one, else the CPU. No pickle is executed. Errors: NotFound, saying what
    there is; UnsafeFile for a model that only a pickle could restore; StateMismatch where *into* does not fit.
    """
    return load_version(connect(), model_uri, into=into, device=device).module


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device that *device* names, "auto" being CUDA where there is one; BadInput where it cannot be used."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise BadInput(f"{device!r} is not a device; write cpu, cuda or cuda:1.") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise BadInput(f"device={str(device)!r}, but torch sees no CUDA device here; write cpu or auto.")
    return found
