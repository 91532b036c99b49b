"""Taking a training up: rank 0 opens the run, every process learns which it is and restores the same checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from mlflow_pt_eval.distributed import Ranks
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.records import Manifest
from mlflow_pt_eval.state import check_sharding, tree_bytes, tree_of
from mlflow_pt_eval.tracking.checkpoint_trees import LoadedCheckpoint
from mlflow_pt_eval.tracking.checkpoints import Checkpoints
from mlflow_pt_eval.tracking.store import connect, reaching
from mlflow_pt_eval.training.contributor import Contributor
from mlflow_pt_eval.training.finishing import give_up, in_one_line
from mlflow_pt_eval.training.opening import Opening
from mlflow_pt_eval.training.recorder import Recorder
from mlflow_pt_eval.training.session import Session
from mlflow_pt_eval.training.voices import Silent


def take_up(session: Session, open_run: Callable[[], Opening]) -> None:
    """Open the run on rank 0, by *open_run*, and restore its checkpoint in every process; all fail if one does."""
    ranks = session.ranks
    try:
        if ranks.several and session.rehearsal is not None:
            raise BadInput("a rehearsal of a training is one process: start it without torchrun.")
        session.captures.sharded = check_sharding(session.state, ranks.size)
        ranks.begin(lambda: session.progress.step)
        ranks.meet("the opening of the training", None, _nothing)
        if ranks.is_first:
            _first(session, open_run())
        else:
            _other(session)
    except BaseException as error:
        ranks.leave(in_one_line(error), None)
        raise


def _first(session: Session, opening: Opening) -> None:
    recorder: Recorder | None = None
    try:
        checkpoint = opening.checkpoint
        if session.ranks.several:
            told = _told(opening)
            session.ranks.meet("the run", None, lambda _: told)
            if checkpoint is not None:
                session.ranks.send(tree_bytes(checkpoint.tree))
        courier = session.ranks.courier() if session.captures.sharded else None
        with reaching(opening.run.store, "the training was not begun"):
            recorder = Recorder(opening, keep=session.keep, courier=courier)
            session.open(recorder, checkpoint, finished=opening.finished)
        session.ranks.meet("the restored training", None, _nothing, patient=True)
        if session.rehearsal is not None:
            session.rehearsal.opened(session, opening)
    except BaseException as error:
        give_up(opening, recorder, error)
        raise


def _told(opening: Opening) -> dict[str, Any]:
    """Return what the other processes have to know of the run."""
    store, checkpoint = opening.run.store, opening.checkpoint
    with reaching(store, "the training was not begun"):
        artifacts = Checkpoints.of(store, opening.run.run_id).artifact_uri
    manifest = None if checkpoint is None else checkpoint.manifest.to_json()
    return {
        "run_id": opening.run.run_id,
        "manifest": manifest,
        "artifacts": artifacts,
        "finished": opening.finished,
    }


def _other(session: Session) -> None:
    ranks = session.ranks
    told = ranks.meet("the run", None, _nothing, patient=True)
    courier = ranks.courier() if session.captures.sharded else None
    if courier is None:
        session.open(Silent(told["run_id"]), _received(ranks, told), finished=told["finished"])
    else:
        contributor = Contributor(_checkpoints(told), ranks, courier)
        session.open(contributor, _received(ranks, told), finished=told["finished"])
    ranks.meet("the restored training", None, _nothing, patient=True)


def _received(ranks: Ranks, told: dict[str, Any]) -> LoadedCheckpoint | None:
    """Receive the checkpoint that rank 0 has verified."""
    if told["manifest"] is None:
        return None
    read, tree = Manifest.from_json(told["manifest"]), tree_of(ranks.send(None))
    return LoadedCheckpoint(read.name, read, tree, partial(_checkpoints, told))


def _checkpoints(told: dict[str, Any]) -> Checkpoints:
    """Return where a process that is not rank 0 reads and writes its part of a sharded state."""
    # By this process's own settings: the other's URI may hold a password.
    return Checkpoints(connect(), told["run_id"], told["artifacts"])


def _nothing(said: list[Any]) -> None:
    """Agree on nothing but that all are here."""
