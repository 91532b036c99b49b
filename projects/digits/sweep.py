"""Search for a good learning rate, batch size and dropout with Optuna, several trainings at a time.

Each trial is a training run under one parent run. Trials that do worse than the others are pruned; what was cut goes on
where it was when the same command is given again. The best trial's best epoch becomes the challenger.

Try: python projects/digits/sweep.py --trials 6 --epochs 5     (pip install -e ".[examples]" for Optuna)
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from argparse import SUPPRESS, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import mlflow
import torch
from torch import nn
from torch.utils.data import DataLoader

import mlflow_pt_eval as mpe
from mlflow_pt_eval.cli.params import Parser, alias, model_name, one_line_errors, positive_int, seed
from mlflow_pt_eval.errors import PtEvalError, RunConflict
from mlflow_pt_eval.records import EpochRecord
from mlflow_pt_eval.tracking.store import connect

import data
from model import DigitsNet

try:
    import optuna
    from optuna.trial import TrialState
except ModuleNotFoundError:
    print('sweep.py: Optuna is not installed: pip install -e ".[examples]" -c constraints.txt', file=sys.stderr)
    sys.exit(2)

MONITOR = "val_accuracy"
PRUNED = "pruned"
OVER = (TrialState.COMPLETE, TrialState.PRUNED)


class Pruning:
    """Tell Optuna each epoch's metric, those before a resume included, and stop the training where it says so."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial

    def on_train_start(self, run: mpe.TrainingRun) -> None:
        """Remember the run, so that a trial that is cut can go on in it."""
        self.trial.set_user_attr("run_id", run.run_id)
        for record in run.history:
            self.on_epoch_end(run, record)

    def on_epoch_end(self, run: mpe.TrainingRun, record: EpochRecord) -> None:
        """Report the epoch, and prune if the trial falls behind."""
        self.trial.report(record.metrics[MONITOR], record.epoch)
        if self.trial.should_prune():
            run.stop(PRUNED)


def objective(trial: optuna.Trial, args: Namespace) -> float:
    """Train with the trial's parameters; return the best validation accuracy."""
    lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    batch_size = trial.suggest_categorical("batch_size", [32, 64, 128])
    dropout = trial.suggest_float("dropout", 0.0, 0.6)
    torch.manual_seed(args.seed)
    train, validation, _ = data.splits()
    pixels = train.tensors[0]
    model = DigitsNet(mean=pixels.mean(), std=pixels.std(), dropout=dropout)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    criterion = nn.CrossEntropyLoss()
    shuffling = torch.Generator().manual_seed(args.seed)
    train_loader = DataLoader(train, batch_size=batch_size, shuffle=True, generator=shuffling)
    validation_loader = DataLoader(validation, batch_size=256)

    with mpe.TrainingRun(
        {"model": model, "optimizer": optimizer},
        callbacks=[mpe.ModelCheckpoint(monitor=MONITOR, mode="max"), Pruning(trial)],
        params={**trial.params, "seed": args.seed},
        resume=trial.user_attrs.get("run_id"),
        run_name=f"{args.study} {trial.number}",
        parent_run_id=args.parent,
        progress=False,
    ) as run:
        for _ in run.epochs(args.epochs):
            model.train()
            for x, y in run.batches(train_loader):
                loss = criterion(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log_step(train_loss=loss)
            run.log(**mpe.validate(model, validation_loader, criterion))
    if run.stop_reason == PRUNED:
        raise optuna.TrialPruned
    return run.history.best(MONITOR, "max").metrics[MONITOR]


def open_study(args: Namespace) -> optuna.Study:
    """Open the study, which lies in a SQLite file of the working directory."""
    return optuna.create_study(
        study_name=args.study,
        storage=f"sqlite:///{args.study}.db?timeout=60",
        load_if_exists=True,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1),
    )


def retry_what_was_cut(study: optuna.Study) -> None:
    """Queue each trial that has neither ended nor been retried once more, with its parameters and its run."""
    for trial in study.get_trials(states=[TrialState.RUNNING]):  # nobody works on it: the study is locked
        study.tell(trial.number, state=TrialState.FAIL)
    retried = {trial.user_attrs.get("retry_of") for trial in study.trials}
    for trial in study.get_trials(states=[TrialState.FAIL]):
        if trial.number not in retried:
            study.enqueue_trial(trial.params, user_attrs={**trial.user_attrs, "retry_of": trial.number})


def work(args: Namespace) -> None:
    """Do one worker's share of the trials."""
    torch.set_num_threads(1)
    study = open_study(args)
    # Workers that began with the same random state would all try the same parameters.
    study.sampler = optuna.samplers.TPESampler(seed=args.seed + 1000 * len(study.trials) + args.worker)
    study.optimize(lambda trial: objective(trial, args), n_trials=args.share)


def start_workers(shares: list[int], parent: str, lock: TextIO) -> list[subprocess.Popen]:
    """Start a process for each share. They hold the lock too: should this process be killed, they go on."""
    # The run that `mlflow run` has opened is the parent of all trials, not the run of one.
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_RUN_ID"}
    own = [sys.executable, __file__, *sys.argv[1:], "--parent", parent]
    commands = [[*own, "--worker", str(i), "--share", str(share)] for i, share in enumerate(shares)]
    return [subprocess.Popen(command, env=environment, pass_fds=[lock.fileno()]) for command in commands]


def run_trials(args: Namespace, study: optuna.Study, parent: str, lock: TextIO) -> None:
    """Have the workers do the trials that are left; PtEvalError if one of them did not come to its end."""
    retry_what_was_cut(study)
    left = max(args.trials - len(study.get_trials(states=OVER)), 0)
    shares = [left // args.workers + (i < left % args.workers) for i in range(args.workers)]
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    workers = start_workers([share for share in shares if share], parent, lock)
    try:
        failed = sum(worker.wait() != 0 for worker in workers)
    finally:
        for worker in workers:
            worker.terminate()  # whoever still trains saves a checkpoint first
            worker.wait()
    if failed:
        done = len(study.get_trials(states=OVER))
        raise PtEvalError(
            f"{failed} of {len(workers)} workers did not come to their end; {done} of {args.trials} trials are done. "
            "Give the same command again: what was cut goes on where it was."
        )


@contextmanager
def locked(study: str) -> Iterator[TextIO]:
    """Be the only sweep of the study in this directory."""
    with Path(f"{study}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunConflict(f"a sweep of {study!r} is at work here; end it, or name another --study.") from None
        yield file


def sweep(args: Namespace, lock: TextIO) -> None:
    """Run the trials under one parent run, and register the best one's best epoch."""
    study = open_study(args)
    experiment = connect().experiment_id()
    with mlflow.start_run(study.user_attrs.get("run_id"), experiment, run_name=args.study) as parent:
        study.set_user_attr("run_id", parent.info.run_id)
        mlflow.set_tag("pt_eval.kind", "sweep")
        run_trials(args, study, parent.info.run_id, lock)
        best, run_id = study.best_trial, study.best_trial.user_attrs["run_id"]
        mlflow.log_metric(f"best_{MONITOR}", best.value)
        mlflow.set_tag("best_run_id", run_id)
        example = data.splits()[0].tensors[0][:2]
        version = mpe.register_best(
            run_id, args.register_as, model=DigitsNet(), input_example=example, class_names=data.CLASS_NAMES
        )
    print(f"The best of {len(study.get_trials(states=OVER))} trials is number {best.number}: {best.params}.")
    print(f"Its best epoch, with {MONITOR} {best.value:.4f}, is models:/{args.register_as}/{version}.")


def make_parser() -> Parser:
    """Return the parser of the options, each checked before anything begins."""
    parser = Parser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=positive_int, default=20, help="trials in all (%(default)s)")
    parser.add_argument("--workers", type=positive_int, default=2, help="trainings at a time (%(default)s)")
    parser.add_argument("--epochs", type=positive_int, default=10, help="epochs of a trial (%(default)s)")
    parser.add_argument("--seed", type=seed, default=0, help="of the weights and of the search (%(default)s)")
    parser.add_argument("--study", type=alias, default="digits-sweep", help="its file is STUDY.db (%(default)s)")
    parser.add_argument("--register-as", type=model_name, default="digits", help="the registered model (%(default)s)")
    for internal, read in (("--parent", str), ("--worker", int), ("--share", positive_int)):
        parser.add_argument(internal, type=read, help=SUPPRESS)  # what a worker is told
    return parser


def main() -> None:
    """Sweep, or do a worker's share of a sweep."""
    args = make_parser().parse_args()
    if args.parent:
        work(args)
        return
    with locked(args.study) as lock:
        sweep(args, lock)


if __name__ == "__main__":
    with one_line_errors():
        main()
