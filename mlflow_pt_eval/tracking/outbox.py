"""The outbox: a run's folder in the working directory that holds what is not yet in the store.

    .mlflow_pt_eval/<run_id>/lock                      held by the process that works on the run
    .mlflow_pt_eval/<run_id>/metrics.jsonl             points that a server which is away did not take
    .mlflow_pt_eval/<run_id>/<checkpoint>/…            state.pt, manifest.json and the metrics logged before it
    .mlflow_pt_eval/<run_id>/ending.json               the last tags and the status, if they could not be set

It is empty and gone after a clean end. After anything else, `Outbox.pump` in a later process sends the rest.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_pt_eval.errors import CheckpointDamaged, RunConflict, StoreUnavailable
from mlflow_pt_eval.files import RunLock, read_sealed, write_sealed
from mlflow_pt_eval.names import MANIFEST_FILE, STAGING_DIR, TAG_LATEST_CHECKPOINT, TAG_RESUMABLE, CheckpointName
from mlflow_pt_eval.tracking.attempts import Attempt, last_attempt
from mlflow_pt_eval.tracking.checkpoints import Checkpoints, Parts
from mlflow_pt_eval.tracking.runs import get_run, set_tags
from mlflow_pt_eval.tracking.store import reaching
from mlflow_pt_eval.tracking.telemetry import Telemetry, read_points

if TYPE_CHECKING:
    from mlflow_pt_eval.distributed import Courier

STAGED_METRICS_FILE = "metrics.jsonl"
LOCK_FILE = "lock"
ENDING_FILE = "ending.json"
Keep = Callable[[Collection[CheckpointName]], Collection[CheckpointName]]
_log = logging.getLogger("mlflow_pt_eval")
_root: ContextVar[Path | None] = ContextVar("mlflow_pt_eval_staging", default=None)


def staging_folder(run_id: str) -> Path:
    """Return the run's folder under the working directory."""
    return (_root.get() or Path.cwd()) / STAGING_DIR / run_id


@contextlib.contextmanager
def staging_in(folder: Path) -> Iterator[None]:
    """Have *folder* stand for the working directory within the block."""
    token = _root.set(folder)
    try:
        yield
    finally:
        _root.reset(token)


class Outbox:
    """Sends a run's metrics and staged checkpoints, in order, and frees what is not to be kept.

    *keep* is asked, with the names of all stored checkpoints, which of them stay. *attempt* is this process's: if a
    newer one is noted on the run, nothing is sent any more and RunConflict is raised. *courier* is for the parts that
    other processes store. Without an attempt, what is sent
    was left by a process that is gone: it is verified first, and *left_out* (and said) where it is damaged.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        telemetry: Telemetry,
        folder: Path,
        *,
        keep: Keep | None = None,
        attempt: Attempt | None = None,
        courier: Courier | None = None,
    ) -> None:
        self.checkpoints, self.telemetry, self.folder = checkpoints, telemetry, folder
        self.attempt = attempt
        self.over = threading.Event()  # set when nobody waits any more for what other processes store
        self._courier = courier
        self.left_out: set[CheckpointName] = set()
        self._keep = keep
        self._stored: set[CheckpointName] | None = None
        self._is_resumable = False  # as the run's tag says
        self._latest: CheckpointName | None = None  # stored, but not yet named by the run's tag
        self._deletes_refused = False
        self._busy = threading.Lock()

    def staged(self) -> list[CheckpointName]:
        """List the checkpoints that wait here, oldest first."""
        found = (CheckpointName.parse(path.parent.name) for path in self.folder.glob(f"*/{MANIFEST_FILE}"))
        return sorted(name for name in found if name is not None)

    def pump(self) -> None:
        """Send the metrics, then each staged checkpoint, then free what is not kept. StoreUnavailable if away."""
        with self._busy:
            if self.attempt is None and not self.is_empty:
                # A process that walked back has logged points anew, at other times, that were stored before.
                self.telemetry.remember_stored(0)
            try:
                self.telemetry.flush()
            except CheckpointDamaged as error:
                self._leave_out(self.staged(), error)  # the points before them are gone
                self.telemetry.spill.unlink()
            self._name_latest()
            for name in self.staged():
                self._commit(name)
            self._apply_ending()

    def leave_ending(self, status: str | None, tags: Mapping[str, str]) -> None:
        """Keep the end of a training whose store is away: its tags, and the status unless it is the caller's to set."""
        write_sealed(self.folder / ENDING_FILE, json.dumps({"status": status, "tags": dict(tags)}))

    def _apply_ending(self) -> None:
        path, checkpoints = self.folder / ENDING_FILE, self.checkpoints
        if not path.exists():
            return
        try:
            ending = json.loads(read_sealed(path))
        except CheckpointDamaged as error:
            self._leave_out([], error)
            return
        with reaching(checkpoints.store, "the run could not be ended"):
            set_tags(checkpoints.store, checkpoints.run_id, ending["tags"])
            if ending["status"] is not None:
                checkpoints.store.client.set_terminated(checkpoints.run_id, status=ending["status"])
        path.unlink()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be sent."""
        waiting = [self.telemetry.spill, self.folder / ENDING_FILE]
        return not self.staged() and not any(path.exists() for path in waiting)

    def _commit(self, name: CheckpointName) -> None:
        staged = self.folder / str(name)
        self._still_ours()
        if not self._is_resumable:
            # Before the manifest: a process that is killed between the two leaves a run that is found again.
            self._tag(TAG_RESUMABLE, "true")
            self._is_resumable = True
        try:
            if self.attempt is None:
                # Points of a process that died before it could send them; those already there are not stored twice.
                self.telemetry.send(read_points(staged / STAGED_METRICS_FILE))
            else:
                # Our own points before it are sent or wait in memory: to send the file's would be to send them twice,
                # and most of all to a server that is slow already.
                self.telemetry.flush()
            self.checkpoints.put(name, staged, verify=self.attempt is None, parts=self._parts(name))
        except CheckpointDamaged as error:
            self._leave_out([name], error)
            return
        _discard(staged)
        self._latest = name
        if self._stored is not None:
            self._stored.add(name)
        self._name_latest()
        self._retain()

    def _name_latest(self) -> None:
        """Name the newest stored checkpoint on the run, also if the store was away when it should have been."""
        if self._latest is not None:
            self._tag(TAG_LATEST_CHECKPOINT, str(self._latest))
            self._latest = None

    def _tag(self, tag: str, value: str) -> None:
        with reaching(self.checkpoints.store, "the tags could not be set"):
            set_tags(self.checkpoints.store, self.checkpoints.run_id, {tag: value})

    def _parts(self, name: CheckpointName) -> Parts | None:
        """Return what the other processes of a training store of a checkpoint."""
        courier = self._courier
        if courier is None:
            return None
        start = partial(courier.say, str(name), store=True)
        return Parts(start, partial(courier.until_stored, str(name), self.over.is_set))

    def _leave_out(self, names: Collection[CheckpointName], error: CheckpointDamaged) -> None:
        """Give up what a process that is gone has staged and what is damaged now, and that it may have been the end."""
        if self.attempt is not None:
            raise error
        _log.warning("what a process that is gone has staged is damaged, and the training goes on before it: %s", error)
        for name in names:
            _discard(self.folder / str(name))
        (self.folder / ENDING_FILE).unlink(missing_ok=True)
        self.left_out.update(names)

    def _still_ours(self) -> None:
        if self.attempt is None:
            return
        with reaching(self.checkpoints.store, "the run could not be read"):
            newest = last_attempt(get_run(self.checkpoints.store, self.checkpoints.run_id).data.tags)
        if newest is not None and newest.number > self.attempt.number:
            raise RunConflict(
                f"the run {self.checkpoints.run_id} was taken over by attempt {newest.number} (process {newest.pid} on "
                f"{newest.host}); this attempt, {self.attempt.number}, stops. Nothing of the newer one was touched."
            )

    def _retain(self) -> None:
        if self._keep is None:
            return
        if self._stored is None:
            self._stored = set(self.checkpoints.names())
        for name in sorted(self._stored - set(self._keep(self._stored))):
            if self._deleted(name):
                self._stored.discard(name)

    def _deleted(self, name: CheckpointName) -> bool:
        if self._deletes_refused:
            return False
        try:
            self.checkpoints.delete(name)
        except StoreUnavailable:
            raise
        except Exception as error:  # each store has refusals of its own; none of them may end a training
            self._deletes_refused = True
            _log.warning(
                "the store refuses to delete the checkpoint %s (%s): all checkpoints are kept from now on", name, error
            )
            return False
        return True

    def thin_out(self) -> None:
        """Keep staged only what would be kept in the store: during an outage nothing is to grow without bound."""
        if self._keep is None or not self._busy.acquire(blocking=False):  # what is just being sent is left alone
            return
        try:
            staged = self.staged()
            for name in set(staged) - set(self._keep(staged)):
                self._save_metrics_of(name)
                if self._courier is not None:
                    self._courier.say(str(name), store=False)
                _discard(self.folder / str(name))
        finally:
            self._busy.release()

    def _save_metrics_of(self, name: CheckpointName) -> None:
        # Those of this process are still pending; those of a dead one exist nowhere else.
        later = [n for n in self.staged() if n > name]
        metrics = self.folder / str(name) / STAGED_METRICS_FILE
        if metrics.exists() and later and not (target := self.folder / str(later[0]) / STAGED_METRICS_FILE).exists():
            metrics.replace(target)

    def let_go(self, lock: RunLock) -> None:
        """Let the run go to whoever locks it next; the folder goes, too, unless something waits in it."""
        if lock.held and self.is_empty and self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name != LOCK_FILE:
                    path.unlink(missing_ok=True)
        let_go(lock)


def let_go(lock: RunLock) -> None:
    """Let a run's lock go, and its folder if that is empty: from here on what stands in it may be another process's."""
    lock.release()
    with contextlib.suppress(OSError):
        lock.path.parent.rmdir()
        lock.path.parent.parent.rmdir()


def _discard(staged: Path) -> None:
    """Remove a staged checkpoint, its manifest first: what is half removed must not look whole."""
    (staged / MANIFEST_FILE).unlink(missing_ok=True)
    shutil.rmtree(staged)
