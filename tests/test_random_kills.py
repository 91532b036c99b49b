"""Killed at random moments, over and over: the training ends as if nothing had happened."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from soak_damage import damage_stored
from soak_launch import zygote
from soak_training import ERROR_FILE, RUN_ID_FILE, Spec
from soak_verdict import Outcome, losses

SOAK = Path(__file__).parents[1] / "benchmarks" / "soak.py"
KILLS = 4


def test_killed_at_random_moments_a_training_loses_nothing(tmp_path, tracking):
    """kill -9 anywhere, a checkpoint damaged now and then: not a point, not a bit differs from the whole training."""
    rng, marked = random.Random(1), set()
    with zygote() as parent:
        whole, cut = tmp_path / "whole", tmp_path / "cut"
        for folder in (whole, cut):
            folder.mkdir()
        assert parent.start(Spec(str(whole), tracking, "whole", epochs=3)).wait(120) == 0
        spec = Spec(str(cut), tracking, "cut", epochs=3, pace=0.01)
        for _ in range(KILLS):
            child = parent.start(spec)
            child.wait(rng.uniform(0.1, 1.0))
            child.send(signal.SIGKILL)
            assert child.wait(60) in (-signal.SIGKILL, 0)
            for checkpoints in tmp_path.glob("mlartifacts/*/*/artifacts/checkpoints"):
                if run_of(whole) not in checkpoints.parts:
                    damage_stored(checkpoints, marked, rng)
        ended = parent.start(spec).wait(120)
        assert ended == 0, (cut / ERROR_FILE).read_text()
    expected, found = (Outcome.of(tracking, run_of(folder)) for folder in (whole, cut))
    assert not losses(expected, found).any, losses(expected, found)
    assert not (cut / ".mlflow_pt_eval" / run_of(cut)).exists()


def run_of(folder):
    """The id of the run that a training in this folder worked in last."""
    return (folder / RUN_ID_FILE).read_text()


def test_the_losses_are_counted(tmp_path, tracking):
    """A verdict that could not find anything would prove nothing."""
    series = {("a", 0): [1.0], ("a", 1): [2.0], ("b", 0): [3.0]}
    one = Outcome("FINISHED", "false", {"x": [1.0, 2]}, [{"epoch": 0}], series)
    assert not losses(one, one).any
    other = {("a", 0): [1.0, 1.0], ("b", 0): [4.0], ("c", 0): [0.0]}
    found = losses(one, replace(one, series=other, tree={"x": [-1.0, 2]}, status="KILLED"))
    assert (found.lost, found.doubled, found.changed, found.bits) == (1, 1, 1, 1)
    assert found.first == "x.0 (1.0 and -1.0)"
    assert found.other == ["c at step 0 came from nowhere", "the run says KILLED, resumable false"]


@pytest.mark.slow
def test_the_soak_finds_no_loss():
    """Kills, outages and damages of every kind, on a real server, for as long as forty faults take."""
    done = subprocess.run(
        [sys.executable, str(SOAK), "--rounds", "40", "--seed", "3"], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failures: 0" in done.stdout
