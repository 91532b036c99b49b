"""Loops of unusual shapes, cut in the middle and resumed: they end as if they had never been cut."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import mlflow
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import mlflow_pt_eval as mpe
from mlflow_pt_eval.errors import BadInput, PtEvalError
from mlflow_pt_eval.training.recorder import Recorder

pytestmark = pytest.mark.usefixtures("tracking")
DATA = TensorDataset(torch.randn(40, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3)


class Cut(Exception):
    """Ends a training in the middle."""


@dataclass
class Training:
    """One start of a training; *cut* is the (epoch, batch) after which it fails."""

    cut: tuple[int, int] | None = None
    resume: str | None = None

    def __post_init__(self):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 3))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 1, 0.5)

    def open(self, *callbacks, every=3):
        """Return the run, with checkpoints inside epochs."""
        saving = mpe.ModelCheckpoint(every_n_steps=every, when_busy="wait")
        state = {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}
        run = mpe.TrainingRun(state, callbacks=[saving, *callbacks], resume=self.resume, progress=False)
        self.run = run
        return run

    def step(self, run, batch, place):
        """Train on one batch, and log its loss."""
        inputs, labels = batch
        loss = nn.functional.cross_entropy(self.model(inputs), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        run.log_step(train_loss=loss)
        if self.cut is not None and place == self.cut:
            raise Cut


def points(run_id):
    """Return every logged point of a run."""
    client = mlflow.MlflowClient()
    keys = client.get_run(run_id).data.metrics
    return {key: [(point.step, point.value) for point in client.get_metric_history(run_id, key)] for key in keys}


def assert_resumed_as_whole(loop, cut):
    """Train without a cut, and with one and a resume; all that was trained and logged has to be the same."""
    whole = Training()
    loop(whole)
    first = Training(cut=cut)
    with pytest.raises(Cut):
        loop(first)
    second = Training(resume=first.run.run_id)
    torch.manual_seed(99)  # whatever a new process begins with
    loop(second)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key])
    assert points(second.run.run_id) == points(whole.run.run_id)
    assert second.run.history == whole.run.history
    return whole, second


@pytest.mark.parametrize(("cut", "own"), [((3, 4), False), ((3, 0), True), ((1, 4), True), ((2, 0), False)])
def test_two_loops_over_epochs(cut, own):
    """A warm-up and what comes after it; something is drawn in between."""

    def loop(training):
        loader = DataLoader(DATA, 8, shuffle=True, generator=torch.Generator().manual_seed(3) if own else None)
        with training.open() as run:
            for total in (2, 4):
                for epoch in run.epochs(total):
                    for number, batch in enumerate(
                        run.batches(loader), start=run.history[-1].step if run.history else 0
                    ):
                        training.step(run, batch, (epoch, number % 5))
                torch.rand(1)

    assert_resumed_as_whole(loop, cut)


@pytest.mark.parametrize("cut", [(1, 0), (2, 3)])
def test_two_loaders_that_advance_together(cut):
    """An object that begins anew and holds them in `loaders`; a zip itself could not be resumed in its middle."""

    class Together:
        def __init__(self, *loaders):
            self.loaders = loaders

        def __iter__(self):
            return zip(*self.loaders, strict=True)

    def loader(seed):
        return DataLoader(DATA, 8, shuffle=True, generator=torch.Generator().manual_seed(seed))

    def loop(training):
        together = Together(loader(3), loader(4))
        with training.open(every=2) as run:
            for epoch in run.epochs(4):
                for number, ((one, labels), (other, _)) in enumerate(run.batches(together)):
                    training.step(run, (one + other, labels), (epoch, number))

    assert_resumed_as_whole(loop, cut)


@pytest.mark.parametrize(("cut", "anew"), [((1, 0), False), ((2, 4), False), ((2, 0), True)])
def test_a_loader_whose_generator_is_seeded_in_each_epoch(cut, anew):
    """The script's own seeds stand, also where the loader is built anew."""

    def loop(training):
        generator = torch.Generator()
        loader = DataLoader(DATA, 8, shuffle=True, generator=generator)
        with training.open() as run:
            for epoch in run.epochs(4):
                generator.manual_seed(epoch)
                if anew:
                    loader = DataLoader(DATA, 8, shuffle=True, generator=torch.Generator().manual_seed(epoch))
                for number, batch in enumerate(run.batches(loader)):
                    training.step(run, batch, (epoch, number if epoch < cut[0] else number + 1 if number else 0))

    assert_resumed_as_whole(loop, cut)


def test_what_comes_before_the_batches_counts_once():
    """It runs again on a resume in mid-epoch; the scheduler, the steps and the means are as if it had not."""

    def loop(training):
        loader = DataLoader(DATA, 8, shuffle=True)
        with training.open() as run:
            for epoch in run.epochs(3):
                if epoch:
                    training.scheduler.step()
                run.log_step(rate=float(epoch), train_loss=2.0)
                for number, batch in enumerate(run.batches(loader)):
                    training.step(run, batch, (epoch, number))

    whole, second = assert_resumed_as_whole(loop, (1, 4))
    assert whole.scheduler.state_dict() == second.scheduler.state_dict()


def test_the_last_batch_before_a_break_has_a_step_of_its_own():
    """No two batches log at one step, and what follows an epoch's last batch belongs to it."""

    def loop(training):
        loader = DataLoader(DATA, 8, shuffle=True)
        with training.open(every=2) as run:
            for epoch in run.epochs(3):
                for number, batch in enumerate(run.batches(loader)):
                    training.step(run, batch, (epoch, number))
                    if number == 3:
                        break
                run.log_step(after=1.0)

    whole, _ = assert_resumed_as_whole(loop, (2, 0))
    assert [step for step, _ in points(whole.run.run_id)["train_loss"]] == list(range(12))
    assert [step for step, _ in points(whole.run.run_id)["after"]] == [3, 7, 11]


def test_a_value_of_an_epoch_that_was_cut_is_not_kept():
    """The last value of an epoch wins; that of half an epoch is none."""

    def loop(training):
        loader = DataLoader(DATA, 8)
        with training.open() as run:
            for epoch in run.epochs(2):
                for number, batch in enumerate(run.batches(loader)):
                    run.log(seen=float(batch[1].sum()))
                    training.step(run, batch, (epoch, number))

    whole, _ = assert_resumed_as_whole(loop, (1, 3))
    assert points(whole.run.run_id)["seen"] == [(0, 8.0), (1, 8.0)]


class Failing:
    """Fails once at the end of a training."""

    def __init__(self, *, fails):
        self.fails = fails

    def on_train_end(self, run):
        if self.fails:
            raise Cut


@pytest.mark.parametrize("how", ["policy", "call"])
def test_a_stop_is_not_forgotten_if_the_end_is_cut(how):
    """Only the end is left; a run that a call has brought to its end may still be extended."""

    def loop(training, *, fails=False, asks=True, patience=1):
        policy = [mpe.EarlyStopping(monitor="loss", mode="min", patience=patience)] if how == "policy" else []
        with training.open(*policy, Failing(fails=fails)) as run:
            for epoch in run.epochs(5):
                run.log(loss=float(epoch))
                if how == "call" and asks and epoch == 1:
                    run.stop("enough")
        return len(run.history)

    first = Training()
    with pytest.raises(Cut):
        loop(first, fails=True)
    second = Training(resume=first.run.run_id)
    assert loop(second) == len(first.run.history) == 2
    assert second.run.stop_reason == first.run.stop_reason
    third = Training(resume=first.run.run_id)
    assert loop(third, asks=False, patience=3) == (4 if how == "policy" else 5)
    tags = mlflow.MlflowClient().get_run(first.run.run_id).data.tags
    assert ("pt_eval.stop_reason" in tags) == (how == "policy")


def test_a_finished_run_that_had_stopped_early_stays_so(caplog):
    """It ends at once and says why; with more patience, or none asked for, it goes on."""

    def loop(resume, *policies):
        training = Training(resume=resume)
        with training.open(*policies) as run:
            for epoch in run.epochs(6):
                run.log(loss=float(epoch))
        return run

    def stopping(patience):
        return mpe.EarlyStopping(monitor="loss", mode="min", patience=patience)

    first = loop(None, stopping(2))
    again = loop(first.run_id, stopping(2))
    assert len(again.history) == len(first.history) == 3
    assert again.stop_reason == first.stop_reason
    assert f"the run {first.run_id} had stopped early: {first.stop_reason}; to go on, give" in caplog.text
    run = mlflow.get_run(first.run_id)
    assert (run.info.status, run.data.tags["pt_eval.stop_reason"]) == ("FINISHED", first.stop_reason)
    assert len(loop(first.run_id, stopping(4)).history) == 5
    assert len(loop(first.run_id).history) == 6


def test_seconds_between_checkpoints_count_over_epochs(monkeypatch):
    """Also where each epoch is shorter than they are."""
    saved, save = [], Recorder.save
    monkeypatch.setattr(Recorder, "save", lambda self, made, **how: saved.append(made.name) or save(self, made, **how))
    policy = mpe.ModelCheckpoint(every_n_epochs=100, every_seconds=0.2, when_busy="wait")
    with mpe.TrainingRun({"model": nn.Linear(2, 2)}, callbacks=[policy], progress=False) as run:
        for _ in run.epochs(8):
            for _ in run.batches(range(4)):
                time.sleep(0.02)
    assert any(not name.complete for name in saved)


def test_loaders_of_an_epochs_second_loop_are_let_go():
    """Built anew in each epoch, they would pile up with their workers."""
    training, alive = Training(), []
    with training.open() as run:
        for _ in run.epochs(4):
            for batch in run.batches(DataLoader(DATA, 8)):
                training.step(run, batch, None)
            for _ in run.batches(DataLoader(DATA, 8, generator=torch.Generator())):
                pass
            alive.append(len(run._session._batches._further))
    assert alive == [1, 1, 1, 1]


def test_a_loop_inside_a_loop_is_said(caplog):
    """Its place is not saved."""
    training = Training()
    with caplog.at_level(logging.WARNING, "mlflow_pt_eval"), training.open() as run:
        for _ in run.epochs(2):
            for batch, _ in zip(run.batches(DataLoader(DATA, 8)), run.batches(DataLoader(DATA, 8)), strict=True):
                training.step(run, batch, None)
    assert caplog.text.count("stands inside the loop over another run.batches") == 1


def test_what_comes_after_the_block_is_refused():
    """Nothing that was logged is lost without a word, and no key that MLflow refuses breaks the end of a training."""
    with Training().open() as run:
        for _ in run.epochs(1):
            pass
        with pytest.raises(BadInput, match=r"test@5"):
            run.log(**{"test@5": 0.5})
        run.log(test=0.5)
    for late in (lambda: run.log(late=1), lambda: run.log_step(late=1), lambda: next(run.epochs(2))):
        with pytest.raises(PtEvalError, match=f"after the block of its TrainingRun: the run {run.run_id} is ended"):
            late()
    assert mlflow.MlflowClient().get_run(run.run_id).info.status == "FINISHED"
    assert points(run.run_id)["test"] == [(0, 0.5)]


def test_a_run_whose_owner_goes_on_with_it_is_not_taken_for_dead():
    """`MLFLOW_RUN_ID` names another's run: its status stays the owner's, also when the training's process is gone."""
    client = mlflow.MlflowClient()
    given = client.create_run("0").info.run_id
    script = (
        "import torch, mlflow_pt_eval as mpe\n"
        "with mpe.TrainingRun({'model': torch.nn.Linear(2, 2)}, progress=False) as run:\n"
        "    for _ in run.epochs(1): run.log(loss=1.0)\n"
    )
    environ = {**os.environ, "MLFLOW_RUN_ID": given, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()}
    subprocess.run([sys.executable, "-c", script], check=True, env=environ, timeout=120)
    with Training().open() as run:
        for _ in run.epochs(1):
            pass
    found = client.get_run(given)
    assert (found.info.status, found.data.tags["pt_eval.resumable"]) == ("RUNNING", "false")
    assert "pt_eval.interrupted" not in found.data.tags


@pytest.mark.parametrize("how", ["policy", "signal"])
def test_a_checkpoint_waits_until_gradients_that_are_gathered_are_used(how):
    """Four batches a step of the optimizer: what is saved is saved after one, also for a signal."""

    def loop(training, ends_at=None):
        loader = DataLoader(DATA, 5, shuffle=True)
        with training.open(every=3 if how == "policy" else 100) as run:
            for _ in run.epochs(2):
                for inputs, labels in run.batches(loader):
                    loss = nn.functional.cross_entropy(training.model(inputs), labels) / 4
                    loss.backward()
                    if (run.step + 1) % 4 == 0:
                        training.optimizer.step()
                        training.optimizer.zero_grad()
                    run.log_step(train_loss=loss)
                    if run.step == ends_at and how == "signal":
                        signal.raise_signal(signal.SIGTERM)
                    elif run.step == ends_at:
                        raise Cut

    whole = Training()
    loop(whole)
    first = Training()
    with pytest.raises((Cut, SystemExit)):
        loop(first, ends_at=13)
    newest = mlflow.MlflowClient().get_run(first.run.run_id).data.tags["pt_eval.latest_checkpoint"]
    assert newest == f"epoch=0001-step={16 if how == 'signal' else 12:09d}-partial"
    second = Training(resume=first.run.run_id)
    loop(second)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key])
    assert points(second.run.run_id) == points(whole.run.run_id)
