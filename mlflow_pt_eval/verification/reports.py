"""What the process of a rehearsal is told, and what it reports: JSON files in a folder, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_pt_eval.files import atomic_write_text
from mlflow_pt_eval.verification.points import Stop

_TASK, _OPENED, _STOPPED, _ENDED = "task.json", "opened.json", "stopped.json", "ended.json"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One rehearsal: the run to resume (None: a new one), where to stop (None: nowhere), whether it is the measure."""

    resume: str | None = None
    stop: Stop | None = None
    measure: bool = False


@dataclass(frozen=True)
class Reports:
    """A folder for one rehearsal at a time."""

    folder: Path

    def give(self, task: Task) -> None:
        """Write down the task, and forget the reports of the one before."""
        for name in (_OPENED, _STOPPED, _ENDED):
            (self.folder / name).unlink(missing_ok=True)
        stop = None if task.stop is None else task.stop.to_json()
        self._write(_TASK, {"resume": task.resume, "stop": stop, "measure": task.measure})

    def task(self) -> Task:
        """Read the task."""
        data = self._read(_TASK) or {}
        stop = data.pop("stop", None)
        return Task(**data, stop=None if stop is None else Stop(**stop))

    def opened(self, run_id: str, resumed_from: str | None) -> None:
        """Report that the training is open."""
        self._write(_OPENED, {"run_id": run_id, "resumed_from": resumed_from})

    def stopped(self) -> None:
        """Report that the training is being ended where it was to be."""
        self._write(_STOPPED, {})

    def ended(self, report: Mapping[str, Any]) -> None:
        """Report a clean end."""
        self._write(_ENDED, report)

    def read_opened(self) -> dict[str, Any] | None:
        """Return what was reported of the opening, or None if there was none."""
        return self._read(_OPENED)

    def read_ended(self) -> dict[str, Any] | None:
        """Return what was reported of the clean end, or None if there was none."""
        return self._read(_ENDED)

    def was_stopped(self) -> bool:
        """Say whether the training came to the point where it was to be ended."""
        return (self.folder / _STOPPED).exists()

    def _write(self, name: str, data: Mapping[str, Any]) -> None:
        atomic_write_text(self.folder / name, json.dumps(data, allow_nan=False))

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
