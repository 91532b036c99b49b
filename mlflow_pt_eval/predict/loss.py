"""The average of a criterion over a data set: what it would give for all samples at once, in any batches."""

from __future__ import annotations

import math

import torch

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.predict.criteria import Criterion, Form, Known, known

__all__ = ["AverageLoss", "Criterion", "average", "average_of_some", "fitting"]


class AverageLoss:
    """Adds up a criterion's values, each with its weight; nothing leaves the device before `result`.

    By the criterion's `reduction`: a "mean" counts with what it was divided by (the samples; for cross-entropy with
    class weights or ignored labels their total weight), a "sum" is divided by all samples at the end, "none" is
    averaged over its elements. All of that is read from a module, from a function of torch, and from the keywords
    of a `functools.partial`. Any other callable without `reduction` that gives one number is taken to give a mean
    over the samples: what it weighs them with inside (a module around a weighted cross-entropy) cannot be known.

    Outputs in half precision are compared in float32. A cross-entropy of torch gets labels that are whole numbers as
    int64 (N,); another loss of torch gets them, where there is one for each output, in the outputs' shape and, whole
    numbers, dtype; what the user wrote gets them as they are. *start* is the first sample's number, for messages.
    Errors: BadInput for what cannot be called or returns no number, and where the criterion fails.
    """

    def __init__(self, criterion: Criterion, *, start: int = 0) -> None:
        self._known = known(criterion)
        self._seen = start
        self._sums: list[torch.Tensor] = []
        self._weights: list[int | torch.Tensor] = []

    @property
    def of_classes(self) -> bool:
        """Whether it is a cross-entropy or NLL: labels of the outputs' shape are then probabilities of classes."""
        return self._known.classes

    @property
    def form(self) -> Form:
        """The form in which it wants its labels."""
        return self._known.form

    @torch.no_grad()
    def add(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take the next samples: *outputs* and *targets* as the model and the data have them."""
        samples = _samples(targets)
        outputs, targets = self._known.fit(outputs, targets)
        value = self._known.value(outputs, targets, self._seen, samples).detach().double()
        weight: int | torch.Tensor = samples
        if value.ndim or self._known.reduction == "none":
            value, weight = value.sum(), value.numel()
        elif self._known.reduction != "sum":
            weight = _divisor(self._known, targets, samples)
            # A mean over nothing is NaN, and counts for nothing.
            value = torch.where(weight > 0, value * weight, 0.0) if isinstance(weight, torch.Tensor) else value * weight
        self._seen += samples
        self._sums.append(value)
        self._weights.append(weight)

    def parts(self) -> torch.Tensor:
        """Return each batch's value and weight in one float64 tensor (B, 2) on the CPU."""
        if not self._sums:
            return torch.empty(0, 2, dtype=torch.float64)
        # Of one criterion all weights are tensors, or none is.
        tensors = [weight for weight in self._weights if isinstance(weight, torch.Tensor)]
        weights = torch.stack(tensors).double() if tensors else torch.tensor(self._weights, dtype=torch.float64)
        return torch.stack([torch.stack(self._sums).cpu(), weights.cpu()], dim=1)

    def result(self) -> float:
        """Return the average; NaN where nothing counted."""
        return average(self.parts())

    def weight(self) -> float:
        """Return what the average is one of: the samples, or their total weight."""
        return float(self.parts()[:, 1].sum())


def average(parts: torch.Tensor) -> float:
    """Return the average that `AverageLoss.parts` stand for, be they of one process or of several in their order."""
    value, weight = parts.sum(dim=0).tolist()
    return value / weight if weight else math.nan


def average_of_some(parts: torch.Tensor) -> float:
    """Return the `average`; BadInput where nothing counted, which would look like a diverged model."""
    if not parts[:, 1].any():
        raise BadInput("the criterion counted no label: all of them are ignored, or of classes with the weight 0.")
    return average(parts)


def fitting(targets: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Give whole-number labels the outputs' dtype and shape where there is one a score: what BCE criteria want."""
    if targets.numel() == outputs.numel() and not targets.is_floating_point():
        return targets.to(outputs.dtype).reshape(outputs.shape)
    return targets


def _divisor(criterion: Known, targets: torch.Tensor, samples: int) -> int | torch.Tensor:
    """Return what a criterion that gives a mean has divided by, in samples or in class weights."""
    if not criterion.classes or targets.is_floating_point():
        return samples
    counted = targets != criterion.ignore_index
    if criterion.weight is None:
        return counted.sum()
    return criterion.weight[targets.where(counted, 0)].where(counted, 0.0).sum()


def _samples(targets: torch.Tensor) -> int:
    return len(targets) if targets.ndim else 1  # a model that squeezes a batch of one leaves no dimension
