"""Loading: any model that MLflow can name becomes a module in eval mode, and nothing in it is executed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlflow_pt_eval.errors import CheckpointDamaged
from mlflow_pt_eval.exporting.agreement import doubt_of
from mlflow_pt_eval.exporting.folder import Form, load_folder, read_info
from mlflow_pt_eval.names import Outputs
from mlflow_pt_eval.predict.model import named_device, usable_device
from mlflow_pt_eval.state import preserved_rng
from mlflow_pt_eval.tracking.models.locate import in_store, located
from mlflow_pt_eval.tracking.store import Store, connect


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A loaded model and where it comes from; call it, or its `module`, as you would the live one.

    `uri` is `models:/name/N` for a version, however it was asked for. What the registration did not record (MLflow's
    own `log_model` records none of it) is None. `doubt` says why the caller's own module, with the model's weights,
    cannot be shown to give what the model does.
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
    doubt: str | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the module's outputs."""
        return self.module(*args, **kwargs)


def load_version(
    store: Store | None,
    model_uri: str,
    *,
    into: nn.Module | None = None,
    device: str | torch.device = "auto",
    doubt: bool = False,
) -> LoadedModel:
    """Load `models:/name/3`, `models:/name@alias`, `models:/m-…`, `runs:/id/path` or a local folder.

    Of a local folder *store* may be None.
    *into* takes the weights, strictly, instead of the exported graph; with *doubt* both are compared on the example
    that is stored with the model. *device* "auto" is CUDA where there is one.
    Errors: NotFound, UnsafeFile, CheckpointDamaged (not the weights that were published), PathEscape, StateMismatch,
    BadInput, StoreUnavailable.
    """
    where = resolve_device(device)
    with preserved_rng(), located(store, model_uri) as (found, folder):
        try:
            info = read_info(folder)
            module = load_folder(folder, into=into, device=where, sha256=found.weights_sha256)
        except CheckpointDamaged as error:
            raise CheckpointDamaged(f"{found.uri} was not loaded: {error}") from error
        return LoadedModel(
            module=module,
            uri=found.uri,
            name=found.name,
            version=found.version,
            model_id=found.model_id or info.model_id,
            run_id=found.run_id or info.run_id,
            outputs=info.outputs,
            class_names=info.class_names,
            form=info.form,
            weights_sha256=info.weights_sha256,
            doubt=doubt_of(folder, module, where) if doubt and into is not None else None,
        )


def load_model(
    model_uri: str | Path, *, into: nn.Module | None = None, device: str | torch.device = "auto"
) -> nn.Module:
    """Return a published model in eval mode: its exported graph, or *into* with its weights (strictly loaded).

    *model_uri* is `models:/name/3`, `models:/name@alias`, `models:/m-…`, `runs:/id/path` or a local model folder;
    *device* "auto" is CUDA where there is one, else the CPU. No pickle is executed. Errors: NotFound, saying what
    there is; UnsafeFile for a model that only a pickle could restore; CheckpointDamaged for one whose weights are not
    those that were published; StateMismatch where *into* does not fit.
    """
    uri = str(model_uri) if isinstance(model_uri, Path) else model_uri
    store = connect(make=False) if in_store(uri) else None
    return load_version(store, uri, into=into, device=device).module


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device that *device* names, "auto" being CUDA where there is one; BadInput where it cannot be used."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return usable_device(named_device(device))
