"""A process that is not rank 0 and holds a part of a sharded state: it writes and stores that part itself."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

from mlflow_pt_eval.distributed import Courier, Ranks
from mlflow_pt_eval.errors import StoreUnavailable
from mlflow_pt_eval.names import CheckpointName
from mlflow_pt_eval.state import Buffers
from mlflow_pt_eval.tracking.checkpoints import Checkpoints
from mlflow_pt_eval.tracking.outbox import staging_folder
from mlflow_pt_eval.training.payload import Contribution
from mlflow_pt_eval.training.voices import Silent
from mlflow_pt_eval.writer import Job, Writer

_INTERVAL = 0.05  # seconds between two looks for rank 0's word on what is staged


class Contributor(Silent):
    """Writes one process's parts of checkpoints. Methods are for the loop's thread; what is slow happens on others.

    A part is staged, its share handed in, and it is stored once rank 0 says that the checkpoint is to be.
    """

    def __init__(self, checkpoints: Checkpoints, ranks: Ranks, courier: Courier) -> None:
        super().__init__(checkpoints.run_id)
        self._checkpoints, self._ranks, self._courier = checkpoints, ranks, courier
        self._folder = staging_folder(checkpoints.run_id)
        self._buffers = Buffers()
        self._staged: deque[tuple[CheckpointName, Path]] = deque()
        for leftover in self._folder.glob(f"epoch=*/shard-{ranks.rank:05d}-*"):
            _remove(leftover)  # rank 0 has stored what it could of an earlier attempt
        self._writer = Writer(self._pump, interval=_INTERVAL)

    def raise_failure(self) -> None:
        """Raise what went wrong in the background, if anything did."""
        self._writer.raise_failure()

    def prefault(self, tensors: dict[str, Any]) -> None:
        """Have the memory made ready that a copy of these takes."""
        self._buffers.prefault(tensors)

    def save(self, part: Contribution, *, must: bool, wait: bool) -> None:
        """Copy a part and have it written; where there is no room, the checkpoint is to be skipped by all."""
        self._writer.raise_failure()
        free, replaced = self._writer.make_room(wait=must or wait)
        if replaced is not None:
            self._ranks.post(replaced, b"", epoch=part.name.epoch)
        if not free:
            self._ranks.post(str(part.name), b"", epoch=part.name.epoch)
            return
        self._writer.submit(Job(str(part.name), partial(self._stage, part.copied(self._buffers)), must))

    def settle(self) -> None:
        """Wait until what was saved is staged, and raise what went wrong with it."""
        self._writer.make_room(wait=True)
        self._writer.raise_failure()

    def until_sent(self, seconds: float) -> None:
        """Wait until rank 0 has had what was saved here, for so long at most."""
        self._writer.make_room(wait=True)
        deadline = time.monotonic() + seconds
        while self._staged and time.monotonic() < deadline:
            time.sleep(_INTERVAL)

    def release(self) -> None:
        """End the threads; what rank 0 has not asked for stays staged, what failed last is raised."""
        self._writer.close()
        self._buffers = Buffers()
        with contextlib.suppress(OSError):  # other processes' files may stand there
            self._folder.rmdir()
            self._folder.parent.rmdir()
        self._writer.raise_failure()

    def _stage(self, part: Contribution) -> None:
        folder, share = self._folder / str(part.name), b""
        try:
            share = part.write(folder, needed=self._buffers.nbytes)
            self._staged.append((part.name, folder / part.file))
        finally:  # what failed is raised in the loop; rank 0 is not to wait for it
            self._ranks.post(str(part.name), share, epoch=part.name.epoch)

    def _pump(self) -> None:
        while self._staged:
            name, source = self._staged[0]
            word = self._courier.word(str(name))
            if word is None:
                return
            if word:
                self._store(name, source)
            _remove(source)
            if word:
                self._courier.tell(str(name))
            self._staged.popleft()

    def _store(self, name: CheckpointName, source: Path) -> None:
        try:
            self._checkpoints.put_file(name, source)
        except StoreUnavailable as error:
            self._courier.tell(str(name), str(error))
            raise
        except OSError as error:
            # Rank 0 on this host may have let the checkpoint go meanwhile, with the folder that this was staged in.
            if self._courier.word(str(name)):
                self._courier.tell(str(name), str(error))
                raise


def _remove(staged: Path) -> None:
    staged.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # files of others may stand there
        staged.parent.rmdir()
