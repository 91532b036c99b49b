"""A run's checkpoints in its artifact store, local or behind a server.

A checkpoint exists when its manifest exists: the manifest is stored last and deleted first.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlflow_pt_eval.errors import CheckpointDamaged, NotFound
from mlflow_pt_eval.files import sha256_file, storage_errors, sync_folder
from mlflow_pt_eval.names import CHECKPOINTS_DIR, MANIFEST_FILE, CheckpointName, is_of_another
from mlflow_pt_eval.records import FileEntry, Manifest
from mlflow_pt_eval.tracking.runs import get_run
from mlflow_pt_eval.tracking.store import Store, reaching


@dataclass(frozen=True)
class Parts:
    """What other processes store of a checkpoint: *start* lets them begin, *wait* returns once all of it is there."""

    start: Callable[[], None]
    wait: Callable[[], None]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run. Every method may raise StoreUnavailable or StorageFailed."""

    store: Store
    run_id: str
    artifact_uri: str

    @classmethod
    def of(cls, store: Store, run_id: str) -> Checkpoints:
        """Return the checkpoints of a run that exists."""
        return cls(store, run_id, get_run(store, run_id).info.artifact_uri)

    @property
    def folder(self) -> Path | None:
        """The artifact root as a local folder, or None where it is not one."""
        parts = urlsplit(self.artifact_uri)
        if parts.scheme == "file":
            return Path(url2pathname(parts.path))
        return Path(self.artifact_uri) if parts.scheme == "" else None

    def names(self) -> list[CheckpointName]:
        """List the folders of checkpoints, oldest first, with or without a manifest."""
        with self._storage("the checkpoints could not be listed"):
            found = [CheckpointName.parse(info.path) for info in self._list(CHECKPOINTS_DIR)]
        return sorted(name for name in found if name is not None)

    def committed(self) -> list[CheckpointName]:
        """List the checkpoints that have a manifest, oldest first."""
        return [name for name in self.names() if MANIFEST_FILE in self._files(name)]

    def manifest(self, name: CheckpointName) -> Manifest:
        """Read a manifest; CheckpointDamaged, saying what is wrong, if there is none that can be read."""
        with tempfile.TemporaryDirectory() as folder:
            return _read_manifest(name, self._download(name, MANIFEST_FILE, Path(folder)))

    def fetch(self, name: CheckpointName, folder: Path) -> Manifest:
        """Bring a checkpoint's files into *folder*, each verified against the manifest's size and SHA-256."""
        manifest = self.manifest(name)
        for file, entry in manifest.files.items():
            verify_file(name, self._download(name, file, folder), entry)
        return manifest

    def fetch_file(self, manifest: Manifest, folder: Path, file: str) -> Path:
        """Bring one of a checkpoint's files into *folder*, verified."""
        if file not in manifest.files:
            raise CheckpointDamaged(f"{manifest.name}: {file} is not among the files that the manifest names.")
        path = self._download(manifest.name, file, folder)
        verify_file(manifest.name, path, manifest.files[file])
        return path

    def put_file(self, name: CheckpointName, source: Path) -> None:
        """Store one file of a checkpoint whose manifest another process stores."""
        with self._storage(f"{name}/{source.name} could not be stored"):
            self._store_file(source, name.path)

    def put(self, name: CheckpointName, staged: Path, *, verify: bool = False, parts: Parts | None = None) -> None:
        """Store a staged checkpoint: what stood under its name ends first, then the payload, the manifest last.

        On a local store the files are moved (one write in all), elsewhere they are sent and stay staged. *verify*
        reads them first, for files that another process wrote: CheckpointDamaged, with nothing stored or ended.
        Files that are *parts* of other processes, which store them meanwhile, are waited for.
        """
        with self._storage(f"the checkpoint {name} could not be stored"):
            manifest = _read_manifest(name, staged / MANIFEST_FILE)
            for file, entry in manifest.files.items() if verify else ():
                self._verify_staged(name, staged / file, entry)
            if MANIFEST_FILE in self._files(name):
                self._delete(f"{name.path}/{MANIFEST_FILE}")
            if parts is not None:
                parts.start()
            for file in manifest.files:
                if parts is None or not is_of_another(file):
                    self._store_payload(name, staged / file)
            if parts is not None:
                parts.wait()
            self._store_file(staged / MANIFEST_FILE, name.path)

    def delete(self, name: CheckpointName) -> None:
        """Delete a checkpoint, its manifest first."""
        with self._storage(f"the checkpoint {name} could not be deleted"):
            files = self._files(name)
            if MANIFEST_FILE in files:
                self._delete(f"{name.path}/{MANIFEST_FILE}")
            self._delete(name.path)

    def size(self, name: CheckpointName) -> int:
        """Return the bytes that a checkpoint's files take."""
        with self._storage("the checkpoints could not be listed"):
            return sum(info.file_size or 0 for info in self._list(name.path) if not info.is_dir)

    def _files(self, name: CheckpointName) -> set[str]:
        with self._storage("the checkpoints could not be listed"):
            return {info.path.rpartition("/")[2] for info in self._list(name.path)}

    def _repository(self) -> ArtifactRepository:
        return get_artifact_repository(self.artifact_uri, self.store.tracking_uri, self.store.registry_uri)

    def _list(self, path: str) -> list[FileInfo]:
        if self.folder is not None and not (self.folder / path).is_dir():
            return []
        return self._repository().list_artifacts(path) or []

    def _store_payload(self, name: CheckpointName, source: Path) -> None:
        if source.exists():
            self._store_file(source, name.path)
        elif source.name not in self._files(name):  # it was not stored before, either
            raise CheckpointDamaged(f"{name}: {source.name} is missing.")

    def _verify_staged(self, name: CheckpointName, source: Path, entry: FileEntry) -> None:
        if source.is_file():
            verify_file(name, source, entry)
            return
        with tempfile.TemporaryDirectory() as scratch:
            # A process that died between two files has stored this one already.
            verify_file(name, self._download(name, source.name, Path(scratch)), entry)

    def _store_file(self, source: Path, path: str) -> None:
        if self.folder is None:
            self._repository().log_artifact(str(source), path)
            return
        target = self.folder / path / source.name
        with storage_errors(self.folder, source.stat().st_size):
            target.parent.mkdir(parents=True, exist_ok=True)
            _move(source, target)

    def _delete(self, path: str) -> None:
        target = None if self.folder is None else self.folder / path
        if target is None:
            self._repository().delete_artifacts(path)
        elif target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def _download(self, name: CheckpointName, file: str, folder: Path) -> Path:
        local = None if self.folder is None else self.folder / name.path / file
        if local is not None:
            if not local.is_file():
                raise CheckpointDamaged(f"{name}: {file} is missing.")
            return local
        try:
            with self._storage(f"{name}/{file} could not be read"):
                return Path(self._repository().download_artifacts(f"{name.path}/{file}", str(folder)))
        except MlflowException as error:
            raise CheckpointDamaged(f"{name}: {file} is missing ({error.message.splitlines()[0][:200]}).") from error

    @contextmanager
    def _storage(self, what: str) -> Iterator[None]:
        with reaching(self.store, what), storage_errors(self.folder or "the artifact store"):
            yield


def _read_manifest(name: CheckpointName, path: Path) -> Manifest:
    try:
        manifest = Manifest.from_json(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:  # JSON's and UTF-8's errors both are
        raise CheckpointDamaged(f"{name}: the manifest cannot be read ({error}).") from error
    except CheckpointDamaged as error:
        raise CheckpointDamaged(f"{name}: {error}") from error
    if manifest.name != name:
        raise CheckpointDamaged(f"{name}: the manifest is that of {manifest.name}.")
    return manifest


def verify_file(name: CheckpointName, path: Path, entry: FileEntry) -> None:
    """Raise CheckpointDamaged, saying how, if a file is not the one that the manifest describes."""
    size = path.stat().st_size
    if size != entry.size:
        raise CheckpointDamaged(f"{name}: {path.name} has {size} bytes, the manifest says {entry.size}.")
    digest = sha256_file(path)
    if digest != entry.sha256:
        raise CheckpointDamaged(f"{name}: {path.name} has changed (SHA-256 {digest[:12]}…, not {entry.sha256[:12]}…).")


def newest_first(checkpoints: Checkpoints, epoch: int | None = None, step: int | None = None) -> list[CheckpointName]:
    """List the committed checkpoints of an epoch or a step (or all), newest first; NotFound says what there is."""
    committed = checkpoints.committed()
    # An epoch's checkpoint is that of its end; one from its middle is asked for by its step.
    fitting = [n for n in committed if (epoch is None or (n.complete and n.epoch == epoch)) and step in (None, n.step)]
    if (epoch is not None or step is not None) and not fitting:
        there = ", ".join(map(str, committed)) or "none"
        wanted = " and ".join(f"{k} {v}" for k, v in (("epoch", epoch), ("step", step)) if v is not None)
        raise NotFound(f"the run {checkpoints.run_id} has no checkpoint of {wanted}; there are: {there}.")
    return fitting[::-1]


def _move(source: Path, target: Path) -> None:
    """Rename, or copy where another file system is in between; the target appears whole or not at all."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        part = target.with_name(f".{target.name}.part")
        try:
            shutil.copyfile(source, part)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        source.unlink()
    sync_folder(target.parent)
