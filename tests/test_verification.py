"""`verify_resume`: a script that resumes exactly is exact; of one that does not, the first difference is named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from loops import Parts, wrapped

from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.state import capture_rng
from mlflow_pt_eval.verification import Verdict, harness, series, trees, verify_resume
from mlflow_pt_eval.verification.points import Course, Span, Stop, choose
from mlflow_pt_eval.verification.reports import Task
from mlflow_pt_eval.verification.series import Logged
from mlflow_pt_eval.verification.verify import Verification
from mlflow_pt_eval.verification.workspace import Ended, Workspace

pytestmark = pytest.mark.slow

NET = """
from torch import nn

def net():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
"""

# Randomness of all three libraries, dropout, shuffling, a scheduler at each step. Lines are put in at the marks.
SCRIPT = """
import argparse
import random
import time

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import mlflow_pt_eval as mpe
from net import net

class Noisy(Dataset):
    def __init__(self):
        self.x = torch.randn(20, 4, generator=torch.Generator().manual_seed(7))

    def __len__(self):
        return 20

    def __getitem__(self, i):
        return self.x[i] + torch.randn(4) + random.random() + float(np.random.rand()), i % 3

def collate(items):
    return torch.utils.data.default_collate(items)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, required=True)
    epochs = parser.parse_args().epochs
    torch.manual_seed(1)
    random.seed(2)
    np.random.seed(3)
    model, data, options, callbacks, count = net(), Noisy(), {}, [], 0
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=200)
    state = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    # before
    loader = DataLoader(data, batch_size=4, shuffle=True, collate_fn=collate, **options)
    validation = DataLoader(data, batch_size=20)
    criterion = torch.nn.CrossEntropyLoss()
    with mpe.TrainingRun(state, callbacks=callbacks) as run:
        for epoch in run.epochs(epochs):
            for x, y in run.batches(loader):
                loss = criterion(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                run.log_step(train_loss=loss)
                # batch
            run.log(**mpe.validate(model, validation, criterion))
            # epoch
    # after
"""


def write(folder: Path, **lines: str) -> Path:
    """Write the script and the module that it imports into *folder*, with *lines* at their marks; return its path."""
    folder.mkdir(exist_ok=True)
    text = SCRIPT
    for mark, added in lines.items():
        (line,) = [line for line in SCRIPT.splitlines() if line.strip() == f"# {mark}"]
        text = text.replace(line, textwrap.indent(textwrap.dedent(added), line.partition("#")[0]))
    (folder / "net.py").write_text(NET)
    (folder / "train.py").write_text(text)
    return folder / "train.py"


class Forked(Workspace):
    """A workspace whose processes are forks of this one, so that each saves seconds of imports."""

    def rehearse(self, task: Task, script: Path, args: Sequence[str]) -> Ended:
        self.reports.give(task)
        child = os.fork()
        if child == 0:
            self._child(script, args)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return Ended(status, (self.folder / "output.txt").read_text())

    def _child(self, script: Path, args: Sequence[str]) -> None:
        output, code = (self.folder / "output.txt").open("w", buffering=1), 0
        sys.stdout = sys.stderr = output
        try:
            harness.main(str(self.folder), str(script), *args)
        except SystemExit as end:  # as the interpreter ends a main program
            if isinstance(end.code, str):
                print(end.code)
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
            code = 1
        os._exit(code)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a workspace, with an empty database."""
    path = tmp_path / "work"
    path.mkdir()
    shutil.copyfile("mlflow.db", path / "blank.db")
    return path


@pytest.fixture
def forked(folder: Path) -> Forked:
    """A workspace of forks, which find everything imported that a training needs."""
    wrapped(Parts(), 1)
    return Forked(folder)


def verify(workspace: Workspace, script: Path, *args: str, kills: int = 1) -> tuple[Verdict, list[str]]:
    """Verify; return the verdict and what was said."""
    said: list[str] = []
    return Verification(workspace, script, args, said.append).run(kills, seed=0), said


def test_a_script_that_resumes_exactly_is_exact_wherever_it_is_ended(forked, tmp_path):
    """Killed inside an epoch and at a boundary, or told to end: each line names the point and the checkpoint."""
    verdict, said = verify(forked, write(tmp_path / "user"), "--epochs", "2", kills=3)
    assert verdict.exact, said
    assert (verdict.epochs, verdict.steps, verdict.points) == (2, 10, 16)
    assert {kill.stop.signal for kill in verdict.kills} == {"SIGKILL", "SIGTERM"}
    assert {kill.stop.place for kill in verdict.kills} == {"batch", "boundary"}
    assert any((kill.resumed_from or "").endswith("-partial") for kill in verdict.kills)
    assert "killed at the end of epoch 0 (step 5), resumed from epoch=0000-step=000000005: equal" in said
    assert said[-1].startswith("exact: killed and resumed at 3 points")
    assert json.loads(json.dumps(verdict.to_json()))["exact"] is True


SCHEDULER = 'del state["scheduler"]'
COUNTER = 'count += 1\noptimizer.param_groups[0]["lr"] = 0.1 / count'


@pytest.mark.parametrize(
    "lines",
    [{"before": SCHEDULER}, {"batch": COUNTER}],
    ids=["a scheduler outside of state", "a counter outside of state"],
)
def test_what_is_missing_from_state_is_named_by_its_effect(forked, tmp_path, lines):
    """The learning rate comes first, before the weights that it has led to; the first metric that departs is named."""
    verdict, said = verify(forked, write(tmp_path / "user", **lines), "--epochs", "2")
    assert verdict.deterministic
    assert not verdict.exact
    (kill,) = verdict.kills
    assert kill.resumed_from == "epoch=0000-step=000000005"
    assert kill.differences[0].startswith("optimizer_state_dict.param_groups.0.lr (")
    assert kill.differences[1].startswith("model_state_dict.0.weight (max |difference|")
    assert kill.differences[2].startswith("metric train_loss at step ")
    assert "is not in `state`" in said[-1]


UNSEEDED = """
class Shaken:
    def on_epoch_end(self, run, record):
        model[0].weight.data.add_(np.random.default_rng().random())

callbacks.append(Shaken())
"""


def test_a_script_that_is_not_deterministic_itself_is_told_so(forked, tmp_path):
    """Two whole runs differ, so nothing is killed: nothing about a resume could be proved."""
    verdict, said = verify(forked, write(tmp_path / "user", before=UNSEEDED), "--epochs", "1")
    assert not verdict.exact
    assert verdict.kills == ()
    assert verdict.first_difference.startswith("model_state_dict.0.weight")
    assert "train.py itself is not deterministic" in said[-1]
    assert "Seed every generator" in said[-1]


# The script's own store and what follows its training are left alone; a clock's metric is no difference.
FULL = {
    "before": """
        import mlflow

        mlflow.set_tracking_uri("sqlite:///users.db")
        mlflow.set_experiment("users")
        options = {"num_workers": 1, "multiprocessing_context": "spawn"}
        callbacks = [
            mpe.ModelCheckpoint(every_n_steps=1, when_busy="wait"),
            mpe.RegisterBest("users", input_example=torch.zeros(2, 4)),
        ]
        """,
    "epoch": "run.log(seconds=time.time())",
    "after": "raise RuntimeError('what follows the training is not run')",
}


def test_spawned_workers_arguments_and_modules_are_the_scripts_own(folder, tmp_path):
    """A worker finds the classes of the script, not the harness; only what the script itself writes stays behind."""
    script = write(tmp_path / "user", **FULL)
    before = sorted(tmp_path.rglob("*"))
    verdict, said = verify(Workspace(folder), script, "--epochs", "1")
    assert verdict.exact, said
    assert verdict.not_compared == ("metric seconds",)
    assert verdict.kills[0].resumed_from.endswith("-partial")
    assert [path for path in sorted(tmp_path.rglob("*")) if folder not in (path, *path.parents)] == [
        path for path in before if folder not in (path, *path.parents)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("print('no training here')", "never opened a TrainingRun"),
        ("import sys\nsys.exit('the data set is missing')", "fails by itself, with status 1: the data set is missing"),
        ("raise OSError('disk full')", "fails by itself, with status 1: OSError: disk full"),
    ],
)
def test_a_script_that_cannot_be_verified_is_bad_input(forked, tmp_path, caplog, text, message):
    """It is said why, and what the script said last."""
    script = tmp_path / "script.py"
    script.write_text(text)
    with pytest.raises(BadInput, match=message):
        verify(forked, script)
    assert ("Traceback" in caplog.text) == ("raise" in text)


def test_a_script_that_is_not_there_is_not_found(tmp_path):
    """A typo costs one line."""
    with pytest.raises(NotFound, match=r"there is no script 'trian.py'"):
        verify_resume("trian.py")
    with pytest.raises(BadInput, match="at least 1"):
        verify_resume(__file__, kills=0)


def test_an_interrupt_ends_the_script_and_leaves_nothing(tmp_path):
    """Ctrl-C ends the process that rehearses, whatever it does, and the temporary folder goes."""
    (tmp_path / "tmp").mkdir()
    os.mkfifo(tmp_path / "pid")
    script = tmp_path / "script.py"
    script.write_text("import os, signal\nopen('pid', 'w').write(str(os.getpid()))\nwhile True: signal.pause()")
    command = [sys.executable, "-m", "mlflow_pt_eval", "verify-resume", str(script)]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path / "tmp")}) as verification:
        child = int((tmp_path / "pid").read_text())
        verification.send_signal(signal.SIGINT)
        assert verification.wait() == 128 + signal.SIGINT
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_verifying_imports_no_giant():
    """What runs beside the user's training costs it neither memory nor seconds."""
    code = "import sys, mlflow_pt_eval.verification; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "mlflow", "numpy"}.isdisjoint(loaded)


def course(*, saves=(8, 16, 24), accumulating=(), batches=True):
    """Three epochs of eight batches."""
    spans = [Span(epoch, 8 * epoch, 8 * epoch + 8, batches) for epoch in range(3)]
    return Course(tuple(spans), tuple(saves), frozenset(accumulating))


@pytest.mark.parametrize("seed", range(5))
def test_points_are_spread_over_the_training(seed):
    """One inside an epoch with a checkpoint behind it, one at the first commit, one by SIGTERM; never one twice."""
    inside, told, first = sorted(choose(course(), kills=3, seed=seed), key=lambda s: (s.place, s.signal))
    assert (inside.place, inside.signal, inside.step > 8, inside.step % 8 > 0) == ("batch", "SIGKILL", True, True)
    assert (told.place, told.signal, told.batch < 7) == ("batch", "SIGTERM", True)
    assert (first.place, first.step, first.settled) == ("boundary", 8, True)
    many = choose(course(), kills=12, seed=seed)
    assert len({(stop.place, stop.step, stop.signal) for stop in many}) == 12
    assert many == choose(course(), kills=12, seed=seed)
    assert {stop.settled for stop in many} == {True, False}


def test_a_signal_does_not_end_a_training_between_accumulated_gradients():
    """That is not exact, and said so; the boundary after the signal is one where an optimizer has stepped."""
    odd = range(1, 25, 2)
    stops = [stop for seed in range(20) for stop in choose(course(accumulating=odd), kills=3, seed=seed)]
    told = [stop for stop in stops if stop.signal == "SIGTERM"]
    assert len(told) == 20
    assert all(stop.step + 1 not in odd for stop in told)


def test_a_training_without_batches_is_ended_before_and_after_its_commits():
    """There is nothing between two batches to see; no more points are given than there are."""
    stops = choose(course(batches=False), kills=100, seed=0)
    assert {stop.place for stop in stops} == {"body", "boundary"}
    assert len(stops) == 7  # one of them by SIGTERM
    assert choose(Course((), (), frozenset()), kills=3, seed=0) == []


def test_a_stop_reads_as_people_count():
    """Epochs as the library numbers them, batches as done."""
    assert str(Stop(37, 2, "batch", batch=5, batches=16)) == "killed at step 37 (epoch 2, batch 5 of 16)"
    assert str(Stop(48, 2, "boundary")) == "killed at the end of epoch 2 (step 48)"
    assert str(Stop(48, 2, "body", "SIGTERM")) == "ended by SIGTERM just before the end of epoch 2 (step 48)"


def logged(*points, history=(), disputed=(), monitored=()):
    """An account of points (key, step, value)."""
    return Logged.from_json(
        {"points": points, "history": history, "disputed": dict(disputed), "monitored": list(monitored)}
    )


WHOLE = [("loss", 0, "0.5"), ("loss", 1, "nan"), ("acc", 0, "1.0")]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (logged(*WHOLE), None),
        (logged(*WHOLE[::-1]), None),
        (logged(WHOLE[0], ("loss", 1, "0.25"), WHOLE[2]), "metric loss at step 1 (nan and 0.25)"),
        (logged(*WHOLE[1:]), "metric loss at step 0 (0.5 and nothing)"),
        (logged(*WHOLE, WHOLE[0]), "metric loss at step 0 (0.5 and 0.5 and again 0.5)"),
        (logged(*WHOLE, ("loss", 2, "0.1")), "metric loss at step 2 (nothing and 0.1)"),
        (logged(*WHOLE, disputed={"acc": 0}), "metric acc at step 0 (another value when it was logged again)"),
        (logged(*WHOLE, history=[("loss", 0, "0.5")]), "history of loss at epoch 0 (nothing and 0.5)"),
        (logged(WHOLE[0]), "metric loss at step 1 (nan and nothing), the first of 2 points that differ"),
    ],
)
def test_every_point_counts_once(other, expected):
    """A value that differs, is missing, or stands there twice is named, in the order in which the points came."""
    assert series.differences(logged(*WHOLE), other) == ([] if expected is None else [expected])


def test_a_clock_is_left_out_unless_something_monitors_it():
    """Its values say nothing about a resume, but its steps do."""
    whole, again = logged(("seconds", 0, "1.0"), ("seconds", 1, "2.0")), logged(("seconds", 0, "3.0"))
    assert series.unsteady(whole, again) == {"seconds"}
    assert series.unsteady(logged(("seconds", 0, "1.0"), monitored=["seconds"]), again) == frozenset()
    assert series.differences(whole, again, values_of_no_use={"seconds"}) == [
        "metric seconds at step 1 (2.0 and nothing)"
    ]


def end(**changed):
    """The end of a training, with parts changed."""
    optimizer = {"state": {3: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}
    position = {"loader": {"consumed": 3}, "generators": {"generator": {"torch": torch.zeros(2)}}}
    whole = {"rng": [capture_rng()], **position, "optimizer_state_dict": optimizer, "model_state_dict": {}, "step": 3}
    return {**whole, **changed}


def test_differences_are_named_with_causes_before_their_effects():
    """Generators in words, then the loader, the learning rate before the moments, the weights last."""
    whole = end()
    torch.rand(1)
    other = end(
        loader={"consumed": 4},
        generators={"generator": {"torch": torch.ones(2)}},
        optimizer_state_dict={"state": {3: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.2}]},
        model_state_dict={"weight": torch.ones(1)},
    )
    assert trees.differences(whole, whole) == []
    assert trees.differences(whole, other) == [
        "torch RNG",
        "the loader's own generator: generator.torch (max |difference| 1 at [0])",
        "the loader's position: consumed (3 and 4)",
        "optimizer_state_dict.param_groups.0.lr (0.1 and 0.2)",
        "model_state_dict.weight (only in the second)",
    ]
    other["optimizer_state_dict"]["param_groups"] = [{"lr": 0.1}]
    assert "optimizer_state_dict.state.3.exp_avg (max |difference| 1 at [0])" in trees.differences(whole, other)
    assert trees.idle_generators(whole["rng"][0], other) == ["Python RNG", "numpy RNG", "CUDA RNG"]
