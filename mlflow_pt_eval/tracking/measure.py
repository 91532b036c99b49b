"""A stored version, loaded for real: that it loads at all, how large it is, how long one prediction takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.models import Model

from mlflow_pt_eval.exporting.folder import load_folder, read_info
from mlflow_pt_eval.exporting.inputs import read_example
from mlflow_pt_eval.files import directory_size
from mlflow_pt_eval.state import preserved_rng
from mlflow_pt_eval.tracking.models import located
from mlflow_pt_eval.tracking.store import Store

WARM_UPS, ROUNDS = 3, 21


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A version's files in bytes, and the median time of one prediction of its input example in ms.

    The time is None where it was not asked for or where the version holds no example.
    """

    size_bytes: int
    latency_ms: float | None


def measure(
    store: Store, model_uri: str, *, timed: bool = False, clock: Callable[[], float] = time.perf_counter
) -> Measured:
    """Load a version from the store, on the CPU, and measure it; with *timed* also the time of a prediction.

    *clock* gives seconds. Errors: whatever keeps it from being loaded: NotFound, UnsafeFile, BadInput, what its own
    code raises; StoreUnavailable.
    """
    with preserved_rng(), located(store, model_uri) as (_, folder):
        module = load_folder(folder)
        latency = _latency(module, _example(folder), clock) if timed else None
        return Measured(size_bytes=directory_size(folder), latency_ms=latency)


def _example(folder: Path) -> Any:
    data = Model.load(str(folder)).load_input_example(str(folder))
    return tuple(data.values()) if data is not None and read_info(folder).call == "positional" else data


def _latency(module: Any, data: Any, clock: Callable[[], float]) -> float | None:
    if data is None:
        return None
    example, seconds = read_example(data, module), []
    for _ in range(WARM_UPS + ROUNDS):
        start = clock()
        example.run(module)
        seconds.append(clock() - start)
    return statistics.median(seconds[WARM_UPS:]) * 1000
