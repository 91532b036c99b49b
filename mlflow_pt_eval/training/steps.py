"""The steps of a training: what is logged in each, and what is done once every few of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from mlflow_pt_eval.tracking.telemetry import Pending
from mlflow_pt_eval.training.progress import Progress, counted, step_value

_MOST_TAKEN = 4096  # steps whose metrics wait to be added to the means
_STEPS_UNTIL_STATE = 2  # optimizers make their state in the first step; the memory for its copies is made ready then


class Steps:
    """Counts the steps, and takes their metrics to *append*."""

    def __init__(self, progress: Progress, append: Callable[[Pending], None]) -> None:
        self._progress, self._append = progress, append
        self._prefault: Callable[[], object] | None = None
        self._look_at = _STEPS_UNTIL_STATE
        self._logged = -1  # the step of the last `log`

    def begin(self, append: Callable[[Pending], None], prefault: Callable[[], object]) -> None:
        """Go on from the step that the training is at; *prefault* is called when the optimizers have a state."""
        self._append, self._prefault = append, prefault
        self._look_at = self._progress.step + _STEPS_UNTIL_STATE

    def log(self, metrics: dict[str, Any]) -> None:
        """Take the step's metrics.

        Straight, and with all that can wait left for later: each further call costs a training that has filled the
        caches.
        """
        progress = self._progress
        for key, value in metrics.items():
            if type(value) is not float or key not in progress.step_keys:
                metrics = self._read(metrics)
                break
        else:
            progress.taken.append(metrics)
        step = progress.step
        if not progress.uses_batches:
            self.count()
        elif not progress.in_batches and step:
            step -= 1  # what is logged after an epoch's last batch belongs to that one, not to the next epoch's first
        self._logged = step
        self._append((metrics, step, time.time()))

    def count(self) -> None:
        """Note that a step is done."""
        progress = self._progress
        progress.step += 1
        if progress.step == self._look_at:
            self._look_at += _MOST_TAKEN
            progress.settle()
            if self._prefault is not None:
                self._prefault()
                self._prefault = None

    def leave(self) -> None:
        """Count the step of a batch that was left by `break` if it has logged: the next one's is another."""
        if self._logged == self._progress.step:
            self.count()

    def _read(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Read a step's metrics that are new or no floats, and add them to the means; what is on a device can wait."""
        found, counts = {}, {}
        for key, given in metrics.items():
            value, count = counted(key, given)
            found[key] = value if type(value) is float else step_value(key, value)
            counts[key] = 1.0 if count is None else count
        self._progress.own_step_keys(metrics)
        for key, value in found.items():
            self._progress.add(key, value, counts[key])
        return found
