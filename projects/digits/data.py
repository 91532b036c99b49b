"""scikit-learn's handwritten digits: 1,797 images of 8 x 8 pixels (0 to 16), 10 classes; nothing is downloaded."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import TensorDataset

CLASS_NAMES = tuple("0123456789")
SPLIT_SEED = 0  # not a training's --seed: all trainings share the test split, and none sees it


def splits() -> tuple[TensorDataset, TensorDataset, TensorDataset]:
    """Return train, validation and test (1,149, 288 and 360 images): x (N, 1, 8, 8) float32, y (N,) int64."""
    digits = load_digits()
    x = torch.tensor(digits.images[:, None], dtype=torch.float32)
    y = torch.tensor(digits.target, dtype=torch.int64)
    rest, test = train_test_split(np.arange(len(y)), test_size=360, stratify=y, random_state=SPLIT_SEED)
    train, validation = train_test_split(rest, test_size=288, stratify=y[rest], random_state=SPLIT_SEED)
    return tuple(TensorDataset(x[rows], y[rows]) for rows in (train, validation, test))


def test() -> TensorDataset:
    """Return the test split: `--data projects.digits.data:test`, or `data:test` in this folder."""
    return splits()[2]
