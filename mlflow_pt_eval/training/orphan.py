"""What `mlflow run` means for the training that it launched.

Killed, it leaves the training behind as an orphan, still running: when it launched us, and only then, its end is taken
as a SIGTERM to us. And on Ctrl-C it sends a SIGTERM of its own to what the terminal has sent a SIGINT already.
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
        pid = _mlflow_run() if _LAUNCHER_TAG in run_tags else None
        return None if pid is None else cls(pid)

    def check(self) -> None:
        """Ask the training to end, once, if the launcher is gone and nobody has asked yet."""
        if not self._told and process_start(self.pid) != self._born:
            self._told = True
            if signals.pending() is None:
                signals.request(signal.SIGTERM)


def is_launched() -> bool:
    """Say whether `mlflow run` has launched this process."""
    return _mlflow_run() is not None


def _mlflow_run() -> int | None:
    """Return the process that is the `mlflow run` above this one, if there is one."""
    pid = os.getppid() if "MLFLOW_RUN_ID" in os.environ else 0
    for _ in range(_FURTHEST):
        if pid <= 1:
            return None
        if _is_mlflow_run(pid):
            return pid
        pid = _parent(pid)
    return None


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
