"""Noticing that `mlflow run` is gone: it leaves the training that it launched behind as an orphan, still running.

When it launched us, and only then, its end is taken as a SIGTERM to us.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from mlflow_pt_eval import signals
from mlflow_pt_eval.processes import process_start

_LAUNCHER_TAG = "mlflow.project.backend"
_FURTHEST = 8  # generations up: mlflow, a shell, an environment manager, torchrun …


class Launcher:
    """The `mlflow run` process that this one was launched by."""

    def __init__(self, pid: int) -> None:
        self.pid, self._born = pid, process_start(pid)
        self._told = False

    @classmethod
    def of_this_process(cls, run_tags: Mapping[str, str]) -> Launcher | None:
        """Return the launcher, if the run that we are in was opened by `mlflow run` on this host."""
        if _LAUNCHER_TAG not in run_tags or "MLFLOW_RUN_ID" not in os.environ:
            return None
        pid = os.getppid()
        for _ in range(_FURTHEST):
            if pid <= 1:
                return None
            if _is_mlflow_run(pid):
                return cls(pid)
            pid = _parent(pid)
        return None

    def check(self) -> None:
        """Ask the training to end, once, if the launcher is gone."""
        if not self._told and process_start(self.pid) != self._born:
            self._told = True
            signals.request(signal.SIGTERM)


def _is_mlflow_run(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    # A shell's own command line may hold the words as one text: `bash -c "mlflow run ."`.
    return "run" in words and any(Path(word).name in ("mlflow", "mlflow.exe") or word == "mlflow" for word in words)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0
