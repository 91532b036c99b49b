"""An evaluation again, from the predictions that its run holds: without the model, without the data."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.evaluation.mistakes import Mistakes
from mlflow_pt_eval.evaluation.payload import write_payload
from mlflow_pt_eval.metrics import Evaluation
from mlflow_pt_eval.names import EVALUATION_JSON, PREDICTIONS_PARQUET
from mlflow_pt_eval.state import preserved_rng
from mlflow_pt_eval.tracking.evaluation_log import fetch_evaluation, relog_evaluation
from mlflow_pt_eval.tracking.store import connect


def recompute(run_id: str, *, bootstrap: int = 1000) -> Evaluation:
    """Compute and draw the evaluation run *run_id* again from its predictions, with this version of the code.

    The run's figures, tables, report and metrics are replaced; what only the model or the data can give (the loss of
    a criterion, above 100 classes what needs every probability, the worst mistakes) stays as it was.
    Errors: NotFound, BadInput where the run is no evaluation or its files cannot be read, StoreUnavailable.
    """
    with preserved_rng(), tempfile.TemporaryDirectory(prefix="pt_eval_recompute.") as place:
        store, stored, fresh = connect(), Path(place, "stored"), Path(place, "fresh")
        fetch_evaluation(store, run_id, stored)
        evaluation = _recomputed(stored, run_id, bootstrap)
        fresh.mkdir()
        images = write_payload(fresh, evaluation, mistakes=Mistakes.read(stored), context={"Run": run_id})
        new = {name: image for name, image in images.items() if not _same(fresh / name, stored / name)}
        relog_evaluation(store, run_id, evaluation, files=fresh, images=new)
        return evaluation


def _recomputed(stored: Path, run_id: str, bootstrap: int) -> Evaluation:
    try:
        before = Evaluation.from_json(json.loads((stored / EVALUATION_JSON).read_text(encoding="utf-8")))
        names = before.class_names
        table = stored / PREDICTIONS_PARQUET
        return _merged(before, Evaluation.from_predictions(table, class_names=names, bootstrap=bootstrap, micro=True))
    except ValueError as error:  # ours, JSON's and pyarrow's all are
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput(f"the evaluation run {run_id} cannot be computed again: {reason}") from error


def _same(fresh: Path, stored: Path) -> bool:
    """Say whether a figure came out as it was: MLflow keeps every image that is logged, also of the same step."""
    return stored.is_file() and stored.read_bytes() == fresh.read_bytes()


def _merged(before: Evaluation, again: Evaluation) -> Evaluation:
    """Take what was computed again, and from before what the predictions alone don't give."""
    whole = bool(again.curves.roc or not before.curves.roc)
    return replace(
        before,
        task=again.task,
        metrics={**before.metrics, **again.metrics},
        intervals={**before.intervals, **again.intervals},
        per_class=again.per_class if whole else before.per_class,
        confusion=again.confusion,
        curves=again.curves if whole else before.curves,
        n_samples=again.n_samples,
    )
