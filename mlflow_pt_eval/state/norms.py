"""The running statistics of normalisation layers: what each process of a training has of its own in its model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from mlflow_pt_eval.state.wrappers import clean_key, unwrapped_names


def capture_norms(model: object) -> dict[str, torch.Tensor]:
    """Return copies of the buffers of *model*'s batch and instance norms, on the CPU, by names without wrappers."""
    return {name: buffer.detach().cpu().clone() for name, buffer in _norm_buffers(model)}


def restore_norms(model: object, saved: Mapping[str, torch.Tensor]) -> None:
    """Put back what `capture_norms` returned, where the model still has it."""
    for name, buffer in _norm_buffers(model):
        if name in saved and saved[name].shape == buffer.shape:
            buffer.copy_(saved[name])


def _norm_buffers(model: object) -> Iterator[tuple[str, torch.Tensor]]:
    if not isinstance(model, nn.Module):
        return
    names = unwrapped_names(model)
    for holder, module in model.named_modules():
        if isinstance(module, _NormBase):
            for name, buffer in module.named_buffers(recurse=False):
                yield clean_key(f"{holder}.{name}" if holder else name, names), buffer
