"""The lock that one process holds on a run."""

from __future__ import annotations

import fcntl
import functools
import os
import weakref
from pathlib import Path
from typing import Self

from mlflow_pt_eval.errors import BadInput, RunConflict, StorageFailed
from mlflow_pt_eval.files.storage import storage_errors

_TRIES = 100


class RunLock:
    """A lock file that at most one process on this host holds; it falls away when that process dies, however it dies.

    `with RunLock(path): ...`, or `acquire()` and `release()`. The file holds the holder's process id and is removed
    on release.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self) -> Self:
        """Take the lock, or raise RunConflict naming the process that holds it; taking it twice is taking it once."""
        while self._descriptor is None:
            with storage_errors(self.path.parent):
                self._descriptor = self._try()
        _held_locks().add(self)
        return self

    def release(self) -> None:
        """Remove the file and let the lock go; nothing happens where it is not held."""
        if self._descriptor is not None:
            # Removed while it is still held: whoever opened it meanwhile sees that its file is gone, and starts over.
            self.path.unlink(missing_ok=True)
            self._close()

    def _try(self) -> int | None:
        """Return the locked file's descriptor; None if the file was removed between opening and locking it."""
        descriptor = self._open()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_at(descriptor, self.path):
                os.close(descriptor)
                return None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise RunConflict(
                f"process {holder} on this host already works on this run (it holds {self.path}). "
                "Wait for it or stop it; a lock of a process that is gone is never in the way."
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _open(self) -> int:
        """Open the file, and make its folder, which the last holder may be removing at this moment."""
        for _ in range(_TRIES):
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except (FileExistsError, NotADirectoryError) as error:
                raise BadInput(
                    f"{self.path.parent} has to be a folder, but a file is in the way; move it, or start elsewhere."
                ) from error
            except FileNotFoundError:
                continue
        raise StorageFailed(f"cannot use {self.path.parent}: it goes as soon as it is made. Start elsewhere.")

    def _close(self) -> None:
        """Close the descriptor of this process."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def _is_at(descriptor: int, path: Path) -> bool:
    """Say whether *path* still names the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@functools.cache
def _held_locks() -> weakref.WeakSet[RunLock]:
    """Return the locks of this process, which each forked child closes its copies of.

    A forked child (a DataLoader's worker) shares the open file and would hold the lock for seconds after its parent
    was killed. Closing the child's copy leaves the parent's lock alone.
    """
    locks: weakref.WeakSet[RunLock] = weakref.WeakSet()

    def close_in_child() -> None:
        for lock in locks:
            lock._close()

    os.register_at_fork(after_in_child=close_in_child)
    return locks
