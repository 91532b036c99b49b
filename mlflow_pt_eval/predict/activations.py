"""From a model's outputs to scores, in place: of equal outputs to the last bit the same, wherever they stand.

What torch does with numbers that are left over beside whole registers, and where its threads have shared them out, is
not the same to the last bit. Two samples of the same outputs would not be tied, and a model that says the same of
everything would have an AUC beside 0.5, by the order of its samples.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from mlflow_pt_eval.names import Task

_LANES = 64  # numbers that fill the registers of any processor
_ONE_THREAD = 1 << 14  # numbers that torch gives to one thread
_VECTOR = 16  # torch's softmax over fewer numbers than a register holds is scalar


def activate(block: torch.Tensor, task: Task, *, one_logit: bool) -> None:
    """Make scores of a block of logits (n, K): softmax, or sigmoid for multilabel, and for one logit.

    That one stands in the second of two columns, which become 1 - p and p.
    """
    if one_logit:
        logits = block[:, 1].clone()
        block[:, 0], block[:, 1] = _sigmoid(-logits), _sigmoid(logits)
    elif task == "multilabel":
        block.copy_(_sigmoid(block))
    elif block.shape[1] < _VECTOR:
        block.numpy()[:] = _softmax_of_few(block.numpy())
    else:
        # torch reads a row whole before it writes it, and a copy back would take as long again.
        torch.softmax(block, 1, out=block)


def _sigmoid(logits: torch.Tensor) -> torch.Tensor:
    count = logits.numel()
    flat = torch.zeros(count + -count % _LANES)
    flat[:count] = logits.reshape(-1)
    for part in flat.split(_ONE_THREAD):
        part.sigmoid_()
    return flat[:count].reshape(logits.shape)


def _softmax_of_few(block: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """By NumPy, column by column, in a sixth of the time that torch takes for short rows."""
    columns = np.ascontiguousarray(block.T)
    with np.errstate(over="ignore", under="ignore"):
        columns -= np.maximum.reduce(columns, axis=0)
        np.exp(columns, out=columns)
        columns /= np.add.reduce(columns, axis=0)
    return columns.T
