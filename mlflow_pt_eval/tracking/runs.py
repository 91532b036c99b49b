"""MLflow runs: which one to write to, its parent, its tags and its true end."""

from __future__ import annotations

import logging
import os
import platform
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

import mlflow
from mlflow.entities import Run as MlflowRun
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags

from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.names import MLFLOW_PARENT_RUN_ID, TAG_ERROR, TAG_KIND
from mlflow_pt_eval.redaction import redact
from mlflow_pt_eval.tracking.store import Store, deleted, reaching

Status = Literal["FINISHED", "FAILED", "KILLED", "RUNNING"]
_TAG_LIMIT = 8000
_log = logging.getLogger("mlflow_pt_eval")
_trainings: list[str] = []  # the runs of those that are open in this process


@dataclass(frozen=True)
class OpenRun:
    """A run that is being written to; its status is ours to set only where it is *owned*."""

    store: Store
    run_id: str
    experiment_id: str
    owned: bool


def given_run_id() -> str | None:
    """Return the run that the caller has put us in: by MLFLOW_RUN_ID (so does `mlflow run`) or by an active run."""
    return _active_run_id() or os.environ.get("MLFLOW_RUN_ID") or None


class Strays:
    """Notices runs that the caller's own `mlflow.log_…` begins, since ours is not MLflow's active one; says so once."""

    def __init__(self, run_id: str) -> None:
        self._run_id, self._known = run_id, {run_id, _active_run_id(), None}

    def look(self) -> None:
        """Warn of an active run that was not there at the beginning."""
        if (stray := _active_run_id()) not in self._known:
            self._known.add(stray)
            _log.warning(
                "the run %s is active beside the training's, %s: what mlflow.log_… writes goes there; for the "
                "training's, use run.log, or mlflow.MlflowClient() with run.run_id",
                stray,
                self._run_id,
            )


def _active_run_id() -> str | None:
    active = mlflow.active_run()
    return None if active is None else str(active.info.run_id)


@contextmanager
def in_training(run_id: str) -> Iterator[None]:
    """Have `open_training_run` give *run_id* in the block."""
    _trainings.append(run_id)
    try:
        yield
    finally:
        _trainings.remove(run_id)


def open_training_run() -> str | None:
    """Return the run of the training whose block is open in this process, the innermost of several; None of none."""
    return _trainings[-1] if _trainings else None


def get_run(store: Store, run_id: str) -> MlflowRun:
    """Return a run; NotFound, naming the store, where there is none or it is deleted; StoreUnavailable."""
    if not isinstance(run_id, str):
        raise BadInput(f"{run_id!r} is not a run's id, which is a text, as `TrainingRun.run_id` and the UI give it.")
    try:
        with reaching(store, f"the run {run_id} was not read"):
            run = store.client.get_run(run_id)
    except MlflowException as error:
        raise NotFound(f"there is no run {run_id!r} in {store.shown}; check the id and MLFLOW_TRACKING_URI.") from error
    if run.info.lifecycle_stage != "active":
        raise NotFound(deleted(run_id))
    return run


def open_run(
    store: Store,
    *,
    kind: str,
    experiment_name: str | None = None,
    run_name: str | None = None,
    tags: Mapping[str, str] | None = None,
    run_id: str | None = None,
    parent_run_id: str | None = None,
    fallback_parent: str | None = None,
    is_free: Callable[[MlflowRun], bool] = lambda run: False,
) -> OpenRun:
    """Open the run that a piece of work of this *kind* writes to.

    The run *run_id*, or the one that the caller has put us in, is used, unless it already has a kind: then a child is
    opened under it; but one of this kind may be used again where *is_free* says so. Otherwise a new run is made, under
    *parent_run_id*, or under *fallback_parent* where no other parent is.
    """
    given = given_run_id() if run_id is None else run_id
    all_tags = {**(tags or {}), TAG_KIND: kind}
    if given is not None and parent_run_id is None:
        run = get_run(store, given)
        if TAG_KIND not in run.data.tags or (run.data.tags[TAG_KIND] == kind and is_free(run)):
            if TAG_ERROR in run.data.tags:
                store.client.delete_tag(given, TAG_ERROR)  # of an earlier attempt
            if run_id is None and fallback_parent not in (None, given) and MLFLOW_PARENT_RUN_ID not in run.data.tags:
                all_tags[MLFLOW_PARENT_RUN_ID] = str(fallback_parent)
            return adopt(store, run, all_tags)
        if run.data.tags[TAG_KIND] == kind:
            _log.warning("the run %s holds the %s of an earlier call: this one gets a child run of it", given, kind)
        parent_run_id = given
    return create_run(store, all_tags, experiment_name, run_name, parent_run_id or fallback_parent)


def adopt(store: Store, run: MlflowRun, tags: Mapping[str, str]) -> OpenRun:
    """Write to a run that the caller owns: its status stays the caller's."""
    set_tags(store, run.info.run_id, tags)
    return OpenRun(store, run.info.run_id, run.info.experiment_id, owned=False)


def create_run(
    store: Store,
    tags: Mapping[str, str],
    experiment_name: str | None = None,
    run_name: str | None = None,
    parent_run_id: str | None = None,
) -> OpenRun:
    """Make a new run, with MLflow's own tags for user, source and commit; in its parent's experiment by default."""
    if parent_run_id is not None:
        parent = get_run(store, parent_run_id)
        tags = {**tags, MLFLOW_PARENT_RUN_ID: parent_run_id}
        experiment_id = store.experiment_id(experiment_name) if experiment_name else parent.info.experiment_id
    else:
        experiment_id = store.experiment_id(experiment_name)
    # MLflow notes the address of the git remote, in which there may be a token.
    shown = {key: redact(str(value)) for key, value in resolve_tags(dict(tags)).items()}
    with _fresh_luck():
        run = store.client.create_run(experiment_id, tags=shown, run_name=run_name)
    return OpenRun(store, run.info.run_id, experiment_id, owned=True)


@contextmanager
def _fresh_luck() -> Iterator[None]:
    """Let MLflow draw a run's name from random numbers of its own.

    From the caller's, which a script seeds and which stay as they were, each of its runs would get the same name.
    """
    before = random.getstate()
    random.seed()
    try:
        yield
    finally:
        random.setstate(before)


def finish(run: OpenRun, status: Status) -> None:
    """Set the run's final status, where it is ours to set."""
    if run.owned:
        run.store.client.set_terminated(run.run_id, status=status)


def set_tags(store: Store, run_id: str, tags: Mapping[str, str]) -> None:
    """Set several tags in one call; values longer than MLflow keeps are cut."""
    if tags:
        shown = [RunTag(key, redact(str(value))[:_TAG_LIMIT]) for key, value in tags.items()]
        store.client.log_batch(run_id, tags=shown)


def git_dirty() -> bool | None:
    """Say whether tracked files differ from the commit that MLflow notes; None outside a git checkout."""
    command = ["git", "status", "--porcelain", "--untracked-files=no"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return bool(done.stdout.strip()) if done.returncode == 0 else None


def environment() -> str:
    """Describe the interpreter, the machine and every installed package, one `name==version` a line."""
    packages = sorted({f"{d.name}=={d.version}" for d in metadata.distributions() if d.name}, key=str.lower)
    head = [f"# python {platform.python_version()}", f"# {platform.platform()}", f"# command: {_command()}"]
    return "\n".join([*head, *packages]) + "\n"


def _command() -> str:
    # The program's name only: arguments may hold a password.
    return os.path.basename(sys.argv[0]) if sys.argv else ""  # noqa: PTH119 (argv[0] may be '-c')
