"""A published model's folder: what stands where in it, and how it becomes a module again.

    MLmodel               MLflow's description; its metadata holds ours
    weights.safetensors   every entry of the state dict, tied weights under each of their names
    data/model.pt2        the exported graph (form "exported")

A folder that MLflow's own `mlflow.pytorch` made is read too, where that needs no pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml  # type: ignore[import-untyped]
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils._pytree import treespec_dumps

from mlflow_pt_eval.errors import BadInput, CheckpointDamaged, NotFound, RegistrationFailed, StorageFailed, UnsafeFile
from mlflow_pt_eval.exporting.archive import as_module, read_program
from mlflow_pt_eval.exporting.calling import accept_keywords
from mlflow_pt_eval.exporting.factory import Factory
from mlflow_pt_eval.exporting.inputs import Call
from mlflow_pt_eval.exporting.snapshot import load_strictly, unwrapped
from mlflow_pt_eval.exporting.training_mode import refuse_training
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
from mlflow_pt_eval.state import weights_sha256

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
        if not isinstance(names, list | None):
            raise TypeError(f"class names in a {type(names).__name__}")
        return ModelInfo(
            form=data.get(TAG_FORM),
            reason=data.get(TAG_FORM_REASON),
            call=data.get(META_CALL),
            outputs=data.get(TAG_OUTPUTS),
            class_names=None if names is None else tuple(map(str, names)),
            weights_sha256=data.get(TAG_WEIGHTS_SHA256),
            factory=_factory(data),
            model_id=described.get("model_id"),
            run_id=described.get("run_id"),
            flavors=frozenset(described.get("flavors") or ()),
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"{folder} is not a model's folder: it has no file {MLMODEL_FILE}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError, RecursionError) as error:
        raise BadInput(f"{path} cannot be read ({type(error).__name__}); restore or re-register the model.") from error


def _factory(data: Mapping[str, Any]) -> Factory | None:
    """Only of the form that has one: a graph needs none, whatever its description names."""
    if data.get(TAG_FORM) != "factory" or META_FACTORY not in data:
        return None
    return Factory(str(data[META_FACTORY]), data.get(META_FACTORY_KWARGS) or {})


def load_folder(
    folder: Path, *, into: nn.Module | None = None, device: torch.device | None = None, sha256: str | None = None
) -> nn.Module:
    """Return the model in *folder*, in eval mode on *device* (None: the CPU); *into* takes its weights, strictly.

    The weights must have the digest that the folder records, and *sha256*, which a registry does. Nothing that the
    folder holds is executed. Errors: UnsafeFile for a pickle, StateMismatch where *into* does not fit,
    CheckpointDamaged for other weights than were published, BadInput for what cannot be read.
    """
    info, device = read_info(folder), device or torch.device("cpu")
    if into is not None:
        load_strictly(unwrapped(into), load_weights(folder, sha256=sha256))
        return into.to(device).eval()
    if info.form == "factory":
        return _made_by_factory(folder, info, sha256).to(device).eval().requires_grad_(False)
    if (folder / PROGRAM_FILE).is_file():
        program = read_program(folder / PROGRAM_FILE)
        _check_program(folder, info, program.state_dict, sha256)
        graph = refuse_training(as_module(program, device=device), folder / PROGRAM_FILE)
        accept_keywords(graph, info.call, _input_names(program, info.call))
        return graph
    raise _unreadable(folder, info)


def _input_names(program: torch.export.ExportedProgram, call: Call | None) -> tuple[str, ...]:
    """Return the inputs' names, in order: those of a mapping are its keys, whatever the graph calls them."""
    if call not in ("keywords", "mapping"):
        return tuple(map(str, program.graph_signature.user_inputs))
    # As text, whose form has a version; the object's own names have changed with torch's.
    _, spec = json.loads(treespec_dumps(program.call_spec.in_spec))
    arguments, keywords = spec["children_spec"]
    return tuple(json.loads((keywords if call == "keywords" else arguments["children_spec"][0])["context"]))


def load_weights(folder: Path, *, sha256: str | None = None) -> dict[str, torch.Tensor]:
    """Return a model folder's state dict: `weights.safetensors`, or else what the exported graph holds.

    *sha256* and errors as `load_folder`.
    """
    path, info = folder / WEIGHTS_FILE, read_info(folder)
    if path.is_file():
        try:
            weights = load_file(path)
        except SafetensorError as error:
            raise BadInput(f"{path} cannot be read ({error}); restore it or register the model again.") from error
    elif (folder / PROGRAM_FILE).is_file():
        weights = dict(read_program(folder / PROGRAM_FILE).state_dict)
    else:
        raise _unreadable(folder, info)
    _check(path, weights_sha256(weights), info, sha256)
    return weights


def _made_by_factory(folder: Path, info: ModelInfo, sha256: str | None) -> nn.Module:
    if info.factory is None:
        raise BadInput(f"{folder / MLMODEL_FILE} names no factory, which its form needs; register the model again.")
    weights = load_weights(folder, sha256=sha256)  # before the user's code is called
    made = info.factory.build()
    load_strictly(made, weights)
    return made


def _check_program(folder: Path, info: ModelInfo, weights: Mapping[str, torch.Tensor], sha256: str | None) -> None:
    """Check a graph's own weights, from which an export leaves out what its forward cannot use (`get_extra_state`)."""
    wanted = {info.weights_sha256, sha256} - {None}
    if not wanted:
        return
    found = weights_sha256(weights)
    if wanted != {found} and (folder / WEIGHTS_FILE).is_file():
        whole = load_weights(folder, sha256=sha256)
        if weights.keys() < whole.keys() and found == weights_sha256({key: whole[key] for key in weights}):
            return
    _check(folder / PROGRAM_FILE, found, info, sha256)


def _check(path: Path, found: str, info: ModelInfo, sha256: str | None) -> None:
    for wanted in (info.weights_sha256, sha256):
        if wanted is not None and wanted != found:
            raise CheckpointDamaged(
                f"the weights in {path} are not those that were published (their SHA-256 is {found[:12]}… instead of "
                f"{wanted[:12]}…); restore the file, or register the model again."
            )


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
    if info.form == "exported":  # and its program was looked for before
        return NotFound(f"{PROGRAM_FILE} is gone from {folder}; restore it, or register the model again.")
    if "pytorch" in info.flavors:
        return UnsafeFile(
            f"{folder} holds a pickled PyTorch model, which runs code when it is read, so it is not read. Where its "
            "class is at hand, load it there and register it again with mlflow_pt_eval (or log it with "
            "serialization_format='pt2')."
        )
    kinds = ", ".join(sorted(info.flavors)) or "nothing"
    return BadInput(f"{folder} holds no PyTorch model but {kinds}; name a model that was published from PyTorch.")
