"""What a comparison leaves in its run: tables, figures, a page, at the root of the artifacts."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from mlflow_pt_eval import names
from mlflow_pt_eval.comparison.page import render
from mlflow_pt_eval.comparison.result import Comparison
from mlflow_pt_eval.figures import metric_comparison, png_bytes, roc_overlay
from mlflow_pt_eval.tracking.datasets import log_inputs
from mlflow_pt_eval.tracking.runs import set_tags
from mlflow_pt_eval.tracking.store import Store


def log_comparison(store: Store, comparison: Comparison, *, source: str) -> None:
    """Write a comparison to its run; *source* says where the data come from. The tags come last."""
    assert comparison.run_id is not None, "only a comparison with a run is logged"
    with tempfile.TemporaryDirectory(prefix="pt_eval_comparison.") as folder:
        write_payload(Path(folder), comparison)
        store.client.log_artifacts(comparison.run_id, folder)
    log_inputs(
        store,
        comparison.run_id,
        name=comparison.dataset_name or comparison.dataset_digest,
        digest=comparison.dataset_digest,
        source=source,
        split=comparison.split,
        n_samples=comparison.n_samples,
        model_id=None,
    )
    tags = {names.TAG_SPLIT: comparison.split, names.TAG_DATASET_DIGEST: comparison.dataset_digest}
    set_tags(store, comparison.run_id, tags)


def write_payload(folder: Path, comparison: Comparison) -> None:
    """Write the tables as CSV, everything as JSON, the figures as PNG and the page into *folder*."""
    table = comparison.frame(full=True)
    table["aliases"] = table["aliases"].map(", ".join)
    table.to_csv(folder / names.COMPARISON_CSV, index=False)
    comparison.flips().to_csv(folder / names.FLIPS_CSV, index=False)
    text = json.dumps(comparison.to_json(), allow_nan=False)
    (folder / names.COMPARISON_JSON).write_text(text, encoding="utf-8")
    evaluations = comparison.evaluations
    metrics, roc = png_bytes(metric_comparison(evaluations)), png_bytes(roc_overlay(evaluations))
    (folder / names.COMPARISON_PNG).write_bytes(metrics)
    (folder / names.ROC_OVERLAY_PNG).write_bytes(roc)
    page = render(comparison, {"Metrics compared": metrics, "ROC curves compared": roc})
    (folder / names.REPORT_HTML).write_text(page, encoding="utf-8")
