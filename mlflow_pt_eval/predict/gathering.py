"""One pass of a model over data, and what it gathers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import nn

from mlflow_pt_eval.data import Arrays, Data, Stream
from mlflow_pt_eval.data.batches import Batch
from mlflow_pt_eval.data.digest import Digest
from mlflow_pt_eval.data.labels import Labels, check_range
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import Outputs, Task
from mlflow_pt_eval.predict.forward import Forward, may_widen
from mlflow_pt_eval.predict.loss import AverageLoss, Criterion, average_of_some, fitting
from mlflow_pt_eval.predict.outputs import NotFinite, Scores
from mlflow_pt_eval.predict.predictions import Predictions
from mlflow_pt_eval.predict.probes import other_inputs, other_outputs
from mlflow_pt_eval.predict.ranks import Ranks
from mlflow_pt_eval.predict.task import first_shape, infer_task
from mlflow_pt_eval.wording import listed

TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_SAID: dict[Outputs, str] = {
    "logits": "the model's outputs were taken as logits, since they are not all probabilities; outputs= states it",
    "probabilities": "the model's outputs were taken as probabilities, since all of them could be; outputs= states it",
}
_CHECKED_TOGETHER = 32  # batches whose labels are looked at in one go
_log = logging.getLogger("mlflow_pt_eval")


class Gathered:
    """What a pass has gathered so far; with *ranks*, outputs stay raw until they are joined with the other ranks'."""

    def __init__(
        self,
        data: Data,
        device: torch.device,
        task: Task | Literal["auto"],
        outputs: Outputs | Literal["auto"],
        criterion: Criterion | None,
        ranks: Ranks | None = None,
        on_width: Callable[[int], object] | None = None,
    ) -> None:
        self._data, self._device, self._ranks, self._on_width = data, device, ranks, on_width
        self._task, self._outputs = task, outputs
        self._loss = None if criterion is None else AverageLoss(criterion, start=data.offset)
        self._scores: Scores | None = None
        self._dtype = torch.float32
        self._labels: list[Labels] = []
        self._checked = self._checked_samples = 0  # of these
        self._notes = list(data.notes)
        self._begin = time.perf_counter()

    def note_modes(self, training: tuple[str, ...]) -> None:
        """Say which modules stay in *training* mode."""
        if training:
            self._say(f"the model's eval() leaves {listed(training, 3)} in training mode")

    def read(self, model: nn.Module, hasher: Digest | None, done: Callable[[int], object]) -> None:
        """Send every batch of the data through *model*; *done* is told how many samples each has."""
        columns = self._data.columns if isinstance(self._data, Arrays) else ()
        forward = Forward(model, self._device, may_widen=may_widen(self._data, model), columns=columns)
        start, streamed = self._data.offset, isinstance(self._data, Stream)
        with self._looking_at_inputs():
            for batch in self._data.batches(targets=self._loss is not None):
                if hasher is not None:
                    hasher.update(batch)
                pieces = forward(batch, start)
                if streamed:
                    self._labels.append(batch.labels)
                for rows, scores in pieces:
                    self._take(batch, rows, scores)
                if start == self._data.offset and self._ranks is None:
                    self._probe(forward, batch)
                start += len(batch.labels)
                done(len(batch.labels))
        self._check_count(start - self._data.offset)
        if self._scores is not None:
            self._check_labels(self._scores.n_classes)
        self._notes += forward.notes

    def _probe(self, forward: Forward, batch: Batch) -> None:
        """Say of the first batch, which has been taken, if data or model give something else when asked again."""
        found = [other_inputs(self._data, batch)]
        if self._scores is not None:
            found.append(other_outputs(forward.again, batch, self._scores.first))
        for note in found:
            if note is not None:
                self._say(note)

    def _check_count(self, came: int) -> None:
        expected = self._data.n_samples
        if expected is not None and came != expected:
            self._say(
                f"{came} of the data set's {expected} samples came out of the loader: they are numbered as they came, "
                "and pictures of the worst mistakes are left out"
            )

    def _take(self, batch: Batch, rows: slice, scores: torch.Tensor) -> None:
        if self._scores is None:
            scores = first_shape(scores, batch.labels[rows])
            self._scores = self._start(scores, batch.labels)
        # Many batches at once take as long as one; but a criterion fails on a label that it has no output for.
        if self._loss is not None or len(self._labels) - self._checked >= _CHECKED_TOGETHER:
            self._check_labels(self._scores.n_classes)
        self._scores.add(scores, rows.stop - rows.start)
        if self._loss is not None:
            self._loss.add(scores, self._targets(self._loss, batch, rows, scores))

    def _targets(self, loss: AverageLoss, batch: Batch, rows: slice, scores: torch.Tensor) -> torch.Tensor:
        """Return the labels for a criterion: as the data has them, or, for one of classes, as they were read."""
        targets = batch.targets[rows]
        if loss.form == "classes" and targets.shape != scores.shape:
            targets = torch.from_numpy(batch.labels[rows])
        targets = targets.to(self._device, non_blocking=True)
        return targets if loss.form == "classes" else fitting(targets, scores)

    def _check_labels(self, n_classes: int) -> None:
        """Refuse a label of a stream that the model has no output for, among those not looked at yet."""
        if fresh := self._labels[self._checked :]:
            together = np.concatenate(fresh)
            check_range(together, n_classes, start=self._data.offset + self._checked_samples)
            self._checked += len(fresh)
            self._checked_samples += len(together)

    def _start(self, scores: torch.Tensor, labels: Labels) -> Scores:
        width = 1 if scores.ndim == 1 else scores.shape[1]
        task = infer_task(self._task, scores, labels)
        self._dtype = scores.dtype
        begun = Scores(
            task, self._outputs, width, self._data.n_samples, dtype=scores.dtype, hold=self._ranks is not None
        )
        if self._on_width is not None:
            self._on_width(begun.columns)
        if isinstance(self._data, Arrays):
            check_range(self._data.labels, begun.n_classes, start=self._data.offset)
        return begun

    def result(self) -> Predictions:
        """Return the predictions, which are the same on every rank; BadInput if there was no sample."""
        if self._ranks is not None:
            return self._joined(self._ranks)
        loss = None if self._loss is None else self._loss.parts()
        return self._predictions(self._begun(), self._own_labels(), loss)

    def _joined(self, ranks: Ranks) -> Predictions:
        width, task, dtype = self._form(ranks)
        raw = ranks.gather(torch.empty(0, width) if self._scores is None else self._scores.raw())
        columns = (width,) if task == "multilabel" else ()
        labels = ranks.gather(torch.from_numpy(self._own_labels().reshape(-1, *columns))).numpy()
        loss = None if self._loss is None else ranks.gather(self._loss.parts())
        scores = Scores(task, self._outputs, width, len(raw), dtype=dtype, hold=True)
        scores.add(raw, len(raw))
        return self._predictions(scores, labels, loss)

    def _own_labels(self) -> Labels:
        if isinstance(self._data, Arrays):
            return self._data.labels
        return np.concatenate(self._labels) if self._labels else np.empty(0, np.int64)

    def _form(self, ranks: Ranks) -> tuple[int, Task, torch.dtype]:
        """Return rank 0's width, task and type: another rank's share may be empty, its own only if all are."""
        mine = [0, 0, 0]
        if self._scores is not None:
            mine = [self._scores.width, TASKS.index(self._scores.task), DTYPES.index(self._dtype)]
        width, task, dtype = ranks.from_first(torch.tensor(mine)).tolist()
        if not width:
            self._begun()
        return width, TASKS[task], DTYPES[dtype]

    def _begun(self) -> Scores:
        if self._scores is None:
            raise BadInput(f"the data ({self._data.name}) is empty: there is nothing to evaluate.")
        return self._scores

    @contextmanager
    def _looking_at_inputs(self) -> Iterator[None]:
        """Say of an output that is not finite whether its sample's input is to blame."""
        try:
            yield
        except NotFinite as error:
            # Of several processes none has all of the data, and the outputs are looked at when they are joined.
            sample = None if self._ranks is not None else self._data.samples([error.sample])
            if not sample or bool((finite := sample[0].isfinite()).all()):
                raise
            place = ", ".join(str(int(index)) for index in (~finite).nonzero()[0])
            value = float(sample[0][~finite][0])
            raise BadInput(f"{error} Its input is {value:g}, too, at [{place}].") from error

    def _predictions(self, scores: Scores, labels: Labels, loss: torch.Tensor | None) -> Predictions:
        with self._looking_at_inputs():
            finished = scores.finish()
        if scores.task == "multilabel" and self._task == "auto":
            _refuse_one_hot(labels)
        if self._outputs == "auto":
            self._say(_SAID[scores.outputs])
        if scores.doubt is not None:
            self._say(scores.doubt)
        return Predictions(
            labels=labels,
            scores=finished,
            task=scores.task,
            outputs=scores.outputs,
            data_name=self._data.name,
            seconds=time.perf_counter() - self._begin,
            loss=None if loss is None else average_of_some(loss),
            notes=tuple(self._notes),
        )

    def _say(self, note: str) -> None:
        self._notes.append(note)
        if self._ranks is None or self._ranks.is_first:
            _log.warning(note)


def _refuse_one_hot(labels: Labels) -> None:
    """Refuse classes that are written as rows of one 1: taken for multilabel, every number would be of another task."""
    if len(labels) > 1 and labels.shape[1] > 1 and (labels.sum(axis=1) == 1).all():
        raise BadInput(
            f"each of the {len(labels)} samples has exactly one of {labels.shape[1]} labels: if these are classes, "
            "one-hot, give their numbers (labels.argmax(axis=1)); if not, task='multilabel' (--task multilabel)."
        )
