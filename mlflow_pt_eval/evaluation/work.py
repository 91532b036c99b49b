"""The work of an evaluation: data through a model to an `Evaluation`, and that to a run."""

from __future__ import annotations

import logging
import operator
import tempfile
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from mlflow_pt_eval.class_names import check_class_names, is_list
from mlflow_pt_eval.data import Data, load_data
from mlflow_pt_eval.data.labels import apart
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.evaluation.contradictions import contradictions
from mlflow_pt_eval.evaluation.criterion import describe_criterion
from mlflow_pt_eval.evaluation.mistakes import worst_mistakes
from mlflow_pt_eval.evaluation.payload import write_payload
from mlflow_pt_eval.evaluation.subject import Subject
from mlflow_pt_eval.metrics import Evaluation, evaluate_scores, predictions_frame
from mlflow_pt_eval.names import PREDICTIONS_PARQUET, Outputs, Task
from mlflow_pt_eval.predict import Predictions, predict
from mlflow_pt_eval.predict.loss import Criterion
from mlflow_pt_eval.predict.ranks import Ranks, agreed
from mlflow_pt_eval.predict.run import Progress
from mlflow_pt_eval.tracking.datasets import present_model
from mlflow_pt_eval.tracking.evaluation_log import log_evaluation
from mlflow_pt_eval.tracking.runs import OpenRun

RESAMPLES = 1000  # for the intervals of an evaluation that is logged
FEWEST = 100  # resamples of which the outer 2.5 % are more than one or two
_log = logging.getLogger("mlflow_pt_eval")


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """What was asked of one evaluation, without the model."""

    data: Any
    task: Task | Literal["auto"] = "auto"
    outputs: Outputs | Literal["auto"] = "auto"
    class_names: Sequence[str] | None = None
    classes: Sequence[Hashable] | None = None
    target: Hashable | None = None
    split: str = "test"
    device: str | torch.device = "auto"
    batch_size: int = 256
    criterion: Criterion | None = None
    bootstrap: int = RESAMPLES
    progress: Progress = "auto"
    dataset_name: str | None = None
    distributed: bool = False

    def __post_init__(self) -> None:
        """Refuse what no model and no data could mend, before there is a run."""
        check_text("dataset_name", self.dataset_name)
        if self.class_names is not None:
            check_class_names(self.class_names)
        try:
            resamples = operator.index(self.bootstrap)
        except TypeError:
            resamples = -1
        if resamples and resamples < FEWEST:
            raise BadInput(f"bootstrap is {self.bootstrap!r}: give at least {FEWEST} resamples, or 0 for no intervals.")

    @property
    def source(self) -> str:
        """Where the data comes from, as far as it can be named."""
        return str(self.data) if isinstance(self.data, str | Path) else type(self.data).__name__


def check_text(name: str, value: object) -> None:
    """Refuse an argument that is neither a text nor left out."""
    if value is not None and not isinstance(value, str):
        raise BadInput(f"{name} is {value!r}, a {type(value).__name__}: give a text, or leave it out.")


def compute(subject: Subject, request: Request, *, digest: bool) -> tuple[Evaluation, Predictions, Data]:
    """Predict and evaluate; with *digest* also what only a logged evaluation needs."""
    notes = (*subject.notes, *contradictions(subject, request))
    names = _names(subject, request)
    ranks = Ranks.current() if request.distributed else None
    with agreed(ranks):
        data = _load(request, names)
    found = _predict(subject, data, request, digest, partial(_check_count, names, request.classes))
    evaluation = evaluate_scores(
        found.labels,
        found.scores,
        task=found.task,
        class_names=names,
        loss=found.loss,
        bootstrap=request.bootstrap,
        micro=digest,
    )
    for warning in (*notes, *evaluation.warnings) if ranks is None or ranks.is_first else ():
        _log.warning(warning)
    evaluation = replace(
        evaluation,
        split=request.split,
        dataset_digest=found.digest,
        dataset_name=found.data_name,
        model_uri=subject.uri,
        warnings=(*notes, *found.notes, *evaluation.warnings),
    )
    return evaluation, found, data


def _names(subject: Subject, request: Request) -> tuple[str, ...] | None:
    """Return the caller's names; else the registered ones, if as many as *classes*; else *classes* as texts."""
    if request.class_names is not None:
        return check_class_names(request.class_names)
    registered, classes = usable(subject.class_names), request.classes
    if subject.class_names is not None and registered is None:  # registered when nothing was asked of them
        _log.warning(
            "the class names that %s was registered with are not used, since two are the same or one is blank: "
            "give class_names= (--class-names)",
            subject.uri,
        )
    if classes is None or not is_list(classes) or (registered is not None and len(registered) == len(classes)):
        return registered
    return usable([str(value) for value in classes])


def usable(names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return class names that were recorded; None where two are the same or one is blank."""
    try:
        return None if names is None else check_class_names(names)
    except BadInput:
        return None


def _check_count(names: Sequence[str] | None, classes: Sequence[Hashable] | None, n_classes: int) -> None:
    for what, given in (("classes", classes), ("class_names (--class-names)", names)):
        if given is not None and len(given) != n_classes:
            raise BadInput(f"{what} has {len(given)} entries, but {apart(n_classes)}: give one for each.")


def _load(request: Request, names: Sequence[str] | None) -> Data:
    return load_data(
        request.data,
        target=request.target,
        batch_size=request.batch_size,
        classes=request.classes,
        class_names=names,
        name=request.dataset_name,
    )


def _predict(
    subject: Subject, data: Data, request: Request, digest: bool, on_width: Callable[[int], object]
) -> Predictions:
    recorded = subject.outputs or "auto"
    return predict(
        subject.module,
        data,
        task=request.task,
        outputs=recorded if request.outputs == "auto" else request.outputs,
        device=request.device,
        criterion=request.criterion,
        progress=request.progress,
        digest=digest,
        distributed=request.distributed,
        on_width=on_width,
    )


def compute_and_log(run: OpenRun, subject: Subject, request: Request) -> Evaluation:
    """Predict, evaluate, draw, and only then write to the run."""
    evaluation, found, data = compute(subject, request, digest=True)
    evaluation = replace(evaluation, run_id=run.run_id)
    names = evaluation.class_names
    context = {
        "Run": run.run_id,
        "When": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Speed": f"{found.samples_per_second:,.0f} samples a second",
    }
    with tempfile.TemporaryDirectory(prefix="pt_eval_evaluation.") as place:
        folder = Path(place)
        images = write_payload(
            folder, evaluation, mistakes=worst_mistakes(found, names, data, evaluation), context=context
        )
        table = predictions_frame(found.labels, found.scores, task=found.task, class_names=names)
        table.to_parquet(folder / PREDICTIONS_PARQUET, index=False)
        model_id = present_model(run.store, subject.model_id)
        log_evaluation(
            run, evaluation, files=folder, images=images, source=request.source, model_id=model_id,
            criterion=None if request.criterion is None else describe_criterion(request.criterion),
        )  # fmt: skip
    return evaluation
