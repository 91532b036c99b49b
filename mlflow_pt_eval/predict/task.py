"""What the shapes of a model's outputs say: whether they are scores at all, and of which task."""

from __future__ import annotations

from typing import Literal

import torch

from mlflow_pt_eval.data.labels import Labels
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import Task


def first_shape(scores: torch.Tensor, labels: Labels) -> torch.Tensor:
    """Check the first batch's scores; a model that squeezes a batch of one gets its first dimension back."""
    if len(labels) == 1 and (scores.ndim == 0 or (scores.ndim == 1 and len(scores) > 1)):
        scores = scores.reshape(1, -1)
    if scores.is_meta:
        raise BadInput(
            "the model's outputs are on the meta device, which holds no numbers: give the model memory "
            "(model.to_empty) and its weights (model.load_state_dict)."
        )
    plain = scores.is_floating_point() and scores.layout == torch.strided
    if scores.ndim not in (1, 2) or len(scores) != len(labels) or not plain or not scores.shape[-1]:
        kind = str(scores.dtype).removeprefix("torch.")
        kind += "" if scores.layout == torch.strided else f" ({str(scores.layout).removeprefix('torch.')})"
        raise BadInput(
            f"for {len(labels)} samples the model returned {kind} of shape {tuple(scores.shape)}: "
            "it must return float scores of shape (N, K), or (N,) or (N, 1) for one logit."
        )
    return scores


def infer_task(wanted: Task | Literal["auto"], scores: torch.Tensor, labels: Labels) -> Task:
    """Return the task: labels (N, K) are multilabel; one output, or two, is binary; more is multiclass.

    *wanted* ("auto" for the rule alone) chooses multiclass for two outputs; BadInput where it does not fit.
    """
    width = 1 if scores.ndim == 1 else scores.shape[1]
    if labels.ndim == 2:
        if labels.shape[1] != width:
            raise BadInput(
                f"labels of shape (N, {labels.shape[1]}) are multilabel, but the model has {width} outputs; "
                "give classes as (N,), or a model with one output a label."
            )
        fits: tuple[Task, ...] = ("multilabel",)
    else:
        fits = ("binary",) if width == 1 else ("binary", "multiclass") if width == 2 else ("multiclass",)
    if wanted == "auto":
        return fits[0]
    for task in fits:
        if task == wanted:
            return task
    shape = "(N, K)" if labels.ndim == 2 else "(N,) or (N, 1)" if width == 1 else "(N,)"
    outputs = "one output" if width == 1 else f"{width} outputs"
    raise BadInput(
        f"task is {wanted!r}, but labels of shape {shape} with {outputs} are {' or '.join(fits)}: leave task= (--task) "
        "out, or give what fits."
    )
