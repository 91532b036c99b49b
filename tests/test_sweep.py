"""The digits project's sweep: nothing is lost when it is cut, and its best trial is the challenger."""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from mlflow.projects._project_spec import load_project

from mlflow_pt_eval import names

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("optuna") is None,
        reason="optuna is not installed: pip install -e '.[examples]' -c constraints.txt",
    ),
]

DIGITS = Path(__file__).parents[1] / "projects" / "digits"
TRIALS, EPOCHS = 5, 8


def start(folder):
    """Start the sweep, two trainings at a time, in *folder*."""
    command = [sys.executable, DIGITS / "sweep.py", "--trials", str(TRIALS), "--epochs", str(EPOCHS)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def trials():
    """Every trial's run, oldest first."""
    query = f"tags.`{names.TAG_KIND}` = '{names.KIND_TRAINING}'"
    return mlflow.search_runs(filter_string=query, output_format="list", order_by=["attributes.start_time"])


def a_worker_in_mid_trial(sweep):
    """Wait until a trial has a checkpoint; return its worker's process id."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert sweep.poll() is None, sweep.communicate()[0]
        for run in trials():
            if run.info.status == "RUNNING" and names.TAG_LATEST_CHECKPOINT in run.data.tags:
                return json.loads(run.data.tags[names.TAG_ATTEMPT])["pid"]
        time.sleep(0.05)
    raise AssertionError("no trial began")


def test_a_sweep_that_was_cut_goes_on_where_it_was(tmp_path):
    """A worker is killed: the same command again resumes its trial in its run, and the best version is registered."""
    sweep = start(tmp_path)
    os.kill(a_worker_in_mid_trial(sweep), signal.SIGKILL)
    said = sweep.communicate(timeout=300)[0]
    assert sweep.returncode == 3, said
    assert "1 of 2 workers did not come to their end" in said.splitlines()[-1]

    sweep = start(tmp_path)
    said = sweep.communicate(timeout=300)[0]
    assert sweep.returncode == 0, said
    runs = trials()
    assert [run.info.status for run in runs] == ["FINISHED"] * TRIALS
    assert sorted(len(json.loads(run.data.tags[names.TAG_ATTEMPTS])) for run in runs) == [1, 1, 1, 1, 2]
    (parent,) = {run.data.tags[names.MLFLOW_PARENT_RUN_ID] for run in runs}
    assert mlflow.get_run(parent).info.status == "FINISHED"
    for run in runs:
        steps = [m.step for m in mlflow.MlflowClient().get_metric_history(run.info.run_id, "val_accuracy")]
        stopped = names.TAG_STOP_REASON in run.data.tags
        assert steps == list(range(len(steps) if stopped else EPOCHS))

    def best(run):
        return max(m.value for m in mlflow.MlflowClient().get_metric_history(run.info.run_id, "val_accuracy"))

    whole = [run for run in runs if names.TAG_STOP_REASON not in run.data.tags]
    challenger = mlflow.MlflowClient().get_model_version_by_alias("digits", names.CHALLENGER)
    assert float(challenger.tags[names.TAG_VALUE]) == max(map(best, whole))
    assert challenger.tags[names.TAG_RUN_ID] == mlflow.get_run(parent).data.tags["best_run_id"]
    assert int(challenger.version) == 1
    assert not (tmp_path / names.STAGING_DIR).exists()


@pytest.fixture
def script(monkeypatch):
    """What sweep.py defines."""
    modules = ("data", "model")  # every project has modules of these names
    monkeypatch.syspath_prepend(str(DIGITS))
    for module in modules:
        sys.modules.pop(module, None)
    yield runpy.run_path(str(DIGITS / "sweep.py"))
    for module in modules:
        sys.modules.pop(module, None)


def test_a_trial_that_falls_behind_is_pruned_at_its_epoch(script):
    """The pruned training is an orderly end: its epochs are committed, and its run says why it stopped."""
    import optuna

    # Nothing reaches an accuracy of 2.
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.ThresholdPruner(lower=2, n_warmup_steps=1))
    parent = mlflow.MlflowClient().create_run("0").info.run_id
    args = SimpleNamespace(seed=0, epochs=9, study="pruned", parent=parent)
    study.optimize(lambda trial: script["objective"](trial, args), n_trials=1)
    (trial,) = study.trials
    run = mlflow.get_run(trial.user_attrs["run_id"])
    assert (trial.state.name, sorted(trial.intermediate_values)) == ("PRUNED", [0, 1])
    assert (run.info.status, run.data.tags[names.TAG_STOP_REASON]) == ("FINISHED", "pruned")
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "val_accuracy")
    assert [m.value for m in history] == list(trial.intermediate_values.values())


@pytest.mark.parametrize("folder", [DIGITS.parents[1], DIGITS])
def test_mlproject_and_sweep_py_agree_on_the_defaults(folder, script):
    """The same sweep, whichever way it is started."""
    words = shlex.split(load_project(str(folder))._entry_points["sweep"].compute_command({}, None))
    parser = script["make_parser"]()
    assert parser.parse_args(words[words.index("python") + 2 :]) == parser.parse_args([])


def test_a_second_sweep_of_a_study_is_refused(script, tmp_path):
    """Two at once would take each other's trials for cut ones."""
    command = [sys.executable, DIGITS / "sweep.py"]
    with script["locked"]("digits-sweep"):
        second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert second.returncode == 3
    assert second.stderr.startswith("sweep.py: a sweep of 'digits-sweep' is at work here; end it, or name another")
