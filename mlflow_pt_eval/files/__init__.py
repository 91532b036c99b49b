"""Files that are there whole or not at all, checksums, safe paths, plain disk errors, a run's lock; stdlib only."""

from __future__ import annotations

from mlflow_pt_eval.files.atomic import (
    DigestingFile,
    atomic_file,
    atomic_write_bytes,
    atomic_write_text,
    remove_partials,
    sha256_file,
    sync_folder,
)
from mlflow_pt_eval.files.lock import RunLock
from mlflow_pt_eval.files.sealed import read_sealed, write_sealed
from mlflow_pt_eval.files.storage import directory_size, inside, readable_size, storage_errors

__all__ = [
    "DigestingFile",
    "RunLock",
    "atomic_file",
    "atomic_write_bytes",
    "atomic_write_text",
    "directory_size",
    "inside",
    "read_sealed",
    "readable_size",
    "remove_partials",
    "sha256_file",
    "storage_errors",
    "sync_folder",
    "write_sealed",
]
