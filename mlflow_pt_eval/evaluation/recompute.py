"""An evaluation again, from the predictions that its run holds: without the model, without the data."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mlflow_pt_eval.errors import BadInput, first_line
from mlflow_pt_eval.evaluation.mistakes import Mistakes
from mlflow_pt_eval.evaluation.payload import CONTEXT, write_payload
from mlflow_pt_eval.metrics import Evaluation
from mlflow_pt_eval.metrics.evaluate import OF_CLASSES
from mlflow_pt_eval.metrics.intervals import NO_INTERVAL, OUTSIDE
from mlflow_pt_eval.metrics.recompute import NEED_SCORES
from mlflow_pt_eval.names import EVALUATION_JSON, PREDICTIONS_PARQUET
from mlflow_pt_eval.state import preserved_rng
from mlflow_pt_eval.tracking.evaluation_log import fetch_evaluation, relog_evaluation
from mlflow_pt_eval.tracking.store import connect


def recompute(run_id: str, *, bootstrap: int | None = None) -> Evaluation:
    """Compute and draw the evaluation run *run_id* again from its predictions, with this version of the code.

    The run's figures, tables, report and metrics are replaced; what only the model or the data can give (the loss of
    a criterion, above 100 classes what needs every probability, the worst mistakes) stays as it was.
    *bootstrap* resamples make the intervals of F1 and AUC (default: as many as made those of the run). MLflow keeps
    every metric that was logged, so those of an interval that is now left out stay in the run.
    Errors: NotFound, BadInput where the run is no evaluation or its files cannot be read, StoreUnavailable.
    """
    with preserved_rng(), tempfile.TemporaryDirectory(prefix="pt_eval_recompute.") as place:
        store, stored, fresh = connect(make=False), Path(place, "stored"), Path(place, "fresh")
        fetch_evaluation(store, run_id, stored)
        evaluation, context = _recomputed(stored, run_id, bootstrap)
        fresh.mkdir()
        images = write_payload(fresh, evaluation, mistakes=Mistakes.read(stored), context={"Run": run_id, **context})
        new = {name: image for name, image in images.items() if not _same(fresh / name, stored / name)}
        relog_evaluation(store, run_id, evaluation, files=fresh, images=new)
        return evaluation


def _recomputed(stored: Path, run_id: str, bootstrap: int | None) -> tuple[Evaluation, Mapping[str, str]]:
    """Return the evaluation as it is now, and what its report's head said besides (nothing in older files)."""
    try:
        data = json.loads((stored / EVALUATION_JSON).read_text(encoding="utf-8"))
        before = Evaluation.from_json(data)
        again = Evaluation.from_predictions(
            stored / PREDICTIONS_PARQUET,
            task=before.task,
            class_names=before.class_names,
            bootstrap=before.resamples if bootstrap is None else bootstrap,
            micro=True,
        )
        return replace(_merged(before, again), run_id=run_id), data.get(CONTEXT, {})
    except ValueError as error:  # ours and JSON's are
        raise BadInput(f"the evaluation run {run_id} cannot be computed again: {first_line(error)}") from error


def _same(fresh: Path, stored: Path) -> bool:
    """Say whether a figure came out as it was: MLflow keeps every image that is logged, also of the same step."""
    return stored.is_file() and stored.read_bytes() == fresh.read_bytes()


def _merged(before: Evaluation, again: Evaluation) -> Evaluation:
    """Take what was computed again, and from before what the predictions alone don't give."""
    whole = bool(again.curves.roc or not before.curves.roc)
    known = {key: ends for key, ends in before.intervals.items() if key not in again.metrics}
    return replace(
        before,
        task=again.task,
        metrics={**before.metrics, **again.metrics},
        intervals={**known, **again.intervals},
        per_class=again.per_class if whole else before.per_class,
        confusion=again.confusion,
        curves=again.curves if whole else before.curves,
        n_samples=again.n_samples,
        resamples=again.resamples,
        warnings=_all_said(before.warnings, again.warnings, whole=whole),
    )


def _all_said(before: Sequence[str], again: Sequence[str], *, whole: bool) -> tuple[str, ...]:
    """Join what was said; of classes and areas what was said when every probability was known: *again* if *whole*,
    else *before*. An F1 and its interval are always made again.
    """
    stale = (NO_INTERVAL, *OF_CLASSES) if whole else ()
    old = [
        text.replace(f"{NO_INTERVAL} f1_macro and ", f"{NO_INTERVAL} ")
        for text in before
        if not any(said in text for said in stale)
        and not text.startswith(f"{NO_INTERVAL} f1_macro:")
        and not text.endswith(OUTSIDE)
    ]
    return tuple(dict.fromkeys((*old, *(text for text in again if text != NEED_SCORES))))
