"""Host memory that is kept and reused, into which a live state is copied while the training waits."""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Any

import torch

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.state.codec import DICTS, EASY_ATOMS, TENSORS, Refused, encode_value, has_plain_keys, refusal

Node = dict[Hashable, Any]  # the buffers of one container: by key or index, a _Slot or the Node of a container in it


class Buffers:
    """One kept set of host buffers: `copy` makes a tree one's own at the price of one memory copy.

    A buffer is reused by the tensor that stands at the same place with the same dtype, shape and strides; fresh
    memory costs three times as much (page faults). So one object serves one copy at a time: the next `copy`
    overwrites the last one's tensors. Memory of places that are gone is given back.
    """

    def __init__(self) -> None:
        self._kept: Node = {}
        self._held: list[torch.Tensor] = []
        self._touching: threading.Thread | None = None

    @property
    def nbytes(self) -> int:
        """The bytes of host memory kept now."""
        return sum(host.nbytes for host in self._held)

    def copy(self, tree: Any) -> Any:
        """Return a copy of *tree* that shares nothing with it; tensors on the host, in this object's buffers.

        Containers are rebuilt, tensors that are one (tied weights) stay one, strides are kept, a view takes its own
        bytes only. Tensors on CUDA go to pinned memory, with one synchronisation a device. What `weights_only=True`
        would refuse is encoded on the way (`codec.encode`); BadInput, naming place and type, for what has no form.
        """
        self.wait()
        copying = _Copying()
        result = self._walk(copying, tree)
        copying.move()
        return result

    def prefault(self, tree: Any) -> None:
        """Allocate the buffers that a copy of *tree* needs, and have their pages touched by a thread of its own."""
        self.wait()
        copying = _Copying()
        self._walk(copying, tree)
        self._touching = threading.Thread(
            target=_touch, args=(copying.fresh,), name="mlflow_pt_eval-pages", daemon=True
        )
        self._touching.start()

    def wait(self) -> None:
        """Wait until the pages of `prefault` are there."""
        thread, self._touching = self._touching, None
        if thread is not None:
            thread.join()

    def _walk(self, copying: _Copying, tree: Any) -> Any:
        """Return the copy, its tensors not filled yet, and keep the buffers that it takes."""
        made: dict[int, Any] = {}
        try:
            self._kept = copying.items([(0, tree)], self._kept, made)
        except Refused as refused:
            refused.parts.pop()  # the 0 above
            raise refusal(refused) from None
        except RecursionError:
            raise BadInput("the state holds itself or is nested too deeply for a checkpoint.") from None
        self._held = copying.hosts
        return made[0]


def _touch(fresh: list[torch.Tensor]) -> None:
    for host in fresh:
        memory = host.untyped_storage()
        # Without torch, whose own threads must not begin to run in a process that may fork later.
        ctypes.memset(memory.data_ptr(), 0, memory.nbytes())


class _Slot:
    """The buffer of one place, and what the tensor there looked like."""

    __slots__ = ("contiguous", "cpu", "dtype", "host", "strides", "user")

    def __init__(self, source: torch.Tensor) -> None:
        self.dtype, self.strides, self.cpu = source.dtype, source.stride(), source.is_cpu
        self.contiguous = source.is_contiguous()
        self.host = torch.empty_like(source, device="cpu", requires_grad=False, pin_memory=source.is_cuda)
        self.user: object = None

    def fits(self, source: torch.Tensor) -> bool:
        """Say whether *source* looks as the tensor did that this was made for."""
        return (
            source.dtype is self.dtype
            and source.is_same_size(self.host)
            and (source.is_contiguous() if self.contiguous else source.stride() == self.strides)
            and source.is_cpu is self.cpu
        )


class _Copying:
    """One walk through a tree: gives each tensor its buffer, then moves the bytes of all at once.

    This is what a training waits for beside the copy itself, so the common cases come first and straight.
    """

    def __init__(self) -> None:
        self.hosts: list[torch.Tensor] = []
        self.fresh: list[torch.Tensor] = []
        self._sources: list[torch.Tensor] = []
        self._devices: set[torch.device] = set()  # those to wait for
        self._seen: dict[int, list[tuple[torch.Tensor, _Slot]]] = {}  # by address
        self._mark = object()
        self._encoded = False  # inside a form, which is not to be encoded once more

    def items(self, items: Iterable[tuple[Hashable, Any]], kept: Node, made: Any) -> Node:
        """Put a copy of each item into *made*, at its key or index; return the buffers."""
        node: Node = {}
        try:
            for key, item in items:
                kind = type(item)
                if kind in EASY_ATOMS:
                    made[key] = item
                elif kind in TENSORS:
                    made[key], node[key] = self._tensor(item, kept.get(key))
                else:
                    made[key], node[key] = self._container(item, kept.get(key))
        except Refused as refused:
            refused.parts.append(key)
            raise
        return node

    def move(self) -> None:
        """Copy the bytes of every tensor into its buffer."""
        if not self.hosts:  # torch refuses an empty list
            return
        with torch.no_grad():
            # Only pinned memory is filled without waiting, so that one wait is enough for all tensors of a device.
            torch._foreach_copy_(self.hosts, self._sources, non_blocking=True)
        for device in self._devices:
            torch.accelerator.synchronize(device)

    def _container(self, value: Any, kept: Any) -> tuple[Any, Node]:
        """Return the copy of a container, and its buffers."""
        kind = type(value)
        kept = kept if type(kept) is dict else {}
        if kind in DICTS and (self._encoded or has_plain_keys(value)):
            made = kind()
            node = self.items(value.items(), kept, made)
            if kind is OrderedDict and vars(value):  # the `_metadata` of a state_dict, no tensors
                self.items(vars(value).items(), {}, vars(made))
            return made, node
        if kind is list or kind is tuple:
            made = [None] * len(value)
            node = self.items(enumerate(value), kept, made)
            return (made if kind is list else tuple(made)), node
        form = encode_value(value)
        if type(form) is not dict:
            return form, {}
        self._encoded = True
        made = {}
        node = self.items(form.items(), kept, made)
        self._encoded = False
        return made, node

    def _tensor(self, source: torch.Tensor, kept: Any) -> tuple[torch.Tensor, _Slot | None]:
        """Return the copy of one tensor, and its buffer: a twin's, the kept one if it fits, or a new one."""
        if source.layout is not torch.strided or source.is_quantized or source.is_meta or source.is_nested:
            encode_value(source)  # refuses what has no data, or no one shape
            return source.detach().clone().cpu(), None  # rare, so not worth a buffer
        address = source.data_ptr() or id(source)
        seen = self._seen.get(address, ())
        slot = next((slot for twin, slot in seen if _same_view(twin, source)), None)
        if slot is None:
            fits = type(kept) is _Slot and kept.user is not self._mark and kept.fits(source)
            slot = kept if fits else self._fresh(source)
            self._take(slot, source, address)
        plain = type(source) is torch.Tensor and not source.requires_grad
        return slot.host if plain else _dressed(slot.host, source), slot

    def _fresh(self, source: torch.Tensor) -> _Slot:
        slot = _Slot(source)
        self.fresh.append(slot.host)
        return slot

    def _take(self, slot: _Slot, source: torch.Tensor, address: int) -> torch.Tensor:
        """Note that *source* goes into this buffer; return it."""
        slot.user = self._mark
        self._seen[address] = [*self._seen.get(address, ()), (source, slot)]
        self.hosts.append(slot.host)
        self._sources.append(source)
        if not slot.cpu:
            self._devices.add(source.device)
        return slot.host


def _same_view(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Say whether two tensors at one address are the same to the bit."""
    return (
        (a.dtype, a.shape, a.stride(), a.device) == (b.dtype, b.shape, b.stride(), b.device)
        and a.is_conj() == b.is_conj()
        and a.is_neg() == b.is_neg()
    )


def _dressed(host: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Return *host* as a Parameter or as requiring gradients, if *source* does so itself (not through a graph)."""
    if type(source) is torch.nn.Parameter:
        return torch.nn.Parameter(host, requires_grad=source.requires_grad)
    return host.detach().requires_grad_() if source.is_leaf else host
