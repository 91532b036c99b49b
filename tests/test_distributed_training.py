"""Training over several processes, by real torchrun jobs on gloo: the constitution once more, on every rank."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from jobs import BATCHES, EPOCHS, Job, same_end

from mlflow_pt_eval.state import first_difference

LONG = "rows=301"


def test_wrapping_changes_nothing_on_any_rank(tmp_path):
    """A bare DDP loop and the wrapped one end alike on both ranks; one of them alone has written to one run."""
    job = Job(tmp_path / "job", "bare=1", epochs=2).ended_well()
    for bare, wrapped in zip(job.trees("bare"), job.trees(), strict=True):
        assert first_difference(bare, wrapped) is None
    one, two = job.told()
    assert one == two
    assert one["run_id"] == job.run().info.run_id
    assert job.run().info.status == "FINISHED"
    assert len(job.series()["train_loss"]) == 2 * BATCHES


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The job that was never cut."""
    return Job(tmp_path_factory.mktemp("ranks") / "whole").ended_well()


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The same of one epoch with many batches."""
    return Job(tmp_path_factory.mktemp("ranks") / "long", LONG, epochs=1).ended_well()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at", "options"),
    [
        ("end:1:0:-1:kill", []),
        ("batch:1:3:-1:kill", ["steps=1"]),
        ("batch:2:4:-1:kill", ["steps=2"]),
        ("validation:1:0:-1:kill", ["seconds=0.001"]),
    ],
)
def test_killed_and_resumed_changes_nothing(tmp_path, whole, at, options):
    """The whole job killed at an epoch's end and in the middle of one, on every rank what was never cut."""
    folder = tmp_path / "job"
    cut = Job(folder, f"at={at}", *options)
    cut.end()
    assert cut.process.returncode != 0
    assert cut.run().info.status == "RUNNING"
    same_end(Job(folder, f"resume={cut.run().info.run_id}", *options).ended_well(), whole)


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["torchrun", "rank 0", "rank 1"])
def test_a_signal_saves_all_ranks_at_one_step(tmp_path, long, whom):
    """SIGTERM to torchrun, or to one rank alone, in mid-epoch: a checkpoint, KILLED, resumed bit for bit."""
    folder = tmp_path / "job"
    cut = Job(folder, "at=batch:0:5:-1:ready", LONG, epochs=1)
    pids = cut.until_ready()
    os.kill(cut.process.pid if whom == "torchrun" else pids[int(whom[-1])], signal.SIGTERM)
    said = cut.end()
    run = cut.run()
    assert run.info.status == "KILLED", said
    assert (run.data.tags["pt_eval.interrupted"], run.data.tags["pt_eval.resumable"]) == ("SIGTERM", "true")
    assert run.data.tags["pt_eval.latest_checkpoint"].endswith("-partial")
    same_end(Job(folder, "resume=auto", LONG, epochs=1).ended_well(), long)


@pytest.mark.slow
def test_a_rank_that_dies_takes_the_job_down_and_it_resumes(tmp_path, whole):
    """kill -9 of one rank: nobody hangs, the run is FAILED, its end names the rank, and a rerun goes on."""
    folder = tmp_path / "job"
    cut = Job(folder, "at=batch:1:3:1:kill")
    said = cut.end()
    assert cut.run().info.status == "FAILED", said
    assert "rank 1 of 2" in said
    same_end(Job(folder, "resume=auto").ended_well(), whole)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_on_one_rank_is_named_by_the_other(tmp_path, rank):
    """In a validation, where no collective of the user's meets it: both end, the run is FAILED and says why."""
    job = Job(tmp_path / "job", f"at=validation:1:0:{rank}:raise")
    said = job.end()
    run = job.run()
    assert run.info.status == "FAILED", said
    assert f"rank {rank} of 2 failed (ArithmeticError: broken here); its own output says more." in said
    assert run.data.tags["pt_eval.latest_checkpoint"] == "epoch=0000-step=000000005"


@pytest.mark.slow
def test_a_stop_on_one_rank_is_everyones(tmp_path):
    """`run.stop` on rank 1 alone ends the training after that epoch, with its reason, on both."""
    job = Job(tmp_path / "job", "at=batch:0:2:1:stop", "register=1").ended_well()
    for told in job.told():
        assert told["stop_reason"] == "enough for rank 1"
        assert len(told["history"]) == 1
        assert told["registered_version"] == 1
    assert job.run().data.tags["pt_eval.stop_reason"] == "enough for rank 1"


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["steps=2"]])
def test_another_number_of_processes_is_said_and_goes_on(tmp_path, options):
    """Weights and optimizer are those of the checkpoint; what is not exact is a warning."""
    folder = tmp_path / "job"
    options = ["rows=45", *options]  # no batch of one sample among three either
    cut = Job(folder, "at=batch:1:3:-1:kill", *options)
    cut.end()
    job = Job(folder, f"resume={cut.run().info.run_id}", *options, size=3)
    said = job.end()
    assert job.process.returncode == 0, said
    assert "was made by 2 processes, here are 3: weights and optimizer are exact" in said
    assert len(job.told()[2]["history"]) == EPOCHS
    models = [tree["model"] for tree in job.trees()]
    assert all(torch.equal(models[0]["0.weight"], model["0.weight"]) for model in models)
