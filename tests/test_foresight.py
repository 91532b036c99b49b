"""What could not be registered at a training's end is said at its start."""

from __future__ import annotations

import logging
from typing import Any

import mlflow
import pytest
import torch
from nets import Stubborn
from torch import nn

import mlflow_pt_eval as mpe
from mlflow_pt_eval.errors import BadInput, RegistrationFailed

# Not zeros, for which a fresh layer's outputs, its biases, may look like probabilities.
EXAMPLE = 9 * torch.eye(4)[:2]


def trained(model: nn.Module, said: pytest.LogCaptureFixture, **wanted: Any) -> tuple[mpe.TrainingRun, list[str]]:
    """Train an epoch that registers the model; return the run, and what was said before its first epoch."""
    options = {"input_example": EXAMPLE, **wanted}
    run = mpe.TrainingRun({"model": model}, callbacks=[mpe.RegisterBest("later", **options)])
    before: list[str] = []
    with run:
        for _ in run.epochs(1):
            before = [record.getMessage() for record in said.records if record.levelno >= logging.WARNING]
            model(EXAMPLE)
            run.log(val_accuracy=0.5)
    return run, before


def test_a_model_that_cannot_be_exported_is_named_before_the_first_epoch(caplog: pytest.LogCaptureFixture) -> None:
    """The training goes on; its end says how to register what it has trained, and that does it."""
    with pytest.raises(RegistrationFailed, match="later got no new version"):
        trained(Stubborn(), caplog)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 2, said
    first, last = said
    assert first.startswith("at its end this training could not register 'later': torch.export refuses a Stubborn: ")
    run_id = last.split("'")[1]
    assert last == f"the run {run_id} is trained: register_best('{run_id}', …) registers its best epoch afterwards"
    assert mpe.register_best(run_id, "later", model=Stubborn(), input_example=EXAMPLE, factory="nets:Stubborn") == 1


def test_an_example_of_another_width_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """It is run through the model once."""
    with pytest.raises(mpe.PtEvalError):
        trained(nn.Linear(4, 3), caplog, input_example=torch.zeros(2, 5))
    assert "at its end this training could not register 'later': a Linear does not take the example" in caplog.text


@pytest.mark.parametrize("size", [4, 3])
def test_an_example_that_is_one_sample_is_named(size: int, caplog: pytest.LogCaptureFixture) -> None:
    """Its first dimension would be taken for the batch, which a layer fixes."""
    with pytest.raises(RegistrationFailed):
        trained(nn.Linear(4, size), caplog, input_example=torch.zeros(4))
    assert "whose first dimension (4,) is taken for the batch: give a batch of samples, such as x[:2]" in caplog.text


def test_an_example_with_labels_is_refused() -> None:
    """A version that takes them could not be evaluated."""
    with pytest.raises(BadInput, match="the input example holds 'labels', which evaluations take out of each batch"):
        mpe.RegisterBest("later", input_example={"x": EXAMPLE, "labels": torch.zeros(2)})


def test_a_factory_that_makes_something_else_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """With the keys or shapes that differ."""
    with pytest.raises(mpe.PtEvalError):
        trained(Stubborn(5), caplog, factory="nets:Stubborn")
    assert "could not register 'later': the weights do not fit a Stubborn" in caplog.text


@pytest.mark.parametrize("lazy", [False, True])
def test_what_can_be_registered_is_not_spoken_of(lazy: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Nor a lazy module, which has its weights after the first batch."""
    run, before = trained(nn.LazyLinear(3) if lazy else nn.Linear(4, 3), caplog)
    assert (before, run.registered_version) == ([], 1)


def test_looking_ahead_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    """Modes, buffers and random numbers are as they were."""
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout())
    state = torch.get_rng_state()
    callbacks = [mpe.RegisterBest("later", input_example=EXAMPLE)]
    with mpe.TrainingRun({"model": model}, callbacks=callbacks) as run:
        assert torch.equal(torch.get_rng_state(), state)
        assert model.training
        assert int(model[1].num_batches_tracked) == 0
        for _ in run.epochs(1):
            run.log(val_accuracy=0.5)
    assert run.registered_version == 1


def test_an_error_while_looking_ahead_leaves_no_run_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is: the run has been opened by then."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("mlflow_pt_eval.training.run.foresee", broken)
    with pytest.raises(ZeroDivisionError), mpe.TrainingRun({"model": nn.Linear(4, 3)}):
        pytest.fail("the block was entered")
    (run,) = mlflow.search_runs(output_format="list")
    assert run.info.status == "FAILED"
