"""Run a script as `python SCRIPT ARGS …` does, its first training being rehearsed.

    python -P -m mlflow_pt_eval.verification.harness FOLDER SCRIPT [ARGS …]

FOLDER is a `Workspace`. The script is the main module, so a worker process that multiprocessing spawns imports the
script, not this module, and finds there what was pickled.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from mlflow_pt_eval.tracking.pinned import pin
from mlflow_pt_eval.tracking.store import connect
from mlflow_pt_eval.training.overrides import rehearsing
from mlflow_pt_eval.verification.rehearsal import Rehearsal
from mlflow_pt_eval.verification.workspace import Workspace


def main(folder: str, script: str, *args: str) -> None:
    """Do the task that stands in *folder*; nothing here imports torch before the script does."""
    workspace = Workspace(Path(folder))
    pin(workspace.tracking_uri, workspace.store / "mlartifacts")
    connect(workspace.tracking_uri)
    workspace.keep_blank()
    reports = workspace.reports
    rehearsal = Rehearsal(
        reports.task(),
        reports,
        folder=workspace.store,
        tracking_uri=workspace.tracking_uri,
        whole=workspace.whole,
    )
    sys.argv = [script, *args]
    sys.path.insert(0, str(Path(script).resolve().parent))
    with rehearsing(rehearsal):
        runpy.run_path(str(Path(script).absolute()), run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
