"""What happens at the boundaries of a training: between two batches, between two epochs, and when it is taken up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from mlflow_pt_eval import signals
from mlflow_pt_eval.distributed import Alone, Ranks
from mlflow_pt_eval.errors import Interrupted, PtEvalError
from mlflow_pt_eval.names import CheckpointName
from mlflow_pt_eval.state import (
    Stateful,
    capture_rng,
    restore_rng,
)
from mlflow_pt_eval.tracking.checkpoint_trees import LoadedCheckpoint
from mlflow_pt_eval.tracking.telemetry import Pending
from mlflow_pt_eval.training.accumulation import Accumulation
from mlflow_pt_eval.training.agreeing import agree
from mlflow_pt_eval.training.batches import Batches, Skip
from mlflow_pt_eval.training.callbacks import Plan
from mlflow_pt_eval.training.captures import Captures
from mlflow_pt_eval.training.contributor import Contributor
from mlflow_pt_eval.training.overrides import Rehearsal
from mlflow_pt_eval.training.progress import Progress, counted, step_value
from mlflow_pt_eval.training.recorder import Recorder
from mlflow_pt_eval.training.restoring import restore
from mlflow_pt_eval.training.shares import Share
from mlflow_pt_eval.training.voices import Voice

if TYPE_CHECKING:
    from mlflow_pt_eval.training.run import TrainingRun

_MOST_TAKEN = 4096  # steps whose metrics wait to be added to the means
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
        self.ranks: Ranks = Alone()
        self.progress = Progress()
        self.registered_version: int | None = None
        self.watch: signals.Watch | None = None
        self.rehearsal: Rehearsal | None = None
        self._voice: Voice | None = None
        self._append: Callable[[Pending], None] = lambda _: self.voice.append(_)  # raises until it is open
        self._batches = Batches(progress_bar)
        self.captures = Captures(self.state, self.progress, self._batches)
        self._look_at, self._prefault = _STEPS_UNTIL_STATE, True
        self._logged = -1  # the step of the last `log_step`
        self._accumulation = Accumulation(self.progress)
        self._resumed: Share | None = None  # what to go on from, until its epoch has begun
        self._put_back: Callable[[], object] | None = None  # the state once more, until the batches that are left begin

    @property
    def stop_reason(self) -> str | None:
        """Why the training ends after this epoch, or None."""
        return self.progress.stop_reason

    @property
    def voice(self) -> Voice:
        """Who speaks for the open run; PtEvalError outside the block."""
        if self._voice is None:
            raise PtEvalError("the training run is not open: use it as `with TrainingRun(...) as run:`.")
        return self._voice

    @property
    def contributor(self) -> Contributor | None:
        """Who writes this process's part of a sharded state, where that is not rank 0's recorder."""
        return self._voice if isinstance(self._voice, Contributor) else None

    @property
    def recorder(self) -> Recorder:
        """The open run's recorder, which rank 0 alone has."""
        voice = self.voice
        assert isinstance(voice, Recorder)
        return voice

    # --- taking up -------------------------------------------------------------------------

    def open(self, voice: Voice, checkpoint: LoadedCheckpoint | None, *, finished: bool) -> None:
        """Describe the run and restore the checkpoint, if there is one; random states follow with the first epoch.

        What has *finished* may be extended; what was cut when it was about to stop has only its end left.
        """
        self._voice, self._append = voice, voice.append
        self._accumulation.watch(self.state, waits=not self.ranks.several, says=self.ranks.is_first)
        if not self.ranks.is_first:
            self._batches.hide()
        sharded = self.captures.sharded
        voice.describe(self.params)
        if checkpoint is not None:
            self._resumed, self._put_back = restore(
                checkpoint, self.state, self.progress, self.ranks, sharded=sharded, strict=self.strict
            )
            whole = not self._resumed.partial and not finished
            asked = self.progress.stop_reason or self.plan.stop_reason(self.progress.history)
            self.progress.stop_reason = asked if whole else None
        self._look_at = self.progress.step + _STEPS_UNTIL_STATE

    # --- epochs ----------------------------------------------------------------------------

    def begin_epoch(self) -> int:
        """Open the next epoch; after a resume this is where random states are put back, last of all."""
        self.voice.raise_failure()
        share, self._resumed = self._resumed, None
        if share is not None:
            random_states = share.epoch_rng if share.partial else share.rng
            if random_states is not None:
                restore_rng(random_states)
            if share.position is not None:
                self._batches.resume(share.position, share.rng or {}, partial=share.partial)
            if share.partial:
                # What comes before the batches is done and logged again, as if the epoch had not been begun.
                self.progress.rewind()
            else:
                self._put_back = None
        self.captures.begin_epoch()
        self.progress.begin_epoch(self.progress.epoch)
        return self.progress.epoch

    def settle(self, n: int) -> None:
        """End a loop over *n* epochs; a resumed training that has none left to do gets its random states back here."""
        share = self._resumed
        self.captures.rng = None  # the user may draw before the next
        if share is not None and share.rng is not None:
            restore_rng(share.rng)
            if not share.partial and self.progress.epoch == n:  # a further loop goes on with what is drawn in between
                self._resumed = replace(share, rng=None)

    def end_epoch(self, run: TrainingRun, *, last: bool) -> None:
        """Close the epoch: log it, ask the callbacks and policies, save it if it is to be saved."""
        progress = self.progress
        self._agree(last)  # so that the callbacks see what all have logged
        self.plan.call("on_epoch_end", run, progress.record())
        last, signum = self._agree(last)
        # Nothing from here to the next epoch draws a random number: what is read once holds for all of it.
        self.captures.rng = capture_rng()
        for key, value in progress.logged_at_epoch().items():
            self.voice.point(key, value, progress.epoch)
        progress.end_epoch()
        if self.ranks.is_first:
            self.plan.warn_of_missing(progress.history)
        progress.stop_reason = self.stop_reason or self.plan.stop_reason(progress.history)
        self._commit_epoch(last, signum)
        if self.rehearsal is not None:
            self.rehearsal.after_epoch(self)

    def _agree(self, last: bool) -> tuple[bool, int | None]:
        """Agree with the other processes on what this epoch was; return whether it is the last, and the signal."""
        if not self.ranks.several:
            return last, signals.pending()
        mine = {**self.progress.said(), "last": last, "stop": self.stop_reason, "signum": signals.pending()}
        agreed = self.ranks.meet(f"the end of epoch {self.progress.epoch}", mine, agree)
        self.progress.heard(agreed)
        self.progress.stop_reason = agreed["stop"]
        return agreed["last"], agreed["signum"]

    def _commit_epoch(self, last: bool, signum: int | None) -> None:
        self._batches.end_epoch()
        history = self.progress.history
        must = last or signum is not None or self.stop_reason is not None or self.plan.is_best(history)
        if must or self.plan.should_save(history):
            self._save(complete=True, must=must, wait=self.plan.waits)
        if signum is not None:
            raise Interrupted(signum)

    # --- batches ---------------------------------------------------------------------------

    def batches(self, loader: Iterable[Any], skip: Skip) -> Iterator[Any]:
        """Yield the batches; after each comes a boundary at which the training may be saved or ended."""
        progress = self.progress
        first = not progress.uses_batches
        outer = progress.in_batches
        progress.uses_batches = progress.in_batches = True
        if first and self.watch is not None:
            self.watch.safe = False
        if first and self._put_back is not None:
            self._put_back()
            self._put_back = None
        self.voice.note_data(loader)
        if first:
            source = self._batches.first(loader, skip, progress.epoch)
        else:
            source = self._batches.further(loader, inside=outer)
        for batch in source:
            try:
                yield batch
            except GeneratorExit:  # `break`: what was logged in this batch is not to share its step with the next one
                if self._logged == progress.step:
                    self._count_step()
                progress.in_batches = outer
                raise
            self._count_step()
            if first:
                self._between_batches()
        progress.in_batches = outer
        if first:
            self._after_batches()

    def _after_batches(self) -> None:
        captures, ranks, inside = self.captures, self.ranks, self.plan.saves_inside_epochs
        if captures.sharded:
            return  # who leaves a validation at once leaves the others waiting in it: they are to end it together
        if not ranks.is_first:
            name = captures.name(complete=False)
            ranks.post(str(name), captures.share(), epoch=name.epoch, ended=True)
        elif inside or (ranks.several and signals.pending() is not None):
            # With this at hand, a signal in what follows, such as a validation, loses nothing.
            self.recorder.hold(captures.snapshot(ranks, complete=False, ended=True))
        if inside and self.watch is not None:
            self.watch.safe = True

    def _between_batches(self) -> None:
        step = self.progress.step
        ask = self.ranks.due(step)
        signum = ask.signum if ask is not None else None if self.ranks.several else signals.pending()
        gathered, ended = self._accumulation, signum is not None
        is_due = self.plan.saves_inside_epochs and (ask is not None or self._is_due(step))
        if (ended or gathered.owes or is_due) and gathered.may_save(self.watch):
            if self.ranks.several or self._batches.can_resume():
                self._save(complete=False, must=ended, wait=ended or self.plan.waits)
            if signum is not None:
                raise Interrupted(signum)
        if self.rehearsal is not None:
            self.rehearsal.after_batch(self)

    def _is_due(self, step: int) -> bool:
        """Say whether a policy wants a checkpoint here; what it wants by the time, several processes agree on first."""
        if self.ranks.several and self.plan.should_save_step(step, 0.0):
            return True
        if not self.ranks.is_first:
            return False
        due = self.plan.should_save_step(step, time.monotonic() - self.recorder.last_saved)
        if due and self.ranks.several:
            self.ranks.ask_to_save()
        return due and not self.ranks.several

    def log_step(self, metrics: dict[str, Any]) -> None:
        """Take the step's metrics.

        Straight, and with all that can wait left for later: each further call costs a training that has filled the
        caches.
        """
        progress = self.progress
        for key, value in metrics.items():
            if type(value) is not float or key not in progress.step_keys:
                metrics = self._read(metrics)
                break
        else:
            progress.taken.append(metrics)
        step = progress.step
        if not progress.uses_batches:
            self._count_step()
        elif not progress.in_batches and step:
            step -= 1  # what is logged after an epoch's last batch belongs to that one, not to the next epoch's first
        self._logged = step
        self._append((metrics, step, time.time()))

    def _read(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Read a step's metrics that are new or no floats, and add them to the means; what is on a device can wait."""
        self.progress.own_step_keys(metrics)
        found = {}
        for key, given in metrics.items():
            value, count = counted(key, given)
            found[key] = value if type(value) is float else step_value(key, value)
            self.progress.add(key, found[key], 1 if count is None else count)
        return found

    def _count_step(self) -> None:
        progress = self.progress
        progress.step += 1
        if progress.step == self._look_at:
            self._look_at += _MOST_TAKEN
            progress.settle()
            if self._prefault and isinstance(self.voice, Recorder | Contributor):
                # The memory of the first checkpoint is made ready, now that the optimizer has a state.
                self.voice.prefault(self.captures.live(self.ranks))
            self._prefault = False

    def _save(self, *, complete: bool, must: bool, wait: bool) -> None:
        """Save here: rank 0 the state, every other process its share of it."""
        captures, name = self.captures, self.captures.name(complete=complete)
        if isinstance(self.voice, Contributor):
            self.voice.save(captures.contribution(self.ranks, complete=complete), must=must, wait=wait)
        elif not self.ranks.is_first:
            self.ranks.post(str(name), captures.share(), epoch=name.epoch)
        elif not self.recorder.save(captures.snapshot(self.ranks, complete=complete), must=must, wait=wait):
            self.ranks.pass_over(str(name))

    def close(self) -> None:
        """Let go of the live objects."""
        self._accumulation.close()

    def keep(self, stored: Collection[CheckpointName]) -> set[CheckpointName]:
        """Say which stored checkpoints stay; called from the sending thread."""
        return self.plan.keep(self.progress.history, stored)
