"""A compact residual network (He et al., 2015) for colour images of 32 x 32 pixels."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import relu


class Block(nn.Module):
    """Two convolutions and a short cut around them: (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs and stride == 1
        self.short_cut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's features."""
        return relu(self.body(x) + self.short_cut(x))


class CifarNet(nn.Module):
    """(N, 3, 32, 32) pixels from 0 to 255 -> (N, 10) logits.

    *mean* and *std*, one for each colour, are those of the training pixels. They are part of the model, so that
    whoever loads it gives it pixels as they are and cannot standardise them differently.
    """

    def __init__(self, mean: torch.Tensor | None = None, std: torch.Tensor | None = None, width: int = 32) -> None:
        super().__init__()
        self.register_buffer("mean", (torch.zeros(3) if mean is None else mean).view(3, 1, 1))
        self.register_buffer("std", (torch.ones(3) if std is None else std).view(3, 1, 1))
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            Block(width, width, 1),
            Block(width, 2 * width, 2),
            Block(2 * width, 2 * width, 1),
            Block(2 * width, 4 * width, 2),
            Block(4 * width, 4 * width, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch."""
        return self.layers((x - self.mean) / self.std)
