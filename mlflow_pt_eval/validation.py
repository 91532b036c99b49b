"""`validate`: loss and accuracy between two epochs, leaving no trace in the training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sized
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import DistributedSampler

from mlflow_pt_eval import signals
from mlflow_pt_eval.data.batches import as_tensor, split
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import VAL_ACCURACY, VAL_LOSS
from mlflow_pt_eval.predict.guard import untouched
from mlflow_pt_eval.predict.loss import AverageLoss, Criterion
from mlflow_pt_eval.predict.model import call, choose_device, evaluating, scores_in, without_ddp
from mlflow_pt_eval.records import MeanOf


def validate(
    model: nn.Module,
    loader: Iterable[Any],
    criterion: Criterion | None = None,
    *,
    device: str | torch.device | None = None,
) -> dict[str, float]:
    """Return `val_accuracy` and, with a criterion, `val_loss` of *model* over *loader*'s batches.

    A batch is (inputs, labels), a longer tuple whose last part is the labels, or a mapping with `labels`. The model
    runs in eval mode without gradients, on *device* (default: where it is).
    The loss is what *criterion* gives for all samples at once, in any batches (see `AverageLoss`): a "mean" weighs
    each batch by its samples. The accuracy is the share of labels that the largest output names; outputs (N,) and
    (N, 1) are one logit, 1 above 0; labels (N, K) beside outputs (N, K) are multilabel, right if all K are, but
    with a cross-entropy they are probabilities of classes. Where any output is NaN the accuracy is NaN too, which is
    never better than another. NumPy arrays are taken as tensors.
    Modes, random numbers and the loader's generators are afterwards as they were. Nothing is read from the device
    before the end. Errors: BadInput for a loader without a batch, for a criterion that fails, for labels that do not
    go with the outputs and, without a criterion, at the end, for labels that the model has no output for.

    In a process of several, the values are those of this process's batches, less what a DistributedSampler has added
    to give all the same number; they know their count, so `run.log(**validate(...))` logs the exact values of all
    batches together. No process waits for another: inside DistributedDataParallel the module itself is called.
    """
    if isinstance(loader, tuple) and loader and all(isinstance(part, torch.Tensor | np.ndarray) for part in loader):
        raise BadInput("validate takes a loader: of arrays make DataLoader(TensorDataset(X, y), batch_size=256).")
    loss = None if criterion is None else AverageLoss(criterion)
    accuracy = _Accuracy(soft=loss is not None and loss.of_classes, checked=loss is None)
    model = without_ddp(model)
    there, own = choose_device(model, device), _own_samples(loader)
    with untouched(loader), evaluating(model):
        for batch in loader:
            signals.check()
            inputs, targets = split(batch)
            outputs, labels = scores_in(call(model, _moved(inputs, there))), _moved(_labels(targets), there)
            if own is not None and len(labels) > own:
                outputs, labels = outputs[:own], labels[:own]
            if own is not None and not (own := own - len(labels)) and not len(labels):
                break
            if loss is not None:
                loss.add(outputs, labels)
            accuracy.add(outputs, labels)
    if not accuracy.seen and own is None:
        raise BadInput("the validation loader gave no sample: there is nothing to validate on.")
    measured: dict[str, float] = {VAL_ACCURACY: accuracy.result()}
    return measured if loss is None else {VAL_LOSS: MeanOf(loss.result(), loss.weight()), **measured}


class _Accuracy:
    """Counts what is right of *seen* labels; nothing leaves the device before `result`.

    *soft*: labels in the outputs' shape are probabilities of classes. *checked*: labels without an output are refused,
    at the end; a criterion of the user's may know what it has them for.
    """

    def __init__(self, *, soft: bool, checked: bool) -> None:
        self._soft, self._checked = soft, checked
        self.seen = 0
        self._right: list[torch.Tensor] = []
        self._largest: list[torch.Tensor] = []  # output of each batch: NaN if any is, found in one pass over them
        self._ends: list[torch.Tensor] = []  # the smallest and the largest label of each batch
        self._classes: list[int | None] = []  # None: labels are 0 or 1

    def add(self, outputs: torch.Tensor, labels: torch.Tensor) -> None:
        """Take a batch."""
        hits = _hits(outputs, labels, soft=self._soft)
        self.seen += hits.numel()
        self._right.append(hits.sum())
        if not hits.numel():
            return
        self._largest.append(outputs.amax())
        if self._checked:
            whole = labels if labels.is_floating_point() else labels.long()
            self._ends.append(torch.stack(whole.aminmax()).double())
            self._classes.append(None if _yes_or_no(outputs, labels) else outputs.shape[1])

    def result(self) -> MeanOf:
        """Return the share that is right: NaN where there was nothing, or any output was NaN."""
        if self._ends:
            self._check()
        if not self.seen or torch.stack(self._largest).isnan().any():
            return MeanOf(math.nan, self.seen)
        return MeanOf(float(torch.stack(self._right).sum()) / self.seen, self.seen)

    def _check(self) -> None:
        ends = torch.stack(self._ends).tolist()
        for number, ((low, high), classes) in enumerate(zip(ends, self._classes, strict=True)):
            # One output may stand for -1 and 1 as well as for 0 and 1.
            if not (high <= 1 if classes is None else 0 <= low <= high < classes):
                fit = "one output a label: 0 or 1" if classes is None else f"{classes} outputs: 0 to {classes - 1}"
                raise BadInput(f"the labels of batch {number} go from {low:g} to {high:g}, but the model has {fit}.")


def _own_samples(loader: Any) -> int | None:
    """Return how many of the loader's samples are not those that a DistributedSampler has added; None for all."""
    sampler = getattr(loader, "sampler", None)
    if not isinstance(sampler, DistributedSampler):
        return None
    # The samples go round among the processes; what was added stands at the end.
    whole = min(len(cast(Sized, sampler.dataset)), sampler.total_size)
    return (whole - sampler.rank + sampler.num_replicas - 1) // sampler.num_replicas


def _hits(outputs: torch.Tensor, labels: torch.Tensor, *, soft: bool) -> torch.Tensor:
    """Say for each label, or for each sample of a multilabel task, whether the outputs are right."""
    if outputs.ndim < 2 or outputs.shape[1] == 1:
        _check_number(outputs, labels, outputs)
        return (outputs.reshape(-1) > 0) == (labels.reshape(-1) > 0.5)
    if outputs.shape == labels.shape and not soft:
        return ((outputs > 0) == (labels > 0.5)).flatten(1).all(1)
    predicted = outputs.argmax(1)
    if labels.shape == outputs.shape:
        return predicted == labels.argmax(1)
    _check_number(outputs, labels, predicted)
    return predicted == labels.reshape(predicted.shape)


def _yes_or_no(outputs: torch.Tensor, labels: torch.Tensor) -> bool:
    """Say whether each label is 0 or 1: of one logit, or one of a multilabel task."""
    return outputs.ndim < 2 or outputs.shape[1] == 1 or outputs.shape == labels.shape


def _check_number(outputs: torch.Tensor, labels: torch.Tensor, predicted: torch.Tensor) -> None:
    if predicted.numel() != labels.numel():
        raise BadInput(f"{tuple(outputs.shape)} outputs do not go with {tuple(labels.shape)} labels: one each.")


def _labels(raw: Any) -> Any:
    """Make a batch's labels a tensor; what can be moved to a device counts as one."""
    if hasattr(raw, "to"):
        return raw
    try:
        return as_tensor(raw)
    except BadInput as error:
        raise BadInput(
            f"a batch's labels are a {type(raw).__name__}: give numbers, as a tensor or an array."
        ) from error


def _moved(value: Any, device: torch.device) -> Any:
    """Move every tensor in a batch's part to *device*, arrays of numbers as tensors; what cannot be moved stays."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        value = as_tensor(value)
    if isinstance(value, dict):
        return {key: _moved(part, device) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_moved(part, device) for part in value]
    return value.to(device, non_blocking=True) if hasattr(value, "to") else value
