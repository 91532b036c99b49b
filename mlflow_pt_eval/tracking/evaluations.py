"""Evaluation runs as evidence: found by their tags, read back from their artifacts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics import Evaluation
from mlflow_pt_eval.names import (
    EVALUATION_JSON,
    KIND_EVALUATION,
    PREDICTIONS_PARQUET,
    TAG_DATASET_DIGEST,
    TAG_EVALUATED,
    TAG_KIND,
    TAG_MODEL_URI,
    TAG_SPLIT,
)
from mlflow_pt_eval.tracking.sample_outputs import SampleOutputs
from mlflow_pt_eval.tracking.store import Store, reaching, unavailable
from mlflow_pt_eval.tracking.version_info import VersionInfo, quoted


@dataclass(frozen=True, kw_only=True)
class EvaluationRun:
    """A finished evaluation of one version; `evaluated` in milliseconds since 1970.

    `data_spec` is what `--data` was, None where the data were given in another way.
    """

    run_id: str
    experiment_id: str
    model_uri: str
    split: str
    dataset_digest: str
    dataset_name: str | None
    data_spec: str | None
    evaluated: int


def find(store: Store, info: VersionInfo, split: str) -> list[EvaluationRun]:
    """Return the finished evaluations of a version on *split*, in any experiment, newest first.

    It is finished once it has all its tags, which come last and together: the run may be the caller's own, who goes
    on with it. Those of another model, which had the same name and number before (the registered model was deleted
    and made again), are left out where the run notes which logged model it evaluated.
    """
    wanted = {TAG_KIND: KIND_EVALUATION, TAG_MODEL_URI: info.uri, TAG_SPLIT: split}
    clauses = [f"tags.`{key}` = {quoted(value)}" for key, value in wanted.items()]
    with reaching(store, f"the evaluations of {info.uri} were not found"):
        found = [run for run in _search(store, " and ".join(clauses)) if TAG_DATASET_DIGEST in run.data.tags]
        runs = [_evaluation_run(run) for run in found if _is_of(store, run, info)]
    return sorted(runs, key=lambda run: run.evaluated, reverse=True)


def shared_digest(evaluations: Sequence[Sequence[EvaluationRun]]) -> str | None:
    """Return the digest of the data on which every version was evaluated, that of the newest evaluation if several."""
    shared = set.intersection(*({run.dataset_digest for run in runs} for runs in evaluations))
    newest = max(
        (run for runs in evaluations for run in runs if run.dataset_digest in shared),
        key=lambda run: run.evaluated,
        default=None,
    )
    return None if newest is None else newest.dataset_digest


def on_digest(runs: Sequence[EvaluationRun], digest: str) -> EvaluationRun | None:
    """Return the newest of *runs* on the data with that digest, or None."""
    return next((run for run in runs if run.dataset_digest == digest), None)


def read_evaluation(store: Store, run: EvaluationRun) -> Evaluation:
    """Return the stored evaluation; BadInput, with what to do, where it cannot be read."""
    with _artifact(store, run, EVALUATION_JSON) as path:
        try:
            return Evaluation.from_json(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:  # ours and JSON's both are
            raise BadInput(_damaged(run, EVALUATION_JSON, error)) from error


def read_outputs(store: Store, run: EvaluationRun) -> SampleOutputs:
    """Return what the model gave for each sample, in the data's order; BadInput where that is gone."""
    with _artifact(store, run, PREDICTIONS_PARQUET) as path:
        try:
            return SampleOutputs.read(path)
        except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are the first two
            raise BadInput(_damaged(run, PREDICTIONS_PARQUET, error)) from error


def _damaged(run: EvaluationRun, name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    return f"{name} of the evaluation run {run.run_id} cannot be read ({reason}); evaluate {run.model_uri} again."


@contextmanager
def _artifact(store: Store, run: EvaluationRun, name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pt_eval_evaluation.") as folder:
        with reaching(store, f"{name} of the evaluation run {run.run_id} was not read"):
            try:
                path = Path(store.client.download_artifacts(run.run_id, name, folder))
            except (MlflowException, OSError) as error:
                if unavailable(error):
                    raise
                raise BadInput(_damaged(run, name, error)) from error
        yield path


def _search(store: Store, filter_string: str) -> Iterator[Run]:
    experiments = [e.experiment_id for e in _pages(lambda token: store.client.search_experiments(page_token=token))]
    return _pages(lambda token: store.client.search_runs(experiments, filter_string, page_token=token))


def _pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    """Go through all pages of a search, each of MLflow's usual length."""
    page = search(None)
    yield from page
    while page.token:
        page = search(page.token)
        yield from page


def _is_of(store: Store, run: Run, info: VersionInfo) -> bool:
    # A search leaves the model inputs out, on every store.
    evaluated = {model.model_id for model in store.client.get_run(run.info.run_id).inputs.model_inputs}
    return not evaluated or info.model_id is None or info.model_id in evaluated


def _evaluation_run(run: Run) -> EvaluationRun:
    digest = run.data.tags[TAG_DATASET_DIGEST]
    dataset = next((d.dataset for d in run.inputs.dataset_inputs if d.dataset.digest == digest), None)
    return EvaluationRun(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        model_uri=run.data.tags[TAG_MODEL_URI],
        split=run.data.tags[TAG_SPLIT],
        dataset_digest=digest,
        dataset_name=None if dataset is None else dataset.name,
        data_spec=None if dataset is None else _spec(dataset.source),
        evaluated=int(run.data.tags.get(TAG_EVALUATED, run.info.start_time)),
    )


def _spec(source: str) -> str | None:
    """Return the SPEC in a dataset's source as `datasets.log_inputs` writes it: a file, or package.module:callable."""
    try:
        found = json.loads(source)
        text = found.get("uri") or found["tags"]["mlflow.source.name"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return text if "uri" in found or ":" in text else None
