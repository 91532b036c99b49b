"""What happens at the boundaries of a training: between two batches, between two epochs, and when it is taken up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from mlflow_pt_eval import signals
from mlflow_pt_eval.errors import Interrupted, PtEvalError
from mlflow_pt_eval.names import ENVIRONMENT_FILE, CheckpointName
from mlflow_pt_eval.state import (
    Stateful,
    capture_rng,
    capture_state,
    restore_rng,
    restore_state,
)
from mlflow_pt_eval.tracking.checkpoint_trees import LoadedCheckpoint
from mlflow_pt_eval.tracking.params import log_params
from mlflow_pt_eval.tracking.runs import environment
from mlflow_pt_eval.tracking.telemetry import Pending
from mlflow_pt_eval.training.batches import Batches, Skip
from mlflow_pt_eval.training.callbacks import Plan
from mlflow_pt_eval.training.overrides import Rehearsal
from mlflow_pt_eval.training.progress import Progress, step_value
from mlflow_pt_eval.training.recorder import Recorder, Snapshot, describe_versions

if TYPE_CHECKING:
    from mlflow_pt_eval.training.run import TrainingRun

_STEPS_UNTIL_STATE = 2  # optimizers make their state in the first step; the memory for its copies is made ready then
_log = logging.getLogger("mlflow_pt_eval")


class Session:
    """The mechanics behind a `TrainingRun`; all of it on the loop's thread."""

    def __init__(
        self,
        state: dict[str, Stateful],
        plan: Plan,
        params: Mapping[str, Any],
        *,
        strict: bool,
        progress_bar: bool | Literal["auto"],
    ) -> None:
        self.state, self.plan, self.params, self.strict = state, plan, params, strict
        self.progress = Progress()
        self.stop_reason: str | None = None
        self.registered_version: int | None = None
        self.watch: signals.Watch | None = None
        self.rehearsal: Rehearsal | None = None
        self._recorder: Recorder | None = None
        self._append: Callable[[Pending], None] = lambda _: self.recorder.telemetry.append(_)  # raises until it is open
        self._batches = Batches(progress_bar)
        self._rng: dict[str, Any] | None = None  # at the boundary between two epochs
        self._epoch_rng: dict[str, Any] | None = None  # when the epoch began
        self._prefault_at = _STEPS_UNTIL_STATE
        self._resumed: dict[str, Any] | None = None  # the tree to go on from, until its epoch has begun

    @property
    def recorder(self) -> Recorder:
        """The open run's recorder; PtEvalError outside the block."""
        if self._recorder is None:
            raise PtEvalError("the training run is not open: use it as `with TrainingRun(...) as run:`.")
        return self._recorder

    # --- taking up -------------------------------------------------------------------------

    def open(self, recorder: Recorder, checkpoint: LoadedCheckpoint | None) -> None:
        """Describe the run and restore the checkpoint, if there is one; random states follow with the first epoch."""
        self._recorder, self._append = recorder, recorder.telemetry.append
        log_params(recorder.run.store, recorder.run.run_id, self.params)
        recorder.log_text(environment(), ENVIRONMENT_FILE)
        if checkpoint is not None:
            self._restore(checkpoint)

    def _restore(self, checkpoint: LoadedCheckpoint) -> None:
        tree, name = checkpoint.tree, checkpoint.name
        report = restore_state(tree, self.state, strict=self.strict)
        if not report.complete:
            _log.warning("resumed from %s: %s", name, report)
        for package, version in describe_versions().items():
            before = checkpoint.manifest.versions.get(package)
            if before not in (None, version):
                _log.warning("the checkpoint %s was written with %s %s, this is %s", name, package, before, version)
        epoch = name.epoch + 1 if name.complete else name.epoch
        self.progress.restore(tree["progress"], history=checkpoint.manifest.history, epoch=epoch, step=name.step)
        self._resumed, self._prefault_at = tree, name.step + _STEPS_UNTIL_STATE

    # --- epochs ----------------------------------------------------------------------------

    def begin_epoch(self) -> int:
        """Open the next epoch; after a resume this is where random states are put back, last of all."""
        self.recorder.writer.raise_failure()
        tree, self._resumed = self._resumed, None
        if tree is not None:
            own, rng = tree["progress"]["ranks"][0], tree["rng"][0]
            partial = not tree["progress"]["complete"]
            restore_rng(own["epoch_rng"] if partial else rng)
            self._batches.resume(own["position"], rng, partial=partial)
        self._epoch_rng, self._rng = self._rng or capture_rng(), None
        self.progress.begin_epoch(self.progress.epoch)
        return self.progress.epoch

    def settle(self) -> None:
        """End the loop over epochs; a resumed training that has none left to do gets its random states back here."""
        tree, self._resumed = self._resumed, None
        self._rng = None  # the user may draw before the next
        if tree is not None:
            restore_rng(tree["rng"][0])

    def end_epoch(self, run: TrainingRun, *, last: bool) -> None:
        """Close the epoch: log it, ask the callbacks and policies, save it if it is to be saved."""
        progress = self.progress
        self.plan.call("on_epoch_end", run, progress.record())
        # Nothing from here to the next epoch draws a random number: what is read once holds for all of it.
        self._rng = capture_rng()
        for key, value in progress.logged_at_epoch().items():
            self.recorder.point(key, value, progress.epoch)
        progress.end_epoch()
        self.plan.warn_of_missing(progress.history)
        self.stop_reason = self.stop_reason or self.plan.stop_reason(progress.history)
        self._commit_epoch(last)
        if self.rehearsal is not None:
            self.rehearsal.after_epoch(self)

    def _commit_epoch(self, last: bool) -> None:
        signum, history = signals.pending(), self.progress.history
        must = last or signum is not None or self.stop_reason is not None or self.plan.is_best(history)
        if must or self.plan.should_save(history):
            self.recorder.save(self.snapshot(complete=True), must=must, wait=self.plan.waits)
        if signum is not None:
            raise Interrupted(signum)

    # --- batches ---------------------------------------------------------------------------

    def batches(self, loader: Iterable[Any], skip: Skip) -> Iterator[Any]:
        """Yield the batches; after each comes a boundary at which the training may be saved or ended."""
        progress = self.progress
        first = not progress.uses_batches
        progress.uses_batches = progress.in_batches = True
        if first and self.watch is not None:
            self.watch.safe = False
        self.recorder.note_data(loader)
        source = self._batches.first(loader, skip, progress.epoch) if first else self._batches.further(loader)
        for batch in source:
            yield batch
            progress.step += 1
            if progress.step == self._prefault_at:
                self._prefault()
            if first:
                self._between_batches()
        progress.in_batches = False
        if first and self.plan.saves_inside_epochs and self.watch is not None:
            # With this at hand, a signal in what follows, such as a validation, loses nothing.
            self.recorder.hold(self.snapshot(complete=False))
            self.watch.safe = True

    def _between_batches(self) -> None:
        signum = signals.pending()
        if signum is not None:
            self.recorder.save(self.snapshot(complete=False), must=True, wait=True)
            raise Interrupted(signum)
        if self.plan.saves_inside_epochs:
            since = time.monotonic() - self.recorder.last_saved
            if self.plan.should_save_step(self.progress.step, since):
                self.recorder.save(self.snapshot(complete=False), must=False, wait=self.plan.waits)
        if self.rehearsal is not None:
            self.rehearsal.after_batch(self)

    def log_step(self, metrics: Mapping[str, Any]) -> None:
        """Take the step's metrics. Straight, as each further call costs a training that has filled the caches."""
        progress, step, now = self.progress, self.progress.step, time.time()
        if progress.uses_batches and not progress.in_batches and step:
            step -= 1  # what is logged after an epoch's last batch belongs to that one, not to the next epoch's first
        for key, value in metrics.items():
            taken = value if type(value) is float else step_value(key, value)
            (progress.means.get(key) or progress.mean(key)).add(taken)
            self._append((key, taken, step, now))
        if not progress.uses_batches:
            progress.step += 1
            if progress.step == self._prefault_at:
                self._prefault()

    def _prefault(self) -> None:
        """Have the memory of the first checkpoint made ready, now that the optimizer has a state."""
        self.recorder.prefault(capture_state(self.state))

    # --- the state -------------------------------------------------------------------------

    def snapshot(self, *, complete: bool) -> Snapshot:
        """Return the state at this boundary, live until the recorder has copied it."""
        progress = self.progress
        epoch = progress.history[-1].epoch if complete else progress.epoch
        account = {
            "epoch": epoch,
            "step": progress.step,
            "loss": progress.loss(),
            "rng": [self._rng or capture_rng()],
            "progress": {
                **progress.state(),
                "complete": complete,
                # One entry a rank, like `rng`.
                "ranks": [{"position": self._batches.position(), "epoch_rng": self._epoch_rng}],
            },
        }
        name = CheckpointName(epoch=epoch, step=progress.step, complete=complete)
        return Snapshot(name, account, capture_state(self.state), progress.history)

    def keep(self, stored: Collection[CheckpointName]) -> set[CheckpointName]:
        """Say which stored checkpoints stay; called from the sending thread."""
        return self.plan.keep(self.progress.history, stored)
