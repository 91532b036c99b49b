"""Host memory that is kept and reused, into which a live state is copied while the training waits."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Hashable
from typing import Any

import torch

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.state.codec import ATOMS, DICTS, TENSORS, path_text

Path = tuple[Hashable, ...]
Kept = dict[Path, tuple[Hashable, torch.Tensor]]  # place -> what the tensor there looked like, its buffer


class Buffers:
    """One kept set of host buffers: `copy` makes a tree one's own at the price of one memory copy.

    A buffer is reused by the tensor that stands at the same place with the same dtype, shape and strides; fresh
    memory costs three times as much (page faults). So one object serves one copy at a time: the next `copy`
    overwrites the last one's tensors. Memory of places that are gone is given back.
    """

    def __init__(self) -> None:
        self._kept: Kept = {}

    @property
    def nbytes(self) -> int:
        """The bytes of host memory kept now."""
        return sum({id(host): host.nbytes for _, host in self._kept.values()}.values())

    def copy(self, tree: Any) -> Any:
        """Return a copy of *tree* that shares nothing with it; tensors on the host, in this object's buffers.

        Containers are rebuilt, tensors that are one (tied weights) stay one, strides are kept, a view takes its own
        bytes only. Tensors on CUDA go to pinned memory, with one synchronisation a device. BadInput for a leaf that
        `weights_only=True` would refuse (`encode` the tree first).
        """
        copying = _Copying(self._kept)
        result = copying.visit(tree, ())
        copying.move()
        self._kept = copying.used
        return result

    def prefault(self, tree: Any) -> None:
        """Allocate the buffers that a copy of *tree* needs and touch their pages, so that the next copy is fast."""
        copying = _Copying(self._kept)
        copying.visit(tree, ())
        for host in copying.fresh:
            host.zero_()
        self._kept = copying.used


class _Copying:
    """One walk through a tree: pairs each tensor with its buffer, then moves the bytes of all at once."""

    def __init__(self, kept: Kept) -> None:
        self.used: Kept = {}
        self.fresh: list[torch.Tensor] = []
        self._kept = kept
        self._taken: set[int] = set()
        self._seen: dict[Hashable, torch.Tensor] = {}
        self._pairs: defaultdict[torch.device, tuple[list[torch.Tensor], list[torch.Tensor]]]
        self._pairs = defaultdict(lambda: ([], []))

    def visit(self, value: Any, path: Path) -> Any:
        """Return the copy of *value*; the tensors in it are filled by `move`."""
        kind = type(value)
        if kind in TENSORS:
            return self._tensor(value, path)
        if kind in ATOMS:
            return value
        if kind is dict:
            return {key: self.visit(item, (*path, key)) for key, item in value.items()}
        if kind is list or kind is tuple:
            return kind([self.visit(item, (*path, index)) for index, item in enumerate(value)])
        if kind in DICTS:
            return self._special_dict(value, path)
        if kind is set or kind is bytearray:
            return kind(value)
        raise BadInput(
            f"{path_text(path) or 'the tree'} is a {kind.__qualname__}, which a checkpoint does not hold as it is: "
            "encode() the tree before copying it."
        )

    def move(self) -> None:
        """Copy the bytes of every tensor into its buffer."""
        with torch.no_grad():
            for device, (hosts, sources) in self._pairs.items():
                torch._foreach_copy_(hosts, sources, non_blocking=device.type == "cuda")
        for device in self._pairs:
            if device.type == "cuda":
                torch.cuda.synchronize(device)

    def _special_dict(self, value: Any, path: Path) -> Any:
        """Copy an OrderedDict with its attributes (`_metadata` of a state_dict), or a Counter."""
        made = type(value)()
        for key, item in value.items():
            made[key] = self.visit(item, (*path, key))
        if type(value) is OrderedDict and vars(value):
            vars(made).update(self.visit(vars(value), (*path, "its attributes")))
        return made

    def _tensor(self, source: torch.Tensor, path: Path) -> torch.Tensor:
        """Return the copy of one tensor; the same object for the same memory seen in the same way."""
        if source.layout is not torch.strided or source.is_quantized:
            return source.detach().clone().cpu()
        look = (source.dtype, source.shape, source.stride(), source.device, source.is_conj(), source.is_neg())
        same = (source.data_ptr(), look)
        host = self._seen.get(same)
        if host is None:
            host = self._seen[same] = self._host(source, path, look)
        self.used[path] = (look, host)
        return _dressed(host, source) if source.requires_grad or type(source) is not torch.Tensor else host

    def _host(self, source: torch.Tensor, path: Path, look: Hashable) -> torch.Tensor:
        """Return the buffer for *source*: the kept one if it fits and nobody has it yet, else a new one."""
        then, host = self._kept.get(path, (None, None))
        if host is None or then != look or id(host) in self._taken:
            host = torch.empty_like(source, device="cpu", requires_grad=False, pin_memory=source.is_cuda)
            self.fresh.append(host)
        self._taken.add(id(host))
        hosts, sources = self._pairs[source.device]
        hosts.append(host)
        sources.append(source)
        return host


def _dressed(host: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Return *host* as a Parameter or as requiring gradients, if *source* does so itself (not through a graph)."""
    if type(source) is torch.nn.Parameter:
        return torch.nn.Parameter(host, requires_grad=source.requires_grad)
    return host.detach().requires_grad_() if source.is_leaf else host
