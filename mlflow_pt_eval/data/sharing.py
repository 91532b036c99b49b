"""One process's share of the data: whole batches, so that they are the same ones that a single process makes."""

from __future__ import annotations

from dataclasses import replace

from torch.utils.data import DataLoader, Subset

from mlflow_pt_eval.data.batches import Data, Stream, each
from mlflow_pt_eval.data.loading import in_dataset_order
from mlflow_pt_eval.errors import BadInput


def share(data: Data, rank: int, size: int) -> Data:
    """Return the batches of rank *rank* of *size*: consecutive, each sample in exactly one share.

    Shares may be empty, but not the first one. BadInput for data that cannot be begun in its middle.
    """
    if isinstance(data, Stream):
        return _part_of_stream(data, rank, size)
    first, last = _rows(data.n_samples, data.batch_size, rank, size)
    part = replace(data, targets=data.targets[first:last], labels=data.labels[first:last], offset=first)
    if data.index is not None:
        return replace(part, index=data.index[first:last])
    return replace(part, inputs=each(data.inputs, lambda tensor: tensor[first:last]))


def _part_of_stream(data: Stream, rank: int, size: int) -> Stream:
    loader = data.loader
    if data.n_samples is None or not isinstance(loader, DataLoader) or loader.batch_size is None:
        raise BadInput(
            f"the data ({data.name}) cannot be shared between processes: that needs a data set with a length and "
            "single items; give one, or evaluate in one process."
        )
    first, last = _rows(data.n_samples, loader.batch_size, rank, size)
    part = in_dataset_order(loader, Subset(loader.dataset, range(first, last)), loader.batch_size)
    return replace(data, loader=part, n_samples=last - first, offset=first)


def _rows(n_samples: int, batch_size: int, rank: int, size: int) -> tuple[int, int]:
    batches = -(-n_samples // batch_size)
    first, last = (min(n_samples, -(-batches * r // size) * batch_size) for r in (rank, rank + 1))
    return first, last
