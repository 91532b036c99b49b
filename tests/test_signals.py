"""Signals, by real processes: a checkpoint, a true status, the right exit, nothing lost."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from loops import Parts, wrapped
from torch.utils.data import DataLoader, Dataset

import mlflow_pt_eval as mpe
from mlflow_pt_eval import signals
from mlflow_pt_eval.errors import Interrupted
from mlflow_pt_eval.tracking.evaluation_log import RunChoice, evaluation_run
from mlflow_pt_eval.tracking.recording import recording
from mlflow_pt_eval.tracking.store import connect

SCRIPT = """
import sys, time, pathlib
sys.path.insert(0, {tests!r})
import torch, mlflow
from loops import Parts
import mlflow_pt_eval as mpe

place, grace, inside = sys.argv[1], float(sys.argv[2]), sys.argv[3] == "inside"
parts = Parts()
state = {{"model": parts.model, "optimizer": parts.optimizer, "scheduler": parts.scheduler}}
saves = mpe.ModelCheckpoint(every_n_steps=1000 if inside else None)

def here(name):
    if name == place:
        pathlib.Path("ready").touch()
        for _ in range(600):
            time.sleep(0.05)
            mpe.signals.check()
            if place in ("batch", "end", "long batch") and mpe.signals.pending():
                time.sleep(1.0 if place == "long batch" else 0.0)
                return

class Hooks:
    def on_train_start(self, run):
        here("start")

    def on_train_end(self, run):
        here("finish")

with mpe.TrainingRun(state, callbacks=[saves, Hooks()], grace_seconds=grace, run_name="cut") as run:
    for epoch in run.epochs(3):
        parts.model.train()
        for i, (x, y) in enumerate(run.batches(parts.train)):
            run.log_step(train_loss=parts.step(x, y))
            if (epoch, i) == (1, 4):
                here("batch")
                here("long batch")
        if epoch == 1:
            here("validation")
        run.log(**mpe.validate(parts.model, parts.validation, parts.criterion))
        if epoch == 1:
            here("end")
"""


def start(tmp_path, place, *, grace=20.0, inside=True):
    """Start the training and wait until it stands at the place."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    command = [sys.executable, str(script), place, str(grace), "inside" if inside else "outside"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "ready").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def the_run():
    """The only training run in the store."""
    (run,) = mlflow.search_runs(output_format="list")
    return run


@pytest.fixture(scope="module")
def uncut(tmp_path_factory):
    """The weights that the training ends with when nobody disturbs it."""
    folder, before = tmp_path_factory.mktemp("uncut"), Path.cwd()
    os.chdir(folder)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    parts = Parts()
    wrapped(parts, 3)
    os.chdir(before)
    return parts.model.state_dict()


@pytest.mark.parametrize(
    ("signum", "place", "inside", "checkpoint"),
    [
        (signal.SIGTERM, "batch", False, "epoch=0001-step=000000013-partial"),
        (signal.SIGINT, "validation", True, "epoch=0001-step=000000016-partial"),
        (signal.SIGUSR1, "end", False, "epoch=0001-step=000000016"),
    ],
)
def test_a_signal_saves_ends_and_loses_nothing(tmp_path, uncut, signum, place, inside, checkpoint):
    """Between batches, in a validation, after the body: a checkpoint, KILLED, 128 + n, and an exact resume."""
    process = start(tmp_path, place, inside=inside)
    process.send_signal(signum)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + signum, said
    run = the_run()
    assert run.info.status == "KILLED"
    assert run.data.tags["pt_eval.interrupted"] == signum.name
    assert run.data.tags["pt_eval.resumable"] == "true"
    assert run.data.tags["pt_eval.latest_checkpoint"] == checkpoint
    run_id = run.info.run_id
    assert f"the run {run_id} was ended by {signum.name}; resume={run_id} goes on from {checkpoint}\n" in said
    parts = Parts()
    wrapped(parts, 3, resume=run.info.run_id)
    for key, value in uncut.items():
        assert torch.equal(parts.model.state_dict()[key], value)
    assert "pt_eval.interrupted" not in mlflow.get_run(run.info.run_id).data.tags
    assert not (tmp_path / ".mlflow_pt_eval").exists()


def test_the_grace_is_the_longest_wait(tmp_path):
    """In a validation without checkpoints inside epochs the body goes on, but only for so long."""
    process = start(tmp_path, "validation", grace=0.5, inside=False)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert the_run().data.tags["pt_eval.latest_checkpoint"] == "epoch=0000-step=000000008"


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("start", marks=pytest.mark.slow),
        "validation",
        pytest.param("finish", marks=pytest.mark.slow),
    ],
)
def test_a_second_signal_ends_at_once(tmp_path, place):
    """Whoever presses Ctrl-C twice means it, also while the run is opened or ended."""
    process = start(tmp_path, place, grace=1000, inside=False)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert the_run().info.status == "KILLED"


def test_a_kill_is_noticed_by_the_next_start_and_the_rerun_is_not_refused(tmp_path, uncut, caplog):
    """kill -9 leaves a RUNNING run; the next start on this host marks it, and the lock is not in the way."""
    process = start(tmp_path, "validation")
    process.kill()
    process.communicate()
    assert the_run().info.status == "RUNNING"
    with mlflow.start_run(run_name="another"):
        pass
    run_id = mlflow.search_runs(filter_string="run_name = 'cut'", output_format="list")[0].info.run_id
    parts = Parts()
    wrapped(parts, 3, resume="auto", run_name="cut")
    assert f"the training run {run_id} died without a word" in caplog.text
    for key, value in uncut.items():
        assert torch.equal(parts.model.state_dict()[key], value)


def test_handlers_are_put_back_and_ctrl_c_still_works():
    """After the block the process is as it was."""
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    wrapped(Parts(), 1)
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def handlers() -> list[Any]:
    """What handles each of the signals now."""
    return [signal.getsignal(signum) for signum in HANDLED]


@contextmanager
def handled_by(signum: signal.Signals, handler: Any) -> Iterator[None]:
    """Have a signal handled otherwise within the block."""
    before = signal.signal(signum, handler)
    try:
        yield
    finally:
        signal.signal(signum, before)


def test_a_forked_child_is_as_if_nobody_watched():
    """Handlers, mask and flag are those from before, also inside a second watch: only so can a pool end its workers."""
    before, blocked = handlers(), signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with signals.watching(20), signals.watching(20):
        child = os.fork()
        if child == 0:
            same = handlers() == before and signal.pthread_sigmask(signal.SIG_BLOCK, []) == blocked
            os._exit(0 if same and not signals.is_watching() else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == blocked
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        process.start()
        process.terminate()
        process.join(30)
        assert process.exitcode == -signal.SIGTERM


class HandlersInWorker(Dataset):
    """One sample: whether its worker leaves Ctrl-C alone, and whether it watches."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([signal.getsignal(signal.SIGINT) is signal.SIG_IGN, signals.is_watching()])


def test_a_loaders_workers_leave_ctrl_c_to_the_training():
    """The terminal sends it to all of them, but the batch at hand is still to be had from them, and nothing said."""
    with signals.watching(20):
        (inside,) = DataLoader(HandlersInWorker(), num_workers=1, multiprocessing_context="fork")
    (outside,) = DataLoader(HandlersInWorker(), num_workers=1, multiprocessing_context="fork")
    assert inside.tolist() == [[True, False]]
    assert outside.tolist() == [[False, False]]


def test_the_end_of_the_grace_wakes_what_waits():
    """A queue that stays empty or a server that hangs does not hold up the end."""
    with signals.watching(0.1):
        threading.Timer(0.1, signals.request, [signal.SIGTERM]).start()
        with pytest.raises(Interrupted):
            threading.Event().wait(60)


def test_a_signal_that_is_ignored_or_has_another_use_is_left_alone(tmp_path):
    """A job in a shell script's background ignores Ctrl-C; faulthandler's handlers are unknown to Python's `signal`."""
    with handled_by(signal.SIGINT, signal.SIG_IGN), signals.watching(20):
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    with (tmp_path / "stacks").open("w") as file:
        faulthandler.register(signal.SIGUSR1, file)
        try:
            with signals.watching(20) as watch:
                os.kill(os.getpid(), signal.SIGUSR1)
                assert watch.signum is None
        finally:
            faulthandler.unregister(signal.SIGUSR1)
    assert "test_signals.py" in (tmp_path / "stacks").read_text()


def test_a_signal_in_a_training_within_a_training_ends_both():
    """The outer one learns of it by the inner one's exit, which is no error of its own."""
    outer, inner = (mpe.TrainingRun({"model": torch.nn.Linear(1, 1)}, run_name=name) for name in ("outer", "inner"))

    def train() -> None:
        with outer:
            for _ in outer.epochs(2):
                with inner:
                    for _ in inner.epochs(2):
                        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as ended:
        train()
    assert ended.value.code == 128 + signal.SIGTERM
    for run in (outer, inner):
        found = mlflow.get_run(run.run_id)
        assert (found.info.status, found.data.tags["pt_eval.interrupted"]) == ("KILLED", "SIGTERM")


def launch(tmp_path, place):
    """Start the training by `mlflow run`, in a process group of its own, and wait until it stands at the place."""
    (tmp_path / "script.py").write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    (tmp_path / "MLproject").write_text(
        f"name: launched\nentry_points:\n  main:\n    command: python script.py '{place}' 20 inside\n"
    )
    command = [sys.executable, "-m", "mlflow", "run", ".", "--env-manager", "local"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "OMP_NUM_THREADS": "1", "PATH": path}
    launcher = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return launcher


def test_an_orphan_of_mlflow_run_stops_by_itself(tmp_path):
    """`mlflow run`, killed, leaves its child training; the child notices, saves and ends as on SIGTERM."""
    launcher = launch(tmp_path, "validation")
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 120
    while "pt_eval.interrupted" not in the_run().data.tags and time.monotonic() < deadline:
        time.sleep(0.2)
    tags = the_run().data.tags
    assert (tags["pt_eval.interrupted"], tags["pt_eval.resumable"]) == ("SIGTERM", "true")
    assert tags["pt_eval.latest_checkpoint"] == "epoch=0001-step=000000016-partial"


def test_ctrl_c_on_mlflow_run_is_one_request_to_end(tmp_path):
    """The terminal sends SIGINT to all, `mlflow run` a SIGTERM on top: the batch is finished and saved all the same."""
    launcher = launch(tmp_path, "long batch")
    os.killpg(launcher.pid, signal.SIGINT)
    assert launcher.wait(60) != 0
    tags = the_run().data.tags
    assert (tags["pt_eval.interrupted"], tags["pt_eval.resumable"]) == ("SIGINT", "true")
    assert tags["pt_eval.latest_checkpoint"] == "epoch=0001-step=000000013-partial"


EVALUATING = """
import sys, time, pathlib
import torch, mlflow_pt_eval as mpe

def slowly():
    pathlib.Path("ready").touch()
    for _ in range(600):
        time.sleep(0.05)
        yield torch.randn(4, 3), torch.tensor([0, 1, 2, 0])

mpe.evaluate(torch.nn.Identity(), slowly(), outputs="logits")
"""


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)])
def test_an_evaluation_that_a_signal_ends_is_killed(tmp_path, signum, status):
    """Its run does not stay RUNNING for ever, and the process ends as it would have without it."""
    process = subprocess.Popen([sys.executable, "-c", EVALUATING], stderr=subprocess.PIPE, text=True)
    while not Path("ready").exists():
        time.sleep(0.05)
    process.send_signal(signum)
    process.communicate(timeout=120)
    assert process.returncode == status
    assert the_run().info.status == "KILLED"


def test_a_programs_own_handler_of_sigterm_stays():
    """An evaluation inside a server, or inside a training, leaves the end to those."""
    came = []
    before = signal.signal(signal.SIGTERM, lambda signum, frame: came.append(signum))
    try:
        with signals.ending_truly():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [signal.SIGTERM]


def test_what_must_not_be_cut_in_two_is_done_first_unless_asked_twice():
    """One Ctrl-C waits for the end of the block, a second one does not."""
    done = []

    def interrupted(times: int) -> None:
        with signals.held():
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
            done.append(times)

    for times in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            interrupted(times)
    assert done == [1]
    with pytest.raises(KeyboardInterrupt):  # the handler before is back
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("kind", ["evaluation", "comparison"])
def test_a_run_that_a_signal_meets_at_its_birth_is_killed(monkeypatch, kind):
    """Between its creation and the work on it there is no gap, nor in what marks it."""
    make, end = mlflow.MlflowClient.create_run, mlflow.MlflowClient.set_terminated

    def signalled(call):
        def wrapped(*args, **kwargs):
            signal.raise_signal(signal.SIGINT)
            return call(*args, **kwargs)

        return wrapped

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", signalled(make))
    monkeypatch.setattr(mlflow.MlflowClient, "set_terminated", signalled(end))
    store = connect()
    opened = (
        evaluation_run(store, RunChoice())
        if kind == "evaluation"
        else recording(store, kind=kind, run_name="a", tags={})
    )
    with pytest.raises(KeyboardInterrupt), opened:
        pytest.fail("the work began")
    assert the_run().info.status == "KILLED"
