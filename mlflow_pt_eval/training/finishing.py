"""The end of a training: everything stored, the best registered, the run's status true."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

from mlflow_pt_eval.distributed import Ranks
from mlflow_pt_eval.errors import Interrupted, RankFailed, RegistrationFailed, StoreUnavailable, with_kind
from mlflow_pt_eval.names import TAG_INTERRUPTED, TAG_RESUMABLE, TAG_STOP_REASON, TRACEBACK_FILE
from mlflow_pt_eval.redaction import redact
from mlflow_pt_eval.registration.best import best_checkpoint
from mlflow_pt_eval.registration.registering import register
from mlflow_pt_eval.tracking.outbox import let_go
from mlflow_pt_eval.training.callbacks import RegisterBest
from mlflow_pt_eval.training.contributor import Contributor
from mlflow_pt_eval.training.ending import Ending, ending_of, leave
from mlflow_pt_eval.training.opening import Opening, close_attempt
from mlflow_pt_eval.training.recorder import Recorder
from mlflow_pt_eval.training.session import Session

if TYPE_CHECKING:
    from mlflow_pt_eval.training.run import TrainingRun

_WAIT_AT_END = 60.0  # seconds for what is still to be sent; at a clean end only while the store is away
_LEAST_WAIT = 5.0  # the same, when a signal's grace is nearly over, or the store is known to be away
_log = logging.getLogger("mlflow_pt_eval")


def end_clean(session: Session, run: TrainingRun) -> None:
    """End a training that came to its end by itself; whatever still fails makes the run FAILED."""
    try:
        session.finish_left(run, ends=True)
        if session.progress.epoch_open:
            _give_up_epoch(session)
        elif not session.progress.history and (session.progress.step or session.progress.logged_outside):
            _log.warning(
                "the training had %d steps, but no epoch: nothing was saved; the loop over its epochs has to be "
                "`for epoch in run.epochs(n)`",
                session.progress.step,
            )
        session.plan.require(session.progress.history)
        session.plan.call("on_train_end", run)
        if session.contributor is not None:
            session.contributor.settle()
        session.ranks.meet("the end of the training", None, lambda _: None)
        if not session.ranks.is_first:
            session.registered_version = session.ranks.outcome()
            if session.contributor is not None:
                session.contributor.release()
            return
        session.recorder.drain(_WAIT_AT_END, patient=True)
        _register_all(session, session.plan.registering)
        session.recorder.drain(_WAIT_AT_END, patient=True)
    except BaseException as error:
        ending = among(session.ranks, ending_of(error))
        end_early(session, ending)
        if ending.error is not error and isinstance(ending.error, Interrupted):
            raise leave(ending.error.signum) from None
        raise
    tags = {TAG_RESUMABLE: "false"}
    if session.stop_reason is not None:
        tags[TAG_STOP_REASON] = session.stop_reason
    try:
        session.recorder.close("FINISHED", tags)
    except BaseException as error:
        session.ranks.leave(in_one_line(error), None)
        raise
    session.ranks.finish(session.registered_version)


def _give_up_epoch(session: Session) -> None:
    """Log what the epoch had logged that the loop was left in, and save the one before it, as far as it is at hand."""
    progress = session.progress
    for key, value in progress.logged_so_far().items():
        session.voice.point(key, value, progress.epoch)
    if not session.ranks.is_first:
        return
    session.recorder.save_held()
    newest = session.recorder.newest
    saved = -1 if newest is None else newest.epoch - (not newest.complete)
    lost = [record.epoch for record in progress.history if record.epoch > saved]
    _log.warning(
        "the loop was left by break inside epoch %d, which is not saved: %s%s. End a training with run.stop(reason)",
        progress.epoch,
        "there is no checkpoint" if newest is None else f"the newest checkpoint is {newest}",
        f", and of epochs {lost[0]} to {lost[-1]} there are the metrics only" if lost else "",
    )


def among(ranks: Ranks, ending: Ending) -> Ending:
    """Return what an error means where there are several processes.

    Once all have agreed to end by a signal, or one has, what breaks in the others is the same end. Otherwise, if
    another process has failed, that is said beside the error that it caused here.
    """
    if not ranks.several or not isinstance(ending.error, RuntimeError):
        return ending
    if (signum := ranks.stopped_by) is not None:
        _log.warning("the other processes ended by %s first: %s", signal.Signals(signum).name, ending.error)
        return Ending("KILLED", signum, Interrupted(signum))
    if not isinstance(ending.error, RankFailed) and (culprit := ranks.culprit()):
        _log.error("%s", culprit)
    return ending


def in_one_line(error: BaseException | None) -> str:
    """Return an error's type and first line, without passwords."""
    return redact("NoneType" if error is None else with_kind(error))


def end_early(session: Session, ending: Ending) -> None:
    """End a training that an error or a signal has cut; the error stays the one that the caller sees."""
    session.ranks.leave(in_one_line(ending.error), ending.signum)
    part = session.contributor
    if session.ranks.is_first:
        _end_early(session, ending)
        session.ranks.finish(None)
    elif ending.signum is not None or isinstance(ending.error, RankFailed) or session.ranks.culprit() is not None:
        # torchrun ends the others as soon as one has ended: rank 0 is to have the time that it needs.
        session.ranks.until_stored(_wait(session, ending))
    elif part is not None:
        part.until_sent(_LEAST_WAIT)  # not longer: the others learn of the error by the end of this process
    if part is not None:
        _release(part)


def _release(part: Contributor) -> None:
    try:
        part.release()
    except Exception as error:
        _log.error("while the training was ended: %s", error)


def _end_early(session: Session, ending: Ending) -> None:
    recorder = session.recorder
    if session.watch is not None:
        session.watch.disarm()  # what is left of the grace bounds the waiting here
    tags = {} if ending.signal_name is None else {TAG_INTERRUPTED: ending.signal_name}
    try:
        recorder.save_held()
        recorder.drain(_wait(session, ending))
        if ending.status == "FAILED":
            recorder.log_text(redact(ending.traceback()), TRACEBACK_FILE)
        _register_all(session, [r for r in session.plan.registering if r.on_interrupt])
        recorder.close(ending.status, tags)
        _say_where_it_goes_on(session, ending)
    except Exception as error:
        _log.error("while the training was ended: %s", error)
        _close_anyway(session, ending, tags)


def _say_where_it_goes_on(session: Session, ending: Ending) -> None:
    """Name the run and its newest checkpoint: under `mlflow run` nothing else on the terminal does."""
    if session.rehearsal is not None:
        return
    run_id, newest = session.recorder.run_id, session.recorder.newest
    cause = ending.signal_name or type(ending.error).__name__
    if isinstance(ending.error, RegistrationFailed) and session.watch is not None and session.watch.done:
        _log.warning("the run %s is trained: register_best(%r, …) registers its best epoch afterwards", run_id, run_id)
    elif newest is None:
        _log.warning("the run %s was ended by %s before its first checkpoint", run_id, cause)
    else:
        _log.warning("the run %s was ended by %s; resume=%s goes on from %s", run_id, cause, run_id, newest)


def _wait(session: Session, ending: Ending) -> float:
    """Say how long to wait for the store: after a signal, what is left of the grace, since a kill may follow it."""
    if isinstance(ending.error, StoreUnavailable):
        return _LEAST_WAIT  # which mostly has been waited for already
    if ending.signum is None or session.watch is None:
        return _WAIT_AT_END
    return min(_WAIT_AT_END, max(session.watch.seconds_left, _LEAST_WAIT))


def _close_anyway(session: Session, ending: Ending, tags: dict[str, str]) -> None:
    try:
        session.recorder.close(ending.status, tags)
    except Exception as error:
        _log.error("the run %s could not be marked %s: %s", session.recorder.run.run_id, ending.status, error)


def give_up(opening: Opening, recorder: Recorder | None, error: BaseException) -> None:
    """Mark a run that could not be taken up, and let go of it and of what its *recorder* has begun."""
    try:
        close_attempt(opening.run, opening.attempt, error, opening.before)
        if recorder is not None:
            recorder.release()
    except Exception as second:
        _log.error("while the run %s was let go: %s", opening.run.run_id, second)
    finally:
        let_go(opening.lock)


def _register_all(session: Session, registering: list[RegisterBest]) -> None:
    if session.rehearsal is not None:
        return
    for wanted in registering:
        version = _register(session, wanted)
        if session.registered_version is None:
            session.registered_version = version


def _register(session: Session, wanted: RegisterBest) -> int | None:
    """Register the best epoch's weights from its checkpoint; None, with a warning, if no epoch had a finite value.

    A run that is resumed may have no checkpoint of it: then the best of those that are there, as by `register_best`.
    """
    history = session.progress.history
    if wanted.best(history) is None:
        reason = f"{wanted.monitor} was never finite" if history else "the training had no epoch"
        _log.warning("nothing is registered as %r: %s", wanted.name, reason)
        return None
    run = session.recorder.run
    best, checkpoint = best_checkpoint(run.store, run.run_id, wanted.monitor, wanted.mode)
    return register(
        run.store,
        session.state["model"],  # type: ignore[arg-type]  # `model` is the nn.Module among the Stateful
        name=wanted.name,
        weights=checkpoint.tree["model_state_dict"],
        run_id=run.run_id,
        epoch=best.epoch,
        step=best.step,
        monitor=wanted.monitor,
        value=best.metrics[wanted.monitor],
        metrics=best.metrics,
        alias=wanted.alias,
        **wanted.described,
    )
