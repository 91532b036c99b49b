"""`TrainingRun`: the epoch's body belongs to the user, the epoch's boundary to the library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from types import TracebackType
from typing import Any, Literal, Self

from mlflow_pt_eval import signals
from mlflow_pt_eval.distributed import current
from mlflow_pt_eval.errors import BadInput, Interrupted, PtEvalError
from mlflow_pt_eval.names import check_metric_key
from mlflow_pt_eval.policies import check_whole
from mlflow_pt_eval.records import History
from mlflow_pt_eval.state import Stateful, check_state, preserved_rng
from mlflow_pt_eval.tracking.params import flatten
from mlflow_pt_eval.tracking.runs import Strays, in_training
from mlflow_pt_eval.tracking.store import connect
from mlflow_pt_eval.training import arguments, overrides
from mlflow_pt_eval.training.batches import Skip
from mlflow_pt_eval.training.callbacks import Plan
from mlflow_pt_eval.training.ending import Ending, ending_of, leave, leaving
from mlflow_pt_eval.training.finishing import among, end_clean, end_early
from mlflow_pt_eval.training.foresight import foresee
from mlflow_pt_eval.training.opening import AUTO, Opening, Wanted, open_training
from mlflow_pt_eval.training.orphan import is_launched
from mlflow_pt_eval.training.progress import counted, number
from mlflow_pt_eval.training.session import Session
from mlflow_pt_eval.training.taking_up import take_up

# torchrun hands on what a terminal or a scheduler has sent to every process as well, and `mlflow run` answers Ctrl-C
# with a SIGTERM: two signals within moments that ask for one end.
_ECHO_SECONDS = 5.0


class TrainingRun:
    """A training, as a context manager that owns its MLflow run.

    *state* maps names to objects with `state_dict()` and `load_state_dict()`; `model` must be among them. Inside the
    block, `epochs(n)` yields the epochs still to do and commits when control comes back. *callbacks*: policies
    (`ModelCheckpoint`, `EarlyStopping`), `RegisterBest`, and objects with any of `Callback`'s methods. *params*, a
    mapping, an `argparse.Namespace` or a dataclass object, are logged once. *resume*: a run id, or "auto" (the newest
    unfinished run of *run_name*). *strict*: whether a checkpoint must hold exactly what *state* does.
    *grace_seconds*: how long a signal waits for a place to save at. *progress*: a bar on a terminal ("auto"), always or
    never.

    A checkpoint also holds which parameters are frozen (`requires_grad`) and the mode of each module; a resume puts
    them back when the block is entered, and says where the script had set others before.

    Under torchrun every process opens it, after `init_process_group`: rank 0 alone talks to MLflow, all of them agree
    on the history, on when to save, and on the end; RankFailed names a process that fails or does not answer. Of a
    model that is sharded by torch's `fully_shard`, each writes and stores its own part of a checkpoint.

    Errors: BadInput for arguments, NotFound, CheckpointDamaged and StateMismatch on a resume, RunConflict if another
    process works on the run, StoreUnavailable if the server is away at the start or, when all is done, still.
    """

    def __init__(
        self,
        state: Mapping[str, Stateful],
        *,
        callbacks: Iterable[Any] = (),
        params: Any = None,
        resume: str | None = None,
        experiment_name: str | None = None,
        run_name: str | None = None,
        tags: Mapping[str, str] | None = None,
        parent_run_id: str | None = None,
        strict: bool = True,
        grace_seconds: float = 20,
        progress: bool | Literal["auto"] = "auto",
    ) -> None:
        check_state(state)
        arguments.check_callbacks(callbacks)
        arguments.check_texts(
            resume=resume, experiment_name=experiment_name, run_name=run_name, parent_run_id=parent_run_id
        )
        arguments.check_tags(tags)
        arguments.check_choices(strict=strict, progress=progress)
        logged = arguments.params_of(params)
        flatten(logged, quiet=True)  # a key that MLflow refuses fails here, before anything is begun
        self._grace_seconds = arguments.grace_of(grace_seconds)
        plan = Plan(callbacks)
        noted = {**(tags or {}), **plan.tags()}
        self._wanted = Wanted(resume, experiment_name, run_name, noted, parent_run_id, strict)
        self._session = Session(dict(state), plan, logged, strict=strict, progress_bar=progress)
        self._stack = ExitStack()
        self._in_loop = self._is_over = False

    @property
    def run_id(self) -> str:
        """The MLflow run's id, the same in every process."""
        return self._session.voice.run_id

    @property
    def step(self) -> int:
        """How many batches have been done since the run began, those before a resume included."""
        return self._session.progress.step

    @property
    def history(self) -> History:
        """The finished epochs, those before a resume included."""
        return self._session.progress.history

    @property
    def stop_reason(self) -> str | None:
        """Why the training stopped before its last epoch, or None."""
        return self._session.stop_reason

    @property
    def registered_version(self) -> int | None:
        """The version that the first `RegisterBest` registered, once the block is left; None if it registered none."""
        return self._session.registered_version

    def __enter__(self) -> Self:
        session = self._session
        if session.watch is not None:
            raise BadInput("this TrainingRun was used already: make a new one, with resume=RUN_ID to go on with it.")
        with leaving(), ExitStack() as stack, preserved_rng():
            session.ranks = stack.enter_context(closing(current()))
            session.watch = stack.enter_context(signals.watching(self._grace_seconds))
            if session.ranks.several or is_launched():
                session.watch.echo_seconds = _ECHO_SECONDS
            session.rehearsal = overrides.current()
            take_up(session, self._opening)
            stack.enter_context(in_training(self.run_id))
            self._strays = Strays(self.run_id)
            self._stack = stack.pop_all()
        try:
            with preserved_rng():
                foresee(session)
            session.plan.call("on_train_start", self)
        except BaseException as error:  # the block is not entered, so nothing else would end the run
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def _refuse_if_over(self, what: str) -> None:
        if self._is_over:
            raise PtEvalError(
                f"{what} was called after the block of its TrainingRun: the run {self.run_id} is ended. Do it inside, "
                "or with mlflow.MlflowClient() and run.run_id."
            )

    def _opening(self) -> Opening:
        rehearsal = self._session.rehearsal
        if rehearsal is None:
            resumed = self._wanted.resume not in (None, "", AUTO)  # a run that is there, or it is an error
            return open_training(connect(make=not resumed), self._wanted)
        wanted = rehearsal.adapted(self._session, self._wanted)
        return open_training(connect(rehearsal.tracking_uri), wanted)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ending = among(self._session.ranks, ending_of(error))
        try:
            self._end(ending)
        finally:
            self._is_over = True
            self._session.close()

    def _end(self, ending: Ending) -> None:
        watch = self._session.watch
        with leaving(), self._stack, preserved_rng():
            if ending.clean:
                if watch is not None:
                    watch.done = True
                end_clean(self._session, self)
            else:
                end_early(self._session, ending)
        if isinstance(ending.error, Interrupted):
            raise leave(ending.error.signum) from None
        if ending.clean and watch is not None and watch.signum is not None:
            raise leave(watch.signum)  # the training was over, but the process was asked to end
        if ending.clean and self._session.rehearsal is not None:
            self._session.rehearsal.ended(self._session)

    def epochs(self, n: int) -> Iterator[int]:
        """Yield the epochs from the one to do next up to *n* - 1, committing each when control comes back.

        *n* is the total: after a resume at epoch 7 of 20, 13 are left. Leave the loop early with `run.stop(reason)`.
        An epoch that is left by `break` is finished and saved if its `run.batches` had come to their end, or if
        `run.log` was called after its last step; otherwise it is abandoned, and what was finished before it is saved.
        """
        n = check_whole("epochs", "n", n, least=0)
        self._refuse_if_over("run.epochs")
        session = self._session
        if self._in_loop:
            raise BadInput("run.epochs stands inside the loop over another run.epochs: one epoch is open at a time.")
        session.finish_left(self, ends=False)
        while session.progress.epoch < n and session.stop_reason is None:
            epoch = session.begin_epoch()
            self._in_loop = True
            try:
                yield epoch
            except GeneratorExit:  # a `break`, or an exception: the end of the block knows
                session.leave_epoch(epoch)
                raise
            finally:
                self._in_loop = False
            session.end_epoch(self, last=session.progress.epoch == n - 1)
            if session.ranks.is_first:
                self._strays.look()
        session.settle(n)

    def batches(self, loader: Iterable[Any], *, skip: Skip = "exact") -> Iterator[Any]:
        """Yield the loader's batches, counting steps; the first such loop of an epoch can be resumed in its middle.

        After a resume, the batches that were done are skipped: without loading them where the loader has no workers,
        else by loading and discarding them, which alone is exact when the workers draw random numbers;
        `skip="sampler"` is for workers that draw none.
        """
        if not self._session.progress.epoch_open:
            raise BadInput("run.batches belongs inside the loop over run.epochs(n).")
        return self._session.batches(loader, skip)

    def log(self, metrics: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """Log metrics of the epoch, by name or in a mapping, at step = epoch; the last value of a key in an epoch wins.

        A value is a number, a one-element tensor, or `(value, count)`, the mean of so many samples. With several
        processes, what goes into the history on all of them, and to MLflow, is the mean over those that logged the
        key: weighted where each gave a count, as `validate`'s results do by themselves; equal values stay as they are.
        """
        progress, values = self._session.progress, arguments.metrics_of("run.log", metrics, named)
        if progress.epoch_open and not self._is_over:
            progress.log(values)
            return
        self._refuse_if_over("run.log")
        progress.logged_outside = True
        for key in values:
            check_metric_key(key)
        for key, value in values.items():  # before the first epoch or after the last
            self._session.voice.point(key, number(key, counted(key, value)[0]), max(progress.epoch - 1, 0))

    def log_step(self, metrics: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """Log metrics of the step, by name or in a mapping; their means over the epoch are logged as `<key>_epoch`.

        One-element tensors are welcome: one on a device is read later, on another thread. `(value, count)` counts
        that many times in the mean. With several processes, the points are rank 0's, the means are over all of them.
        """
        if self._is_over:
            self._refuse_if_over("run.log_step")
        self._session.steps.log(named if metrics is None else arguments.metrics_of("run.log_step", metrics, named))

    def stop(self, reason: str) -> None:
        """End the training after this epoch, as an orderly end: the epoch is committed, the best is registered."""
        self._session.progress.stop_reason = str(reason) or "stopped"
