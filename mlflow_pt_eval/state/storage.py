"""A state tree as a file: written whole or not at all, read without executing a pickle."""

from __future__ import annotations

import io
import os
import pickle
import warnings
from pathlib import Path
from typing import IO, Any, cast

import torch

from mlflow_pt_eval.errors import CheckpointDamaged, NotFound, StorageFailed, UnsafeFile, with_kind
from mlflow_pt_eval.files import atomic_file, storage_errors
from mlflow_pt_eval.records import FileEntry


def save_tree(tree: Any, path: str | os.PathLike[str], *, needed: int | None = None) -> FileEntry:
    """Write *tree* (as `Buffers.copy` gives it) to *path*, whole or not at all.

    Returns the file's SHA-256 and size, taken while it was written. *needed* bytes are named where the disk refuses
    (StorageFailed). May run in a thread beside a training: the GIL is free while bytes are written, hashed and
    summed. torch's CRC-32 stays on: without it other zip readers call the file damaged, and it is cheap here.
    """
    with atomic_file(path, needed) as file:
        try:
            torch.save(tree, cast(IO[bytes], file))  # torch asks for write() and flush() only
        except RuntimeError:
            if file.error is not None:  # torch's writer hides the disk's error behind its own
                raise file.error from None
            raise
    return file.entry()


def tree_bytes(tree: Any) -> bytes:
    """Return *tree* as the bytes of the file that `save_tree` would write, for another process."""
    buffer = io.BytesIO()
    torch.save(tree, buffer)
    return buffer.getvalue()


def tree_of(data: bytes) -> Any:
    """Return the tree of `tree_bytes`, read without executing a pickle, on the CPU."""
    return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")


def load_tree(path: str | os.PathLike[str]) -> Any:
    """Read what `save_tree` wrote, or any file that `torch.load(weights_only=True)` takes, onto the CPU.

    Raises NotFound; UnsafeFile if the file needs a pickle to be executed; CheckpointDamaged if it is cut off or no
    such file at all; StorageFailed if the disk refuses.
    """
    source = Path(path)
    try:
        with storage_errors(source.parent), warnings.catch_warnings():
            # It warns of pickle protocols that torch.save does not write; such a file is refused or read all the same.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(source, weights_only=True, mmap=False, map_location="cpu")
    except FileNotFoundError:
        raise NotFound(f"there is no file {source}.") from None
    except (StorageFailed, MemoryError):
        raise
    except Exception as error:  # a damaged file can make the reader fail in any way, also by seeking to nowhere
        raise _unreadable(source, error) from error


def _unreadable(path: Path, error: Exception) -> UnsafeFile | CheckpointDamaged:
    """Say why a file was not read: it needs a pickle, or it is damaged."""
    unsafe = _pickled_names(path, error)
    if unsafe:
        return UnsafeFile(
            f"{path} holds pickled objects ({unsafe}), which could run any code when read, so it is not read. "
            "In the process that has the class, save the weights alone: torch.save(model.state_dict(), path)."
        )
    return CheckpointDamaged(
        f"{path} cannot be read: it is damaged, cut off or no checkpoint ({with_kind(error)}). "
        "Use another checkpoint or copy of it."
    )


def _pickled_names(path: Path, error: Exception) -> str:
    """Return the names of the classes that *path* would execute, or what else makes it unsafe; '' if nothing does."""
    text = str(error)
    if "TorchScript" in text:
        return "a TorchScript archive"
    if not isinstance(error, pickle.UnpicklingError):
        return ""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not a zip file, or not to be read as one: what the reader said has to do
        names = [part.split()[0] for part in text.split("GLOBAL ")[1:2]] or _foreign_pickle(path)
    return ", ".join(sorted(names)[:3])


def _foreign_pickle(path: Path) -> list[str]:
    """Say so if *path* is a plain pickle: torch itself writes protocol 2, pickle.dump a higher one."""
    with path.open("rb") as file:
        start = file.read(2)
    return ["a plain pickle"] if start[:1] == b"\x80" and start[1:] > b"\x02" else []
