"""Versions and evaluations for tests, made directly: real models and real artifacts, without a training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mlflow_pt_eval import names
from mlflow_pt_eval.exporting.candidate import take_candidate
from mlflow_pt_eval.metrics import evaluate_scores, predictions_frame
from mlflow_pt_eval.tracking import registry
from mlflow_pt_eval.tracking.datasets import log_inputs
from mlflow_pt_eval.tracking.models import publish
from mlflow_pt_eval.tracking.runs import create_run, finish
from mlflow_pt_eval.tracking.store import Store

DIGEST = "d" * 32
EXPERIMENT = "promotion tests"


def add_version(store: Store, name: str, seed: int = 0, class_names: list[str] | None = None) -> int:
    """Register a small model that loads, without the fresh process that proves it."""
    torch.manual_seed(seed)
    candidate = take_candidate(nn.Linear(4, 3), input_example=torch.zeros(2, 4), class_names=class_names)
    published = publish(
        store, candidate, name=name, experiment_id=store.experiment_id(EXPERIMENT), check=lambda folder: None
    )
    tags = {names.TAG_WEIGHTS_SHA256: candidate.sha256, names.TAG_EPOCH: "4"}
    return registry.create_version(store, name, model_id=published.model_id, run_id=None, tags=tags)


def scores_with(labels: np.ndarray, wrong: list[int], classes: int = 3, sure: float = 0.8) -> np.ndarray:
    """Return probabilities that predict *labels*, but the next class for the samples in *wrong*."""
    predicted = labels.copy()
    predicted[wrong] = (predicted[wrong] + 1) % classes
    scores = np.full((len(labels), classes), (1 - sure) / (classes - 1), np.float32)
    scores[np.arange(len(labels)), predicted] = sure
    return scores


def add_evaluation(
    store: Store,
    name: str,
    version: int,
    wrong: list[int],
    *,
    n_samples: int = 60,
    split: str = "test",
    digest: str = DIGEST,
    complete: bool = True,
    status: str = "FINISHED",
    spec: str = "project.data:test",
) -> str:
    """Write an evaluation run of a version that is wrong on the samples in *wrong* (of three classes in turn).

    One that is not *complete* lacks what an evaluation writes last.
    """
    labels = np.arange(n_samples) % 3
    scores = scores_with(labels, wrong)
    uri = f"models:/{name}/{version}"
    evaluation = evaluate_scores(labels, scores, task="multiclass", bootstrap=100)
    stored = {**evaluation.to_json(), "split": split, "dataset_digest": digest, "model_uri": uri}
    run = create_run(
        store,
        {
            names.TAG_KIND: names.KIND_EVALUATION,
            names.TAG_MODEL_URI: uri,
            names.TAG_SPLIT: split,
            **({names.TAG_DATASET_DIGEST: digest} if complete else {}),
        },
        EXPERIMENT,
    )
    model_id = registry.resolve(store, name, version).model_id
    log_inputs(
        store, run.run_id, name="set", digest=digest, source=spec, split=split, n_samples=n_samples, model_id=model_id
    )
    store.client.log_text(run.run_id, json.dumps(stored), names.EVALUATION_JSON)
    path = Path.cwd() / names.PREDICTIONS_PARQUET
    predictions_frame(labels, scores).to_parquet(path)
    store.client.log_artifact(run.run_id, str(path))
    path.unlink()
    finish(run, status)
    return run.run_id
