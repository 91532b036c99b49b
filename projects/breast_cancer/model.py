"""A small network for a table of numbers, with one logit for two classes."""

from __future__ import annotations

import torch
from torch import nn

N_MEASUREMENTS = 30


class TumourNet(nn.Module):
    """(N, 30) measurements -> (N, 1) logit of class 1.

    *mean* and *std*, (30,) each, are those of the training split. They are part of the model, so that whoever
    loads it gives it measurements as they are and cannot standardise them differently.
    """

    def __init__(self, mean: torch.Tensor | None = None, std: torch.Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(N_MEASUREMENTS) if mean is None else mean)
        self.register_buffer("std", torch.ones(N_MEASUREMENTS) if std is None else std)
        self.layers = nn.Sequential(nn.Linear(N_MEASUREMENTS, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logit of a batch."""
        return self.layers((x - self.mean) / self.std)
