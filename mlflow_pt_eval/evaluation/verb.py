"""The verb `evaluate`: model and data in, an `Evaluation` out, and an MLflow run that holds all of it."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import nn

from mlflow_pt_eval.evaluation.subject import Subject, subject_of
from mlflow_pt_eval.evaluation.work import RESAMPLES, Request, check_text, compute, compute_and_log
from mlflow_pt_eval.metrics import Evaluation
from mlflow_pt_eval.names import Outputs, Task, check_split
from mlflow_pt_eval.predict.loss import Criterion
from mlflow_pt_eval.predict.ranks import Ranks, agreed
from mlflow_pt_eval.predict.run import Progress
from mlflow_pt_eval.state import preserved_rng
from mlflow_pt_eval.tracking.evaluation_log import RunChoice, evaluation_run, tag_evaluated
from mlflow_pt_eval.tracking.models import in_store
from mlflow_pt_eval.tracking.run_names import take_name
from mlflow_pt_eval.tracking.runs import OpenRun
from mlflow_pt_eval.tracking.store import Store, connect

_log = logging.getLogger("mlflow_pt_eval")


def evaluate(
    model_or_uri: nn.Module | str | Path,
    data: Any,
    *,
    task: Task | Literal["auto"] = "auto",
    outputs: Outputs | Literal["auto"] = "auto",
    class_names: Sequence[str] | None = None,
    classes: Sequence[Hashable] | None = None,
    target: Hashable | None = None,
    split: str = "test",
    device: str | torch.device = "auto",
    batch_size: int = 256,
    criterion: Criterion | None = None,
    into: nn.Module | None = None,
    bootstrap: int | None = None,
    log: bool = True,
    run_id: str | None = None,
    experiment_name: str | None = None,
    run_name: str | None = None,
    dataset_name: str | None = None,
    progress: Progress = "auto",
    distributed: bool = False,
) -> Evaluation:
    """Evaluate a model on data and, with *log*, record it as an MLflow run.

    *model_or_uri* is `models:/name/3`, `models:/name@alias`, `models:/m-…`, `runs:/id/path`, a local model folder or
    a live module, which is evaluated where it is; *into* takes a stored model's weights instead of its graph.
    *data* is whatever `load_data` takes: a DataLoader, a Dataset, `(X, y)`, a table with its *target* column, or a
    SPEC string. Every sample is read once, in the data set's order; of a loader's sampler counts only which samples it
    selects (a SubsetRandomSampler, a list of indices).
    *task* and *outputs* "auto" follow `predict`'s rules, *outputs* after what the registration recorded.
    *class_names* name the outputs, each another text that is not blank (whole numbers are taken as texts); *classes*
    are the label values in their order, if those are not 0 … K-1. Without *class_names* the names that the model was
    registered with are shown, else *classes* as texts, else numbers.
    *criterion* gives the metric `loss`. *bootstrap* resamples, at least 100, make the intervals of F1 and AUC (0: none;
    default: 1,000 where it is logged, else none; accuracy's needs none).

    With *log*: metrics (`<split>_accuracy` …), figures, report and predictions go to *run_id*, to the run that the
    caller is in (to a child of either that holds a training or an evaluation already), or to a new one; which it was
    says `Evaluation.run_id`. A version's tags show its last evaluation on the split `test`. On an error a run
    opened for it ends as FAILED with the reason, and holds no metrics.
    With *distributed* every process of a torch.distributed job calls this; each sample goes through one of them, rank
    0 alone writes, and all return what a single process would, to the last bit; without it each evaluates all of it.
    Errors: BadInput, NotFound, StoreUnavailable, RankFailed, and what loading the model raises.
    """
    texts = {"split": split, "run_id": run_id, "experiment_name": experiment_name, "run_name": run_name}
    for name, value in texts.items():
        check_text(name, value)
    check_split(split)
    resamples = (RESAMPLES if log else 0) if bootstrap is None else bootstrap
    request = Request(
        data=data, task=task, outputs=outputs, class_names=class_names, classes=classes, target=target, split=split,
        device=device, batch_size=batch_size, criterion=criterion, bootstrap=resamples, progress=progress,
        dataset_name=dataset_name, distributed=distributed,
    )  # fmt: skip
    ranks = Ranks.current() if distributed else None
    writes = log and _speaks(ranks)
    choice = RunChoice(run_id=run_id, experiment_name=experiment_name, run_name=run_name)
    with preserved_rng():
        with ExitStack() as stack:
            with agreed(ranks):
                store = connect(make=False) if in_store(model_or_uri) else None
                subject = subject_of(store, model_or_uri, into=into, device=device)
                if writes and store is None:
                    store = connect(make=run_id is None)
                run = stack.enter_context(_run(store, subject, choice, split)) if store and writes else None
                if run is not None and not run.owned:
                    own = "evaluate", _name(subject, split)
                    take_name(run, run_name, experiment_name, of_entry_point=own)
            evaluation = compute_and_log(run, subject, request) if run else compute(subject, request, digest=log)[0]
        if run is not None and subject.name is not None and subject.version is not None:
            tag_evaluated(run, evaluation, subject.name, subject.version)
        return evaluation


def _speaks(ranks: Ranks | None) -> bool:
    """Say whether this process talks to MLflow: of several, the first alone does."""
    if ranks is not None or not dist.is_available() or not dist.is_initialized() or not dist.get_rank():
        return ranks is None or ranks.is_first
    _log.warning(
        "process %d of %d evaluates, but logs nothing, which process 0 does; distributed=True shares the work",
        dist.get_rank(),
        dist.get_world_size(),
    )
    return False


def _name(subject: Subject, split: str) -> str:
    what = "" if subject.name is None else f" {subject.name}/{subject.version}"
    return f"evaluate{what} on {split}"


def _run(store: Store, subject: Subject, choice: RunChoice, split: str) -> AbstractContextManager[OpenRun]:
    named = replace(choice, run_name=choice.run_name or _name(subject, split))
    return evaluation_run(store, named, training_run_id=subject.run_id)
