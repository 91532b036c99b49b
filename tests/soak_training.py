"""The training that is killed, cut off and damaged: run whole by a forked child or by a process of its own.

    python tests/soak_training.py zygote        forks a child for each line of JSON (a `Spec`) on stdin
    python tests/soak_training.py '{...}'       runs one `Spec` in this process

A start costs seconds of imports, so most children are forked from a zygote that has imported everything and run
nothing: it has no thread but the one that forks (the allocator's own, which prepares itself for a fork, aside), so no
lock can be held by a thread that the child does not have.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # OpenMP's threads would be missing in a forked child
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["GIT_PYTHON_REFRESH"] = "quiet"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"

RUN_ID_FILE, ERROR_FILE, LOG_FILE = "run_id", "error", "log"
_WRITES = {"os.rename", "os.remove", "os.rmdir", "os.truncate"}


@dataclass(frozen=True)
class Spec:
    """One start of the training: where it works, which run it goes on with, and how it is to be disturbed."""

    folder: str
    uri: str
    name: str
    resume: str = "auto"
    workers: int = 0
    epochs: int = 12
    when_busy: str = "wait"
    pace: float = 0.0  # seconds that each step takes longer
    die_at_write: int = 0  # kill -9 at the n-th change of a checkpoint's files; 0: never

    def to_json(self) -> str:
        """Return one line."""
        return json.dumps(asdict(self))


def train(spec: Spec) -> None:
    """Train; the run's id goes to a file as soon as it is known."""
    import mlflow
    from loops import Parts, wrapped

    import mlflow_pt_eval as mpe

    class Noted:
        def on_train_start(self, run: mpe.TrainingRun) -> None:
            Path("run_id.part").write_text(run.run_id)
            Path("run_id.part").replace(RUN_ID_FILE)

    os.chdir(spec.folder)
    mlflow.set_tracking_uri(spec.uri)
    if spec.die_at_write:
        die_at_write(spec.die_at_write)
    saving = mpe.ModelCheckpoint(monitor="val_loss", mode="min", every_n_steps=3, when_busy=spec.when_busy)
    wrapped(
        Parts(workers=spec.workers, rows=48),
        spec.epochs,
        callbacks=[saving, Noted()],
        before_step=lambda epoch, batch: time.sleep(spec.pace),
        run_name=spec.name,
        resume=spec.resume,
        grace_seconds=5,
    )


def die_at_write(write: int) -> None:
    """Kill this process, without a word, at its n-th change of a file of a checkpoint."""
    left = [write]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in _WRITES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT)
        if changes and isinstance(arguments[0], str | os.PathLike) and "epoch=" in os.fspath(arguments[0]):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def run(spec: Spec) -> int:
    """Train and return the exit status; what an error says goes to a file."""
    log = os.open(Path(spec.folder) / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        train(spec)
    except SystemExit as error:
        return int(error.code or 0)
    except BaseException as error:
        import traceback

        traceback.print_exc()
        (Path(spec.folder) / ERROR_FILE).write_text(f"{type(error).__name__}: {error}")
        return 1
    return 0


def zygote() -> None:
    """Fork a child for each line on stdin; say its number, and its wait status when it has ended."""
    import loops
    import mlflow.store.artifact.mlflow_artifacts_repo

    import mlflow_pt_eval.training.run

    assert loops
    assert mlflow
    assert mlflow_pt_eval
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.close(0)
            os._exit(run(Spec(**json.loads(line))))
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "zygote":
        zygote()
    else:
        sys.exit(run(Spec(**json.loads(sys.argv[1]))))
