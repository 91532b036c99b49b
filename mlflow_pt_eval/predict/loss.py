"""The average of a criterion over a data set: what it would give for all samples at once, in any batches."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class AverageLoss:
    """Adds up a criterion's values, each with its weight; nothing leaves the device before `result`.

    By the criterion's `reduction`: a "mean" counts with what it was divided by (the samples; for cross-entropy with
    class weights or ignored labels their total weight), a "sum" is divided by all samples at the end, "none" is
    averaged over its elements. A criterion without `reduction` that gives one number is taken to give a mean.
    """

    def __init__(self, criterion: Criterion) -> None:
        self._criterion = criterion
        self._reduction = getattr(criterion, "reduction", "mean")
        self._sums: list[torch.Tensor] = []
        self._weights: list[int | torch.Tensor] = []

    @torch.no_grad()
    def add(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take a batch: *outputs* and *targets* as the criterion wants them."""
        value = self._criterion(outputs, targets).detach().double()
        weight: int | torch.Tensor = value.numel() if value.ndim else _samples(targets)
        if value.ndim:
            value = value.sum()
        elif self._reduction != "sum":
            weight = _divisor(self._criterion, targets)
            # A mean over nothing is NaN, and counts for nothing.
            value = torch.where(weight > 0, value * weight, 0.0) if isinstance(weight, torch.Tensor) else value * weight
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


def fitting(targets: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Give whole-number labels the outputs' dtype and shape where there is one a score: what BCE criteria want."""
    if targets.numel() == outputs.numel() and not targets.is_floating_point():
        return targets.to(outputs.dtype).reshape(outputs.shape)
    return targets


def _divisor(criterion: Criterion, targets: torch.Tensor) -> int | torch.Tensor:
    """Return what a criterion that gives a mean has divided by, in samples or in class weights."""
    if not isinstance(criterion, nn.CrossEntropyLoss | nn.NLLLoss) or targets.is_floating_point():
        return _samples(targets)
    counted = targets != criterion.ignore_index
    if criterion.weight is None:
        return counted.sum()
    return criterion.weight[targets.where(counted, 0)].where(counted, 0.0).sum()


def _samples(targets: torch.Tensor) -> int:
    return len(targets) if targets.ndim else 1  # a model that squeezes a batch of one leaves no dimension
