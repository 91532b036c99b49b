"""Checkpoints after the fact: what pruning leaves, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.request import url2pathname

import mlflow
import pytest
import torch

import mlflow_pt_eval as mpe
from mlflow_pt_eval.checkpoints import prune
from mlflow_pt_eval.cli import main
from mlflow_pt_eval.errors import BadInput, RunConflict
from mlflow_pt_eval.names import TAG_MONITORS

LOSSES = [0.5, 0.1, 0.4, 0.3, 0.2]


def trained(*callbacks, key="val_loss", cut=False):
    """Train with all checkpoints kept, epochs that log LOSSES, and, if *cut*, one that fails after its first batch."""
    model = torch.nn.Linear(2, 2)
    keep_all = mpe.ModelCheckpoint(save_top_k=-1, every_n_steps=1, when_busy="wait")
    run = mpe.TrainingRun({"model": model}, callbacks=[keep_all, *callbacks])
    try:
        with run:
            for epoch in run.epochs(len(LOSSES) + cut):
                for _ in run.batches([1]):
                    pass
                if epoch == len(LOSSES):
                    raise ArithmeticError("cut")
                run.log(**{key: LOSSES[epoch]})
    except ArithmeticError:
        pass
    return run.run_id


def stored(run_id):
    """Return the names of a run's checkpoint folders, oldest first."""
    return sorted(path.name for path in folder(run_id).iterdir())


def folder(run_id):
    return Path(url2pathname(mlflow.get_run(run_id).info.artifact_uri.removeprefix("file://")), "checkpoints")


def epochs(names):
    return [int(name[6:10]) for name in names]


def test_pruning_leaves_the_newest_and_the_best_of_what_was_monitored():
    """The best epoch is what all the others were for."""
    run_id = trained(mpe.ModelCheckpoint(monitor="val_loss", mode="min"))
    rehearsed = prune(run_id, dry_run=True)
    assert epochs(stored(run_id)) == [0, 1, 2, 3, 4]
    assert prune(run_id) == rehearsed
    assert epochs(stored(run_id)) == [1, 3, 4]
    assert main(["checkpoints", "prune", run_id, "--keep-last", "1"]) == 0
    assert epochs(stored(run_id)) == [1, 4]


def test_without_a_monitor_the_best_by_val_accuracy_is_left(tracking):
    """It is what `register_best` takes afterwards; also where the tag is older than this, or written by hand."""
    run_id = trained(key="val_accuracy")
    for tag in (None, "by hand", "[]"):
        if tag is not None:
            mlflow.MlflowClient().set_tag(run_id, TAG_MONITORS, tag)
        assert 0 not in epochs(prune(run_id, dry_run=True))
    assert epochs(prune(run_id)) == [1, 2]


def test_what_stands_before_a_finished_epoch_is_not_left():
    """A checkpoint in mid-epoch is a place to go on from, and nobody goes on from an older one."""
    run_id = trained(cut=True)
    newest = stored(run_id)[-1]
    assert newest == "epoch=0005-step=000000006-partial"
    stale = "epoch=0004-step=000000004-partial"
    shutil.copytree(folder(run_id) / newest, folder(run_id) / stale)
    assert stale in prune(run_id)
    assert stored(run_id)[-3:] == ["epoch=0003-step=000000004", "epoch=0004-step=000000005", newest]


def test_a_run_at_work_is_not_pruned():
    """Its own retention is at work there; a dry run is nobody's harm."""
    with mpe.TrainingRun({"model": torch.nn.Linear(2, 2)}) as run:
        for _ in run.epochs(1):
            assert prune(run.run_id, dry_run=True) == []
            with pytest.raises(RunConflict, match="is being trained by process"):
                prune(run.run_id)


@pytest.mark.parametrize("which", [{"epoch": "0"}, {"epoch": 0.5}, {"step": -1}, {"epoch": True}])
def test_an_epoch_that_is_no_number_is_not_looked_for(which):
    """Otherwise it would be said that there is no checkpoint of an epoch that stands in the list."""
    with pytest.raises(BadInput, match="load_checkpoint got .*a whole number of at least 0"):
        mpe.load_checkpoint("0a1b2c", **which)


@pytest.mark.parametrize("read", [mpe.list_checkpoints, mpe.load_checkpoint, prune])
def test_a_run_id_is_a_text(read):
    """A run itself is mostly what is given instead."""
    with pytest.raises(BadInput, match="is not a run's id"):
        read(None)


@pytest.mark.parametrize("keep_last", [0, -1, 1.5, True, "2"])
def test_a_number_that_is_none_is_refused(keep_last):
    """0 would be all of them to Python, and nothing to whoever asks for it."""
    with pytest.raises(BadInput, match="prune got keep_last"):
        prune("0a1b2c", keep_last=keep_last)
