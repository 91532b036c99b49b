"""Real torchrun jobs of `ranks.py`, for the tests of trainings over several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import torch

from mlflow_pt_eval.state import first_difference

HERE = Path(__file__).parent
EPOCHS = 3
BATCHES = 5  # a rank: 37 rows over two of them, 4 a batch
_UNTIL = 120.0  # seconds that any of the jobs may take


class Job:
    """One torchrun job of `ranks.py` in a folder; its store is that of the folder, or the one that is given."""

    def __init__(
        self, folder: Path, *options: str, epochs: int = EPOCHS, size: int = 2, store: str | None = None
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.size = folder, size
        self.store = store or f"sqlite:///{folder}/mlflow.db"
        away = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT", "MLFLOW_TRACKING")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(away)}
        environment["MLFLOW_TRACKING_URI"] = self.store
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
        self.process = subprocess.Popen(
            [*command, str(HERE / "ranks.py"), str(folder), str(epochs), *options],
            cwd=folder,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self) -> str:
        """Wait for the job's end; return what it said."""
        return self.process.communicate(timeout=_UNTIL)[1]

    def ended_well(self) -> Job:
        """Wait for the job's end, which has to be a clean one."""
        said = self.end()
        assert self.process.returncode == 0, said
        return self

    def until_ready(self) -> list[int]:
        """Wait until every rank stands where it says so; return their process ids."""
        files = [self.folder / f"ready{rank}" for rank in range(self.size)]
        deadline = time.monotonic() + _UNTIL
        while not all(file.exists() and file.read_text() for file in files):
            assert self.process.poll() is None, self.end()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return [int(file.read_text()) for file in files]

    def trees(self, name: str = "tree") -> list[Any]:
        """Return what each rank ended with."""
        return [torch.load(self.folder / f"{name}{rank}.pt", weights_only=True) for rank in range(self.size)]

    def told(self) -> list[dict[str, Any]]:
        """Return what each rank knew of the run at its end."""
        return [json.loads((self.folder / f"told{rank}.json").read_text()) for rank in range(self.size)]

    @property
    def client(self) -> mlflow.MlflowClient:
        """The job's store."""
        return mlflow.MlflowClient(self.store)

    def run(self) -> Any:
        """Return the only run of its name in the store."""
        (run,) = self.client.search_runs(["0"], "attributes.run_name = 'ranks'")
        return run

    def series(self) -> dict[str, list[tuple[int, float]]]:
        """Return every point that the store holds of the run."""
        run = self.run()
        history = self.client.get_metric_history
        return {k: sorted((m.step, m.value) for m in history(run.info.run_id, k)) for k in run.data.metrics}


def same_end(job: Job, whole: Job) -> None:
    """Compare everything on every rank, and every point of every metric, exactly."""
    for rank, (mine, expected) in enumerate(zip(job.trees(), whole.trees(), strict=True)):
        assert first_difference(expected, mine) is None, f"rank {rank}"
    assert [one["history"] for one in job.told()] == [one["history"] for one in whole.told()]
    assert job.series() == whole.series()
    assert job.run().info.status == "FINISHED"
    assert not (job.folder / ".mlflow_pt_eval").exists()
