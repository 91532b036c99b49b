"""Training with a sharded state (`fully_shard`), by real torchrun jobs on gloo: every part exact."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import mlflow
import pytest
import torch
from jobs import EPOCHS, Job, same_end

import mlflow_pt_eval as mpe
from mlflow_pt_eval import checkpoints
from mlflow_pt_eval.state import first_difference

SHARDED = "sharded=1"
LONG = "rows=301"
BEST = "monitor=1"


def stored(job: Job) -> list[Path]:
    """The folders of a job's checkpoints, oldest first."""
    return sorted(job.folder.glob("mlartifacts/0/*/artifacts/checkpoints/*"))


@pytest.fixture
def here():
    """Make a job's store that of this process, which is one and knows nothing of the others."""
    return lambda job: mlflow.set_tracking_uri(f"sqlite:///{job.folder}/mlflow.db")


def test_wrapping_changes_nothing_of_any_part(tmp_path, here):
    """A bare sharded loop and the wrapped one end alike on both ranks; one process alone reads the whole of it."""
    job = Job(tmp_path / "job", SHARDED, "bare=1", epochs=2).ended_well()
    for bare, wrapped in zip(job.trees("bare"), job.trees(), strict=True):
        assert first_difference(bare, wrapped) is None
    here(job)
    assert {path.name for path in stored(job)[-1].iterdir()} == {
        "manifest.json",
        "state.pt",
        "shard-00000-of-00002.pt",
        "shard-00001-of-00002.pt",
    }
    run_id = job.run().info.run_id
    assert set(checkpoints.verify(run_id).values()) == {None}
    tree, whole = mpe.load_checkpoint(run_id), job.trees("whole")[0]
    assert first_difference(whole["model"], dict(tree["model_state_dict"])) is None
    assert first_difference(whole["optimizer"], tree["optimizer_state_dict"]) is None
    assert not (job.folder / ".mlflow_pt_eval").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The job that was never cut."""
    return Job(tmp_path_factory.mktemp("shards") / "whole", SHARDED).ended_well()


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The same of one epoch with many batches."""
    return Job(tmp_path_factory.mktemp("shards") / "long", SHARDED, LONG, epochs=1).ended_well()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at", "options"),
    [
        ("end:1:0:-1:kill", []),
        ("batch:1:3:-1:kill", ["steps=1"]),
        ("validation:1:0:-1:kill", ["seconds=0.001"]),
    ],
)
def test_killed_and_resumed_changes_nothing(tmp_path, whole, at, options):
    """The whole job killed at an epoch's end and in the middle of one: every part what was never cut."""
    folder = tmp_path / "job"
    cut = Job(folder, SHARDED, f"at={at}", *options)
    cut.end()
    assert cut.process.returncode != 0
    assert cut.run().info.status == "RUNNING"
    same_end(Job(folder, SHARDED, f"resume={cut.run().info.run_id}", *options).ended_well(), whole)


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["torchrun", "rank 1"])
def test_a_signal_saves_all_parts_at_one_step(tmp_path, long, whom):
    """SIGTERM to torchrun, or to one rank alone, in mid-epoch: a checkpoint, KILLED, resumed bit for bit."""
    folder = tmp_path / "job"
    cut = Job(folder, SHARDED, "at=batch:0:5:-1:ready", LONG, epochs=1)
    pids = cut.until_ready()
    os.kill(cut.process.pid if whom == "torchrun" else pids[int(whom[-1])], signal.SIGTERM)
    said = cut.end()
    run = cut.run()
    assert run.info.status == "KILLED", said
    assert (run.data.tags["pt_eval.interrupted"], run.data.tags["pt_eval.resumable"]) == ("SIGTERM", "true")
    assert run.data.tags["pt_eval.latest_checkpoint"].endswith("-partial")
    same_end(Job(folder, SHARDED, "resume=auto", LONG, epochs=1).ended_well(), long)


@pytest.mark.slow
def test_a_signal_in_a_validation_lets_all_ranks_end_it(tmp_path, whole):
    """Its forward passes need all of them: the epoch is finished and saved, KILLED, and resumed bit for bit."""
    folder = tmp_path / "job"
    cut = Job(folder, SHARDED, "at=validation:1:0:1:term", "steps=3")
    said = cut.end()
    assert cut.run().info.status == "KILLED", said
    assert cut.run().data.tags["pt_eval.latest_checkpoint"] == "epoch=0001-step=000000010"
    same_end(Job(folder, SHARDED, "resume=auto", "steps=3").ended_well(), whole)


@pytest.mark.slow
def test_parts_go_to_a_server_and_come_back(tmp_path, long, server):
    """Every rank sends its part over HTTP, and fetches it for a resume; one process verifies and loads all."""
    folder = tmp_path / "job"
    cut = Job(folder, SHARDED, "at=batch:0:5:-1:ready", LONG, epochs=1, store=server)
    cut.until_ready()
    os.kill(cut.process.pid, signal.SIGTERM)
    said = cut.end()
    assert cut.run().info.status == "KILLED", said
    job = Job(folder, SHARDED, "resume=auto", LONG, epochs=1, store=server).ended_well()
    same_end(job, long)
    mlflow.set_tracking_uri(server)
    run_id = job.run().info.run_id
    assert set(checkpoints.verify(run_id).values()) == {None}
    assert (
        first_difference(job.trees("whole")[0]["model"], dict(mpe.load_checkpoint(run_id)["model_state_dict"])) is None
    )


@pytest.mark.slow
def test_a_rank_that_dies_takes_the_job_down_and_it_resumes(tmp_path, whole):
    """kill -9 of one rank: nobody hangs, the run is FAILED, and a rerun goes on."""
    folder = tmp_path / "job"
    cut = Job(folder, SHARDED, "at=batch:1:3:1:kill")
    said = cut.end()
    assert cut.run().info.status == "FAILED", said
    same_end(Job(folder, SHARDED, "resume=auto").ended_well(), whole)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "kind"), [(3, SHARDED), (1, SHARDED), (2, "rows=37"), (1, "rows=37")])
def test_another_number_of_processes_has_the_same_weights(tmp_path, size, kind):
    """Sharded by two; then by three, by one, and by none, with the same weights and optimizer, which is said."""
    folder = tmp_path / "job"
    first = Job(folder, SHARDED, epochs=2).ended_well()
    expected, run_id = first.trees("whole"), first.run().info.run_id
    job = Job(folder, kind, f"resume={run_id}", epochs=2, size=size)
    said = job.end()
    assert job.process.returncode == 0, said
    assert (f"was made by 2 processes, here are {size}: weights and optimizer are exact" in said) == (size != 2)
    for rank, tree in enumerate(job.trees("whole")):  # statistics of BatchNorm are each rank's own
        assert first_difference(expected[rank if size == 2 else 0], tree) is None


@pytest.mark.slow
def test_what_was_whole_can_be_sharded(tmp_path):
    """A DistributedDataParallel training goes on sharded, with the same weights and optimizer."""
    folder = tmp_path / "job"
    first = Job(folder, epochs=2).ended_well()
    expected, run_id = first.trees("whole"), first.run().info.run_id
    job = Job(folder, SHARDED, f"resume={run_id}", epochs=2).ended_well()
    for before, after in zip(expected, job.trees("whole"), strict=True):
        assert first_difference(before, after) is None


@pytest.mark.slow
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_damaged_part_is_named_and_the_checkpoint_before_is_taken(tmp_path, whole, how, here):
    """One rank's file is enough: verify names it, a resume passes the checkpoint over, prune deletes all of it."""
    folder = tmp_path / "job"
    first = Job(folder, SHARDED, epochs=2).ended_well()
    here(first)
    run_id, newest = first.run().info.run_id, stored(first)[-1]
    part = newest / "shard-00001-of-00002.pt"
    if how == "changed":
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
    else:
        part.unlink()
    found = checkpoints.verify(run_id)
    assert "shard-00001-of-00002.pt" in found[newest.name]
    assert [problem for name, problem in found.items() if name != newest.name] == [None] * (len(found) - 1)
    job = Job(folder, SHARDED, f"resume={run_id}")
    said = job.end()
    assert f"checkpoint passed over: {newest.name}: shard-00001-of-00002.pt" in said
    same_end(job, whole)
    assert checkpoints.prune(run_id, keep_last=1)
    assert len(stored(job)) == 1


@pytest.mark.slow
def test_the_best_epoch_becomes_one_whole_version(tmp_path, here):
    """The version has the weights of the best epoch's checkpoint, whole, in a program of plain layers."""
    job = Job(tmp_path / "job", SHARDED, BEST, "register=1").ended_well()
    here(job)
    assert [told["registered_version"] for told in job.told()] == [1, 1]
    client, run_id = mlflow.MlflowClient(), job.run().info.run_id
    version = client.get_model_version("ranks", "1")
    saved = mpe.load_checkpoint(run_id, epoch=int(version.tags["pt_eval.epoch"]))["model_state_dict"]
    loaded = mpe.load_model("models:/ranks/1")
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, saved[name]), name
    plain = torch.nn.Sequential(
        *(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3))
    )
    plain.load_state_dict(saved)
    x = torch.randn(5, 4)
    assert torch.equal(loaded(x), plain.eval()(x))
    again = mpe.register_best(run_id, "again", model=plain, input_example=x)
    digest = client.get_model_version("again", str(again)).tags["pt_eval.weights_sha256"]
    assert digest == version.tags["pt_eval.weights_sha256"]


@pytest.mark.slow
def test_a_stop_on_one_rank_is_everyones(tmp_path):
    """`run.stop` on rank 1 alone ends the training after that epoch, with its reason, on both."""
    job = Job(tmp_path / "job", SHARDED, "at=batch:0:2:1:stop").ended_well()
    assert [told["stop_reason"] for told in job.told()] == ["enough for rank 1"] * 2
    assert len(job.told()[0]["history"]) == 1 < EPOCHS
