"""A model as an evaluation calls it: in eval mode, without gradients, left as it was."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from inspect import signature
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from mlflow_pt_eval.errors import BadInput

_alone: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_finding = threading.Lock()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[tuple[str, ...]]:
    """Put *model* in eval mode while the block runs; every submodule's mode and buffers are as before after it.

    Given are the names of modules that stay in training mode all the same, as a `train` of the user's own wants it.
    A second thread with the same model waits: the first one would put its mode back in the middle of its own pass.
    """
    with _finding:
        alone = _alone.setdefault(model, threading.RLock())
    with alone:
        modes = [(module, module.training) for module in model.modules()]
        buffers = _Buffers(model)
        _switch(model, training=False)
        try:
            yield tuple(name or type(module).__name__ for name, module in model.named_modules() if module.training)
        finally:
            if modes[0][1]:
                _switch(model, training=True)
            for module, training in modes:
                module.training = training
            buffers.restore()


class _Buffers:
    """A model's buffers as they are now, since a forward pass may write to them in eval mode, too (a counter, say)."""

    def __init__(self, model: nn.Module) -> None:
        self._places = [(module, name, held) for module in model.modules() for name, held in module._buffers.items()]
        # An inference tensor cannot be written to, and a lazy module's holds nothing yet.
        plain = {id(b): b for *_, b in self._places if b is not None and not b.is_inference() and not is_lazy(b)}
        self._contents = [(held, held._version, held.detach().clone()) for held in plain.values()]

    def restore(self) -> None:
        """Put back what was replaced, and the numbers that were written to; a buffer that is new stays."""
        for module, name, held in self._places:
            # A ScriptModule gives its buffers as new tensors each time, which share the numbers.
            if not isinstance(module, torch.jit.ScriptModule) and module._buffers.get(name) is not held:
                module._buffers[name] = held
        with torch.no_grad():
            for held, version, content in self._contents:
                if held._version != version and held.shape == content.shape:
                    held.copy_(content)


def _switch(model: nn.Module, *, training: bool) -> None:
    if all(_takes_a_mode(kind) for kind in {type(module) for module in model.modules()}):
        with suppress(NotImplementedError):  # a graph that torch.export made has no modes; the rest may have them
            model.train(training)
            return
    for module in model.modules():
        module.training = training


def _takes_a_mode(kind: type[nn.Module]) -> bool:
    """Say whether a class's `train` switches the mode: one of the user's may be a training."""
    return kind.train is nn.Module.train or "mode" in signature(kind.train).parameters


def without_ddp(model: nn.Module) -> nn.Module:
    """Return what a DistributedDataParallel holds, which waits for no other process, or *model* itself."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


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
    wanted = named_device(device)
    has_any = any(True for _ in model.parameters()) or any(True for _ in model.buffers())
    # The CPU is without a number, or number 0.
    if has_any and (wanted.type != there.type or (wanted.index is not None and wanted.index != (there.index or 0))):
        raise BadInput(f"device is {wanted}, but the model is on {there}: move it there first, or leave device='auto'.")
    return there if has_any else usable_device(wanted)


def named_device(device: Any) -> torch.device:
    """Return the device that *device* names, be it usable here or not; BadInput where it names none."""
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise BadInput(f"{device!r} is not a device; write cpu, cuda, cuda:1 or auto.") from error


def usable_device(device: torch.device) -> torch.device:
    """Return *device* if tensors can be made there; BadInput, with what there is, where they cannot.

    On "meta" they can, but hold no numbers.
    """
    if device.type != "meta" and _takes_tensors(device):
        return device
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadInput(f"device is '{device}', but torch sees no CUDA device here; write cpu or auto.")
    there = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    known = "cpu" if there is None else f"cpu or {there.type}:0 to {there.type}:{torch.accelerator.device_count() - 1}"
    raise BadInput(f"device is '{device}', which torch cannot use here; write {known}, or auto.")


def _takes_tensors(device: torch.device) -> bool:
    try:
        torch.empty(0, device=device)
    except Exception:  # torch has an error of its own for each kind of device
        return False
    return True


def call(model: nn.Module, inputs: Any) -> Any:
    """Call *model* without gradients: with one tensor, with a tuple as arguments, with a mapping as keywords or whole.

    Not `inference_mode`: a tensor that a model makes at its first call and keeps (a table of positions, say) must
    still be of use in training; and it does not span the loader, whose data set may keep what it makes too.
    """
    with torch.set_grad_enabled(False):  # `no_grad`, at half its cost for each of many batches
        if isinstance(inputs, torch.Tensor):  # nearly always, and a loader's batches are many
            return model(inputs)
        if isinstance(inputs, Mapping):
            return model(inputs) if takes_whole(model, inputs) else model(**inputs)
        return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def takes_whole(model: nn.Module, keys: Collection[str]) -> bool:
    """Say whether *model* takes a mapping as its one argument, `forward(self, batch)`: none of *keys* is a name there.

    A graph is called as what it was made of, which only its folder knows.
    """
    if len(keys) < 2 or isinstance(model, torch.fx.GraphModule):
        return False
    taken = signature(model.forward).parameters.values()
    one = len([each for each in taken if each.default is each.empty]) == 1
    return one and all(each.kind is each.POSITIONAL_OR_KEYWORD and each.name not in keys for each in taken)


def scores_in(output: Any) -> torch.Tensor:
    """Return the scores in what a model returned: a tensor, the `logits` of a mapping or an object (a dataclass, a
    named tuple), else a tuple's first part.
    """
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, Mapping):
        if "logits" not in output:
            raise BadInput(f"the model returned a mapping of {', '.join(map(str, output))}: it must hold 'logits'.")
        found = output["logits"]
    elif isinstance(output, tuple | list) and output and not hasattr(output, "logits"):
        found = output[0]
    else:
        found = getattr(output, "logits", None)
    if not isinstance(found, torch.Tensor):
        raise BadInput(
            f"the model returned a {type(output).__name__}: it must return scores as a tensor, "
            "as a tuple's first part, or as 'logits' in a mapping or an object."
        )
    return found
