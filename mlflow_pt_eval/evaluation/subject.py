"""What is evaluated: a live module, or a model of the store with what its registration recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import Outputs
from mlflow_pt_eval.tracking.models import load_version
from mlflow_pt_eval.tracking.store import Store


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A module and where it comes from; of a live one nothing else is known.

    *notes* are what has to be said of it beside its evaluation.
    """

    module: nn.Module
    uri: str | None = None
    name: str | None = None
    version: int | None = None
    model_id: str | None = None
    run_id: str | None = None
    outputs: Outputs | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def subject_of(
    store: Store | None, model_or_uri: nn.Module | str | Path, *, into: nn.Module | None, device: str | torch.device
) -> Subject:
    """Return a live module as it is, or the model that a URI names, loaded onto *device*.

    With *into* it is that model's only if both give the same for the input example that is stored with the model; else
    the evaluation must not count as that version's, and a note says so.
    """
    if isinstance(model_or_uri, nn.Module):
        if into is not None:
            raise BadInput("into= takes the weights of a stored model, but a live module was given to be evaluated.")
        return Subject(module=model_or_uri)
    if not isinstance(model_or_uri, str | Path):
        raise BadInput(f"a {type(model_or_uri).__name__} cannot be evaluated; give a model's URI or an nn.Module.")
    loaded = load_version(store, str(model_or_uri), into=into, device=device, doubt=True)
    if loaded.doubt is not None:
        return Subject(
            module=loaded.module,
            run_id=loaded.run_id,
            outputs=loaded.outputs,
            class_names=loaded.class_names,
            notes=(
                f"the module given as into= has the weights of {loaded.uri}, but is not known to compute what that "
                f"does: {loaded.doubt}; so this evaluation does not count as one of {loaded.uri}",
            ),
        )
    return Subject(
        module=loaded.module,
        uri=loaded.uri,
        name=loaded.name,
        version=loaded.version,
        model_id=loaded.model_id,
        run_id=loaded.run_id,
        outputs=loaded.outputs,
        class_names=loaded.class_names,
    )
