"""A file system that is really full, small and mounted for the purpose, under the store or under staging."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Within namespaces of its own: what is mounted there is seen by nobody else, and gone with the process.
IN_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]

SCRIPT = """
import json, os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import mlflow
from loops import Parts, wrapped
from soak_verdict import series
import mlflow_pt_eval as mpe
from mlflow_pt_eval.checkpoints import verify
from mlflow_pt_eval.errors import StorageFailed
from mlflow_pt_eval.state import first_difference

filler, epochs = Path(sys.argv[1], "filler"), 5
waits = mpe.ModelCheckpoint(when_busy="wait")

def fill(epoch, batch):
    if epoch >= 2:  # again and again: what has been sent meanwhile has left room
        while not any(Path("mlartifacts").rglob("epoch=0000*/manifest.json")):
            time.sleep(0.02)
        with filler.open("ab", buffering=0) as file:
            try:
                while file.write(bytes(1024)):
                    pass
            except OSError:
                pass

whole = Parts()
expected = wrapped(whole, epochs)
said = None
try:
    wrapped(Parts(), epochs, callbacks=[waits], before_step=fill, run_name="cut")
except StorageFailed as error:
    said = str(error)
(run,) = mlflow.search_runs(filter_string="run_name = 'cut'", output_format="list")
older = verify(run.info.run_id)
filler.unlink()
parts = Parts()
resumed = wrapped(parts, epochs, callbacks=[waits], resume="auto", run_name="cut")
points = [series(mlflow.MlflowClient(), one.run_id) for one in (expected, resumed)]
partial = [str(path) for path in Path(sys.argv[1]).rglob("*.part*")]
print(json.dumps([said, run.info.status, older, first_difference(whole.tree(), parts.tree()), points[0] == points[1],
                  partial]))
"""


@pytest.fixture
def small(tmp_path):
    """A command's beginning: it mounts 600 kB at the folder that follows, and runs the rest."""
    mount = 'mkdir -p "$0" && mount -t tmpfs -o size=600k tmpfs "$0" && exec "$@"'
    command = [*IN_NAMESPACE, "sh", "-c", mount]
    if shutil.which("unshare") is None:
        pytest.skip("a small file system is mounted in a namespace of its own: there is no unshare(1) here")
    tried = subprocess.run([*command, str(tmp_path / "tried"), "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {tried.stderr.strip()}")
    return command


@pytest.mark.parametrize("folder", ["mlartifacts", pytest.param(".mlflow_pt_eval", marks=pytest.mark.slow)])
def test_a_full_disk_is_named_and_nothing_is_lost(tmp_path, tracking, small, folder):
    """An error with the folder and the needed bytes; what is older is whole; with room again, an exact resume."""
    script, place = tmp_path / "script.py", tmp_path / folder
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking}
    command = [*small, str(place), sys.executable, str(script), str(place)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said, status, older, difference, same_points, partial = json.loads(done.stdout.splitlines()[-1])
    assert said.startswith(f"cannot use {place}")
    assert ": the disk is full; " in said
    assert " were needed, 0 bytes are free. " in said
    assert status == "FAILED"
    assert None in older.values()
    # The one that there was no room for.
    unfinished = [problem for problem in older.values() if problem is not None]
    assert len(unfinished) <= 1
    assert all("it has no manifest" in problem for problem in unfinished)
    assert (difference, same_points, partial) == (None, True, [])
