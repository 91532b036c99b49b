"""What happens at the boundaries of a training: between two batches, between two epochs, and when it is taken up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from mlflow_pt_eval import signals
from mlflow_pt_eval.distributed import Alone, Ranks
from mlflow_pt_eval.errors import Interrupted, PtEvalError
from mlflow_pt_eval.names import CheckpointName
from mlflow_pt_eval.state import Stateful, capture_flags, restore_rng
from mlflow_pt_eval.tracking.checkpoint_trees import LoadedCheckpoint
from mlflow_pt_eval.training.accumulation import Accumulation
from mlflow_pt_eval.training.agreeing import agree
from mlflow_pt_eval.training.batches import Batches, Skip
from mlflow_pt_eval.training.breaks import Breaks
from mlflow_pt_eval.training.callbacks import Plan
from mlflow_pt_eval.training.captures import Captures
from mlflow_pt_eval.training.contributor import Contributor
from mlflow_pt_eval.training.overrides import Rehearsal
from mlflow_pt_eval.training.progress import Progress
from mlflow_pt_eval.training.recorder import Recorder
from mlflow_pt_eval.training.restoring import restore
from mlflow_pt_eval.training.shares import Share
from mlflow_pt_eval.training.sparing import Sparing
from mlflow_pt_eval.training.steps import Steps
from mlflow_pt_eval.training.voices import Voice

if TYPE_CHECKING:
    from mlflow_pt_eval.training.run import TrainingRun

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
        self._batches = Batches(progress_bar)
        self.captures = Captures(self.state, self.progress, self._batches)
        self.steps = Steps(self.progress, lambda pending: self.voice.append(pending))  # which raises until it is open
        self._is_over = False
        self._accumulation = Accumulation(self.progress)
        self._breaks = Breaks(self.state, self.progress, self.captures, self._accumulation)
        self._sparing = Sparing()
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
        self._voice = voice
        self._accumulation.watch(self.state, waits=not self.ranks.several, says=self.ranks.is_first)
        if not self.ranks.is_first:
            self._batches.hide()
        self.captures.began = capture_flags(self.state)
        sharded = self.captures.sharded
        voice.describe(self.params)
        if checkpoint is not None:
            self._resumed, self._put_back = restore(
                checkpoint, self.state, self.progress, self.ranks, sharded=sharded, strict=self.strict
            )
            self.progress.stop_reason = self._reason_to_end(partial=self._resumed.partial, finished=finished)
        self.steps.begin(voice.append, self._prefault)

    def _reason_to_end(self, *, partial: bool, finished: bool) -> str | None:
        """Say why what is resumed has only its end left, or None."""
        if partial:
            return None
        reason = self.plan.stop_reason(self.progress.history)
        if not finished:
            return self.progress.stop_reason or reason
        if reason is not None and self.ranks.is_first:
            _log.warning(
                "the run %s had stopped early: %s; to go on, give EarlyStopping more patience, or leave it out",
                self.voice.run_id,
                reason,
            )
        return reason

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
        self._breaks.begin_epoch()
        return self.progress.epoch

    def leave_epoch(self, epoch: int) -> None:
        """Note that a loop over epochs is left inside *epoch*, in whatever way; after the end it means nothing."""
        if not self.ranks.several and not self._is_over:
            self._breaks.leave(epoch)

    def finish_left(self, run: TrainingRun, *, ends: bool) -> None:
        """Close the epoch that a loop was left in by `break`, if its body was done; otherwise it stays open.

        *ends*: the training ends with it.
        """
        progress = self.progress
        if not progress.epoch_open:
            return
        done, left = self._breaks.taken()
        if self.ranks.several:
            done = self.ranks.meet(f"epoch {progress.epoch}, whose loop was left", done, lambda said: said[0])
        if not done:
            return
        if self.ranks.is_first:
            _log.warning(
                "the loop was left by break when the work of epoch %d was done: it is finished and saved",
                progress.epoch,
            )
        if ends:
            progress.stop_reason = progress.stop_reason or "the loop was left by break"
        with self.captures.standing_for(left):
            self.end_epoch(run, last=ends)
        self.captures.rng = None  # since then the user may have drawn

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
        self.captures.end_epoch()
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
        elif not self.ranks.several:
            # With this at hand, an end in the midst of the next epoch loses no finished one.
            snapshot = partial(self.captures.snapshot, self.ranks, complete=True)
            self._sparing.do(partial(self.recorder.hold, snapshot, wait=False))
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
            source = self._batches.first(loader, skip, progress.epoch, self.state)
        else:
            source = self._batches.further(loader, inside=outer)
        for batch in source:
            try:
                yield batch
            except GeneratorExit:  # `break`: what was logged in this batch is not to share its step with the next one
                self.steps.leave()
                progress.in_batches = outer
                raise
            self.steps.count()
            if first:
                self._between_batches()
        progress.in_batches = outer
        if first:
            self._breaks.batches_ended()
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
            self.recorder.hold(partial(captures.snapshot, ranks, complete=False, ended=True), wait=True)
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

    def _prefault(self) -> None:
        """Make the memory of the first checkpoint ready, where this process has one to make."""
        if isinstance(self.voice, Recorder | Contributor):
            self.voice.prefault(self.captures.live(self.ranks))

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
        self._is_over = True
        self._accumulation.close()

    def keep(self, stored: Collection[CheckpointName]) -> set[CheckpointName]:
        """Say which stored checkpoints stay; called from the sending thread."""
        return self.plan.keep(self.progress.history, stored)
