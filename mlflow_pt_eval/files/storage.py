"""What a disk refuses, said plainly; sizes, and paths that stay in their folder."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow_pt_eval.errors import PathEscape, StorageFailed

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file is too large for the file system or the limit set",
    errno.EACCES: "permission is denied",
    errno.EPERM: "the operation is not permitted",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the device reports an input/output error",
    errno.ENOLCK: "the file system offers no locks",
}


def readable_size(size: int) -> str:
    """Return a number of bytes as people read it.

    >>> readable_size(12_345_678)
    '12.3 MB'
    """
    if size < 1000:
        return f"{size} bytes"
    number = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        number /= 1000
        if number < 1000 or unit == "TB":
            break
    return f"{number:.1f} {unit}"


@contextmanager
def storage_errors(folder: str | os.PathLike[str], needed: int | None = None) -> Iterator[None]:
    """Raise StorageFailed for a full, read-only, forbidden or failing disk inside the block.

    The message names *folder*, what is free there and, where given, the *needed* bytes. Any other OSError (such as
    a missing file) passes as it is.
    """
    try:
        yield
    except StorageFailed:
        raise
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        raise _storage_failed(error, Path(folder), needed) from error


def _storage_failed(error: OSError, folder: Path, needed: int | None) -> StorageFailed:
    """Say which folder refused what, and what to do."""
    wanted = "" if needed is None else f"; {readable_size(needed)} were needed"
    failed = StorageFailed(
        f"cannot use {folder}: {_REASONS[error.errno or 0]}{wanted}{_free_space(folder)}. "
        "Free space or mend the permissions there, then run again: nothing that was whole before is lost."
    )
    failed.errno = error.errno
    return failed


def _free_space(folder: Path) -> str:
    """Return ', 1.2 GB are free' for the nearest folder that exists."""
    for place in (folder, *folder.parents):
        try:
            return f", {readable_size(shutil.disk_usage(place).free)} are free"
        except OSError:
            continue
    return ""


def directory_size(folder: str | os.PathLike[str]) -> int:
    """Return the bytes of all files below *folder*; 0 where there is none."""
    return sum(path.lstat().st_size for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink())


def inside(folder: str | os.PathLike[str], relative: str | os.PathLike[str]) -> Path:
    """Return *relative* as a resolved path below *folder*; PathEscape if it leads out, also through a link."""
    text = os.fspath(relative)
    base = Path(folder).resolve()
    if "\0" in text or Path(text).is_absolute() or ".." in Path(text).parts:
        raise PathEscape(f"{text!r} must be a relative path without '..': it would leave {base}.")
    path = (base / text).resolve()
    if path == base or not path.is_relative_to(base):
        raise PathEscape(f"{text!r} does not name a file below {base} (it resolves to {path}).")
    return path
