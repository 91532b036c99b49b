"""A published model's folder: what stands where in it, and how it becomes a module again.

    MLmodel               MLflow's description; its metadata holds ours
    weights.safetensors   every entry of the state dict, tied weights under each of their names
    data/model.pt2        the exported graph (form "exported")

A folder that MLflow's own `mlflow.pytorch` made is read too, where that needs no pickle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml  # type: ignore[import-untyped]
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from mlflow_pt_eval.errors import BadInput, NotFound, RegistrationFailed, StorageFailed, UnsafeFile
from mlflow_pt_eval.exporting.archive import load_program
from mlflow_pt_eval.exporting.factory import Factory
from mlflow_pt_eval.exporting.inputs import Call
from mlflow_pt_eval.exporting.snapshot import load_strictly, unwrapped
from mlflow_pt_eval.names import (
    META_CALL,
    META_CLASS_NAMES,
    META_FACTORY,
    META_FACTORY_KWARGS,
    TAG_FORM,
    TAG_FORM_REASON,
    TAG_OUTPUTS,
    TAG_WEIGHTS_SHA256,
    WEIGHTS_FILE,
    Outputs,
)

Form = Literal["exported", "factory"]
MLMODEL_FILE = "MLmodel"
DATA_DIR = "data"
PROGRAM_FILE = f"{DATA_DIR}/model.pt2"


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What a model's folder says about it; everything is None in a folder that MLflow itself made."""

    form: Form | None = None
    reason: str | None = None
    call: Call | None = None
    outputs: Outputs | None = None
    class_names: tuple[str, ...] | None = None
    weights_sha256: str | None = None
    factory: Factory | None = None
    model_id: str | None = None
    run_id: str | None = None
    flavors: frozenset[str] = field(default=frozenset())

    def metadata(self) -> dict[str, Any]:
        """Return what stands in the MLmodel file's metadata; `read_info` reads it back."""
        found = {
            TAG_FORM: self.form,
            TAG_FORM_REASON: self.reason,
            META_CALL: self.call,
            TAG_OUTPUTS: self.outputs,
            META_CLASS_NAMES: None if self.class_names is None else list(self.class_names),
            TAG_WEIGHTS_SHA256: self.weights_sha256,
            META_FACTORY: None if self.factory is None else self.factory.spec,
            META_FACTORY_KWARGS: None if self.factory is None else dict(self.factory.kwargs),
        }
        return {key: value for key, value in found.items() if value is not None}


def read_info(folder: Path) -> ModelInfo:
    """Read a model folder's description; NotFound where there is none, BadInput where it cannot be read."""
    path = folder / MLMODEL_FILE
    try:
        described = yaml.safe_load(path.read_text(encoding="utf-8"))
        data = described.get("metadata") or {}
        names = data.get(META_CLASS_NAMES)
        return ModelInfo(
            form=data.get(TAG_FORM),
            reason=data.get(TAG_FORM_REASON),
            call=data.get(META_CALL),
            outputs=data.get(TAG_OUTPUTS),
            class_names=None if names is None else tuple(map(str, names)),
            weights_sha256=data.get(TAG_WEIGHTS_SHA256),
            factory=Factory(data[META_FACTORY], data.get(META_FACTORY_KWARGS) or {}) if META_FACTORY in data else None,
            model_id=described.get("model_id"),
            run_id=described.get("run_id"),
            flavors=frozenset(described.get("flavors") or ()),
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"{folder} is not a model's folder: it has no file {MLMODEL_FILE}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise BadInput(f"{path} cannot be read ({type(error).__name__}); restore or re-register the model.") from error


def load_folder(folder: Path, *, into: nn.Module | None = None, device: torch.device | None = None) -> nn.Module:
    """Return the model in *folder*, in eval mode on *device* (None: the CPU); *into* takes its weights, strictly.

    Nothing that the folder holds is executed. Errors: UnsafeFile for a pickle, StateMismatch where *into* does not
    fit, BadInput for what cannot be read.
    """
    info, device = read_info(folder), device or torch.device("cpu")
    if into is not None:
        load_strictly(unwrapped(into), load_weights(folder))
        return into.to(device).eval()
    if info.factory is not None:
        made = info.factory.build()
        load_strictly(made, load_weights(folder))
        return made.to(device).eval().requires_grad_(False)
    if (folder / PROGRAM_FILE).is_file():
        return load_program(folder / PROGRAM_FILE, device=device)
    raise _unreadable(folder, info)


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return a model folder's state dict: `weights.safetensors`, or else what the exported graph holds."""
    path = folder / WEIGHTS_FILE
    if path.is_file():
        try:
            return load_file(path)
        except SafetensorError as error:
            raise BadInput(f"{path} cannot be read ({error}); restore it or register the model again.") from error
    if (folder / PROGRAM_FILE).is_file():
        return dict(load_program(folder / PROGRAM_FILE, device=torch.device("cpu")).state_dict())
    raise _unreadable(folder, read_info(folder))


def save_weights(folder: Path, weights: Mapping[str, Any]) -> None:
    """Write a state dict as `weights.safetensors`; each entry owns its bytes, so that any reader sees every name."""
    odd = sorted(key for key, value in weights.items() if not isinstance(value, torch.Tensor))
    if odd:
        raise RegistrationFailed(
            f"the state dict's {odd[0]!r} is a {type(weights[odd[0]]).__name__}, and weights are published without "
            "pickles: keep what is not a tensor out of the state dict (get_extra_state), or make it a buffer."
        )
    owned = {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in weights.items()}
    path = folder / WEIGHTS_FILE
    try:
        save_file(owned, path, metadata={"format": "pt"})
    except SafetensorError as error:  # the disk's errors, too
        raise StorageFailed(f"cannot write {path}: {error}. Free space there, then run again.") from error


def _unreadable(folder: Path, info: ModelInfo) -> Exception:
    if "pytorch" in info.flavors:
        return UnsafeFile(
            f"{folder} holds a pickled PyTorch model, which runs code when it is read, so it is not read. Where its "
            "class is at hand, load it there and register it again with mlflow_pt_eval (or log it with "
            "serialization_format='pt2')."
        )
    kinds = ", ".join(sorted(info.flavors)) or "nothing"
    return BadInput(f"{folder} holds no PyTorch model but {kinds}; name a model that was published from PyTorch.")
