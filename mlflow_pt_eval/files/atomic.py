"""Files that are there whole or not at all, and their checksums.

Whatever is written here goes to a temporary name in the same folder, is flushed to the disk and only then renamed.
Nothing here draws from a random number generator that a training could be using.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow_pt_eval.files.storage import storage_errors
from mlflow_pt_eval.records import FileEntry

# Each system call and each hash update lets the GIL go and must win it back from the training loop, which can take
# a switch interval (5 ms): so few and large ones.
CHUNK = 8 << 20
_SMALL = 1 << 20  # what is smaller is worth copying together first
_PARTIAL = ".partial"


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    chunk = memoryview(bytearray(CHUNK))
    with Path(path).open("rb", buffering=0) as file:
        while size := file.readinto(chunk):
            digest.update(chunk[:size])
    return digest.hexdigest()


class DigestingFile:
    """A file open for writing that knows the SHA-256 and the size of what went through it.

    Unlike a raw Python file it never writes a part only (the kernel takes at most 2 GiB a call, and less when the
    disk fills up), and it gathers small writes. `error` keeps the OSError of a failed write, for writers that hide
    it behind an error of their own.
    """

    def __init__(self, descriptor: int) -> None:
        self.error: OSError | None = None
        self._descriptor = descriptor
        self._digest = hashlib.sha256()
        self._small = bytearray()
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take all of *data*; return its length in bytes."""
        view = memoryview(data).cast("B")
        if len(view) < _SMALL:
            self._small += view
            if len(self._small) >= CHUNK:
                self.flush()
        else:
            self.flush()
            self._put(view)
        return len(view)

    def flush(self) -> None:
        """Hand what was gathered to the kernel."""
        gathered, self._small = self._small, bytearray()
        self._put(memoryview(gathered))

    def entry(self) -> FileEntry:
        """Return the SHA-256 and the size of everything handed to the kernel so far."""
        return FileEntry(sha256=self._digest.hexdigest(), size=self._size)

    def _put(self, view: memoryview) -> None:
        """Write and hash *view*, a chunk at a time, to the last byte."""
        while view:
            chunk = view[:CHUNK]
            try:
                written = os.write(self._descriptor, chunk)
            except OSError as error:
                self.error = error
                raise
            self._digest.update(chunk[:written])
            self._size += written
            view = view[written:]


@contextmanager
def atomic_file(path: str | os.PathLike[str], needed: int | None = None) -> Iterator[DigestingFile]:
    """Open *path* for writing so that it comes to be whole, or stays as it was.

    The folder is made if need be; file and folder are synced to the disk before the block is left for good.
    StorageFailed (naming the folder and the *needed* bytes) where the disk refuses.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.urandom(6).hex()}{_PARTIAL}")
    with storage_errors(target.parent, needed):
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with _written(descriptor) as file:
                yield file
            temporary.replace(target)
            sync_folder(target.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def _written(descriptor: int) -> Iterator[DigestingFile]:
    """Hand out the open file, then flush it to the disk; closed in any case."""
    try:
        file = DigestingFile(descriptor)
        yield file
        file.flush()
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write_bytes(path: str | os.PathLike[str], data: bytes) -> FileEntry:
    """Write *data* to *path*, whole or not at all; return its SHA-256 and size."""
    with atomic_file(path, len(data)) as file:
        file.write(data)
    return file.entry()


def atomic_write_text(path: str | os.PathLike[str], text: str) -> FileEntry:
    """Write *text* in UTF-8 to *path*, whole or not at all; return its SHA-256 and size."""
    return atomic_write_bytes(path, text.encode())


def remove_partials(folder: str | os.PathLike[str]) -> None:
    """Delete what a killed process left half-written in *folder*; for whoever holds the folder's lock."""
    for path in Path(folder).glob(f".*{_PARTIAL}"):
        path.unlink(missing_ok=True)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Flush a folder's entries to the disk, so that a rename or a new file outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no such thing
            raise
    finally:
        os.close(descriptor)
