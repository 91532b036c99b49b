"""Publishing: a candidate becomes a logged model that is READY only when it is whole and has proved itself."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric

from mlflow_pt_eval.errors import first_line
from mlflow_pt_eval.exporting.candidate import Candidate
from mlflow_pt_eval.exporting.folder import Form
from mlflow_pt_eval.files import storage_errors
from mlflow_pt_eval.names import EPOCH_MEAN_SUFFIX, TAG_FORM, TAG_FORM_REASON, TAG_OUTPUTS, TAG_WEIGHTS_SHA256
from mlflow_pt_eval.tracking.models.describe import describe
from mlflow_pt_eval.tracking.models.locate import download
from mlflow_pt_eval.tracking.models.places import local_folder
from mlflow_pt_eval.tracking.runs import get_run
from mlflow_pt_eval.tracking.store import Store, reaching

# A logged model's name is stricter than a registered model's.
_LOGGED_NAME = str.maketrans(dict.fromkeys("/:.%\"'", "_"))
_log = logging.getLogger("mlflow_pt_eval")


@dataclass(frozen=True, kw_only=True)
class Published:
    """A logged model that is READY: its id and URI (`models:/m-…`), its weights' digest, its form and why."""

    model_id: str
    uri: str
    weights_sha256: str
    form: Form
    reason: str | None


def publish(
    store: Store,
    candidate: Candidate,
    *,
    name: str,
    experiment_id: str,
    check: Callable[[Path], None],
    run_id: str | None = None,
    epoch: int | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Published:
    """Store *candidate* as a logged model, an output of the run *run_id*, and return it.

    *check* gets the folder as the store gives it back; what it raises ends the publishing. The model is READY only
    after it; on any failure it is FAILED, or still PENDING where the store is away. *metrics* are those of the run
    at step *epoch*, which is also the output's step. Errors: RegistrationFailed, StoreUnavailable, StorageFailed.
    """
    with (
        tempfile.TemporaryDirectory(prefix="pt_eval_publish.") as place,
        reaching(store, f"{name} was not published"),
        storage_errors(place),
    ):
        folder = Path(place) / "model"
        folder.mkdir()
        info = candidate.write(folder)
        tags = {TAG_WEIGHTS_SHA256: candidate.sha256, TAG_OUTPUTS: candidate.outputs, TAG_FORM: str(info.form)}
        params = {} if run_id is None else dict(get_run(store, run_id).data.params)
        logged = store.client.create_logged_model(
            experiment_id,
            name=name.translate(_LOGGED_NAME),
            source_run_id=run_id,
            tags=tags | ({TAG_FORM_REASON: info.reason} if info.reason else {}),
            params=params,
        )
        with _ready_or_failed(store, logged):
            describe(folder, candidate, info, logged, run_id)
            with storage_errors(local_folder(logged.artifact_location) or folder):
                store.client.log_model_artifacts(logged.model_id, str(folder))
            check(download(store, logged.artifact_location, Path(place) / "back"))
            if run_id is not None:
                _link(store, logged, run_id, epoch or 0, metrics or {})
    return Published(
        model_id=logged.model_id,
        uri=f"models:/{logged.model_id}",
        weights_sha256=candidate.sha256,
        form=info.form or "exported",
        reason=info.reason,
    )


@contextlib.contextmanager
def _ready_or_failed(store: Store, logged: LoggedModel) -> Iterator[None]:
    """Make *logged* READY after the block, FAILED if the block raises; what it raised is what arrives."""
    try:
        yield
    except BaseException:
        try:
            store.client.finalize_logged_model(logged.model_id, LoggedModelStatus.FAILED)
        except Exception as error:  # the store is away: the model stays PENDING, which nothing takes for good either
            _log.warning("The logged model %s stays PENDING: %s", logged.model_id, first_line(error))
        raise
    store.client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)


def _link(store: Store, logged: LoggedModel, run_id: str, epoch: int, metrics: Mapping[str, float]) -> None:
    """Make *logged* an output of its run, and show the run's values of that epoch on it."""
    store.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=epoch)])
    found = [_point(store, run_id, key, value, epoch, logged.model_id) for key, value in metrics.items()]
    points = [point for point in found if point is not None]
    if points:
        store.client.log_batch(run_id, metrics=points)


def _point(store: Store, run_id: str, key: str, value: float, step: int, model_id: str) -> Metric | None:
    """Return the run's own point for the model; None where the run has none, since logging it would make one there.

    With its own timestamp, or the run would show it twice. An epoch's mean of a step's key has a name of its own.
    """
    for name in key, f"{key}{EPOCH_MEAN_SUFFIX}":
        for point in store.client.get_metric_history(run_id, name):
            if point.step == step and point.value == value:
                return Metric(name, point.value, point.timestamp, step, model_id=model_id, run_id=run_id)
    return None
