"""A run's checkpoints, after the fact: list them, load them, verify them, prune them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlflow_pt_eval.errors import CheckpointDamaged, NotFound, RunConflict, UnsafeFile
from mlflow_pt_eval.names import TAG_EPOCH, TAG_MONITORS, VAL_ACCURACY, CheckpointName, Mode
from mlflow_pt_eval.policies import check_whole, newest, stored_part
from mlflow_pt_eval.records import History, Manifest, encode_metrics
from mlflow_pt_eval.tracking import checkpoint_trees
from mlflow_pt_eval.tracking.attempts import last_attempt
from mlflow_pt_eval.tracking.checkpoints import Checkpoints
from mlflow_pt_eval.tracking.registry import versions_of_run
from mlflow_pt_eval.tracking.runs import get_run
from mlflow_pt_eval.tracking.store import connect


@dataclass(frozen=True)
class CheckpointInfo:
    """One checkpoint of a run: its folder's name, what it holds, and its *size* in bytes."""

    name: str
    epoch: int
    step: int
    complete: bool
    size: int
    metrics: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "metrics": encode_metrics(self.metrics)}


def load_checkpoint(run_id: str, *, epoch: int | None = None, step: int | None = None) -> dict[str, Any]:
    """Return the state tree of a run's newest checkpoint, or of its end of *epoch*, or of *step*, on the CPU.

    It is verified against its manifest and read without pickle; a damaged one is named and the one before is taken.
    The keys are those of `state.pt`: `epoch`, `step`, `loss`, `model_state_dict`, `optimizer_state_dict` ….
    Errors: BadInput, NotFound, naming what there is; CheckpointDamaged if none is whole.
    """
    for name, value in (("epoch", epoch), ("step", step)):
        if value is not None:
            check_whole("load_checkpoint", name, value, least=0)
    return checkpoint_trees.load_checkpoint(connect(make=False), run_id, epoch=epoch, step=step).tree


def list_checkpoints(run_id: str) -> list[Manifest]:
    """Return the manifests of a run's checkpoints, oldest first."""
    return checkpoint_trees.list_checkpoints(connect(make=False), run_id)


def overview(run_id: str) -> list[CheckpointInfo]:
    """Describe a run's checkpoints, oldest first."""
    checkpoints = Checkpoints.of(connect(make=False), run_id)
    found = checkpoint_trees.list_checkpoints(checkpoints.store, run_id)
    return [
        CheckpointInfo(str(m.name), m.epoch, m.step, m.complete, sum(f.size for f in m.files.values()), m.metrics)
        for m in found
    ]


def verify(run_id: str) -> dict[str, str | None]:
    """Read each checkpoint of a run whole; return what is wrong with each by its name, None for nothing."""
    checkpoints = Checkpoints.of(connect(make=False), run_id)
    committed = set(checkpoints.committed())
    found: dict[str, str | None] = {}
    for name in checkpoints.names():
        if name not in committed:
            found[str(name)] = "it has no manifest, so it does not count; prune deletes it."
            continue
        try:
            checkpoint_trees.load(checkpoints, name)
        except (CheckpointDamaged, UnsafeFile) as error:
            found[str(name)] = str(error).removeprefix(f"{name}: ")
        else:
            found[str(name)] = None
    if not found:
        raise NotFound(f"the run {run_id} has no checkpoint.")
    return found


def prune(run_id: str, *, keep_last: int = 2, dry_run: bool = False) -> list[str]:
    """Delete a run's checkpoints but the newest *keep_last*, the best, and those that registered versions came from.

    The best are one for each metric that the training's `ModelCheckpoint` and `RegisterBest` monitored; where nothing
    was, that of `val_accuracy`, which `register_best` takes. One in the middle of an epoch stays only if it is newer
    than any finished epoch's.
    Returns the names of what is (or with *dry_run* would be) deleted. Errors: RunConflict for a run that is being
    trained, NotFound, StoreUnavailable.
    """
    check_whole("prune", "keep_last", keep_last)
    store = connect(make=False)
    checkpoints = Checkpoints.of(store, run_id)
    tags = get_run(store, run_id).data.tags
    attempt = last_attempt(tags)
    if attempt is not None and attempt.is_at_work and not dry_run:
        raise RunConflict(
            f"the run {run_id} is being trained by process {attempt.pid}, so its checkpoints are in use; prune them "
            "when it has ended."
        )
    committed = checkpoints.committed()
    pinned = {int(v.tags[TAG_EPOCH]) for v in versions_of_run(store, run_id) if TAG_EPOCH in v.tags}
    pinned |= _best_epochs(_history(checkpoints, committed), committed, tags)
    kept = {*newest(committed, keep_last), *(n for n in committed if n.complete and n.epoch in pinned)}
    doomed = [name for name in checkpoints.names() if name not in kept]
    for name in [] if dry_run else doomed:
        checkpoints.delete(name)
    return [str(name) for name in doomed]


def _history(checkpoints: Checkpoints, committed: Sequence[CheckpointName]) -> History:
    """Return the history that the newest manifest holds that can be read."""
    for name in reversed(committed):
        with contextlib.suppress(CheckpointDamaged):
            return checkpoints.manifest(name).history
    return History()


def _best_epochs(history: History, committed: Sequence[CheckpointName], tags: Mapping[str, str]) -> set[int]:
    """Return the stored epochs that are the best by what was monitored."""
    held = stored_part(history, committed)
    try:
        read: list[tuple[str, Mode]] = [(str(key), mode) for key, mode in json.loads(tags[TAG_MONITORS])]
    except (KeyError, TypeError, ValueError):  # older than the tag, or written by somebody else
        read = []
    bests = (held.best(monitor, mode) for monitor, mode in read or [(VAL_ACCURACY, "max")])
    return {best.epoch for best in bests if best is not None}
