"""Small texts that carry their own checksum: what was damaged while it waited is never taken for what was written."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from mlflow_pt_eval.errors import CheckpointDamaged
from mlflow_pt_eval.files.atomic import atomic_write_bytes


def write_sealed(path: str | os.PathLike[str], text: str) -> None:
    """Write *text* in UTF-8 below a line with its SHA-256, whole or not at all."""
    data = text.encode()
    atomic_write_bytes(path, hashlib.sha256(data).hexdigest().encode() + b"\n" + data)


def read_sealed(path: str | os.PathLike[str]) -> str:
    """Return what `write_sealed` wrote; CheckpointDamaged if the file is not that, or is missing."""
    try:
        seal, _, data = Path(path).read_bytes().partition(b"\n")
    except FileNotFoundError as error:
        raise CheckpointDamaged(f"{path} is missing.") from error
    if hashlib.sha256(data).hexdigest().encode() != seal:
        raise CheckpointDamaged(f"{path} has changed since it was written.")
    return data.decode()
