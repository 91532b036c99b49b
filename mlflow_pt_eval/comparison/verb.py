"""The verb `compare`: several versions' evaluations on the same data, found or made, side by side."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from mlflow_pt_eval import names
from mlflow_pt_eval.comparison.choice import Choice, choose
from mlflow_pt_eval.comparison.compute import Entry, compare_entries
from mlflow_pt_eval.comparison.payload import log_comparison
from mlflow_pt_eval.comparison.result import Comparison
from mlflow_pt_eval.comparison.sides import Side
from mlflow_pt_eval.data import Stream, digest, load_data
from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.evaluation import evaluate
from mlflow_pt_eval.evaluation.work import usable
from mlflow_pt_eval.predict.guard import untouched
from mlflow_pt_eval.state import preserved_rng
from mlflow_pt_eval.tracking.evaluations import EvaluationRun, find, on_digest, read_evaluation, read_outputs
from mlflow_pt_eval.tracking.models import recorded
from mlflow_pt_eval.tracking.recording import recording
from mlflow_pt_eval.tracking.store import Store, connect, reaching
from mlflow_pt_eval.tracking.version_info import VersionInfo


@preserved_rng()
def compare(
    name_or_uris: str | Sequence[str],
    data: Any = None,
    *,
    baseline: str | int | None = None,
    split: str = "test",
    target: str | None = None,
    class_names: Sequence[str] | None = None,
    classes: Sequence[Hashable] | None = None,
    log: bool = True,
) -> Comparison:
    """Compare versions on one data set, each but the baseline with the baseline, on the same samples.

    *name_or_uris* is a registered model (all of its versions) or URIs (`models:/digits/3`, `models:/digits@champion`).
    *baseline* is a version, an alias or a URI; without it the champion if it is among them, else the first.
    With *data* (what `evaluate` takes, with its *target*, *class_names* and *classes*) versions that have no evaluation
    on it get one. Without, the newest evaluations on *split* are compared that are of the same data; of a whole model
    the versions without such an evaluation are left out, with a warning that names the command.
    With *log* the tables, the figures and a page go to an MLflow run of their own.

    Errors: BadInput for named versions without an evaluation or on different data, with the command that mends it;
    NotFound for what does not exist; StoreUnavailable.
    """
    store = connect(make=False)
    with reaching(store, "nothing was compared"):
        named, digests = class_names is not None or classes is not None, dict[Any, str]()

        def read(info: VersionInfo) -> str:
            recorded_names = None if named else _recorded_names(store, info)
            if recorded_names not in digests:
                digests[recorded_names] = _digest(data, target, class_names if named else recorded_names, classes)
            return digests[recorded_names]

        choice = choose(store, name_or_uris, baseline, split, None if data is None else read)
        if data is not None:
            _need_one_reading(choice, read)
        with ExitStack() as stack:
            run_id = stack.enter_context(_recording(store, choice)) if log else None

            def make(info: VersionInfo) -> EvaluationRun:
                evaluate(info.uri, data, split=split, target=target, class_names=class_names, classes=classes)
                return _made(store, info, split, choice.digest)

            runs = [run or make(info) for info, run in choice.evaluated]
            comparison = replace(_compared(store, choice, runs), run_id=run_id)
            if run_id is not None:
                log_comparison(store, comparison, source=_source(choice, runs))
    return comparison


def _recorded_names(store: Store, info: VersionInfo) -> tuple[str, ...] | None:
    """Return the class names by which an evaluation of a version reads labels; None where its model is gone."""
    with suppress(NotFound):
        return usable(recorded(store, info.uri).class_names)
    return None


def _need_one_reading(choice: Choice, read: Callable[[VersionInfo], str]) -> None:
    """Refuse versions to which the data would be others: labels that are text are looked up by each one's names."""
    for info, run in choice.evaluated:
        if run is None and read(info) != choice.digest:
            raise BadInput(
                f"{info.uri} was registered with other class names than {choice.infos[0].uri}, or in another order: "
                "the data's labels are looked up by them and would be other numbers. Compare versions whose names "
                "agree."
            )


def _digest(
    data: Any, target: str | None, class_names: Sequence[str] | None, classes: Sequence[Hashable] | None
) -> str:
    """Return the digest of data that are read again for each version that has to be evaluated."""
    if isinstance(data, Iterator):
        raise BadInput(f"data is a {type(data).__name__}, which can be read only once: give a loader, or (X, y).")
    loaded = load_data(data, target=target, class_names=class_names, classes=classes)
    with untouched(loaded.loader if isinstance(loaded, Stream) else None):
        return digest(loaded)


def _recording(store: Store, choice: Choice) -> Any:
    tags = {
        names.TAG_COMPARED: ", ".join(info.uri for info in choice.infos),
        names.TAG_BASELINE: choice.baseline.uri,
    }
    known = next((run.run_id for _, run in choice.evaluated if run is not None), choice.baseline.run_id)
    name = f"compare {', '.join(sorted({info.name for info in choice.infos}))}"
    return recording(store, kind=names.KIND_COMPARISON, run_name=name, tags=tags, beside=known)


def _made(store: Store, info: VersionInfo, split: str, wanted: str) -> EvaluationRun:
    run = on_digest(find(store, info, split), wanted)
    if run is None:
        raise BadInput(
            f"the data gave other samples when they were read for {info.uri} than before (digest {wanted}); "
            "give data that are the same each time they are read."
        )
    return run


def _compared(store: Store, choice: Choice, runs: Sequence[EvaluationRun]) -> Comparison:
    entries = [_entry(store, info, run) for info, run in zip(choice.infos, runs, strict=True)]
    baseline = next(entry for entry in entries if entry.side.uri == choice.baseline.uri)
    return compare_entries(entries, baseline)


def _entry(store: Store, info: VersionInfo, run: EvaluationRun) -> Entry:
    # The tags of the run, by which it was found, hold also where an evaluation was stored under another URI.
    evaluation = replace(read_evaluation(store, run), dataset_digest=run.dataset_digest, model_uri=info.uri)
    side = Side(
        name=info.name,
        version=info.version,
        aliases=info.aliases,
        evaluation_run_id=run.run_id,
        evaluation=evaluation,
    )
    return Entry(side, read_outputs(store, run))


def _source(choice: Choice, runs: Sequence[EvaluationRun]) -> str:
    return next((run.data_spec for run in runs if run.data_spec), runs[0].dataset_name or choice.digest)
