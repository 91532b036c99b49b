"""The loops of the constitution: a bare one, and the same one wrapped, with randomness wherever a loop can have it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import mlflow_pt_eval as mpe


class Noisy(Dataset):
    """Ten random rows a class; each item is disturbed anew by all three libraries' generators."""

    def __init__(self, rows: int = 30) -> None:
        generator = torch.Generator().manual_seed(7)
        self.x = torch.randn(rows, 4, generator=generator)
        self.y = torch.arange(rows) % 3

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.randn(4) * 0.1 + random.random() * 0.1 + float(np.random.rand()) * 0.1  # noqa: NPY002
        return self.x[index] + noise, self.y[index]


class Parts:
    """Everything that a training changes, made the same way each time."""

    def __init__(self, *, workers: int = 0, private_generator: bool = True, rows: int = 30) -> None:
        torch.manual_seed(1)
        random.seed(2)
        np.random.seed(3)  # noqa: NPY002 (the global generator is what is tested)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, max_lr=0.1, total_steps=200)
        generator = torch.Generator().manual_seed(4) if private_generator else None
        data = Noisy(rows)
        self.train = DataLoader(data, batch_size=4, shuffle=True, generator=generator, num_workers=workers)
        self.validation = DataLoader(data, batch_size=7, shuffle=True)
        self.criterion = nn.CrossEntropyLoss()

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Do one training step."""
        loss = self.criterion(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        return loss

    def tree(self) -> dict[str, Any]:
        """Return everything that must be equal, random states included."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "python": random.getstate(),
            "numpy": np.random.get_state(),  # noqa: NPY002
            "torch": torch.get_rng_state(),
        }


def bare(parts: Parts, epochs: int) -> list[dict[str, float]]:
    """Train without the library, but for the same `validate`."""
    logged = []
    for _ in range(epochs):
        parts.model.train()
        for x, y in parts.train:
            parts.step(x, y)
        logged.append(mpe.validate(parts.model, parts.validation, parts.criterion))
    return logged


class Crash(Exception):
    """What ends a training of the tests."""


def wrapped(
    parts: Parts,
    epochs: int,
    *,
    crash_at: tuple[int, int | None] | None = None,
    callbacks: Sequence[Any] = (),
    before_step: Callable[[int, int], None] | None = None,
    **options: Any,
) -> mpe.TrainingRun:
    """Train wrapped; *crash_at* is (epoch, batch), or (epoch, None) for the end of the epoch's body."""
    state = {"model": parts.model, "optimizer": parts.optimizer, "scheduler": parts.scheduler}
    run = mpe.TrainingRun(state, callbacks=callbacks, **options)
    with run:
        for epoch in run.epochs(epochs):
            parts.model.train()
            for i, (x, y) in enumerate(run.batches(parts.train)):
                if before_step is not None:
                    before_step(epoch, i)
                if crash_at == (epoch, i):
                    raise Crash
                run.log_step(train_loss=parts.step(x, y))
            run.log(**mpe.validate(parts.model, parts.validation, parts.criterion))
            if crash_at == (epoch, None):
                raise Crash
    return run
