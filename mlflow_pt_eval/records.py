"""The records that the layers hand each other, and the one comparison that decides what is better."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from mlflow_pt_eval.errors import CheckpointDamaged
from mlflow_pt_eval.names import CheckpointName, Mode

MANIFEST_FORMAT = 1


def improves(value: float | None, best: float | None, mode: Mode, min_delta: float = 0.0) -> bool:
    """Say whether *value* is better than *best* by more than *min_delta*.

    The only comparison of two metric values in the package. NaN and a missing value beat nothing; an infinite
    value counts only as a worse one; where there is no best yet, anything finite beats it.
    """
    if value is None or not math.isfinite(value):
        return False
    if best is None or not math.isfinite(best):
        return True
    gain = value - best if mode == "max" else best - value
    return gain > min_delta


class MeanOf(float):
    """A mean that knows of how many samples it is, so that those of several processes can be put together exactly."""

    __slots__ = ("count",)
    count: float

    def __new__(cls, value: float, count: float) -> Self:
        made = super().__new__(cls, value)
        made.count = count
        return made


@dataclass(frozen=True)
class EpochRecord:
    """What one finished epoch logged: *metrics* holds `run.log`'s values and the means of `log_step`'s."""

    epoch: int
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class History(Sequence[EpochRecord]):
    """The finished epochs of a run, oldest first: the only memory that a policy has."""

    records: tuple[EpochRecord, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[EpochRecord]:
        return iter(self.records)

    def __getitem__(self, index: Any) -> Any:
        return self.records[index]

    def plus(self, record: EpochRecord) -> History:
        """Return this history with one more epoch."""
        return History((*self.records, record))

    def best(self, monitor: str, mode: Mode) -> EpochRecord | None:
        """Return the epoch with the best finite value of *monitor*; ties keep the earlier."""
        best: EpochRecord | None = None
        for record in self.records:
            if improves(record.metrics.get(monitor), None if best is None else best.metrics[monitor], mode):
                best = record
        return best

    def logged(self, monitor: str) -> bool:
        """Say whether any epoch logged *monitor*, be it NaN."""
        return any(monitor in record.metrics for record in self.records)

    def keys(self) -> list[str]:
        """Return every key that was logged, sorted."""
        return sorted({key for record in self.records for key in record.metrics})

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain data that `from_json` reads back; non-finite values as strings."""
        return [{"epoch": r.epoch, "step": r.step, "metrics": encode_metrics(r.metrics)} for r in self.records]

    @classmethod
    def from_json(cls, data: Sequence[Mapping[str, Any]]) -> History:
        """Read what `to_json` wrote."""
        return cls(tuple(EpochRecord(int(r["epoch"]), int(r["step"]), decode_metrics(r["metrics"])) for r in data))


def encode_metrics(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Make metrics strict JSON: NaN and infinities, which it lacks, become the strings 'nan', 'inf', '-inf'."""
    return {key: value if math.isfinite(value) else str(value) for key, value in metrics.items()}


def decode_metrics(data: Mapping[str, float | str]) -> dict[str, float]:
    """Read what `encode_metrics` wrote."""
    return {key: float(value) for key, value in data.items()}


@dataclass(frozen=True)
class FileEntry:
    """One file of a checkpoint: its SHA-256 (hex) and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The file that makes a checkpoint exist; stored last, read first."""

    epoch: int
    step: int
    complete: bool
    history: History
    files: Mapping[str, FileEntry]
    metrics: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    attempt: str = ""
    world_size: int = 1
    created: str = ""

    @property
    def name(self) -> CheckpointName:
        """The name of the folder that this manifest stands in."""
        return CheckpointName(epoch=self.epoch, step=self.step, complete=self.complete)

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back, with its own SHA-256: a changed digit is not a manifest."""
        data = {
            "format": MANIFEST_FORMAT,
            "epoch": self.epoch,
            "step": self.step,
            "complete": self.complete,
            "metrics": encode_metrics(self.metrics),
            "history": self.history.to_json(),
            "files": {name: {"sha256": f.sha256, "size": f.size} for name, f in self.files.items()},
            "versions": dict(self.versions),
            "attempt": self.attempt,
            "world_size": self.world_size,
            "created": self.created,
        }
        return {**data, "sha256": _digest(data)}

    @classmethod
    def from_json(cls, data: Any) -> Manifest:
        """Read what `to_json` wrote; CheckpointDamaged for anything else."""
        try:
            if data.get("sha256", whole := _digest(data)) != whole:
                raise CheckpointDamaged("the manifest has changed since it was written.")
            if data["format"] != MANIFEST_FORMAT:
                raise CheckpointDamaged(
                    f"the manifest has format {data['format']!r}, this version reads {MANIFEST_FORMAT}; "
                    "use the version of mlflow_pt_eval that wrote it."
                )
            return cls(
                epoch=int(data["epoch"]),
                step=int(data["step"]),
                complete=bool(data["complete"]),
                metrics=decode_metrics(data["metrics"]),
                history=History.from_json(data["history"]),
                files={name: FileEntry(str(f["sha256"]), int(f["size"])) for name, f in data["files"].items()},
                versions=dict(data["versions"]),
                attempt=str(data["attempt"]),
                world_size=int(data["world_size"]),
                created=str(data["created"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointDamaged(f"the manifest cannot be read ({type(error).__name__}: {error}).") from error


def _digest(data: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest's JSON without the entry for it; floats survive JSON bit for bit."""
    rest = {key: value for key, value in data.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
