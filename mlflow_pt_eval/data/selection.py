"""Which samples of its data set a loader gives: all of them, or those that its sampler selects."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from functools import reduce
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from mlflow_pt_eval.errors import BadInput

_OF_ALL = (WeightedRandomSampler, DistributedSampler)  # they draw from the whole data set, or give a rank its share


def selected(loader: DataLoader[Any]) -> tuple[Dataset[Any], tuple[str, ...]]:
    """Return what of *loader*'s data set is to be read, each sample once and in order, and what is to be said of it.

    A SubsetRandomSampler and a plain sequence of numbers select samples; RandomSampler, WeightedRandomSampler and
    DistributedSampler only order, weigh or share them. BadInput for another sampler that leaves samples out.
    """
    dataset, notes = loader.dataset, []
    if not isinstance(dataset, IterableDataset):
        given, sampler = _samplers(loader)
        rows = _rows(sampler, len(cast(Sized, dataset)))
        named = f"the loader's {type(given).__name__}"
        if rows is not None:
            notes.append(
                f"{named} only selects: its {len(rows)} samples are read, each once, in the data set's own order"
            )
            dataset = Subset(dataset, rows)
        elif type(given) is not SequentialSampler:
            notes.append(f"{named} is not used: every sample is read once, in the data set's own order")
    iterable = isinstance(dataset, IterableDataset)
    if iterable and loader.num_workers > 1:
        notes.append(
            f"one of the loader's {loader.num_workers} workers is used: of an IterableDataset each gives all samples, "
            "or its share, which makes another order"
        )
    if loader.drop_last and (iterable or len(cast(Sized, dataset)) % (loader.batch_size or 1)):
        notes.append("the loader's drop_last is not used: the samples of the last, smaller batch are read too")
    return dataset, tuple(notes)


def behind_subsets(dataset: Any) -> tuple[Any, torch.Tensor | None]:
    """Return the data set that Subsets, one in another, are of, and the rows that they leave; None for all.

    Where one is of a class of its own, which may do more than select, *dataset* itself; its indices are checked, too.
    """
    subsets, inner = [], dataset
    while isinstance(inner, Subset):
        subsets.append(inner)
        inner = inner.dataset
    found = [_subset_rows(subset) for subset in reversed(subsets)]  # the inner first: the outer ask for its length
    if not found or any(type(subset) is not Subset for subset in subsets):
        return dataset, None
    return inner, reduce(lambda rows, here: rows[here], found)


def _subset_rows(subset: Subset[Any]) -> torch.Tensor:
    """Return a Subset's indices, int64 (n,); BadInput for a mask, which would be read as samples 0 and 1, and for what
    its data set does not have.
    """
    held, size = subset.indices, len(cast(Sized, subset.dataset))
    numbers = np.asarray(held) if isinstance(held, Sequence | np.ndarray | torch.Tensor) else None
    if numbers is None or numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        what = f"a {type(held).__name__}" if numbers is None else f"{numbers.dtype} of the shape {numbers.shape}"
        raise BadInput(
            f"the indices of a Subset are {what}: give the samples' numbers, of a mask numpy.flatnonzero(mask)."
        )
    rows = numbers.astype(np.int64)
    if (wrong := np.flatnonzero((rows < -size) | (rows >= size))).size:
        raise BadInput(f"a Subset's index {wrong[0]} is {rows[wrong[0]]}, but its data set has {size} samples.")
    return torch.from_numpy(rows)


def batches_by_index(loader: DataLoader[Any]) -> Any:
    """Return what gives *loader*'s batches as lists of indices; None where an item is a batch.

    A BatchSampler may stand in the sampler's place, with `batch_size=None`: the data set is then asked for lists.
    """
    if loader.batch_sampler is None and isinstance(loader.sampler, BatchSampler):
        return loader.sampler
    return loader.batch_sampler


def _samplers(loader: DataLoader[Any]) -> tuple[Any, Any]:
    """Return the sampler that the loader was given, and the one in it that chooses the samples."""
    batches = batches_by_index(loader)
    if batches is None:
        return loader.sampler, loader.sampler
    if isinstance(batches, BatchSampler):
        return batches.sampler if type(batches) is BatchSampler else batches, batches.sampler
    return batches, batches if isinstance(batches, Sequence) else None  # else its length counts batches, not samples


def _rows(sampler: Any, size: int) -> list[int] | None:
    """Return the samples that *sampler* selects of *size*, ascending; None for all of them."""
    indices = _indices(sampler)
    if indices is None:
        _refuse_fewer(sampler, size)
        return None
    rows = np.unique(np.where(indices < 0, indices + size, indices))
    if len(rows) and not 0 <= rows[0] <= rows[-1] < size:
        raise BadInput(f"the loader's sampler names sample {indices.max()} of a data set of {size}.")
    return None if len(rows) == size else rows.tolist()


def _indices(sampler: Any) -> npt.NDArray[np.int64] | None:
    """Return the numbers that a sampler holds, where it is nothing but numbers, or lists of them for each batch."""
    held: Any = sampler.indices if isinstance(sampler, SubsetRandomSampler) else sampler
    if isinstance(held, Sequence) and held and all(isinstance(part, list | tuple) for part in held):
        held = [number for part in held for number in part]
    if not isinstance(held, Sequence | np.ndarray | torch.Tensor):
        return None
    numbers = np.asarray(held)
    return numbers.astype(np.int64) if numbers.dtype.kind in "iu" and numbers.ndim == 1 else None


def _refuse_fewer(sampler: Any, size: int) -> None:
    """Refuse a sampler that gives fewer samples than there are, and does not say which: they may be a test split."""
    if isinstance(sampler, (*_OF_ALL, BatchSampler)):
        return
    drawn_from: Any = sampler.data_source if isinstance(sampler, RandomSampler | SequentialSampler) else sampler
    try:
        given = len(drawn_from)
    except (TypeError, NotImplementedError):  # a sampler need not know
        return
    if given < size:
        raise BadInput(
            f"the loader's {type(sampler).__name__} gives {given} of the data set's {size} samples: pass a loader "
            "over Subset(dataset, indices), so that it is certain which ones are evaluated."
        )
