"""The evidence for a promotion: two evaluations on the same data, and the version itself, loaded and measured."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_pt_eval.decisions import Check, Facts, Interval, Pair
from mlflow_pt_eval.errors import NotFound, StorageFailed, StoreUnavailable
from mlflow_pt_eval.files import readable_size
from mlflow_pt_eval.metrics import paired_difference
from mlflow_pt_eval.names import TAG_CRITERION
from mlflow_pt_eval.tracking.aliases import read_ledger
from mlflow_pt_eval.tracking.evaluations import (
    EvaluationRun,
    find,
    on_digest,
    read_evaluation,
    read_outputs,
    shared_digest,
)
from mlflow_pt_eval.tracking.measure import Measured, measure
from mlflow_pt_eval.tracking.missing_evaluations import different_data, require_evaluations
from mlflow_pt_eval.tracking.registry import resolve
from mlflow_pt_eval.tracking.runs import get_run
from mlflow_pt_eval.tracking.sample_outputs import require_same_samples
from mlflow_pt_eval.tracking.store import Store
from mlflow_pt_eval.tracking.version_info import VersionInfo


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The evaluations that decide; `champion` is None where there is none yet."""

    candidate: EvaluationRun
    champion: EvaluationRun | None

    def pair(self, store: Store, measured: Measured | None, *, lost: str | None = None) -> Pair:
        """Return what the gates are asked about; intervals are computed, from the stored predictions, when asked.

        *lost* says what became of an earlier champion, where there is none now.
        """
        return Pair(
            candidate=_facts(store, self.candidate, measured),
            champion=None if self.champion is None else _facts(store, self.champion, None),
            interval=lambda metric, confidence: self._interval(store, metric, confidence),
            **({} if lost is None else {"alone": lost}),
        )

    def _interval(self, store: Store, metric: str, confidence: float) -> Interval:
        assert self.champion is not None, "without a champion there is no pair"
        new, old = read_outputs(store, self.candidate), read_outputs(store, self.champion)
        labels = require_same_samples([new, old])
        found = paired_difference(metric, labels, new.for_metric(metric), old.for_metric(metric), confidence=confidence)
        return Interval(estimate=found.difference, low=found.low, high=found.high)


def gather(store: Store, candidate: VersionInfo, champion: VersionInfo | None, split: str) -> Evidence:
    """Find the evaluations on *split* that can be compared: the newest of each version on data that both were given.

    BadInput, with the command that mends it, for a version that was never evaluated or on other data only.
    """
    infos = [candidate] if champion is None else [candidate, champion]
    found = [find(store, info, split) for info in infos]
    require_evaluations(infos, found, split)
    digest = shared_digest(found)
    if digest is None:
        raise different_data(infos, found, split)
    runs = [on_digest(runs, digest) for runs in found]
    assert runs[0] is not None, "the digest is a shared one"
    return Evidence(candidate=runs[0], champion=None if champion is None else runs[1])


def lost_champion(store: Store, name: str, alias: str) -> str | None:
    """Say what had *alias*, which is not set now, if its ledger knows: MLflow drops an alias with its version."""
    moves = read_ledger(store, name, alias)
    if not moves:
        return None
    last = moves[-1]
    try:
        resolve(store, name, last.after)
        how = f"the alias {alias!r} was taken off it"
    except NotFound:
        how = "it was deleted"
    return f"no champion any more (version {last.after} was it since {last.at}, and {how})"


def loads(store: Store, info: VersionInfo, *, timed: bool) -> tuple[Check, Measured | None]:
    """Load the version from the store, as whoever uses it will; what keeps it from loading is the check's detail."""
    try:
        measured = measure(store, info.uri, timed=timed)
    except (StoreUnavailable, StorageFailed):
        raise  # says nothing about the version
    except Exception as error:  # a version's own code may raise anything: the answer is that it does not load
        detail = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Check(gate="loads", passed=False, detail=detail), None
    detail = f"loaded from the store, {readable_size(measured.size_bytes)}"
    return Check(gate="loads", passed=True, detail=detail, numbers={"size_bytes": measured.size_bytes}), measured


def _facts(store: Store, run: EvaluationRun, measured: Measured | None) -> Facts:
    evaluation = read_evaluation(store, run)
    return Facts(
        model_uri=run.model_uri,
        metrics=evaluation.metrics,
        recalls=[(row.name, row.recall) for row in evaluation.per_class],
        size_bytes=None if measured is None else measured.size_bytes,
        latency_ms=None if measured is None else measured.latency_ms,
        criterion=get_run(store, run.run_id).data.tags.get(TAG_CRITERION) if "loss" in evaluation.metrics else None,
    )
