"""A run's checkpoints as state trees: verified, loaded without pickle, walked back where the newest is damaged."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mlflow_pt_eval.errors import CheckpointDamaged, NotFound, UnsafeFile
from mlflow_pt_eval.names import STATE_FILE, CheckpointName
from mlflow_pt_eval.records import Manifest
from mlflow_pt_eval.state import SHARDS_KEY, assemble, load_tree
from mlflow_pt_eval.tracking.checkpoints import Checkpoints, newest_first
from mlflow_pt_eval.tracking.store import Store

_log = logging.getLogger("mlflow_pt_eval")


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A verified checkpoint: its manifest, the tree of `state.pt` on the CPU, and what gives access to its files."""

    name: CheckpointName
    manifest: Manifest
    tree: dict[str, Any]
    source: Callable[[], Checkpoints]


def load(
    checkpoints: Checkpoints, name: CheckpointName, *, whole: bool = True, only: Collection[str] | None = None
) -> LoadedCheckpoint:
    """Load one checkpoint; CheckpointDamaged or UnsafeFile, naming it, if it is not whole or not safe.

    Of a state that several processes hold in parts, the tree is put together from them (with *only*: its entries of
    these names); not with *whole* False, where each takes up its own. All files are verified in either case.
    """
    with tempfile.TemporaryDirectory() as scratch:
        manifest = checkpoints.fetch(name, Path(scratch))
        folder = checkpoints.folder
        path = Path(scratch, *name.path.split("/")) if folder is None else folder / name.path
        tree = load_tree(path / STATE_FILE)
        if whole and SHARDS_KEY in tree:
            tree = assemble(tree, partial(_fetched, manifest, path), only=only)
        return LoadedCheckpoint(name, manifest, tree, lambda: checkpoints)


def _fetched(manifest: Manifest, folder: Path, file: str) -> Path:
    if file not in manifest.files:
        raise CheckpointDamaged(f"{manifest.name}: {file} is not among the files that the manifest names.")
    return folder / file


def load_newest(
    checkpoints: Checkpoints,
    names: Sequence[CheckpointName],
    *,
    whole: bool = True,
    only: Collection[str] | None = None,
) -> LoadedCheckpoint:
    """Load the first of *names* (newest first) that is whole, naming each that was passed over and why."""
    reasons = []
    for name in names:
        try:
            return load(checkpoints, name, whole=whole, only=only)
        except (CheckpointDamaged, UnsafeFile) as error:
            _log.warning("checkpoint passed over: %s", error)
            reasons.append(str(error))
    raise CheckpointDamaged(
        f"none of the {len(names)} checkpoints of the run {checkpoints.run_id} can be used: {' '.join(reasons)}"
    )


def load_checkpoint(
    store: Store,
    run_id: str,
    *,
    epoch: int | None = None,
    step: int | None = None,
    only: Collection[str] | None = None,
) -> LoadedCheckpoint:
    """Load the newest whole checkpoint of a run, or the newest of *epoch* or *step*; NotFound if there is none."""
    checkpoints = Checkpoints.of(store, run_id)
    names = newest_first(checkpoints, epoch, step)
    if not names:
        raise NotFound(f"the run {run_id} has no checkpoint.")
    return load_newest(checkpoints, names, only=only)


def list_checkpoints(store: Store, run_id: str) -> list[Manifest]:
    """Return the manifests of a run's checkpoints that can be read, oldest first."""
    checkpoints = Checkpoints.of(store, run_id)
    manifests = []
    for name in checkpoints.committed():
        try:
            manifests.append(checkpoints.manifest(name))
        except CheckpointDamaged as error:
            _log.warning("checkpoint passed over: %s", error)
    return manifests
