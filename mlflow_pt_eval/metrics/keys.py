"""Ranking keys: a score's bits and its truth in one integer, which sorts as the score does.

A float32 that is not negative orders like its bits. So `bits << 1 | is_positive` is a uint32 that carries score and
truth through a plain sort of values: no argsort, no gather. They are made for some classes at a time, as all of them
would be as large as the scores.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.metrics.blocks import BLOCK_VALUES, cut
from mlflow_pt_eval.metrics.inputs import Inputs, Mask

Keys = npt.NDArray[np.uint32]

ONE = np.uint32(1)
INFINITE = np.float32(np.inf).view(np.uint32) << ONE
_NEAR = 1 << 20  # values whose rows' addresses a processor knows by heart while it goes through their columns


def scores_of(keys: Keys) -> npt.NDArray[np.float64]:
    """Return the scores that *keys* carry."""
    return (keys >> ONE).view(np.float32).astype(np.float64)


def is_positive(keys: Keys) -> Mask:
    """Return the truth that *keys* carry."""
    return (keys.astype(np.uint8) & np.uint8(1)).view(bool)  # in bytes it takes half as long


def class_keys(inputs: Inputs, low: int, high: int) -> Keys:
    """Return the keys of the classes (of a multilabel task the labels) from *low* to *high*, (high - low, N)."""
    bits, labels = inputs.scores.view(np.uint32), inputs.labels
    keys = np.empty((high - low, len(bits)), np.uint32)
    for start, stop in cut(len(bits), max(1, min(4096, _NEAR // bits.shape[1]))):
        np.left_shift(bits[start:stop, low:high].T, ONE, out=keys[:, start:stop])  # over the top goes a -0.0's sign
    if inputs.task == "multilabel":
        keys |= labels[:, low:high].T != 0
        return keys
    flat = keys.reshape(-1)
    for start, stop in cut(len(labels), BLOCK_VALUES):  # in parts: places are twice as large as keys
        own = labels[start:stop]
        places = np.flatnonzero((own >= low) & (own < high))
        flat[(own[places] - low) * len(labels) + places + start] |= ONE  # a third of the time of two indices
    return keys


def pooled_keys(inputs: Inputs) -> Keys:
    """Return the keys of all decisions, N * K, as one row (1, N * K)."""
    keys, labels = inputs.scores.view(np.uint32).reshape(-1) << ONE, inputs.labels
    if inputs.task == "multilabel":
        keys |= labels.reshape(-1) != 0
        return keys[None]
    for start, stop in cut(len(labels), BLOCK_VALUES):
        keys[np.arange(start, stop) * inputs.n_classes + labels[start:stop]] |= ONE
    return keys[None]
