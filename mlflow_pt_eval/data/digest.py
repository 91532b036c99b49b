"""The name of a data set's content: SHA-256 over all inputs and all labels, in order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from mlflow_pt_eval.data.batches import Batch, Data, Inputs
from mlflow_pt_eval.errors import BadInput

LENGTH = 32  # hex characters: MLflow keeps at most 36
_AHEAD = 4  # batches that may wait for the hasher, so that memory stays bounded


class _Part:
    """One hasher: the dtype and the shape of a sample at the head, the bytes in order, their number at the end."""

    def __init__(self, name: str) -> None:
        self._hash = hashlib.sha256(name.encode() + b"\n")
        self._header = ""
        self._count = 0

    def update(self, part: torch.Tensor) -> None:
        # A new header where the shape changes (padding per batch): without it, bytes could move between samples.
        header = f"{str(part.dtype).removeprefix('torch.')} {tuple(part.shape[1:])}\n"
        if header != self._header:
            self._hash.update(header.encode())
            self._header = header
        self._count += len(part)
        self._hash.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)

    def finish(self) -> bytes:
        self._hash.update(f"\n{self._count}".encode())
        return self._hash.digest()


class Digest:
    """The digest of batches as they come, computed on a thread of its own while the model works on them.

    Independent of how the samples are cut into batches, as long as all samples have one shape. A tuple's parts are
    hashed by position, a dict's by sorted key.
    """

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread
        self._waiting: list[Future[None]] = []
        self._inputs: dict[str, _Part] = {}
        self._labels = _Part("labels")

    def update(self, batch: Batch) -> None:
        """Take the next samples."""
        if len(self._waiting) >= _AHEAD:
            self._waiting.pop(0).result()
        self._waiting.append(self._thread.submit(self._hash, batch))

    def hexdigest(self) -> str:
        """Return 32 hex characters: the hash of the parts' hashes, then of the labels'."""
        for future in self._waiting:
            future.result()
        whole = hashlib.sha256()
        for name in sorted(self._inputs):
            whole.update(self._inputs[name].finish())
        whole.update(self._labels.finish())
        return whole.hexdigest()[:LENGTH]

    def _hash(self, batch: Batch) -> None:
        for name, part in _named(batch.inputs):
            if part.layout != torch.strided:
                raise BadInput(f"a digest needs dense inputs, but there is a tensor of layout {part.layout}.")
            self._inputs.setdefault(name, _Part(name)).update(part)
        self._labels.update(torch.from_numpy(batch.labels))


@contextmanager
def digesting() -> Iterator[Digest]:
    """Open a `Digest`; its thread ends with the block."""
    with ThreadPoolExecutor(1, thread_name_prefix="digest") as thread:
        yield Digest(thread)


def digest(data: Data) -> str:
    """Read *data* whole and return its digest: 32 hex characters, independent of batch size and workers."""
    with digesting() as hasher:
        for batch in data.batches():
            hasher.update(batch)
        return hasher.hexdigest()


def _named(inputs: Inputs) -> Sequence[tuple[str, torch.Tensor]]:
    if isinstance(inputs, torch.Tensor):
        return [("inputs", inputs)]
    if isinstance(inputs, tuple):
        return [(f"inputs {number:06d}", part) for number, part in enumerate(inputs)]
    return [(f"inputs {key}", inputs[key]) for key in sorted(inputs)]
