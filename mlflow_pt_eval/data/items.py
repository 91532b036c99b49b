"""The batches of a loader that works in this process: what its own iterator gives, with less between the items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, default_collate

from mlflow_pt_eval.errors import BadInput, with_kind


def batches_of(loader: Iterable[Any]) -> Iterator[Any]:
    """Iterate *loader*; the same batches in the same order, be the loader read here or by its own iterator."""
    plain = (
        type(loader) is DataLoader
        and not (loader.num_workers or loader.pin_memory)
        and type(loader.batch_sampler) is BatchSampler
        and type(loader.sampler) is SequentialSampler
    )
    return _read(loader) if plain and isinstance(loader, DataLoader) else iter(loader)


def reading_failed(start: int, error: BaseException) -> BadInput:
    """Return what to say of *error*, which came out of the user's data set or loader before sample *start*."""
    reason = with_kind(error)
    if "Original Traceback" in str(error):  # a worker's: what was raised there follows its last, indented lines
        _, _, last = str(error).rpartition('  File "')
        raised = (line for line in last.splitlines()[1:] if line.strip() and not line.startswith(" "))
        reason = f"{next(raised, reason)} (in a worker)"
    return BadInput(f"the data could not be read from sample {start} on: {reason}")


def _read(loader: DataLoader[Any]) -> Iterator[Any]:
    """Ask the data set itself, batch by batch: a sixteenth less time for a data set of small samples."""
    iter(loader)  # takes its seed from the random numbers, which a data set that draws some counts on
    dataset: Any = loader.dataset
    several: Callable[[list[int]], Any] | None = getattr(dataset, "__getitems__", None)
    collate = _together if loader.collate_fn is default_collate else loader.collate_fn
    for rows in loader.batch_sampler or ():
        yield collate([dataset[row] for row in rows] if several is None else several(rows))


def _together(items: Any) -> Any:
    """Do what `default_collate` does; of plain tuples it would count the parts of each item in Python."""
    if type(items[0]) is tuple:
        try:
            fields: list[Any] = list(zip(*items, strict=True))
        except ValueError:
            return default_collate(items)  # which says what is wrong with them
        return [default_collate(field) for field in fields]
    return default_collate(items)
