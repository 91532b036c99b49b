"""A small convolutional network for grey images of 28 x 28 pixels."""

from __future__ import annotations

import torch
from torch import nn


def convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Halve height and width, between a convolution and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.MaxPool2d(2), nn.ReLU()
    )


class MnistNet(nn.Module):
    """(N, 1, 28, 28) pixels -> (N, 10) logits.

    *mean* and *std* are those of the training pixels. They are part of the model, so that whoever loads it gives
    it pixels as they are and cannot standardise them differently.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(float(mean)))
        self.register_buffer("std", torch.tensor(float(std)))
        self.layers = nn.Sequential(
            convolution(1, 24),
            convolution(24, 48),
            convolution(48, 96),
            nn.Flatten(),
            nn.Dropout(0.25),
            nn.Linear(96 * 3 * 3, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch."""
        return self.layers((x - self.mean) / self.std)
