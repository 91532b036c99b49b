"""`predict`: every sample once through the model, to labels and scores."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

from mlflow_pt_eval.data import Arrays, Data, Stream, load_data
from mlflow_pt_eval.data.batches import Batch
from mlflow_pt_eval.data.digest import Digest, digesting
from mlflow_pt_eval.data.labels import Labels, check_range
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import Outputs, Task
from mlflow_pt_eval.predict.forward import Forward
from mlflow_pt_eval.predict.guard import untouched
from mlflow_pt_eval.predict.loss import AverageLoss, Criterion, fitting
from mlflow_pt_eval.predict.model import choose_device, evaluating
from mlflow_pt_eval.predict.outputs import Scores, first_shape, infer_task

Progress = bool | Literal["auto"]

_OUTPUTS_NOTES: dict[Outputs, str] = {
    "logits": "the model's outputs were taken as logits, since they are not all probabilities; outputs= states it",
    "probabilities": "the model's outputs were taken as probabilities, since all of them could be; outputs= states it",
}
_log = logging.getLogger("mlflow_pt_eval")


@dataclass(frozen=True, eq=False, kw_only=True)
class Predictions:
    """What a model gave for data: *labels* (N,) or, multilabel, (N, K) int64; *scores* (N, K) float32 in [0, 1].

    For binary K is 2, the columns of class 0 and 1. *loss* is the criterion's average, *digest* the data's (each
    None if it was not asked for), *seconds* the whole pass. *notes* holds each thing that had to be said once.
    """

    labels: Labels
    scores: npt.NDArray[np.float32]
    task: Task
    outputs: Outputs
    data_name: str
    seconds: float
    loss: float | None = None
    digest: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def samples_per_second(self) -> float:
        """The pass's throughput."""
        return len(self.labels) / self.seconds


def predict(
    model: nn.Module,
    data: Any,
    *,
    task: Task | Literal["auto"] = "auto",
    outputs: Outputs | Literal["auto"] = "auto",
    device: str | torch.device = "auto",
    batch_size: int = 256,
    criterion: Criterion | None = None,
    progress: Progress = "auto",
    digest: bool = False,
) -> Predictions:
    """Run *model* over *data* (`Data`, or what `load_data` takes) and return labels and scores.

    The model is called in eval mode without gradients: with a tensor as it is, with a tuple as its arguments, with
    a dict as its keywords; it returns scores as a tensor, a tuple's first part or a dict's `logits`. Modes, random
    numbers and the caller's arrays are afterwards as they were.
    *task* "auto": labels (N, K) are multilabel; one output or two are binary; more are multiclass.
    *outputs* "auto": probabilities if all are in [0, 1] and rows add up to 1, else logits; which is said.
    The criterion gets the model's outputs and the labels as the data has them; integer labels, one for each output,
    in the outputs' dtype and shape. *progress* "auto" shows a bar on a terminal only.
    Scores depend on the batch size only as far as the model's own forward pass does (BLAS may choose another
    kernel). Errors: BadInput, with the sample's number where one is to blame.
    """
    data = data if isinstance(data, Arrays | Stream) else load_data(data, batch_size=batch_size)
    _check_choices(task, outputs)
    for note in data.notes:
        _log.warning(note)
    with ExitStack() as stack:
        bar = stack.enter_context(_bar(data.n_samples, progress))
        hasher = stack.enter_context(digesting()) if digest else None
        stack.enter_context(untouched(data.loader if isinstance(data, Stream) else None))
        stack.enter_context(evaluating(model))
        run = _Pass(model, data, choose_device(model, device), task, outputs, criterion)
        run.read(hasher, bar)
        return run.result(None if hasher is None else hasher.hexdigest())


class _Pass:
    """One pass of a model over data: what has been gathered so far."""

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        device: torch.device,
        task: Task | Literal["auto"],
        outputs: Outputs | Literal["auto"],
        criterion: Criterion | None,
    ) -> None:
        self._data, self._device, self._wanted, self._outputs = data, device, task, outputs
        self._forward = Forward(model, device)
        self._loss = None if criterion is None else AverageLoss(criterion)
        self._scores: Scores | None = None
        self._labels: list[Labels] = []
        self._count = 0
        self._begin = time.perf_counter()

    def read(self, hasher: Digest | None, bar: Callable[[int], object]) -> None:
        for batch in self._data.batches():
            if hasher is not None:
                hasher.update(batch)
            for rows, scores in self._forward(batch, self._count):
                self._take(batch, rows, scores)
            self._labels.append(batch.labels)
            self._count += len(batch.labels)
            bar(len(batch.labels))

    def _take(self, batch: Batch, rows: slice, scores: torch.Tensor) -> None:
        if self._scores is None:
            scores = first_shape(scores, batch.labels[rows])
            self._scores = self._start(scores, batch.labels)
        if isinstance(self._data, Stream):
            check_range(batch.labels[rows], self._scores.n_classes, start=self._count + rows.start)
        self._scores.add(scores, rows.stop - rows.start)
        if self._loss is not None:
            targets = batch.targets[rows].to(self._device, non_blocking=True)
            self._loss.add(scores, fitting(targets, scores))

    def _start(self, scores: torch.Tensor, labels: Labels) -> Scores:
        width = 1 if scores.ndim == 1 else scores.shape[1]
        begun = Scores(infer_task(self._wanted, scores, labels), self._outputs, width, self._data.n_samples)
        if isinstance(self._data, Arrays):
            check_range(self._data.labels, begun.n_classes)
        return begun

    def result(self, digest: str | None) -> Predictions:
        if self._scores is None:
            raise BadInput(f"the data ({self._data.name}) is empty: there is nothing to evaluate.")
        scores = self._scores.finish()
        notes = [*self._data.notes, *self._forward.notes]
        if self._outputs == "auto":
            notes.append(_OUTPUTS_NOTES[self._scores.outputs])
            _log.warning(notes[-1])
        return Predictions(
            labels=np.concatenate(self._labels),
            scores=scores,
            task=self._scores.task,
            outputs=self._scores.outputs,
            data_name=self._data.name,
            seconds=time.perf_counter() - self._begin,
            loss=None if self._loss is None else self._loss.result(),
            digest=digest,
            notes=tuple(notes),
        )


def _check_choices(task: str, outputs: str) -> None:
    for name, value, choices in (
        ("task", task, ("auto", *get_args(Task))),
        ("outputs", outputs, ("auto", *get_args(Outputs))),
    ):
        if value not in choices:
            raise BadInput(f"{name} is {value!r}; it must be one of {', '.join(choices)}.")


@contextmanager
def _bar(total: int | None, progress: Progress) -> Iterator[Callable[[int], object]]:
    """Give a function that takes the number of samples just done, and shows it where there is someone to see it."""
    if not (sys.stderr.isatty() if progress == "auto" else progress):
        yield lambda done: None
        return
    with tqdm(total=total, desc="evaluate", unit=" samples", unit_scale=True, leave=False) as bar:
        yield bar.update
