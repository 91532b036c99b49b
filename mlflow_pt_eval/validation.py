"""`validate`: loss and accuracy between two epochs, leaving no trace in the training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sized
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler

from mlflow_pt_eval import signals
from mlflow_pt_eval.data.batches import split
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import VAL_ACCURACY, VAL_LOSS
from mlflow_pt_eval.predict.guard import untouched
from mlflow_pt_eval.predict.loss import AverageLoss, Criterion
from mlflow_pt_eval.predict.model import call, choose_device, evaluating, scores_in
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
    with a CrossEntropyLoss they are probabilities of classes.
    Modes, random numbers and the loader's generators are afterwards as they were. Nothing is read from the device
    before the end. Errors: BadInput for a loader without a batch.

    In a process of several, the values are those of this process's batches, less what a DistributedSampler has added
    to give all the same number; they know their count, so `run.log(**validate(...))` logs the exact values of all
    batches together. No process waits for another: inside DistributedDataParallel the module itself is called.
    """
    loss = None if criterion is None else AverageLoss(criterion)
    right: list[torch.Tensor] = []
    model = model.module if isinstance(model, DistributedDataParallel) else model
    there, seen, own = choose_device(model, device), 0, _own_samples(loader)
    with untouched(loader), evaluating(model):
        for batch in loader:
            signals.check()
            inputs, targets = split(batch)
            outputs, labels = scores_in(call(model, _moved(inputs, there))), _moved(targets, there)
            if own is not None and len(labels) > own:
                outputs, labels = outputs[:own], labels[:own]
            if own is not None and not (own := own - len(labels)) and not len(labels):
                break
            if loss is not None:
                loss.add(outputs, labels)
            hits = _hits(outputs, labels, soft=isinstance(criterion, nn.CrossEntropyLoss))
            right.append(hits.sum())
            seen += hits.numel()
    if not seen and own is None:
        raise BadInput("the validation loader gave no sample: there is nothing to validate on.")
    accuracy = float(torch.stack(right).sum()) / seen if seen else math.nan
    measured: dict[str, float] = {VAL_ACCURACY: MeanOf(accuracy, seen)}
    return measured if loss is None else {VAL_LOSS: MeanOf(loss.result(), loss.weight()), **measured}


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
        if outputs.numel() != labels.numel():
            raise BadInput(f"{tuple(outputs.shape)} outputs do not go with {tuple(labels.shape)} labels: one each.")
        return (outputs.reshape(-1) > 0) == (labels.reshape(-1) > 0.5)
    if outputs.shape == labels.shape and not soft:
        return ((outputs > 0) == (labels > 0.5)).flatten(1).all(1)
    predicted = outputs.argmax(1)
    return predicted == (labels.argmax(1) if labels.shape == outputs.shape else labels.reshape(predicted.shape))


def _moved(value: Any, device: torch.device) -> Any:
    """Move every tensor in a batch's part to *device*; what cannot be moved stays."""
    if isinstance(value, dict):
        return {key: _moved(part, device) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_moved(part, device) for part in value]
    return value.to(device, non_blocking=True) if hasattr(value, "to") else value
