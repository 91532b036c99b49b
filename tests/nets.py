"""Models of the kinds that people train, for the tests of publishing: importable, as a factory has to be."""

from __future__ import annotations

import torch
from torch import nn


class Words(nn.Module):
    """Integer inputs, an embedding tied to the output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 4, padding_idx=0)
        self.head = nn.Linear(4, 12, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(words).mean(1))


class Two(nn.Module):
    """Two inputs, and a dict of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Linear(4, 3)
        self.text = nn.Embedding(9, 3)

    def forward(self, image: torch.Tensor, words: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.image(image)
        return {"logits": hidden + self.text(words).sum(1), "hidden": hidden}


class Batch(nn.Module):
    """One mapping in, as it comes from the loader."""

    def __init__(self) -> None:
        super().__init__()
        self.words = Words()

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.words(batch["words"]) * batch["weight"][:, None]


class Recurrent(nn.Module):
    """Texts of any length, of which torch.export makes a graph for one length alone."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 4)
        self.layer = nn.GRU(4, 3, batch_first=True)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.layer(self.embedding(words))[1][-1]


class Stubborn(nn.Module):
    """Control flow that depends on the data: torch.export refuses it."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(4, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return self.layer(x)
        return -self.layer(x)


class Image(nn.Module):
    """Convolution, batch norm and a buffer of its own: for channels-last and for buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)
        self.register_buffer("scale", torch.full((5,), 2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3))) * self.scale


def not_a_model() -> str:
    """Return what no factory may return."""
    return "no model"
