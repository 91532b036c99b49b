"""What one pass of a model over data gave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.data.labels import Labels
from mlflow_pt_eval.names import Outputs, Task


@dataclass(frozen=True, eq=False, kw_only=True)
class Predictions:
    """What a model gave for data: *labels* (N,) or, multilabel, (N, K) int64; *scores* (N, K) float32 in [0, 1].

    For binary K is 2, the columns of class 0 and 1. *loss* is the criterion's average, *digest* the data's (each
    None if it was not asked for), *seconds* the whole pass. *notes* holds each thing that had to be said once.
    """

    labels: Labels
    scores: npt.NDArray[np.float32]
    task: Task
    outputs: Outputs
    data_name: str
    seconds: float
    loss: float | None = None
    digest: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def samples_per_second(self) -> float:
        """The pass's throughput."""
        return len(self.labels) / self.seconds
