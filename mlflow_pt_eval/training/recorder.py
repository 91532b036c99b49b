"""The recorder: everything of a training that leaves the loop's thread. Points, checkpoints, tags, the status."""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from typing import Any

from mlflow_pt_eval import __version__
from mlflow_pt_eval.distributed import Courier
from mlflow_pt_eval.errors import StoreUnavailable
from mlflow_pt_eval.files import atomic_write_text
from mlflow_pt_eval.names import ENVIRONMENT_FILE, MANIFEST_FILE, CheckpointName
from mlflow_pt_eval.records import Manifest
from mlflow_pt_eval.state import Buffers
from mlflow_pt_eval.tracking import attempts, runs
from mlflow_pt_eval.tracking.checkpoints import Checkpoints
from mlflow_pt_eval.tracking.outbox import STAGED_METRICS_FILE, Outbox, staging_folder
from mlflow_pt_eval.tracking.params import log_params
from mlflow_pt_eval.tracking.runs import environment
from mlflow_pt_eval.tracking.store import reaching
from mlflow_pt_eval.tracking.telemetry import Telemetry, write_points
from mlflow_pt_eval.training.data_note import note_training_data
from mlflow_pt_eval.training.opening import Opening
from mlflow_pt_eval.training.orphan import Launcher
from mlflow_pt_eval.training.payload import Payload, Snapshot, write_payload
from mlflow_pt_eval.writer import Job, Writer

_log = logging.getLogger("mlflow_pt_eval")
Keep = Callable[[Collection[CheckpointName]], Collection[CheckpointName]]


class Recorder:
    """Writes one training's run. Every method is for the loop's thread; what is slow happens on others.

    *courier* is there where other processes hold parts of a sharded state, which they store themselves.
    """

    def __init__(self, opening: Opening, *, keep: Keep, courier: Courier | None = None) -> None:
        self._courier = courier
        self.opening, self.run = opening, opening.run
        self.folder = staging_folder(self.run.run_id)
        self.checkpoints = Checkpoints.of(self.run.store, self.run.run_id)
        self.telemetry = Telemetry(self.run.store, self.run.run_id, self.folder / STAGED_METRICS_FILE)
        self.append = self.telemetry.append
        self.outbox = Outbox(
            self.checkpoints, self.telemetry, self.folder, keep=keep, attempt=opening.attempt, courier=courier
        )
        self.last_saved = time.monotonic()
        self._buffers = Buffers()
        self._held: Snapshot | None = None
        self._submitted: CheckpointName | None = None
        self._staged: CheckpointName | None = None
        self._data: Any = None
        self._data_seen = False
        self._versions = describe_versions()
        if opening.resumed:
            name = None if opening.checkpoint is None else opening.checkpoint.name
            self.telemetry.remember_stored(0 if name is None else min(name.epoch, name.step))
        self._launcher = Launcher.of_this_process(runs.get_run(self.run.store, self.run.run_id).data.tags)
        self.writer = Writer(self._pump)

    @property
    def run_id(self) -> str:
        """The MLflow run's id."""
        return self.run.run_id

    @property
    def newest(self) -> CheckpointName | None:
        """The newest checkpoint that the run has, or will have once all is sent; waits for what is being written."""
        self.writer.make_room(wait=True)
        found = self.opening.checkpoint
        return self._staged or (None if found is None else found.name)

    def describe(self, params: Mapping[str, Any]) -> None:
        """Log the params and the environment."""
        log_params(self.run.store, self.run_id, params)
        self.log_text(environment(), ENVIRONMENT_FILE)

    def raise_failure(self) -> None:
        """Raise what went wrong in the background, if anything did."""
        self.writer.raise_failure()

    def note_data(self, loader: Any) -> None:
        """Have the loader's data set noted on the run, once, from the sending thread."""
        if not self.opening.resumed and not self._data_seen:
            self._data_seen, self._data = True, loader

    def _pump(self) -> None:
        loader, self._data = self._data, None
        if loader is not None:
            with reaching(self.run.store, "the training's data set could not be noted"):
                note_training_data(self.run.store, self.run.run_id, loader)
        if self._launcher is not None:
            self._launcher.check()
        self.outbox.pump()

    def point(self, key: str, value: Any, step: int) -> None:
        """Log one point of a metric."""
        self.append(({key: value}, step, time.time()))

    def prefault(self, state: dict[str, Any]) -> None:
        """Have the memory made ready that a copy of *state* takes; what a copy lies in already is left alone."""
        self._buffers.prefault(state)

    def save(self, snapshot: Snapshot, *, must: bool, wait: bool) -> bool:
        """Copy a snapshot into the kept buffers and have it written; False if the buffers were in use.

        *must* waits for the buffers, and makes that no newer snapshot replaces this one.
        """
        self.writer.raise_failure()
        self._held = None
        free, replaced = self.writer.make_room(wait=must or wait)
        if replaced is not None:
            _log.warning(
                "the checkpoint %s was skipped: writing is slower than saving, and a newer one is due", replaced
            )
            self._let_go(replaced)
        if not free:
            _log.warning("the checkpoint %s was skipped: the one before is still being written", snapshot.name)
            self._let_go(str(snapshot.name))
            return False
        self.last_saved = time.monotonic()
        self._submit(snapshot.copied(self._buffers), must)
        return True

    def hold(self, snapshot: Callable[[], Snapshot], *, wait: bool) -> None:
        """Copy a snapshot into the kept buffers without writing it: `save_held` does, if it comes to that.

        Without *wait*, nothing is done while the buffers are in use.
        """
        self.writer.raise_failure()
        if not (wait or self.writer.is_free):
            return
        self.writer.make_room(wait=True)
        self._held = None
        made = snapshot()
        # What was saved at this very boundary is staged by now, and perhaps just being sent.
        if made.name != self._submitted:
            self._held = made.copied(self._buffers)

    def save_held(self) -> None:
        """Write what is held, if anything is."""
        held, self._held = self._held, None
        if held is not None:
            self._submit(held, True)

    def _let_go(self, name: str) -> None:
        if self._courier is not None:
            self._courier.say(name, store=False)

    def _submit(self, snapshot: Snapshot, pinned: bool) -> None:
        self._submitted = snapshot.name
        self.writer.submit(Job(str(snapshot.name), partial(self._stage, snapshot), pinned))

    def _stage(self, snapshot: Snapshot) -> None:
        """Write a snapshot to the staging folder: payload, metrics, then the manifest that makes it exist there."""
        folder = self.folder / str(snapshot.name)
        (folder / MANIFEST_FILE).unlink(missing_ok=True)
        payload = write_payload(snapshot, folder, needed=self._buffers.nbytes)
        if payload is None:
            self._let_go(str(snapshot.name))
            return
        # If this process dies before its points are sent, they are found beside the checkpoint that follows them.
        write_points(folder / STAGED_METRICS_FILE, self.telemetry.unsent())
        manifest = self._manifest(snapshot, payload)
        atomic_write_text(folder / MANIFEST_FILE, json.dumps(manifest.to_json(), allow_nan=False))
        self._staged = snapshot.name
        if self.writer.outage is not None:
            self.outbox.thin_out()

    def _manifest(self, snapshot: Snapshot, payload: Payload) -> Manifest:
        complete = snapshot.name.complete
        return Manifest(
            epoch=snapshot.name.epoch,
            step=snapshot.name.step,
            complete=complete,
            metrics=snapshot.history[-1].metrics if complete else {},
            history=snapshot.history,
            files=payload.files,
            versions=self._versions,
            attempt=str(self.opening.attempt.number),
            world_size=payload.world_size,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def log_text(self, text: str, file: str) -> None:
        """Store a small text as an artifact of the run."""
        self.run.store.client.log_text(self.run.run_id, text, file)

    def drain(self, seconds: float, *, patient: bool = False) -> None:
        """Wait until everything is stored; StoreUnavailable, naming the staging folder, if that takes too long.

        A *patient* wait is only too long if the store is away.
        """
        done = self.writer.drain(seconds, on_slow=self._say_slow if patient else None)
        self.writer.raise_failure()
        if not done:
            self.telemetry.stash()
            reason = f" ({str(self.writer.outage).rstrip('.')})" if self.writer.outage is not None else ""
            raise StoreUnavailable(
                f"not everything of the run {self.run.run_id} could be sent within {seconds:g} s{reason}. It is kept "
                f"in {self.folder}; when {self.run.store.shown} is back, send it with "
                f"`mlflow-pt-eval sync {self.run.run_id}`."
            )

    def _say_slow(self) -> None:
        _log.warning("the store is slow: the training ends when all of the run %s is sent", self.run_id)

    def close(self, status: runs.Status, tags: Mapping[str, str]) -> None:
        """Set the last tags and the status; the threads end, the lock falls, an empty staging folder goes.

        If the store is away, the end is kept in staging and StoreUnavailable is raised.
        """
        try:
            with reaching(self.run.store, f"the run {self.run.run_id} could not be marked {status}"):
                runs.set_tags(self.run.store, self.run.run_id, tags)
                attempts.end(self.run.store, self.run.run_id, self.opening.attempt)
                runs.finish(self.run, status)
        except StoreUnavailable:
            self.outbox.leave_ending(status if self.run.owned else None, tags)
            raise
        finally:
            self.release()

    def release(self) -> None:
        """End the threads and let go of the run; what was not sent stays in staging, what failed last is raised."""
        self.outbox.over.set()
        self.writer.close()
        self._buffers, self._held = Buffers(), None  # the user may keep the `TrainingRun`, but not this memory
        self.outbox.let_go(self.opening.lock)
        self.writer.raise_failure()


def describe_versions() -> dict[str, str]:
    """Return the versions that a checkpoint's numbers depend on."""
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "mlflow")}
    return {"python": platform.python_version(), **packages, "mlflow_pt_eval": __version__}
