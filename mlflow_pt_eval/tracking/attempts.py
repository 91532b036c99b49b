"""Attempts: which process works, or worked, on a run. A run may take several before it ends."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from mlflow_pt_eval.names import KIND_TRAINING, TAG_ATTEMPT, TAG_ATTEMPTS, TAG_INTERRUPTED, TAG_KIND
from mlflow_pt_eval.processes import process_start
from mlflow_pt_eval.tracking.runs import get_run, set_tags
from mlflow_pt_eval.tracking.store import Store

_KEPT = 30  # attempts noted on a run, so that the tag stays within MLflow's limit


@dataclass(frozen=True)
class Attempt:
    """A process on a host; `born` is its start time in the kernel's ticks, since numbers of processes are reused."""

    number: int
    host: str
    pid: int
    born: str
    started: float  # seconds since the epoch
    resumed_from: str | None = None
    ended: bool = False

    def encode(self) -> str:
        """Return the tag's text."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def is_dead(self) -> bool:
        """Whether the process is known to be gone: of another host nothing is known."""
        return self.host == socket.gethostname() and process_start(self.pid) != self.born

    @property
    def is_at_work(self) -> bool:
        """Whether the process is known to run on this host, and has not ended the attempt itself."""
        return self.host == socket.gethostname() and process_start(self.pid) == self.born and not self.ended

    @property
    def is_by_this_process(self) -> bool:
        """Whether the process that asks has made the attempt, ended or not."""
        return self.host == socket.gethostname() and self.pid == os.getpid() and process_start(self.pid) == self.born


def last_attempt(tags: Mapping[str, str]) -> Attempt | None:
    """Read a run's newest attempt from its tags."""
    try:
        return Attempt(**json.loads(tags[TAG_ATTEMPT]))
    except (KeyError, TypeError, ValueError):
        return None


def next_attempt(tags: Mapping[str, str], resumed_from: str | None) -> tuple[Attempt, dict[str, str]]:
    """Return this process's attempt at a run that has these *tags*, and the tags that note it there."""
    before = last_attempt(tags)
    number = 1 if before is None else before.number + 1
    attempt = Attempt(number, socket.gethostname(), os.getpid(), process_start(os.getpid()), time.time(), resumed_from)
    noted = [*_noted(tags), asdict(attempt)][-_KEPT:]
    return attempt, {TAG_ATTEMPT: attempt.encode(), TAG_ATTEMPTS: json.dumps(noted, sort_keys=True)}


def end(store: Store, run_id: str, attempt: Attempt) -> None:
    """Note that the attempt is over, however it ended; a newer one that has taken the run over stays the newest.

    An attempt that was killed cannot say so: it stays one that has not ended.
    """
    tags, over = get_run(store, run_id).data.tags, replace(attempt, ended=True)
    noted = [asdict(over) if one.get("number") == over.number else one for one in _noted(tags)]
    changed = {TAG_ATTEMPTS: json.dumps(noted, sort_keys=True)}
    newest = last_attempt(tags)
    if newest is None or newest.number <= over.number:
        changed[TAG_ATTEMPT] = over.encode()
    set_tags(store, run_id, changed)


def _noted(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """Read all of a run's attempts, oldest first; none where somebody else has changed the tag."""
    try:
        return [dict(one) for one in json.loads(tags.get(TAG_ATTEMPTS, "[]"))]
    except (TypeError, ValueError):
        return []


def mark_dead(store: Store, experiment_id: str) -> list[str]:
    """Set KILLED on the experiment's trainings that still say RUNNING though their process on this host is gone."""
    query = f"attributes.status = 'RUNNING' AND tags.`{TAG_KIND}` = '{KIND_TRAINING}'"
    marked = []
    for run in store.client.search_runs([experiment_id], query, max_results=200):
        attempt = last_attempt(run.data.tags)
        # One that has ended says RUNNING if the run is its caller's, who may go on with it.
        if attempt is not None and attempt.is_dead and not attempt.ended:
            set_tags(store, run.info.run_id, {TAG_INTERRUPTED: "died without a word"})
            store.client.set_terminated(run.info.run_id, status="KILLED")
            marked.append(run.info.run_id)
    return marked
