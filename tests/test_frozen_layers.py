"""Layers that are frozen, thawed or put in eval mode while a model trains: a resume goes on with them as they were."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import mlflow_pt_eval as mpe
from mlflow_pt_eval.training.captures import Captures

pytestmark = pytest.mark.usefixtures("tracking")
DATA = TensorDataset(torch.randn(40, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3)


class Cut(Exception):
    """Ends a training in the middle."""


def train(change, *, cut=None, resume=None, before=None, saving=None):
    """Train four epochs, *change* being called at the start of each; return the run and the model."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    if before is not None:
        before(model)
    saving = saving or mpe.ModelCheckpoint(every_n_steps=2, when_busy="wait")
    run = mpe.TrainingRun({"model": model, "optimizer": optimizer}, callbacks=[saving], resume=resume, progress=False)
    with run:
        for epoch in run.epochs(4):
            change(model, epoch)
            for number, (x, y) in enumerate(run.batches(DataLoader(DATA, 8, shuffle=True))):
                if cut == (epoch, number):
                    raise Cut
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
    return run, model


def resumed(cut, change, **first):
    """Return the ends of a whole training and of one that was cut and resumed."""
    _, whole = train(change, **first)
    with pytest.raises(Cut):
        train(change, cut=cut, **first)
    (run,) = [run for run in mpe_runs() if run.info.status == "FAILED"]
    _, second = train(change, resume=run.info.run_id)
    return whole, second


def mpe_runs():
    """Return all runs."""
    import mlflow

    return mlflow.search_runs(output_format="list")


def equal(one, other):
    """Say whether two models are the same to the bit."""
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def once(model, epoch):
    """Freeze a layer and keep a norm in eval mode from epoch 1 on, each set once."""
    if epoch == 1:
        model[0].requires_grad_(False)
        model[1].eval()
    if epoch == 3:
        model[0].weight.requires_grad_(True)


def forgotten(model, epoch):
    """Leave the model in eval mode, as a validation without a `train()` after it does."""
    model.train(epoch % 2 == 0)


@pytest.mark.parametrize("change", [once, forgotten])
@pytest.mark.parametrize("cut", [(2, 0), (2, 3), (3, 1)])
def test_frozen_layers_and_modes_come_back(change, cut, caplog):
    """Set once, at some epoch: the resumed script does not set it again, and need not. Nothing is said of it."""
    whole, second = resumed(cut, change)
    assert equal(whole, second)
    assert [p.requires_grad for p in whole.parameters()] == [p.requires_grad for p in second.parameters()]
    assert [m.training for m in whole.modules()] == [m.training for m in second.modules()]
    assert "the script has changed" not in caplog.text


def test_a_script_that_freezes_otherwise_is_overruled_and_told(caplog):
    """The checkpoint is followed, and what it overrules is named; inside the block all is the script's own."""
    with pytest.raises(Cut):
        train(lambda *_: None, cut=(2, 0))
    (run,) = mpe_runs()

    def freeze(model):
        model[0].requires_grad_(False)
        model[1].eval()

    _, model = train(lambda *_: None, resume=run.info.run_id, before=freeze)
    assert all(p.requires_grad for p in model.parameters())
    said = "model.0.weight is trained there, model.0.bias is trained there, model.1 is in train mode there. To change"
    assert said in caplog.text

    def inside(model, epoch):
        freeze(model)

    with pytest.raises(Cut):
        train(once, cut=(2, 0))
    cut = next(run for run in mpe_runs() if run.info.status == "FAILED")
    _, model = train(inside, resume=cut.info.run_id)
    assert not model[0].weight.requires_grad


def test_a_checkpoint_without_flags_is_resumed_as_before(monkeypatch, caplog):
    """Those of older versions hold none: what the script sets stands, and nothing is said."""
    snapshot = Captures.snapshot

    def older(self, *arguments, **options):
        made = snapshot(self, *arguments, **options)
        for key in ("flags", "flags_began"):
            del made.account["progress"][key]
        return made

    monkeypatch.setattr(Captures, "snapshot", older)
    with pytest.raises(Cut):
        train(once, cut=(2, 0))
    monkeypatch.undo()
    (run,) = mpe_runs()
    _, model = train(lambda *_: None, resume=run.info.run_id)
    assert model[0].weight.requires_grad
    assert "has changed" not in caplog.text


def test_thawed_parameters_of_a_model_that_was_wrapped_before_are_said(caplog):
    """DistributedDataParallel reads what requires gradients when it is made, and never again."""
    import torch.distributed as dist

    from mlflow_pt_eval.names import CheckpointName
    from mlflow_pt_eval.state import capture_flags
    from mlflow_pt_eval.training.overruling import say_what_was_put_back

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(nn.Linear(2, 2))
        thawed = capture_flags({"model": model})
        model.module.bias.requires_grad_(False)
        frozen = capture_flags({"model": model})
        name = CheckpointName(epoch=1, step=2, complete=True)
        say_what_was_put_back(name, {"model": model}, flags=frozen, began=thawed, here=thawed)
        assert caplog.text == ""  # torch itself refuses that, or finds that it is unused
        say_what_was_put_back(name, {"model": model}, flags=thawed, began=frozen, here=frozen)
    finally:
        dist.destroy_process_group()
    assert "thawed in mid-training: model.bias; the DistributedDataParallel around it was made before" in caplog.text
