"""Whether the data and the model give the same once more: if not, every number depends on chance, and so does a digest.

A few samples of the first batch are enough to see random transforms, dropout that eval mode does not end, and
normalisation by the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch

from mlflow_pt_eval.data import Data, Stream
from mlflow_pt_eval.data.batches import Batch, Inputs, each, parts
from mlflow_pt_eval.predict.guard import untouched

_SAMPLES: Final = 4  # read again: an image that is flipped by chance stays as it was in half of the cases
_ROUNDING: Final = 0.01  # of the largest output: more than other kernels for another batch size make, even in bfloat16
_OTHER_INPUTS = (
    "the data set gives other inputs when a sample is read again (random transforms? a collate function that looks at "
    "the whole batch?): each evaluation is one of other data, and its numbers depend on chance"
)
_OTHER_OUTPUTS = (
    "the model gives other outputs for the same samples in a smaller batch (dropout that eval() does not end? "
    "statistics of the batch?): the numbers depend on chance, or on the batch size"
)


def other_inputs(data: Data, batch: Batch) -> str | None:
    """Read the first samples again, and return what to say if they are others than in *batch*, the first."""
    if not isinstance(data, Stream):
        return None
    if data.n_samples is None or len(batch.labels) != min(
        data.n_samples, getattr(data.loader, "batch_size", None) or 0
    ):
        return None  # which samples these are is not certain
    places = range(min(_SAMPLES, len(batch.labels)))
    with untouched(data.loader):
        try:
            again = data.again(places) or []
            same = all(_same(batch.inputs, place, sample) for place, sample in zip(places, again, strict=False))
        except Exception:  # whatever the user's code raises for one sample alone; its batches are what counts
            return None
    return None if same else _OTHER_INPUTS


def other_outputs(model: Callable[[Inputs], torch.Tensor], batch: Batch, outputs: torch.Tensor) -> str | None:
    """Send fewer samples of *batch* through *model*; return what to say if it gives others than *outputs* (n, K)."""
    rows = min(len(batch.labels) // 2, len(outputs))
    if not rows:
        return None
    with untouched(None):
        try:
            again = model(each(batch.inputs, lambda part: part[:rows])).float().cpu().reshape(rows, -1)
        except Exception:  # a model for one batch size alone; whether it works is seen in the pass
            return None
    before = outputs[:rows]
    if again.shape != before.shape:
        return None
    apart, largest = (again - before).abs().max(), before.abs().max()
    return _OTHER_OUTPUTS if apart > _ROUNDING * largest else None


def _same(inputs: Inputs, place: int, sample: Inputs) -> bool:
    """Say whether *sample*, a batch of one, is what stands in *inputs*; a part of another shape, padded say, may be."""
    pairs = zip(parts(inputs), parts(sample), strict=True)
    return all(part[place].shape != other[0].shape or _equal(part[place], other[0]) for part, other in pairs)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    same = (one == other) | ((one != one) & (other != other))  # NaN is NaN
    return bool(same.all())
