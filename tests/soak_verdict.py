"""What a disturbed training lost: its last checkpoint, history and stored metrics beside those of a whole one."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mlflow import MlflowClient

from mlflow_pt_eval.state import first_difference
from mlflow_pt_eval.tracking.checkpoint_trees import load_checkpoint
from mlflow_pt_eval.tracking.store import connect

Series = dict[tuple[str, int], list[float]]


@dataclass(frozen=True)
class Outcome:
    """What is at rest when a training is over."""

    status: str
    resumable: str
    tree: dict[str, Any]
    history: list[Any]
    series: Series

    @classmethod
    def of(cls, uri: str, run_id: str) -> Outcome:
        """Read it from the store at *uri*."""
        store = connect(uri)
        run, loaded = store.client.get_run(run_id), load_checkpoint(store, run_id)
        history = loaded.manifest.history.to_json()
        tags = run.data.tags
        return cls(run.info.status, tags["pt_eval.resumable"], loaded.tree, history, series(store.client, run_id))


@dataclass
class Losses:
    """How much two outcomes differ; all zero and None where nothing was lost."""

    lost: int = 0
    doubled: int = 0
    changed: int = 0
    bits: int = 0
    first: str | None = None
    other: list[str] = field(default_factory=list)

    @property
    def any(self) -> bool:
        """Whether anything at all is not as it should be."""
        return bool(self.lost or self.doubled or self.changed or self.bits or self.first or self.other)


def series(client: MlflowClient, run_id: str) -> Series:
    """Return every value that the store holds for each key and step: more than one where a point came twice."""
    found: Series = {}
    for key in client.get_run(run_id).data.metrics:
        for metric in client.get_metric_history(run_id, key):
            found.setdefault((key, metric.step), []).append(metric.value)
    return found


def losses(expected: Outcome, found: Outcome) -> Losses:
    """Compare, to the bit."""
    losses = Losses(
        lost=len(expected.series.keys() - found.series.keys()),
        doubled=sum(len(values) - 1 for values in found.series.values()),
        changed=sum(found.series[at][0] != values[0] for at, values in expected.series.items() if at in found.series),
        bits=differing_bits(expected.tree, found.tree) + differing_bits(expected.history, found.history),
        first=first_difference(expected.tree, found.tree) or first_difference(expected.history, found.history),
    )
    losses.other += [f"{key} at step {step} came from nowhere" for key, step in found.series.keys() - expected.series]
    if (found.status, found.resumable) != ("FINISHED", "false"):
        losses.other.append(f"the run says {found.status}, resumable {found.resumable}")
    return losses


def differing_bits(a: Any, b: Any) -> int:
    """Count the bits in which two trees of numbers differ; what only one of them has counts whole."""
    one, other = dict(_leaves(a, ())), dict(_leaves(b, ()))
    return sum(_apart(one.get(path, b""), other.get(path, b"")) for path in one.keys() | other.keys())


def _leaves(tree: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], bytes]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, (*path, key))
    elif isinstance(tree, list | tuple):
        for place, value in enumerate(tree):
            yield from _leaves(value, (*path, place))
    elif isinstance(tree, torch.Tensor):
        yield path, tree.contiguous().numpy().tobytes()
    else:
        yield path, struct.pack("d", tree) if isinstance(tree, float) else repr(tree).encode()


def _apart(a: bytes, b: bytes) -> int:
    size = max(len(a), len(b))
    one, other = (np.frombuffer(each.ljust(size, b"\0"), np.uint8) for each in (a, b))
    return int(np.bitwise_count(one ^ other).sum()) or (8 * size if len(a) != len(b) else 0)
