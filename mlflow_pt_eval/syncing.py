"""`sync`: send what an outage left in the staging folders of the working directory."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlflow_pt_eval.errors import CheckpointDamaged, NotFound
from mlflow_pt_eval.files import RunLock
from mlflow_pt_eval.names import STAGING_DIR
from mlflow_pt_eval.tracking.checkpoints import Checkpoints
from mlflow_pt_eval.tracking.outbox import LOCK_FILE, STAGED_METRICS_FILE, Outbox, staging_folder
from mlflow_pt_eval.tracking.store import Store, connect
from mlflow_pt_eval.tracking.telemetry import Telemetry, read_points


@dataclass(frozen=True)
class Sent:
    """What was sent of one run."""

    run_id: str
    metrics: int
    checkpoints: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def sync(run_id: str | None = None) -> list[Sent]:
    """Send what is staged of *run_id*, or of every run, in the working directory; return what was sent of which.

    Errors: NotFound if nothing of *run_id* is staged here, RunConflict if the run is at work, StoreUnavailable.
    """
    root = Path.cwd() / STAGING_DIR
    staged = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if run_id is not None:
        if run_id not in staged:
            raise NotFound(
                f"nothing of the run {run_id!r} is staged in {root}; there is: {', '.join(staged) or 'nothing'}."
            )
        staged = [run_id]
    store = connect(make=False) if staged else None
    return [_send(store, one) for one in staged if store is not None]


def _send(store: Store, run_id: str) -> Sent:
    folder = staging_folder(run_id)
    with RunLock(folder / LOCK_FILE) as lock:
        telemetry = Telemetry(store, run_id, folder / STAGED_METRICS_FILE)
        outbox = Outbox(Checkpoints.of(store, run_id), telemetry, folder)
        names = outbox.staged()
        files = [telemetry.spill, *(folder / str(name) / STAGED_METRICS_FILE for name in names)]
        metrics = sum(_count(path) for path in files if path.exists())
        outbox.pump()
        outbox.let_go(lock)
    return Sent(run_id, metrics, [str(name) for name in names if name not in outbox.left_out])


def _count(path: Path) -> int:
    try:
        return len(read_points(path))
    except CheckpointDamaged:  # nothing of it is sent, which is said there
        return 0
