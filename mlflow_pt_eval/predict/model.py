"""A model as an evaluation calls it: in eval mode, without gradients, left as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from mlflow_pt_eval.errors import BadInput

_alone: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_finding = threading.Lock()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put *model* in eval mode while the block runs; every submodule's mode is as before after it.

    A second thread with the same model waits: the first one would put its mode back in the middle of its own pass.
    """
    with _finding:
        alone = _alone.setdefault(model, threading.RLock())
    with alone:
        modes = [(module, module.training) for module in model.modules()]
        _switch(model, training=False)
        try:
            yield
        finally:
            if modes[0][1]:
                _switch(model, training=True)
            for module, training in modes:
                module.training = training


def _switch(model: nn.Module, *, training: bool) -> None:
    try:
        model.train(training)
    except NotImplementedError:
        # A graph that torch.export made refuses to be switched, having no modes; the rest of the model may have them.
        for module in model.modules():
            module.training = training


def device_of(model: nn.Module) -> torch.device:
    """Return where *model*'s first parameter, or buffer, is; the CPU if it has neither."""
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            return tensor.device
    return torch.device("cpu")


def choose_device(model: nn.Module, device: str | torch.device | None) -> torch.device:
    """Return where the inputs go: where the model is, for "auto" (or None); BadInput for another place.

    >>> choose_device(nn.Linear(2, 2), "auto")
    device(type='cpu')
    """
    there = device_of(model)
    if device is None or device == "auto":
        return there
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise BadInput(f"{device!r} is not a device; write cpu, cuda, cuda:1 or auto.") from error
    has_any = any(True for _ in model.parameters()) or any(True for _ in model.buffers())
    if has_any and (wanted.type != there.type or (wanted.index is not None and wanted.index != there.index)):
        raise BadInput(f"device is {wanted}, but the model is on {there}: move it there first, or leave device='auto'.")
    return there if has_any else wanted


def call(model: nn.Module, inputs: Any) -> Any:
    """Call *model* without gradients: with one tensor, with a tuple as arguments, with a mapping as keywords.

    Not `inference_mode`: a tensor that a model makes at its first call and keeps (a table of positions, say) must
    still be of use in training; and it does not span the loader, whose data set may keep what it makes too.
    """
    with torch.set_grad_enabled(False):  # `no_grad`, at half its cost for each of many batches
        if isinstance(inputs, Mapping):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def scores_in(output: Any) -> torch.Tensor:
    """Return the scores in what a model returned: a tensor, a tuple's first part, a mapping's `logits`."""
    if isinstance(output, Mapping):
        if "logits" not in output:
            raise BadInput(f"the model returned a mapping of {', '.join(map(str, output))}: it must hold 'logits'.")
        output = output["logits"]
    elif isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, torch.Tensor):
        raise BadInput(
            f"the model returned a {type(output).__name__}: it must return scores as a tensor, "
            "as a tuple's first part, or as 'logits' in a mapping."
        )
    return output
