"""What an evaluation writes to MLflow: files and figures, then numbers, then the tags that make it evidence."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt
from mlflow.entities import Metric, Run

from mlflow_pt_eval.errors import BadInput, Interrupted, NotFound
from mlflow_pt_eval.metrics import Evaluation
from mlflow_pt_eval.names import (
    EVALUATION_JSON,
    KIND_EVALUATION,
    PREDICTIONS_PARQUET,
    TAG_CRITERION,
    TAG_DATASET_DIGEST,
    TAG_ERROR,
    TAG_EVALUATED,
    TAG_EVALUATION_RUN_ID,
    TAG_KIND,
    TAG_MODEL_URI,
    TAG_SPLIT,
    TAG_TEST_ACCURACY,
)
from mlflow_pt_eval.redaction import redact
from mlflow_pt_eval.signals import ending_truly, held
from mlflow_pt_eval.tracking.datasets import dataset_name, log_inputs
from mlflow_pt_eval.tracking.registry import tag_version
from mlflow_pt_eval.tracking.runs import (
    OpenRun,
    finish,
    get_run,
    open_run,
    open_training_run,
    set_tags,
)
from mlflow_pt_eval.tracking.store import Store, reaching

_log = logging.getLogger("mlflow_pt_eval")
_TEST = "test"  # the split whose result the registry page shows


@dataclass(frozen=True, kw_only=True)
class RunChoice:
    """Which run an evaluation writes to: *run_id*, or a child of it where it has a kind already, unless that is an
    evaluation that failed; else the run that the caller is in, by the same rule; else a new one, with this name and in
    this experiment.
    """

    run_id: str | None = None
    experiment_name: str | None = None
    run_name: str | None = None


@contextmanager
def evaluation_run(store: Store, choice: RunChoice, *, training_run_id: str | None = None) -> Iterator[OpenRun]:
    """Open the run that an evaluation writes to, and end it truly: FINISHED, or FAILED with the reason in a tag;
    KILLED by SIGTERM, too, which then ends the process.

    *training_run_id*, or the training that is open in this process, is its parent where no other is, if that run is
    still there.
    """
    run: OpenRun | None = None
    with ending_truly():
        try:
            with held(), reaching(store, "the evaluation was not begun"):
                run = open_run(
                    store,
                    kind=KIND_EVALUATION,
                    experiment_name=choice.experiment_name,
                    run_name=choice.run_name,
                    run_id=choice.run_id,
                    fallback_parent=_present_run(store, training_run_id or open_training_run()),
                    is_free=partial(_holds_nothing, store),
                )
            yield run
        except BaseException as error:
            if run is not None:
                with held():
                    _fail(run, error)
            raise
        with held(), reaching(store, f"the evaluation run {run.run_id} was not ended"):
            finish(run, "FINISHED")


def log_evaluation(
    run: OpenRun,
    evaluation: Evaluation,
    *,
    files: Path,
    images: Mapping[str, npt.NDArray[np.uint8]],
    source: str,
    model_id: str | None,
    criterion: str | None = None,
) -> None:
    """Write an evaluation to its run: the folder *files* to the root of the artifacts, *images* (by file name) by
    `log_image`, the metrics on the run and on the logged model; last the tags by which the evaluation is found.
    *criterion* describes what the metric `loss` is an average of.
    """
    client, digest = run.store.client, evaluation.dataset_digest
    with reaching(run.store, f"the evaluation was not logged to the run {run.run_id}"):
        _log_files(run.store, run.run_id, files, images)
        if digest is not None:
            log_inputs(
                run.store,
                run.run_id,
                name=str(evaluation.dataset_name),
                digest=digest,
                source=source,
                split=evaluation.split,
                n_samples=evaluation.n_samples,
                model_id=model_id,
            )
        client.log_batch(run.run_id, metrics=_metrics(evaluation, model_id))
        tags = {
            TAG_SPLIT: evaluation.split,
            TAG_DATASET_DIGEST: digest,
            TAG_MODEL_URI: evaluation.model_uri,
            TAG_CRITERION: criterion,
            TAG_EVALUATED: str(int(time.time() * 1000)),
        }
        set_tags(run.store, run.run_id, {key: value for key, value in tags.items() if value is not None})


def fetch_evaluation(store: Store, run_id: str, folder: Path) -> None:
    """Bring what stands at the root of an evaluation run's artifacts into the new folder *folder*."""
    folder.mkdir()
    with reaching(store, f"the evaluation run {run_id} was not read"):
        kind = get_run(store, run_id).data.tags.get(TAG_KIND)
        if kind != KIND_EVALUATION:
            raise BadInput(f"the run {run_id} is no evaluation but {kind or 'of no kind that is ours'}.")
        names = [entry.path for entry in store.client.list_artifacts(run_id) if not entry.is_dir]
        if gone := {EVALUATION_JSON, PREDICTIONS_PARQUET} - set(names):
            raise BadInput(f"the evaluation run {run_id} has no {min(gone)}: it did not end well; evaluate again.")
        for name in names:
            store.client.download_artifacts(run_id, name, str(folder))


def relog_evaluation(
    store: Store, run_id: str, evaluation: Evaluation, *, files: Path, images: Mapping[str, npt.NDArray[np.uint8]]
) -> None:
    """Replace an evaluation's files, and its metrics where they differ from those that the run has."""
    with reaching(store, f"the evaluation was not logged to the run {run_id}"):
        run = get_run(store, run_id)
        _log_files(store, run_id, files, images)
        models = (run.inputs.model_inputs if run.inputs else None) or ()
        metrics = _metrics(evaluation, models[0].model_id if models else None)
        store.client.log_batch(run_id, metrics=[m for m in metrics if run.data.metrics.get(m.key) != m.value])


def _log_files(store: Store, run_id: str, files: Path, images: Mapping[str, npt.NDArray[np.uint8]]) -> None:
    store.client.log_artifacts(run_id, str(files))
    for name, image in images.items():
        store.client.log_image(run_id, image, key=PurePath(name).stem, step=0)


def flat_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Return every number with its key in MLflow: the split in front, intervals as `_ci_low` and `_ci_high`."""
    flat = {f"{evaluation.split}_{key}": value for key, value in evaluation.metrics.items()}
    for key, (low, high) in evaluation.intervals.items():
        flat[f"{evaluation.split}_{key}_ci_low"], flat[f"{evaluation.split}_{key}_ci_high"] = low, high
    return flat


def tag_evaluated(run: OpenRun, evaluation: Evaluation, name: str, version: int) -> None:
    """Show a test evaluation on its version's page, which has no room for metrics."""
    if evaluation.split == _TEST and evaluation.dataset_digest is not None:
        tags = {
            TAG_EVALUATION_RUN_ID: run.run_id,
            TAG_DATASET_DIGEST: evaluation.dataset_digest,
            TAG_TEST_ACCURACY: f"{evaluation.metrics['accuracy']:.6g}",
        }
        with reaching(run.store, f"the version {version} of {name} was not tagged"):
            tag_version(run.store, name, version, tags)


def _metrics(evaluation: Evaluation, model_id: str | None) -> list[Metric]:
    now = int(time.time() * 1000)
    digest = evaluation.dataset_digest
    name = None if digest is None else dataset_name(str(evaluation.dataset_name))
    return [
        Metric(key, value, now, 0, model_id=model_id, dataset_name=name, dataset_digest=digest)
        for key, value in flat_metrics(evaluation).items()
    ]


def _holds_nothing(store: Store, run: Run) -> bool:
    """Say whether an evaluation in a run failed, which its owner still has open, before its files were there."""
    tags = run.data.tags
    if TAG_ERROR not in tags or TAG_EVALUATED in tags or run.info.status != "RUNNING":
        return False
    return EVALUATION_JSON not in {entry.path for entry in store.client.list_artifacts(run.info.run_id)}


def _present_run(store: Store, run_id: str | None) -> str | None:
    """Return *run_id* if it is a run of this store: a training run may be deleted, or be in another one."""
    if run_id is None:
        return None
    try:
        return str(get_run(store, run_id).info.run_id)
    except NotFound:
        return None


def _fail(run: OpenRun, error: BaseException) -> None:
    """Mark a run FAILED (or KILLED), with the reason; an error here must not hide the one that is under way."""
    reason = redact((str(error).strip().splitlines() or [type(error).__name__])[0])
    try:
        set_tags(run.store, run.run_id, {TAG_ERROR: reason})
        finish(run, "KILLED" if isinstance(error, KeyboardInterrupt | Interrupted) else "FAILED")
    except Exception as second:
        _log.warning("the run %s could not be marked as failed: %s", run.run_id, second)
