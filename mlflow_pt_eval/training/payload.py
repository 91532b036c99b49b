"""What a checkpoint is made of, from the loop's boundary to files: a snapshot, a contribution, a payload."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from mlflow_pt_eval.names import STATE_FILE, CheckpointName, shard_file
from mlflow_pt_eval.records import FileEntry, History
from mlflow_pt_eval.state import SHARDS_KEY, Buffers, Shard, index_of, save_tree, tree_bytes, tree_of
from mlflow_pt_eval.training.shares import join

_log = logging.getLogger("mlflow_pt_eval")


@dataclass(frozen=True)
class Snapshot:
    """The loop's state at a boundary: a small *account*, owned, and the *state*, live until it has been copied.

    Of a state that several processes hold in parts, *shard* is rank 0's.
    """

    name: CheckpointName
    account: dict[str, Any]
    state: dict[str, Any]
    history: History
    shares: Callable[[], list[bytes]] | None = None  # gives those of the other processes
    shard: Shard | None = None

    def copied(self, buffers: Buffers) -> Self:
        """Return the same in memory of its own."""
        if self.shard is None:
            return replace(self, state=buffers.copy(self.state))
        copied = buffers.copy({"state": self.state, "shard": self.shard.tensors})
        return replace(self, state=copied["state"], shard=replace(self.shard, tensors=copied["shard"]))


@dataclass(frozen=True)
class Contribution:
    """What a process that is not rank 0 adds to a checkpoint: its *share*, owned, and its part of a sharded state."""

    name: CheckpointName
    share: dict[str, Any]
    shard: Shard
    file: str

    def copied(self, buffers: Buffers) -> Self:
        """Return the same in memory of its own."""
        return replace(self, shard=replace(self.shard, tensors=buffers.copy(self.shard.tensors)))

    def write(self, folder: Path, *, needed: int) -> bytes:
        """Write the part into *folder*; return the share, which says what is in it, for rank 0."""
        entry = save_tree(self.shard.tensors, folder / self.file, needed=needed)
        part = {"sha256": entry.sha256, "size": entry.size, "parts": self.shard.described()}
        return tree_bytes({**self.share, "shard": part})


@dataclass(frozen=True)
class Payload:
    """The files of a checkpoint, by name, and the number of processes that made it."""

    files: Mapping[str, FileEntry]
    world_size: int


def write_payload(snapshot: Snapshot, folder: Path, *, needed: int) -> Payload | None:
    """Write rank 0's files of a checkpoint into *folder*; None, said in a warning, if a process has no part of it."""
    given = [] if snapshot.shares is None else snapshot.shares()
    if b"" in given:
        rank = given.index(b"") + 1
        _log.warning(
            "the checkpoint %s was skipped: rank %d is still writing the one before, or failed", snapshot.name, rank
        )
        return None
    shares = [tree_of(share) for share in given]
    account = join(snapshot.account, shares, snapshot.name)
    tree, files = {**account, **snapshot.state}, {}
    if snapshot.shard is not None:
        size = len(shares) + 1
        own = save_tree(snapshot.shard.tensors, folder / shard_file(0, size), needed=needed)
        others = [share["shard"] for share in shares]
        entries = [own, *(FileEntry(str(part["sha256"]), int(part["size"])) for part in others)]
        files = {shard_file(rank, size): entry for rank, entry in enumerate(entries)}
        tree[SHARDS_KEY] = index_of([snapshot.shard.described(), *(part["parts"] for part in others)], list(files))
    return Payload({STATE_FILE: save_tree(tree, folder / STATE_FILE, needed=needed), **files}, len(account["rng"]))
