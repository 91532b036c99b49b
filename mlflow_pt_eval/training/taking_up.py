"""Taking a training up: rank 0 opens the run, every process learns which it is and restores the same checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlflow_pt_eval.distributed import Ranks
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.records import Manifest
from mlflow_pt_eval.state import tree_bytes, tree_of
from mlflow_pt_eval.tracking.checkpoint_trees import LoadedCheckpoint
from mlflow_pt_eval.tracking.store import reaching
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
    try:
        checkpoint = opening.checkpoint
        if session.ranks.several:
            manifest = None if checkpoint is None else checkpoint.manifest.to_json()
            session.ranks.meet("the run", None, lambda _: {"run_id": opening.run.run_id, "manifest": manifest})
            if checkpoint is not None:
                session.ranks.send(tree_bytes(checkpoint.tree))
        with reaching(opening.run.store, "the training was not begun"):
            session.open(Recorder(opening, keep=session.keep), checkpoint)
        session.ranks.meet("the restored training", None, _nothing, patient=True)
        if session.rehearsal is not None:
            session.rehearsal.opened(session, opening)
    except BaseException as error:
        give_up(opening, error)
        raise


def _other(session: Session) -> None:
    ranks = session.ranks
    told = ranks.meet("the run", None, _nothing, patient=True)
    session.open(Silent(told["run_id"]), _received(ranks, told["manifest"]))
    ranks.meet("the restored training", None, _nothing, patient=True)


def _received(ranks: Ranks, manifest: dict[str, Any] | None) -> LoadedCheckpoint | None:
    """Receive the checkpoint that rank 0 has verified."""
    if manifest is None:
        return None
    read = Manifest.from_json(manifest)
    return LoadedCheckpoint(read.name, read, tree_of(ranks.send(None)))


def _nothing(said: list[Any]) -> None:
    """Agree on nothing but that all are here."""
