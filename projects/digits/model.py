"""A small convolutional network for images of 8 x 8 pixels."""

from __future__ import annotations

import torch
from torch import nn


class DigitsNet(nn.Module):
    """(N, 1, 8, 8) pixels -> (N, 10) logits.

    *mean* and *std* are those of the training pixels. They are part of the model, so that whoever loads it gives
    it pixels as they are and cannot standardise them differently.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0, dropout: float = 0.3) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(float(mean)))
        self.register_buffer("std", torch.tensor(float(std)))
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(64 * 4 * 4, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch."""
        return self.layers((x - self.mean) / self.std)
