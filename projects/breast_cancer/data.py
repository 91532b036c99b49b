"""scikit-learn's breast-cancer set: 569 tumours, 30 measurements each, 2 classes; nothing is downloaded."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch.utils.data import TensorDataset

CLASS_NAMES = ("benign", "malignant")
SPLIT_SEED = 0  # not a training's --seed: all trainings share the test split, and none sees it


def splits() -> tuple[TensorDataset, TensorDataset, TensorDataset]:
    """Return train, validation and test (341, 114 and 114 tumours): x (N, 30) float32, y (N,) int64.

    Malignant is class 1, the one to be found, so that `recall` is the share of cancers that are found
    (scikit-learn has it the other way round).
    """
    tumours = load_breast_cancer()
    x = torch.tensor(tumours.data, dtype=torch.float32)
    y = torch.tensor(1 - tumours.target, dtype=torch.int64)
    rest, test = train_test_split(np.arange(len(y)), test_size=114, stratify=y, random_state=SPLIT_SEED)
    train, validation = train_test_split(rest, test_size=114, stratify=y[rest], random_state=SPLIT_SEED)
    return tuple(TensorDataset(x[rows], y[rows]) for rows in (train, validation, test))


def test() -> TensorDataset:
    """Return the test split: `--data projects.breast_cancer.data:test`, or `data:test` in this folder."""
    return splits()[2]
