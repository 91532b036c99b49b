"""Leaving the loop over epochs by `break`: what was finished is saved, and what is not is named."""

from __future__ import annotations

import contextlib
import time

import mlflow
import pytest
import torch
from loops import Crash, Parts
from torch import nn

import mlflow_pt_eval as mpe
from mlflow_pt_eval.state import first_difference
from mlflow_pt_eval.training.sparing import Sparing

pytestmark = pytest.mark.usefixtures("tracking")
SCORES = [0.1, 0.9, 0.2, 0.3, 0.95]
LAST = len(SCORES) - 1


class Loop:
    """A training whose bias holds the epoch, saved every fifth epoch, and left in the last one."""

    def __init__(self, *callbacks, every=5, **options):
        self.model = nn.Linear(2, 2)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.0)
        saving = mpe.ModelCheckpoint(every_n_epochs=every, save_top_k=-1, when_busy="wait")
        state = {"model": self.model, "optimizer": self.optimizer}
        self.run = mpe.TrainingRun(state, callbacks=[saving, *callbacks], progress=False, **options)

    def step(self, epoch, batch):
        self.model(batch).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        nn.init.constant_(self.model.bias, epoch)
        self.run.log_step(train_loss=1.0)

    def epoch(self, epoch):
        for batch in self.run.batches([torch.ones(1, 2)] * 3):
            self.step(epoch, batch)
        self.run.log(val_accuracy=SCORES[epoch])
        time.sleep(0.05)

    def stored(self):
        return [manifest.name for manifest in mpe.list_checkpoints(self.run.run_id)]

    def tags(self):
        return mlflow.get_run(self.run.run_id).data.tags


def own_count(loop):
    """A loop that counts no batches: `run.log` at the end of its body."""
    for epoch in loop.run.epochs(20):
        for _ in range(3):
            loop.step(epoch, torch.ones(1, 2))
        loop.run.log(val_accuracy=SCORES[epoch])
        if epoch == LAST:
            break


def plain(loop):
    """The usual one."""
    for epoch in loop.run.epochs(20):
        loop.epoch(epoch)
        if epoch == LAST:
            break


def held(loop):
    """One whose iterator is kept in a variable, as a progress bar's is."""
    epochs = loop.run.epochs(20)
    for epoch in epochs:
        loop.epoch(epoch)
        if epoch == LAST:
            break


@pytest.mark.parametrize("body", [plain, held, own_count])
def test_an_epoch_whose_body_is_done_is_finished(body, caplog):
    """It is in the history and in a checkpoint, and its weights are registered if they are the best."""
    loop = Loop(mpe.RegisterBest("best", input_example=torch.ones(2, 2)))
    with loop.run:
        body(loop)
    assert [record.metrics["val_accuracy"] for record in loop.run.history] == SCORES
    assert loop.stored()[-1].epoch == LAST
    assert mlflow.MlflowClient().get_model_version("best", "1").tags["pt_eval.epoch"] == str(LAST)
    assert mlflow.get_run(loop.run.run_id).info.status == "FINISHED"
    assert loop.tags()["pt_eval.stop_reason"] == loop.run.stop_reason == "the loop was left by break"
    assert f"the work of epoch {LAST} was done: it is finished and saved" in caplog.text


def test_what_is_done_to_the_model_after_a_break_is_not_in_the_checkpoint():
    """As after an ordinary end: the best weights are loaded, something is evaluated."""
    loop = Loop()
    with loop.run:
        plain(loop)
        nn.init.constant_(loop.model.bias.data, 77)
        torch.rand(1)
        loop.run.log(test_accuracy=0.5)
    tree = mpe.load_checkpoint(loop.run.run_id)
    assert torch.equal(tree["model_state_dict"]["bias"], torch.full((2,), float(LAST)))


def test_a_held_loop_whose_model_has_changed_since_is_not_finished(caplog):
    """Nobody knows then what the weights at the end of the epoch were."""
    loop = Loop()
    with loop.run:
        epochs = loop.run.epochs(20)
        for epoch in epochs:
            loop.epoch(epoch)
            if epoch == 1:
                break
        nn.init.constant_(loop.model.bias, 77)
    assert "left by break inside epoch 1, which is not saved" in caplog.text
    assert [name.epoch for name in loop.stored()] == [0]


def midst(loop):
    """Left in the middle of a batch loop."""
    for epoch in loop.run.epochs(20):
        for number, batch in enumerate(loop.run.batches([torch.ones(1, 2)] * 3)):
            loop.step(epoch, batch)
            if (epoch, number) == (3, 1):
                break
        if epoch == 3:
            break
        loop.run.log(val_accuracy=SCORES[epoch])
        time.sleep(0.05)


def top(loop):
    """Left before anything was done."""
    for epoch in loop.run.epochs(20):
        loop.run.log(lr=0.1)
        if epoch == 3:
            break
        loop.epoch(epoch)


@pytest.mark.parametrize("body", [midst, top])
def test_the_last_finished_epoch_is_saved_where_the_next_is_left_in_its_midst(body, caplog):
    """Also between two saves: a later process goes on from there."""
    loop = Loop()
    with loop.run:
        body(loop)
        loop.run.log(test_accuracy=0.5)
    assert [record.epoch for record in loop.run.history] == [0, 1, 2]
    newest = loop.stored()[-1]
    assert (newest.epoch, newest.complete) == (2, True)
    assert f"inside epoch 3, which is not saved: the newest checkpoint is {newest}. End" in caplog.text
    tree = mpe.load_checkpoint(loop.run.run_id)
    assert torch.equal(tree["model_state_dict"]["bias"], torch.full((2,), 2.0))
    again = Loop(resume=loop.run.run_id)
    with again.run:
        seen = list(again.run.epochs(4))
    assert seen == [3]


def test_epochs_that_are_in_no_checkpoint_are_named(caplog, monkeypatch):
    """Where copying would have cost too much."""
    monkeypatch.setattr(Sparing, "do", lambda self, work: None)
    loop = Loop()
    with loop.run:
        midst(loop)
    assert "which is not saved: there is no checkpoint, and of epochs 0 to 2 there are the metrics only" in caplog.text
    assert mlflow.get_run(loop.run.run_id).info.status == "FINISHED"


def test_an_exception_after_the_body_leaves_the_epoch_unfinished_and_saves_the_one_before():
    """What raised may belong to the epoch; the one before is whole, though it was between two saves."""
    loop = Loop()

    def body():
        with loop.run:
            for epoch in loop.run.epochs(20):
                loop.epoch(epoch)
                if epoch == 2:
                    raise KeyError

    with pytest.raises(KeyError):
        body()
    assert [name.epoch for name in loop.stored()] == [1]
    assert loop.tags()["pt_eval.resumable"] == "true"


def trained(parts, *, leave=None, crash_at=None, **options):
    """Train four epochs, saved once at their end; *leave*: by `break` at the end of that epoch."""
    state = {"model": parts.model, "optimizer": parts.optimizer, "scheduler": parts.scheduler}
    saving = mpe.ModelCheckpoint(every_n_epochs=4, when_busy="wait")
    run = mpe.TrainingRun(state, callbacks=[saving], progress=False, **options)
    with run:
        for epoch in run.epochs(4):
            parts.model.train()
            for number, (x, y) in enumerate(run.batches(parts.train)):
                if crash_at == (epoch, number):
                    raise Crash
                run.log_step(train_loss=parts.step(x, y))
            run.log(**mpe.validate(parts.model, parts.validation, parts.criterion))
            time.sleep(0.05)
            if epoch == leave:
                break
        if leave is not None:
            list(parts.train)  # draws from all generators, the loader's own, too
    return run


@pytest.mark.parametrize("how", [{"leave": 1}, {"crash_at": (2, 3)}])
def test_what_was_saved_between_two_saves_is_resumed_exactly(how):
    """From the end of epoch 1, which no policy has saved, as if nothing had been."""
    whole = Parts()
    expected, end = trained(whole), whole.tree()
    with contextlib.suppress(Crash):
        trained(Parts(), run_name="cut", **how)
    (found,) = mlflow.search_runs(filter_string="attributes.run_name = 'cut'", output_format="list")
    assert [each.name.epoch for each in mpe.list_checkpoints(found.info.run_id)] == [1]
    parts = Parts()
    run = trained(parts, resume=found.info.run_id)
    assert first_difference(end, parts.tree()) is None
    assert run.history == expected.history


def test_a_second_loop_goes_on_after_the_epoch_that_the_first_was_left_in():
    """A warm-up that is left when it is warm."""
    loop, seen = Loop(every=1), []
    with loop.run:
        for epoch in loop.run.epochs(3):
            loop.epoch(epoch)
            if epoch == 1:
                break
        for epoch in loop.run.epochs(4):
            seen.append(epoch)
            loop.epoch(epoch)
    assert seen == [2, 3]
    assert [record.epoch for record in loop.run.history] == [0, 1, 2, 3]
    assert loop.run.stop_reason is None


def test_sparing_does_what_costs_its_share_at_most():
    """Work of 1 s at a share of 2 % is done every 50 s."""
    now, done = [0.0], []

    def work():
        done.append(now[0])
        now[0] += 1.0

    sparing = Sparing(0.02, clock=lambda: now[0])
    for moment in (0.0, 10.0, 50.9, 51.0, 60.0, 200.0):
        now[0] = moment
        sparing.do(work)
    assert done == [0.0, 51.0, 200.0]
