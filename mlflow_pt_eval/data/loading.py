"""From whatever a caller has to `Data`: read whole and in dataset order, sliced where it is tensors."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterable, Mapping, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from mlflow_pt_eval.class_names import check_class_names
from mlflow_pt_eval.data.batches import Arrays, Data, Inputs, Stream, as_inputs, as_targets, count
from mlflow_pt_eval.data.labels import ClassIndex, as_labels, class_index
from mlflow_pt_eval.data.numeric_names import read_labels
from mlflow_pt_eval.data.own_classes import check_own_classes
from mlflow_pt_eval.data.selection import batches_by_index, behind_subsets, selected
from mlflow_pt_eval.data.spec import load_spec
from mlflow_pt_eval.data.tables import check_label_columns, split_table
from mlflow_pt_eval.errors import BadInput, with_kind

_FORMS = "a DataLoader, a Dataset, (X, y), a DataFrame with target=, or a SPEC string"


def load_data(
    source: Any,
    *,
    target: Hashable | None = None,
    batch_size: int = 256,
    classes: Sequence[Hashable] | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
) -> Data:
    """Make *source* data that an evaluation reads once, whole and in dataset order.

    *source* is a DataLoader, a Dataset, `(X, y)` (tensors, arrays; X also a tuple or a dict of them), a DataFrame
    (with *target*, the label's column), any iterable of batches, or a SPEC string (see `load_spec`).
    A loader keeps its own batch size; *batch_size* is for everything else. Of its sampler counts only which samples
    it selects (a SubsetRandomSampler or a list of indices), and `drop_last` is not used: every sample is read once,
    which `notes` says. Where the samples are tensors (arrays,
    a TensorDataset, a Subset of one, or a loader over them with the default collate function), batches are slices.
    *classes* are the label values in the order of the model's outputs, if those are not 0 … K-1 (texts stand for
    numbers, too); *class_names* (see `check_class_names`) take their place for labels that are text, and for numbers
    of arrays and tables that can be nothing but the names of classes.
    Errors: BadInput and its kinds, in one line each.
    """
    batch_size, index = _checked_size(batch_size), _index(classes, class_names)
    if isinstance(source, str | Path):
        name = name or (Path(source).stem if Path(source).is_file() else str(source))
        source = load_spec(str(source), target=target)
    if classes is None and class_names is not None:
        check_own_classes(source, check_class_names(class_names))
    if target is not None and not isinstance(source, pd.DataFrame):
        raise BadInput(f"target={target!r} names a table's column, but the data is a {type(source).__name__}.")
    if isinstance(source, pd.DataFrame):
        source = split_table(source, target)
    data = _load(source, batch_size, index)
    return data if name is None else replace(data, name=name)


def _checked_size(batch_size: Any) -> int:
    try:
        size = operator.index(batch_size)
    except TypeError:
        size = 0
    if size < 1:
        raise BadInput(f"batch_size is {batch_size!r}; it must be a whole number of at least 1.")
    return size


def _index(classes: Sequence[Hashable] | None, class_names: Sequence[str] | None) -> ClassIndex | None:
    names = None if class_names is None else check_class_names(class_names)
    if classes is None:
        return None if names is None else class_index(names, text_only=True)
    index = class_index(classes)
    if names is not None and len(names) != len(index.numbers):
        raise BadInput(
            f"there are {len(index.numbers)} classes and {len(names)} class_names: both are in the order of the "
            "model's outputs, one for each."
        )
    return index


def _load(source: Any, batch_size: int, index: ClassIndex | None) -> Data:
    if isinstance(source, tuple | list):
        if len(source) != 2 or source[1] is None or _are_batches(source):
            way = "; of a list of batches the loader itself, or iter(batches)" if isinstance(source, list) else ""
            raise BadInput(f"a {type(source).__name__} of {len(source)} is no data with labels; give {_FORMS}{way}.")
        return _arrays(source[0], source[1], batch_size, index)
    if isinstance(source, DataLoader):
        return _loader(source, batch_size, index)
    if isinstance(source, torch.Tensor | np.ndarray | Mapping | str):
        raise BadInput(f"a {type(source).__name__} alone is no data with labels; give {_FORMS}.")
    if isinstance(source, Dataset) or (hasattr(source, "__getitem__") and hasattr(source, "__len__")):
        _need_length(source)
        sliced = _sliced(*behind_subsets(source), batch_size, index)
        return sliced or _stream(DataLoader(source, batch_size, generator=torch.Generator()), source, index)
    if isinstance(source, Iterable):
        return Stream(loader=source, n_samples=None, name=type(source).__name__, class_index=index)
    raise BadInput(f"a {type(source).__name__} is no data with labels; give {_FORMS}.")


def _are_batches(pair: tuple[Any, ...] | list[Any]) -> bool:
    """Say whether a list of two holds two batches, or samples, each with its label: as (X, y) they would be torn apart.

    A DataLoader's batches are lists of tensors, as many in each.
    """
    if not isinstance(pair, list):
        return False
    if any(all(isinstance(part, kind) for part in pair) for kind in (tuple, Mapping)):
        return True
    lists = all(isinstance(part, list) and len(part) == len(pair[0]) > 1 for part in pair)
    return lists and all(isinstance(tensor, torch.Tensor) and tensor.ndim > 0 for part in pair for tensor in part)


def _arrays(inputs: Any, labels: Any, batch_size: int, index: ClassIndex | None) -> Arrays:
    if index is not None and index.text_only and isinstance(labels, pd.DataFrame):
        check_label_columns(labels, list(index.numbers))
    tensors, (numbers, note) = as_inputs(inputs), read_labels(labels, index)
    if count(tensors) != len(numbers):
        pieces = 1 if isinstance(tensors, torch.Tensor) else len(tensors)
        parts = f", in {pieces} parts; a list of samples is made one tensor by torch.stack (np.stack)" * (pieces > 1)
        way = parts or ": give X and y of the same samples, in the same order"
        raise BadInput(f"there are {count(tensors)} inputs, but {len(numbers)} labels{way}.")
    targets = as_targets(labels, numbers, index)
    return Arrays(
        inputs=tensors,
        targets=targets,
        labels=numbers,
        batch_size=batch_size,
        name="arrays",
        notes=() if note is None else (note,),
        of_arrays=not _hold_tensors(inputs),
        columns=tuple(map(str, inputs.columns)) if isinstance(inputs, pd.DataFrame) else (),
    )


def _hold_tensors(inputs: Any) -> bool:
    held = inputs.values() if isinstance(inputs, Mapping) else inputs if isinstance(inputs, tuple | list) else (inputs,)
    return any(isinstance(part, torch.Tensor) for part in held)


def _loader(loader: DataLoader[Any], batch_size: int, index: ClassIndex | None) -> Data:
    _need_length(loader.dataset)
    size = loader.batch_size or getattr(batches_by_index(loader), "batch_size", None) or batch_size
    dataset, notes = selected(loader)
    inner, rows = behind_subsets(dataset)
    plain = type(loader) is DataLoader and loader.collate_fn is default_collate and loader.batch_sampler is not None
    if plain and (sliced := _sliced(inner, rows, size, index)) is not None:
        return replace(sliced, notes=notes)
    ordered = in_dataset_order(loader, dataset, size) if notes or not getattr(loader, "in_order", True) else loader
    return replace(_stream(ordered, dataset, index), notes=notes)


def _need_length(dataset: Any) -> None:
    if isinstance(dataset, IterableDataset):
        return
    try:
        len(dataset)
    except Exception as error:  # whatever the user's own method raises
        raise BadInput(
            f"the data set, a {type(dataset).__name__}, does not say its length ({with_kind(error)}): give it "
            "__len__, or make it an IterableDataset."
        ) from error


def _stream(loader: DataLoader[Any], dataset: Any, index: ClassIndex | None) -> Stream:
    # Without automatic batching an item is a batch, so the data set's length does not count samples.
    known = not isinstance(dataset, IterableDataset) and batches_by_index(loader) is not None
    return Stream(
        loader=loader, n_samples=len(dataset) if known else None, name=type(dataset).__name__, class_index=index
    )


def in_dataset_order(loader: DataLoader[Any], dataset: Dataset[Any], batch_size: int) -> DataLoader[Any]:
    """Return a loader over *dataset* that works as *loader* does, but gives every sample once, in order."""
    more: dict[str, Any] = {}
    if loader.num_workers:
        more = {"timeout": loader.timeout, "prefetch_factor": loader.prefetch_factor}
        more["multiprocessing_context"] = loader.multiprocessing_context
    if loader.batch_sampler is None and batches_by_index(loader) is not None:
        more["sampler"] = BatchSampler(SequentialSampler(cast(Sized, dataset)), batch_size, drop_last=False)
    return DataLoader(
        dataset,
        batch_size=None if loader.batch_sampler is None else batch_size,
        num_workers=min(loader.num_workers, 1) if isinstance(dataset, IterableDataset) else loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        generator=torch.Generator(),
        **more,
    )


def _sliced(dataset: Any, rows: torch.Tensor | None, batch_size: int, index: ClassIndex | None) -> Arrays | None:
    """Return the tensors of a TensorDataset, or its *rows*; None for any other data set."""
    if type(dataset) is not TensorDataset or len(dataset.tensors) < 2:
        return None
    *inputs, labels = dataset.tensors
    whole: Inputs = inputs[0] if len(inputs) == 1 else tuple(inputs)
    if rows is not None:
        labels = labels[rows]
    numbers = as_labels(labels, index=index)
    targets = as_targets(labels, numbers, index)
    return Arrays(
        inputs=whole, targets=targets, labels=numbers, batch_size=batch_size, name=type(dataset).__name__, index=rows
    )
