"""Names of trainings in runs that are the caller's: taken where they can be, said where not, found again either way."""

from __future__ import annotations

import logging
import random

import mlflow
import pytest
import torch
from mlflow.utils.name_utils import _generate_random_name

import mlflow_pt_eval as mpe
from mlflow_pt_eval.names import TAG_RUN_NAME
from mlflow_pt_eval.tracking.run_names import _is_drawn

NAMED = {"run_name": "nightly", "resume": "auto"}


def trained(epochs=1, *, cut=False, **options):
    """Train in whatever run is open; *cut* fails in the second epoch."""
    run = mpe.TrainingRun({"model": torch.nn.Linear(2, 2)}, **options)
    try:
        with run:
            for epoch in run.epochs(epochs):
                if cut and epoch:
                    raise ArithmeticError("cut")
    except ArithmeticError:
        pass
    return run.run_id


def test_a_run_without_a_name_of_its_own_takes_the_trainings(caplog):
    """MLflow's random name tells nobody anything, and `mlflow run` gives every run such a one."""
    with mlflow.start_run() as active:
        assert trained(run_name="nightly") == active.info.run_id
    assert mlflow.get_run(active.info.run_id).info.run_name == "nightly"
    assert "not used" not in caplog.text


def test_what_of_a_callers_run_is_not_used_is_one_warning(caplog):
    """A name that somebody has chosen stays, and a run stays in its experiment."""
    with mlflow.start_run(run_name="mine") as active:
        trained(run_name="nightly", experiment_name="vision")
    run = mlflow.get_run(active.info.run_id)
    assert (run.info.run_name, run.info.experiment_id) == ("mine", "0")
    (said,) = [r.message for r in caplog.records if r.levelno == logging.WARNING and "not used" in r.message]
    assert "run_name='nightly' (it keeps its name 'mine')" in said
    assert "experiment_name='vision' (it stays in 'Default')" in said


def test_a_run_that_is_resumed_by_its_id_stays_in_its_experiment(caplog):
    """Another one is not made, and that is said."""
    first = trained()
    assert trained(2, resume=first, experiment_name="vision") == first
    assert mlflow.get_experiment_by_name("vision") is None
    assert f"the run {first} stays in its experiment 'Default': experiment_name='vision' is not used" in caplog.messages
    caplog.clear()
    trained(3, resume=first, experiment_name="Default")
    assert "not used" not in caplog.text


def test_the_same_name_and_experiment_are_no_warning(caplog):
    """Nothing is dropped, so nothing is said; nor where no name is given."""
    with mlflow.start_run(run_name="mine") as active:
        trained(run_name="mine", experiment_name="Default")
    assert TAG_RUN_NAME not in mlflow.get_run(active.info.run_id).data.tags
    with mlflow.start_run(run_name="mine"):
        trained()
    assert "not used" not in caplog.text


@pytest.mark.parametrize("outer", [None, "mine"])
@pytest.mark.parametrize("experiment_name", [None, "vision"])
def test_auto_finds_what_was_cut_in_a_run_of_the_callers(outer, experiment_name):
    """The same script again opens a run of its own again; the training goes on in the first one."""
    mlflow.set_experiment("theirs")
    with mlflow.start_run(run_name=outer) as first:
        trained(3, cut=True, experiment_name=experiment_name, **NAMED)
    with mlflow.start_run(run_name=outer):
        assert trained(3, experiment_name=experiment_name, **NAMED) == first.info.run_id
    assert mlflow.get_run(first.info.run_id).data.tags["pt_eval.resumable"] == "false"


def test_auto_finds_what_was_cut_in_a_run_that_was_given(monkeypatch):
    """By MLFLOW_RUN_ID, as under `mlflow run`, whose runs MLflow names."""
    client, ids = mlflow.MlflowClient(), []
    for cut in (True, False):
        monkeypatch.setenv("MLFLOW_RUN_ID", client.create_run("0").info.run_id)
        ids.append(trained(3, cut=cut, **NAMED))
    assert ids[0] == ids[1]


def test_auto_finds_a_child_that_was_cut():
    """Under a run that has a kind a child is opened, in the parent's experiment, wherever that is."""
    mlflow.set_experiment("theirs")
    with mlflow.start_run() as parent:
        mlflow.set_tag("pt_eval.kind", "sweep")
    mlflow.set_experiment("another")
    first = trained(3, cut=True, parent_run_id=parent.info.run_id, **NAMED)
    assert trained(3, parent_run_id=parent.info.run_id, **NAMED) == first


def test_a_name_that_mlflow_draws_is_told_from_one_that_was_chosen():
    """All of MLflow's, and none of the usual ones."""
    random.seed(0)
    assert all(_is_drawn(_generate_random_name()) for _ in range(200))
    for name in ("nightly", "resnet-50", "bold-move-2", "run-1-2", "bold-crane", "evaluate digits 3"):
        assert not _is_drawn(name)
