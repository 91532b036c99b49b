"""Files that a project gets from the internet on first use: from mirrors, resumed, and only with the right SHA-256.

A file under its final name is whole: what is under way is called `<name>.part` and takes the name when it has been
verified. So a file that someone put there by hand is taken as it is. Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.files import atomic_write_bytes, readable_size, sha256_file, storage_errors

BLOCK_BYTES = 1 << 18
TIMEOUT_SECONDS = 30
TRIES_PER_MIRROR = 5


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file: its *name* in the folder, the *urls* that have it, its SHA-256 (hex) and its *size* in bytes."""

    name: str
    urls: Sequence[str]
    sha256: str
    size: int


class _Trouble(Exception):
    """A mirror did not give the file; the next one may."""


class _BrokeOff(_Trouble):
    """The connection ended too early; what has arrived can be gone on with."""


def fetch(downloads: Sequence[Download], folder: Path, *, instead: str = "") -> list[Path]:
    """Return the paths of *downloads* in *folder*, after getting those that are not there yet.

    *instead* ends the message of an error and says what else can be done: an option to give, for instance.
    Raises NotFound, naming the missing files and where to put them, when no mirror gives one; StorageFailed when
    *folder* cannot be written.
    """
    missing = [download for download in downloads if not (folder / download.name).exists()]
    for done, download in enumerate(missing):
        troubles = _fetch_one(download, folder)
        if troubles:
            raise NotFound(f"{_by_hand(missing[done:], folder, troubles)} {instead}".rstrip())
    return [folder / download.name for download in downloads]


def _by_hand(missing: Sequence[Download], folder: Path, troubles: Sequence[str]) -> str:
    first, names = missing[0], ", ".join(download.name for download in missing)
    return (
        f"{first.name} could not be downloaded ({'; '.join(troubles)}). Run it again with an internet connection, or "
        f"put by hand into {folder.absolute()}: {names} (from {first.urls[0].rpartition('/')[0]}/)."
    )


def _fetch_one(download: Download, folder: Path) -> list[str]:
    """Get one file; return nothing, or what each mirror did instead of giving it."""
    part, target = folder / f"{download.name}.part", folder / download.name
    with storage_errors(folder, download.size):
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            # Two trainings that start together take turns; the second then finds the file there.
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0, os.SEEK_END)
            troubles = [] if target.exists() else _from_mirrors(download, file)
            if not troubles and not target.exists():
                part.replace(target)
            elif not file.tell():
                part.unlink(missing_ok=True)
    return troubles


def _from_mirrors(download: Download, file: BinaryIO) -> list[str]:
    troubles = []
    for url in download.urls:
        try:
            _from_mirror(url, download, file)
        except _Trouble as trouble:
            troubles.append(f"{urlsplit(url).netloc}: {trouble}")
        else:
            return []
    return troubles


def _from_mirror(url: str, download: Download, file: BinaryIO) -> None:
    """Append what *file* lacks and verify the whole; what fails to verify is thrown away."""
    kept = file.tell()
    _complete(url, download, file)
    file.flush()
    os.fsync(file.fileno())
    found = sha256_file(Path(file.name))
    if found == download.sha256:
        return
    _empty(file)
    if not kept:
        raise _Trouble(f"what it has is another file (SHA-256 {found[:12]}…, expected {download.sha256[:12]}…)")
    _from_mirror(url, download, file)  # the part from before may have been the wrong one


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _complete(url: str, download: Download, file: BinaryIO) -> None:
    for tries_left in reversed(range(TRIES_PER_MIRROR)):
        try:
            return _receive(url, download, file)
        except _BrokeOff:
            if not tries_left:
                raise
    return None


def _receive(url: str, download: Download, file: BinaryIO) -> None:
    """Append the rest of the file, or the whole where the mirror cannot go on in the middle."""
    kept = file.tell()
    if kept >= download.size:
        return
    with _open(url, kept) as reply:
        if kept and not reply.headers.get("Content-Range", "").startswith(f"bytes {kept}-"):
            _empty(file)
        with _progress(download, urlsplit(url).netloc) as show:
            while (lacking := download.size - file.tell()) > 0:
                block = _read(reply, min(BLOCK_BYTES, lacking))
                if not block:
                    raise _BrokeOff(f"broke off after {readable_size(file.tell())} of {readable_size(download.size)}")
                file.write(block)
                show(file.tell())


def _open(url: str, start: int) -> Any:
    headers = {"User-Agent": "mlflow-pt-eval"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return urlopen(Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        raise _Trouble(f"HTTP {error.code}") from error
    except URLError as error:
        raise _Trouble(getattr(error.reason, "strerror", None) or str(error.reason)) from error
    except (OSError, HTTPException) as error:
        raise _Trouble(str(error) or type(error).__name__) from error


def _read(reply: Any, n_bytes: int) -> bytes:
    """Read up to *n_bytes*; nothing when the connection is over, in whatever way."""
    try:
        return reply.read(n_bytes)
    except (OSError, HTTPException):
        return b""


@contextmanager
def _progress(download: Download, host: str) -> Iterator[Callable[[int], None]]:
    """Say what is downloaded: once in a log file, on a terminal with the percentage that the yielded function shows."""
    text = f"downloading {download.name} ({readable_size(download.size)}) from {host}"
    if not sys.stderr.isatty():
        print(text, file=sys.stderr)
        yield lambda received: None
        return
    shown = [-1]

    def show(received: int) -> None:
        percent = received * 100 // download.size
        if percent != shown[0]:
            print(f"\r{text} |{'█' * (percent // 5):<20}| {percent} %", end="", file=sys.stderr)
        shown[0] = percent

    try:
        yield show
    finally:
        print(file=sys.stderr)


def extract(archive: Path, members: Sequence[str], folder: Path) -> list[Path]:
    """Take *members*, and nothing else, out of a tar *archive*: each into *folder* under the last part of its name.

    Whatever else the archive holds is not looked at, and no name in it decides where something is written.
    Raises BadInput when a member is missing, is not a regular file, or the archive is damaged.
    """
    targets = {name: folder / PurePosixPath(name).name for name in members}
    try:
        with tarfile.open(archive, "r|*") as tar:
            left = _extract_each(tar, targets)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise BadInput(f"{archive} cannot be unpacked ({error}); delete it, so that it is downloaded again.") from error
    if left:
        raise BadInput(f"{archive} holds no file {sorted(left)[0]!r}; delete it, so that it is downloaded again.")
    return list(targets.values())


def _extract_each(tar: tarfile.TarFile, targets: dict[str, Path]) -> set[str]:
    """Write each wanted regular file as it comes by; return the names of those that did not."""
    left = set(targets)
    for member in tar:
        if member.name in left and member.isreg() and (source := tar.extractfile(member)) is not None:
            atomic_write_bytes(targets[member.name], source.read())
            left.discard(member.name)
    return left
