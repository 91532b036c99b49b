"""Opening a training's run: a new one, the one that the caller is in, or one to resume; from which checkpoint."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlflow_pt_eval.errors import BadInput, CheckpointDamaged, RunConflict
from mlflow_pt_eval.files import RunLock
from mlflow_pt_eval.names import (
    KIND_TRAINING,
    MANIFEST_FILE,
    MLFLOW_PARENT_RUN_ID,
    TAG_ATTEMPT_OF,
    TAG_GIT_DIRTY,
    TAG_INTERRUPTED,
    TAG_KIND,
    TAG_LATEST_CHECKPOINT,
    TAG_RESUMABLE,
    TAG_STOP_REASON,
    CheckpointName,
)
from mlflow_pt_eval.tracking import attempts, runs
from mlflow_pt_eval.tracking.attempts import Attempt
from mlflow_pt_eval.tracking.checkpoint_trees import LoadedCheckpoint, load_newest
from mlflow_pt_eval.tracking.checkpoints import Checkpoints, newest_first
from mlflow_pt_eval.tracking.outbox import LOCK_FILE, Outbox, let_go, staging_folder
from mlflow_pt_eval.tracking.run_names import experiments_of, newest_resumable, take_name
from mlflow_pt_eval.tracking.runs import OpenRun, given_run_id
from mlflow_pt_eval.tracking.store import Store, reaching
from mlflow_pt_eval.tracking.telemetry import Telemetry
from mlflow_pt_eval.training.ending import ending_of

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

AUTO = "auto"
_OF_THE_END = {TAG_INTERRUPTED, TAG_RESUMABLE, TAG_STOP_REASON}
_log = logging.getLogger("mlflow_pt_eval")


@dataclass(frozen=True)
class Opening:
    """A run that is ours to write to, locked, and the checkpoint to go on from (None: from the beginning)."""

    run: OpenRun
    lock: RunLock
    attempt: Attempt
    checkpoint: LoadedCheckpoint | None
    before: MlflowRun | None = None  # what is resumed, as it was found

    @property
    def resumed(self) -> bool:
        """Whether the run was there before."""
        return self.before is not None

    @property
    def finished(self) -> bool:
        """Whether what is resumed had come to its end, and is extended."""
        return self.before is not None and self.before.data.tags.get(TAG_RESUMABLE) == "false"


@dataclass(frozen=True)
class Wanted:
    """What the user asked for."""

    resume: str | None = None
    experiment_name: str | None = None
    run_name: str | None = None
    tags: Mapping[str, str] | None = None
    parent_run_id: str | None = None
    strict: bool = True


def open_training(store: Store, wanted: Wanted) -> Opening:
    """Choose, lock and mark the run, send what an earlier attempt left in staging, and load the checkpoint."""
    with reaching(store, "the training was not begun"):
        return _open(store, wanted)


def _open(store: Store, wanted: Wanted) -> Opening:
    named = None if wanted.resume in (None, "", AUTO) else runs.get_run(store, wanted.resume)
    dead = attempts.mark_dead(store, _experiment_id(store, wanted, named))
    for run_id in dead:
        _log.warning("the training run %s died without a word; it is marked KILLED now", run_id)
    # One that was marked is another now.
    existing = _to_resume(store, wanted) if named is None or named.info.run_id in dead else named
    if existing is None:
        return _fresh(store, wanted)
    return _resumed(store, existing, wanted)


def _experiment_id(store: Store, wanted: Wanted, named: MlflowRun | None) -> str:
    """Return the experiment that the training belongs in: a run that is named stays in its own, and that is said."""
    if named is None:
        return store.experiment_id(wanted.experiment_name)
    found = str(named.info.experiment_id)
    if wanted.experiment_name and (its_own := store.client.get_experiment(found).name) != wanted.experiment_name:
        _log.warning(
            "the run %s stays in its experiment %r: experiment_name=%r is not used",
            *(wanted.resume, its_own, wanted.experiment_name),
        )
    return found


def _fresh(store: Store, wanted: Wanted) -> Opening:
    # With the run itself, so that it can be told from one that is at work if this process is cut off right now.
    attempt, noted = attempts.next_attempt({}, None)
    run = runs.open_run(
        store,
        kind=KIND_TRAINING,
        experiment_name=wanted.experiment_name,
        run_name=wanted.run_name,
        tags={**(wanted.tags or {}), **_code_tags(), **noted},
        parent_run_id=wanted.parent_run_id,
    )
    try:
        if not run.owned and (wanted.run_name or wanted.experiment_name):
            take_name(run, wanted.run_name, wanted.experiment_name)
        lock = RunLock(staging_folder(run.run_id) / LOCK_FILE).acquire()
    except BaseException as error:
        close_attempt(run, attempt, error)
        raise
    return Opening(run, lock, attempt, None)


def close_attempt(run: OpenRun, attempt: Attempt, error: BaseException, before: MlflowRun | None = None) -> None:
    """Mark a run that could not be taken up; that it cannot be marked is said, the *error* stays the caller's.

    One that was there *before* becomes what it was: nothing has been trained.
    """
    try:
        attempts.end(run.store, run.run_id, attempt)
        if before is None:
            runs.finish(run, ending_of(error).status)
            return
        tags = before.data.tags
        runs.set_tags(run.store, run.run_id, {tag: tags[tag] for tag in _OF_THE_END & tags.keys()})
        if run.owned:
            had_ended = before.info.status in ("FINISHED", "FAILED", "KILLED")
            status, when = (before.info.status, before.info.end_time) if had_ended else (ending_of(error).status, None)
            run.store.client.set_terminated(run.run_id, status, when)
    except Exception as second:
        _log.error("the run %s could not be marked: %s", run.run_id, second)


def _resumed(store: Store, existing: MlflowRun, wanted: Wanted) -> Opening:
    run_id, tags = existing.info.run_id, existing.data.tags
    _refuse_if_alive(run_id, attempts.last_attempt(tags))
    lock = RunLock(staging_folder(run_id) / LOCK_FILE).acquire()
    try:
        checkpoint = _checkpoint(store, run_id, wanted.strict)
        attempt, noted = attempts.next_attempt(tags, None if checkpoint is None else str(checkpoint.name))
        if checkpoint is not None:  # the process before may have died before it could say so
            noted |= {TAG_LATEST_CHECKPOINT: str(checkpoint.name), TAG_RESUMABLE: "true"}
        runs.set_tags(store, run_id, noted)
        owned = _take(store, run_id)
        runs.set_tags(store, run_id, {**(wanted.tags or {}), **_code_tags(), TAG_KIND: KIND_TRAINING})
        for tag in {TAG_INTERRUPTED, TAG_STOP_REASON} & tags.keys():
            store.client.delete_tag(run_id, tag)
    except BaseException:
        let_go(lock)
        raise
    if checkpoint is not None:
        _log.warning("the run %s goes on from %s", run_id, checkpoint.name)
    run = OpenRun(store, run_id, existing.info.experiment_id, owned)
    return Opening(run, lock, attempt, checkpoint, existing)


def _take(store: Store, run_id: str) -> bool:
    """Make the run RUNNING again; note on a run that `mlflow run` opened for this attempt what it is an attempt of."""
    given = given_run_id()
    if given == run_id:
        return False
    if given is not None:
        runs.set_tags(store, given, {TAG_ATTEMPT_OF: run_id, MLFLOW_PARENT_RUN_ID: run_id})
    store.client.update_run(run_id, status="RUNNING")
    return True


def _to_resume(store: Store, wanted: Wanted) -> MlflowRun | None:
    resume = wanted.resume or None  # `mlflow run`'s default of a parameter is an empty text
    if resume == AUTO:
        return _newest_resumable(store, wanted)
    if resume is not None:
        return runs.get_run(store, resume)
    given = None if wanted.parent_run_id else given_run_id()
    if given is None:
        return None
    run = runs.get_run(store, given)
    if run.data.tags.get(TAG_KIND) != KIND_TRAINING:
        return None
    # The same run again: `mlflow run --run-id`. But one that is at work is the parent of this training.
    attempt = attempts.last_attempt(run.data.tags)
    at_work = attempt is not None and (attempt.is_at_work or attempt.is_by_this_process)
    return None if at_work else run


def _newest_resumable(store: Store, wanted: Wanted) -> MlflowRun | None:
    if not wanted.run_name:
        raise BadInput('resume="auto" needs run_name: it resumes the newest unfinished run of that name.')
    places = experiments_of(store, wanted.experiment_name, wanted.parent_run_id)
    found = newest_resumable(store, places, wanted.run_name)
    if found is None:
        _log.warning("no unfinished run named %r can be resumed: a new one begins", wanted.run_name)
    return found


def _refuse_if_alive(run_id: str, attempt: Attempt | None) -> None:
    # Of this process the lock knows.
    if attempt is not None and attempt.is_at_work and not attempt.is_by_this_process:
        raise RunConflict(
            f"the run {run_id} is being trained by process {attempt.pid} on this host; stop that one first, "
            "or start a run of its own."
        )


def _checkpoint(store: Store, run_id: str, strict: bool) -> LoadedCheckpoint | None:
    _send_leftovers(store, run_id)
    checkpoints = Checkpoints.of(store, run_id)
    names = newest_first(checkpoints)
    if not names:
        _log.warning("the run %s has no checkpoint: it begins at epoch 0", run_id)
        return None
    try:
        return load_newest(checkpoints, names, whole=False)
    except CheckpointDamaged as error:
        if strict:
            raise CheckpointDamaged(f"{error} Pass strict=False to begin at epoch 0 in this run.") from error
        _log.warning("%s It begins at epoch 0.", error)
        return None


def _send_leftovers(store: Store, run_id: str) -> None:
    """Send what an earlier attempt, started in this working directory, has staged but could not send."""
    folder = staging_folder(run_id)
    for unfinished in folder.glob("epoch=*"):
        if not (unfinished / MANIFEST_FILE).exists() and CheckpointName.parse(unfinished.name):
            shutil.rmtree(unfinished)
    outbox = Outbox(Checkpoints.of(store, run_id), Telemetry(store, run_id, folder / "metrics.jsonl"), folder)
    outbox.pump()


def _code_tags() -> dict[str, str]:
    dirty = runs.git_dirty()
    return {} if dirty is None else {TAG_GIT_DIRTY: str(dirty).lower()}
