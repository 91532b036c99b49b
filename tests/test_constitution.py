"""The three rules that everything else serves, all with exact equality."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from loops import Crash, Parts, bare, wrapped

import mlflow_pt_eval as mpe
from mlflow_pt_eval.state import first_difference

EPOCHS = 3
BATCHES = 8  # of 30 rows, 4 a batch: the last one is ragged
EXAMPLE = torch.zeros(2, 4)


def series(run_id: str) -> dict[str, list[tuple[int, float]]]:
    """Every point that the store holds of a run."""
    client = mlflow.MlflowClient()
    keys = client.get_run(run_id).data.metrics
    return {key: sorted((m.step, m.value) for m in client.get_metric_history(run_id, key)) for key in keys}


@pytest.mark.parametrize(
    "callbacks",
    [
        [],
        [mpe.ModelCheckpoint(every_n_steps=3, every_seconds=1e-6, when_busy="wait")],
        [
            mpe.ModelCheckpoint(monitor="val_accuracy", save_top_k=2),
            mpe.EarlyStopping(monitor="val_loss", mode="min", patience=100),
            mpe.RegisterBest("tiny", input_example=EXAMPLE),
        ],
    ],
    ids=["defaults", "inside epochs", "everything"],
)
@pytest.mark.parametrize("private_generator", [True, False])
def test_wrapping_changes_nothing(callbacks, private_generator):
    """A bare loop and the wrapped one end with the same weights, optimizer and random states, bit for bit."""
    alone, together = (Parts(private_generator=private_generator), None)
    logged = bare(alone, EPOCHS)
    expected = alone.tree()
    together = Parts(private_generator=private_generator)
    run = wrapped(together, EPOCHS, callbacks=callbacks)
    assert first_difference(expected, together.tree()) is None
    assert [{k: r.metrics[k] for k in logged[0]} for r in run.history] == logged


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The training that was never cut: its end, its history, its metrics."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    before = Path.cwd()
    os.chdir(folder)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    try:
        parts = Parts()
        run = wrapped(parts, EPOCHS)
        return {"tree": parts.tree(), "history": run.history, "series": series(run.run_id)}
    finally:
        os.chdir(before)
        mlflow.set_tracking_uri(None)


POINTS = [(epoch, batch) for epoch in range(EPOCHS) for batch in (None, 0, 1, 5, BATCHES - 1)]


@pytest.mark.parametrize("crash_at", POINTS, ids=str)
@pytest.mark.parametrize("every_n_steps", [None, 3])
def test_resuming_changes_nothing(uninterrupted, tracking, crash_at, every_n_steps):
    """Crashed anywhere and resumed, a training ends as if it had never been cut, its metrics whole and not doubled."""
    callbacks = [mpe.ModelCheckpoint(every_n_steps=every_n_steps, when_busy="wait")]
    with pytest.raises(Crash):
        wrapped(Parts(), EPOCHS, crash_at=crash_at, callbacks=callbacks, run_name="cut")
    (cut,) = mlflow.search_runs(experiment_ids=["0"], output_format="list")
    assert cut.info.status == "FAILED"
    parts = Parts()
    run = wrapped(parts, EPOCHS, callbacks=callbacks, resume=cut.info.run_id)
    assert first_difference(uninterrupted["tree"], parts.tree()) is None
    assert run.history == uninterrupted["history"]
    assert series(run.run_id) == uninterrupted["series"]
    ended = mlflow.get_run(run.run_id)
    assert (ended.info.status, ended.data.tags["pt_eval.resumable"]) == ("FINISHED", "false")
    assert not Path(".mlflow_pt_eval").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_resuming_with_workers_changes_nothing(tracking, workers):
    """Randomness inside worker processes comes back too: what they did is done again and thrown away."""
    whole = Parts(workers=workers)
    expected = wrapped(whole, 2, run_name="whole")
    callbacks = [mpe.ModelCheckpoint(every_n_steps=1, when_busy="wait")]
    with pytest.raises(Crash):
        wrapped(Parts(workers=workers), 2, crash_at=(1, 5), callbacks=callbacks, run_name="cut")
    parts = Parts(workers=workers)
    run = wrapped(parts, 2, callbacks=callbacks, run_name="cut", resume="auto")
    assert first_difference(whole.tree(), parts.tree()) is None
    assert run.history == expected.history


_WRITES = {"os.rename", "os.remove", "os.rmdir", "os.truncate"}


def _die_at(write: int, root: str) -> None:
    """Kill this process, without a word, at the n-th change of a file of checkpoints below *root*."""
    left = [write]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in _WRITES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT)
        if changes and isinstance(arguments[0], str | os.PathLike) and "epoch=" in os.fspath(arguments[0]):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def test_a_crash_at_any_write_leaves_a_loadable_checkpoint(tmp_path):
    """Killed at each single change of a checkpoint's files in turn: what is committed is whole, and resumes exactly."""
    whole = Parts()
    wrapped(whole, 2, run_name="whole")
    expected, write, completed = whole.tree(), 0, False
    while not completed:
        write += 1
        folder = tmp_path / f"write{write}"
        folder.mkdir()
        child = os.fork()
        if child == 0:
            os.chdir(folder)
            mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
            _die_at(write, str(folder))
            wrapped(Parts(), 2, run_name="cut", callbacks=[mpe.ModelCheckpoint(when_busy="wait")])
            os._exit(0)
        _, status = os.waitpid(child, 0)
        completed = status == 0
        os.chdir(folder)
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        parts = Parts()
        if not completed:
            assert os.WTERMSIG(status) == signal.SIGKILL
            (cut,) = mlflow.search_runs(experiment_ids=["0"], output_format="list")
            run = wrapped(parts, 2, resume=cut.info.run_id)
            assert first_difference(expected, parts.tree()) is None, f"write {write}"
            assert len(run.history) == 2
            mpe.load_checkpoint(run.run_id)
    assert write > 10
