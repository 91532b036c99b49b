"""The temporary folder of a verification, and the processes that rehearse in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from mlflow_pt_eval.errors import Interrupted
from mlflow_pt_eval.verification.reports import Reports, Task

_HARNESS = "mlflow_pt_eval.verification.harness"
_TAIL = 30  # lines of a failed script's output that are shown
_NOT_FOR_REHEARSALS = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID")


@dataclass(frozen=True)
class Ended:
    """How a rehearsal's process ended: its status (negative: the signal), and the last lines of its output."""

    status: int
    tail: str

    @property
    def last_words(self) -> str:
        """The last line of its output that says something."""
        lines = [line.strip() for line in self.tail.splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"


@dataclass(frozen=True)
class Workspace:
    """The folder: `store/` is what one rehearsal (and its resume) works with, always at the same path."""

    folder: Path

    @property
    def store(self) -> Path:
        """The folder of the MLflow store and of the staging."""
        return self.folder / "store"

    @property
    def tracking_uri(self) -> str:
        """The MLflow store."""
        return f"sqlite:///{self.store / 'mlflow.db'}"

    @property
    def blank(self) -> Path:
        """An empty database, kept because making its tables takes seconds."""
        return self.folder / "blank.db"

    @property
    def whole(self) -> Path:
        """The end of the first whole run."""
        return self.folder / "whole.pt"

    @property
    def reports(self) -> Reports:
        """The task and the reports of the rehearsal at hand."""
        return Reports(self.folder)

    def clear(self) -> None:
        """Make the store an empty one."""
        if self.store.exists():
            shutil.rmtree(self.store)
        self.store.mkdir(parents=True)
        if self.blank.exists():
            shutil.copyfile(self.blank, self.store / "mlflow.db")

    def keep_blank(self) -> None:
        """Keep a copy of the database that was just made."""
        if not self.blank.exists():
            part = self.blank.with_suffix(".part")
            with closing(sqlite3.connect(self.store / "mlflow.db")) as made, closing(sqlite3.connect(part)) as copy:
                made.backup(copy)
            part.replace(self.blank)

    def rehearse(self, task: Task, script: Path, args: Sequence[str]) -> Ended:
        """Run a script in a process of its own, which ends with this call, however that is left."""
        self.reports.give(task)
        output = self.folder / "output.txt"
        # -P: as when the script itself is started, the working directory is not where modules come from.
        command = [sys.executable, "-P", "-m", _HARNESS, str(self.folder), str(script), *args]
        with output.open("wb") as file, _signals_raise():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,  # so that all of its processes can be ended, and Ctrl-C is ours to handle
            )
            _wait(process)
        lines = output.read_text(encoding="utf-8", errors="replace").splitlines()
        return Ended(process.returncode, "\n".join(lines[-_TAIL:]))

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if key not in _NOT_FOR_REHEARSALS}
        store = {"MLFLOW_TRACKING_URI": self.tracking_uri, "MLFLOW_REGISTRY_URI": self.tracking_uri}
        # Otherwise the script's own modules would leave __pycache__ in the user's folders.
        return {**kept, **store, "PYTHONDONTWRITEBYTECODE": "1"}


def _wait(process: subprocess.Popen[Any]) -> None:
    """Wait for a process, then end what it has started and left behind, such as a loader's workers."""
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # not reaped yet, so its group's number is its own
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise, as SIGINT does, so that no child is left behind."""

    def handler(signum: int, frame: FrameType | None) -> None:
        raise Interrupted(signum)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
