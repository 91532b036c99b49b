"""The files of a sharded state as torch.distributed.checkpoint reads them: no pickle is executed, also not for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, ReadItem
from torch.distributed.checkpoint.storage import StorageReader
from torch.futures import Future

from mlflow_pt_eval.errors import CheckpointDamaged
from mlflow_pt_eval.state.storage import load_tree


class ShardReader(StorageReader):
    """Reads pieces of tensors from the files that *index* (of `index_of`) names; *open_file* gives each, verified."""

    def __init__(self, index: Mapping[str, Any], open_file: Callable[[str], Path]) -> None:
        self._index, self._open = index, open_file
        try:
            self._metadata = Metadata({key: _metadata(key, whole) for key, whole in index.items()})
            self._files = {
                MetadataIndex(key, chunk["offsets"]): (str(chunk["file"]), torch.Size(chunk["sizes"]))
                for key, whole in index.items()
                for chunk in whole["chunks"]
            }
        except (KeyError, TypeError, ValueError) as error:
            what = f"{type(error).__name__}: {error}"
            raise CheckpointDamaged(f"what the tree says of its parts cannot be read ({what}).") from error

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Begin anew, which changes nothing."""

    def read_metadata(self) -> Metadata:
        """Return what there is, as the index says."""
        return self._metadata

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool) -> None:
        """Need nothing more."""

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """Keep the plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """Keep the plans as they are."""
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Copy each piece to its place, file by file."""
        wanted: dict[str, list[ReadItem]] = {}
        for item in plan.items:
            wanted.setdefault(self._files[item.storage_index][0], []).append(item)
        for file, items in sorted(wanted.items()):
            held = load_tree(self._open(file))
            for item in items:
                self._copy(file, held, item, planner)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Say that there are no ids here."""
        return False

    def _copy(self, file: str, held: Any, item: ReadItem, planner: LoadPlanner) -> None:
        key, (_, sizes) = item.storage_index.fqn, self._files[item.storage_index]
        piece, dtype = held.get(key) if isinstance(held, Mapping) else None, self._index[key]["dtype"]
        if not isinstance(piece, torch.Tensor) or piece.shape != sizes or piece.dtype != dtype:
            raise CheckpointDamaged(f"{file} does not hold the part {tuple(sizes)} {dtype} of {key}.")
        for dim, (start, length) in enumerate(zip(item.storage_offsets, item.lengths, strict=True)):
            piece = piece.narrow(dim, start, length)
        planner.resolve_tensor(item).detach().copy_(piece)


def _metadata(key: str, whole: Mapping[str, Any]) -> TensorStorageMetadata:
    size = torch.Size(whole["shape"])
    chunks = [ChunkStorageMetadata(torch.Size(c["offsets"]), torch.Size(c["sizes"])) for c in whole["chunks"]]
    inside = all(o + n <= s for c in chunks for o, n, s in zip(c.offsets, c.sizes, size, strict=True))
    if not inside or sum(chunk.sizes.numel() for chunk in chunks) != size.numel():
        raise CheckpointDamaged(f"the parts of {key} do not make up its shape {tuple(size)}.")
    return TensorStorageMetadata(TensorProperties(dtype=whole["dtype"]), size, chunks)
