"""One rehearsal of a script's first training, from the inside: ended where the task says, or compared at its end."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mlflow_pt_eval.records import EpochRecord
from mlflow_pt_eval.verification.points import Span
from mlflow_pt_eval.verification.reports import Reports, Task

if TYPE_CHECKING:
    from mlflow_pt_eval.training.callbacks import Callback
    from mlflow_pt_eval.training.opening import Opening, Wanted
    from mlflow_pt_eval.training.run import TrainingRun
    from mlflow_pt_eval.training.session import Session

_SETTLE = 600.0  # seconds for what was saved before a kill to be stored


class Rehearsal:
    """What `training.overrides` asks and tells; the first training that is opened counts, others are left alone.

    *folder* holds the store and the staging, *whole* is where the end of the first whole run is kept.
    """

    def __init__(self, task: Task, reports: Reports, *, folder: Path, tracking_uri: str, whole: Path) -> None:
        self.tracking_uri, self.staging = tracking_uri, folder
        self._task, self._reports, self._whole = task, reports, whole
        self._session: Session | None = None
        self._before: dict[str, Any] = {}  # the random states before the training
        self._course = _Course()

    def adapted(self, session: Session, wanted: Wanted) -> Wanted:
        """Resume what the task says, whatever the script asks for; a parent in another store is none here."""
        if self._session is None:
            from mlflow_pt_eval.state import capture_rng

            self._session, self._before = session, capture_rng()
        return replace(wanted, resume=self._task.resume if session is self._session else None, parent_run_id=None)

    def opened(self, session: Session, opening: Opening) -> None:
        """Report the opening, and watch what the boundaries do not show."""
        if session is not self._session:
            return
        session.plan.own.append(cast("Callback", self))  # any of its methods will do
        self._course.begin(session)
        self._reports.opened(opening.run.run_id, None if opening.checkpoint is None else str(opening.checkpoint.name))

    def after_batch(self, session: Session) -> None:
        """Note the batch; stop if it is the one."""
        if session is self._session:
            self._course.note_batch(session)
            self._stop_if(session, "batch", session.progress.epoch, session.progress.step)

    def on_epoch_end(self, run: TrainingRun, record: EpochRecord) -> None:
        """Stop if it is the end of this epoch's body."""
        if self._session is not None:
            self._stop_if(self._session, "body", record.epoch, record.step)

    def after_epoch(self, session: Session) -> None:
        """Note the epoch; stop if it is the one."""
        if session is self._session:
            self._course.note_epoch(session)
            record = session.progress.history[-1]
            self._stop_if(session, "boundary", record.epoch, record.step)

    def ended(self, session: Session) -> None:
        """Keep or compare what the training has left, and end the script here.

        What comes after the training is not under test, and without a registered version it might fail.
        """
        if session is not self._session:
            return
        # Imported now, as the script alone says when torch is first imported, and with which settings before it.
        from mlflow_pt_eval.state import load_tree, save_tree
        from mlflow_pt_eval.verification.trees import differences, end_of, idle_generators

        end, different = end_of(session), None
        if self._task.measure:
            save_tree(end, self._whole)
        else:
            different = differences(load_tree(self._whole), end)
        keeps_workers = bool(end["loader"].get("workers_kept"))
        idle = idle_generators(self._before, end)
        found = {"differences": different, "idle": idle, "keeps_workers": keeps_workers}
        self._reports.ended({**self._course.report(), **_account(session), **found})
        raise SystemExit(0)

    def _stop_if(self, session: Session, place: str, epoch: int, step: int) -> None:
        stop = self._task.stop
        if stop is None or (stop.place, stop.epoch, stop.step) != (place, epoch, step):
            return
        if stop.settled:
            session.recorder.drain(_SETTLE)
        self._reports.stopped()
        os.kill(os.getpid(), signal.Signals[stop.signal])


class _Course:
    """Notes the course of a training."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._saves: list[int] = []
        self._without_step: list[int] = []
        self._optimizer_steps = 0
        self._seen = (0, 0.0)  # the optimizers' steps and the recorder's last save, at the boundary before

    def begin(self, session: Session) -> None:
        """Count the steps of the optimizers from now on, to see gradients that wait for one."""
        self._seen = (0, session.recorder.last_saved)
        for part in session.state.values():
            if hasattr(part, "register_step_post_hook"):
                part.register_step_post_hook(self._count)

    def _count(self, *_: Any) -> None:
        self._optimizer_steps += 1

    def note_batch(self, session: Session) -> None:
        """Note whether there was a checkpoint, and whether gradients may be left over."""
        steps, saved = self._optimizer_steps, session.recorder.last_saved
        if saved != self._seen[1]:
            self._saves.append(session.progress.step)
        if steps == self._seen[0]:
            self._without_step.append(session.progress.step)
        self._seen = (steps, saved)

    def note_epoch(self, session: Session) -> None:
        """Note the epoch's steps and whether it was saved."""
        progress, plan = session.progress, session.plan
        record = progress.history[-1]
        start = self._spans[-1].end if self._spans else 0
        self._spans.append(Span(record.epoch, start, record.step, progress.uses_batches))
        if plan.should_save(progress.history) or plan.is_best(progress.history):
            self._saves.append(record.step)
        self._seen = (self._optimizer_steps, session.recorder.last_saved)

    def report(self) -> dict[str, Any]:
        """Return it as plain data."""
        accumulating = self._without_step if self._optimizer_steps else []  # an optimizer that is not in `state`
        return {"spans": [asdict(span) for span in self._spans], "saves": self._saves, "accumulating": accumulating}


def _account(session: Session) -> dict[str, Any]:
    """Return what was logged, and what makes exactness doubtful."""
    from mlflow_pt_eval.state.kernels import may_vary
    from mlflow_pt_eval.tracking.telemetry import stored_points

    run, telemetry = session.recorder.run, session.recorder.telemetry
    of_steps = session.progress.step_keys
    points = sorted(  # as they were logged: in one millisecond an epoch's steps come before what is logged at its end
        stored_points(run.store, run.run_id), key=lambda p: (p.timestamp, p.key not in of_steps, p.step, p.key)
    )
    return {
        "points": [[point.key, point.step, repr(point.value)] for point in points],
        "history": [[key, r.epoch, repr(v)] for r in session.progress.history for key, v in r.metrics.items()],
        "disputed": telemetry.disputed,
        "monitored": sorted({key for _, key in session.plan.monitors()}),
        "kernels_may_vary": may_vary(),
    }
