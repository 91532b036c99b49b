"""Batches in dataset order: slices of whole tensors where the data is tensors, a loader's otherwise."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, default_collate

from mlflow_pt_eval.data.items import batches_of, reading_failed
from mlflow_pt_eval.data.labels import ClassIndex, Labels, as_labels
from mlflow_pt_eval.data.tables import matrix
from mlflow_pt_eval.errors import BadInput, PtEvalError
from mlflow_pt_eval.names import LABEL_KEYS
from mlflow_pt_eval.wording import listed

# What a model is called with: model(x), model(*tuple), model(**mapping).
Inputs = torch.Tensor | tuple[torch.Tensor, ...] | dict[str, torch.Tensor]


class Batch(NamedTuple):
    """Some consecutive samples: *targets* are the labels as the data has them, for a criterion; *labels* int64."""

    inputs: Inputs
    targets: torch.Tensor
    labels: Labels


@dataclass(frozen=True, eq=False, kw_only=True)
class Arrays:
    """Data that is whole tensors: batches are slices (or, with *index*, gathered rows), without a copy of the rest.

    The first dimension of *inputs*' tensors counts samples; *targets* and *labels* belong to the samples already
    in their final order, *index* (int64, (N,)) gives the rows of *inputs*. *offset* is the first sample's number in
    the whole, where this is a part of it. *of_arrays* says that no tensors were given, so that the numbers' format
    (float32) was chosen here. *columns* are the names of a table's inputs, for messages.
    """

    inputs: Inputs
    targets: torch.Tensor
    labels: Labels
    batch_size: int
    name: str
    index: torch.Tensor | None = None
    notes: tuple[str, ...] = ()
    offset: int = 0
    of_arrays: bool = False
    columns: tuple[str, ...] = ()

    @property
    def n_samples(self) -> int:
        """How many samples there are."""
        return len(self.labels)

    def batches(self, *, targets: bool = True) -> Iterator[Batch]:
        """Give every sample once, in order; *targets* that are not wanted are left empty, since slices take time."""
        none = self.targets[:0]
        for start in range(0, self.n_samples, self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield Batch(self._inputs(rows), self.targets[rows] if targets else none, self.labels[rows])

    def samples(self, indices: Sequence[int]) -> list[torch.Tensor] | None:
        """Return single inputs; None where they have several parts."""
        if not isinstance(self.inputs, torch.Tensor):
            return None
        rows = indices if self.index is None else self.index[list(indices)].tolist()
        return [self.inputs[row] for row in rows]

    def _inputs(self, rows: slice) -> Inputs:
        if self.index is None:
            whole = self.inputs
            return whole[rows] if isinstance(whole, torch.Tensor) else each(whole, lambda part: part[rows])
        gathered = self.index[rows]
        return each(self.inputs, lambda part: part[gathered])


@dataclass(frozen=True, eq=False, kw_only=True)
class Stream:
    """Data that a loader gives batch by batch, in the order it has; *n_samples* is None where nobody knows.

    *offset* is the first sample's number in the whole, where this is a part of it.
    """

    loader: Iterable[Any]
    n_samples: int | None
    name: str
    class_index: ClassIndex | None = None
    notes: tuple[str, ...] = ()
    offset: int = 0

    def batches(self, *, targets: bool = True) -> Iterator[Batch]:
        """Give every sample once, as the loader does, which gives their *targets* in any case.

        BadInput, too, for what the data set or the loader raises.
        """
        start, columns = self.offset, None
        try:  # around the loop: batches are many
            for raw in batches_of(self.loader):
                inputs, targets = split(raw)
                batch = self._batch(as_inputs(inputs), targets, start)
                if batch.labels.shape[1:] != columns:
                    columns = _same_columns(batch.labels, columns, start)
                start += len(batch.labels)
                yield batch
        except PtEvalError:
            raise
        except (Exception, SystemExit) as error:
            raise reading_failed(start, error) from error

    def _batch(self, inputs: Inputs, targets: Any, start: int) -> Batch:
        if type(targets) is list and getattr(self.loader, "collate_fn", None) is default_collate:
            targets = _of_lists(targets)
        labels = as_labels(targets, index=self.class_index, start=start)
        if count(inputs) != len(labels):
            raise BadInput(f"from sample {start} on, a batch has {count(inputs)} samples, but {len(labels)} labels.")
        return Batch(inputs, as_targets(targets, labels, self.class_index), labels)

    def samples(self, indices: Sequence[int]) -> list[torch.Tensor] | None:
        """Return single inputs once more, as the loader makes them; None where it has no length, or they have parts."""
        found = self.again(indices) or []
        single = [one[0] for one in found if isinstance(one, torch.Tensor)]
        return single if found and len(single) == len(found) else None

    def again(self, indices: Sequence[int]) -> list[Inputs] | None:
        """Return samples' inputs once more, each as a batch of one, made by the loader; None where it has no length."""
        dataset: Any = getattr(self.loader, "dataset", None)
        items = getattr(self.loader, "batch_sampler", None) is not None  # else an item may be a batch
        if self.n_samples is None or not items or not hasattr(dataset, "__getitem__"):
            return None
        # A sample may be text, or an object of the user's: only the loader's own function makes tensors of it.
        collate = getattr(self.loader, "collate_fn", None)
        again = DataLoader(dataset, 1, sampler=list(indices), collate_fn=collate, generator=torch.Generator())
        return [as_inputs(split(raw)[0]) for raw in again]


Data = Arrays | Stream


def split(batch: Any) -> tuple[Any, Any]:
    """Split a loader's batch into inputs and labels.

    A pair is (inputs, labels); of a longer tuple the last part is the labels and the others are the model's
    arguments; a mapping holds its labels under `labels` or `label`. BadInput for anything else.
    """
    if isinstance(batch, tuple | list) and len(batch) >= 2:
        return (batch[0] if len(batch) == 2 else tuple(batch[:-1])), batch[-1]
    if isinstance(batch, Mapping):
        key = next((key for key in LABEL_KEYS if key in batch), None)
        if key is not None and len(batch) > 1:
            return {name: part for name, part in batch.items() if name != key}, batch[key]
        raise BadInput(f"a batch has the keys {', '.join(map(str, batch))}: it needs inputs, and labels as 'labels'.")
    raise BadInput(f"a batch is {_described(batch)}: it must be (inputs, labels), or a mapping with 'labels'.")


def as_inputs(raw: Any) -> Inputs:
    """Make inputs tensors: one, a tuple or a dict of them, all of one length.

    A NumPy array of float64 becomes float32, which is what models hold; a tensor stays as it is.
    """
    if isinstance(raw, torch.Tensor) and raw.ndim:  # nearly always, and a loader's batches are many
        return raw
    if isinstance(raw, Mapping):
        inputs: Inputs = {str(key): as_tensor(part) for key, part in raw.items()}
    elif isinstance(raw, tuple | list) and raw and all(isinstance(p, torch.Tensor | np.ndarray) for p in raw):
        inputs = tuple(as_tensor(part) for part in raw)
    else:
        inputs = as_tensor(raw)
    lengths = {len(part) if part.ndim else None for part in parts(inputs)}
    if len(lengths) != 1 or None in lengths:
        shapes = [str(tuple(part.shape)) for part in parts(inputs)]
        raise BadInput(
            f"the inputs are {len(shapes)} parts of the shapes {listed(shapes, 3)}: the first dimension must "
            "count the samples in each; a list of samples is made one tensor by torch.stack (np.stack)."
        )
    return inputs


def as_tensor(raw: Any) -> torch.Tensor:
    """Make one input a tensor; BadInput for what holds no numbers."""
    if isinstance(raw, torch.Tensor):
        return raw
    try:
        array = np.asarray(raw)
    except (ValueError, TypeError) as error:  # parts of several lengths, or tensors on a device
        raise BadInput(f"the inputs are {_described(raw)}, which makes no array: give tensors or arrays.") from error
    if array.dtype.kind == "O" and isinstance(raw, pd.DataFrame):  # columns of several types, or of pandas' own
        array = matrix(raw)
    if array.dtype.kind not in "biuf":
        raise BadInput(f"the inputs are {_described(raw)}: they must be tensors, or arrays of numbers.")
    if min(array.strides, default=0) < 0:  # which torch refuses, also of one sample, which counts as contiguous
        array = array.copy()
    wide = array.dtype.kind == "f" and array.dtype.itemsize >= 8
    array = np.ascontiguousarray(array, dtype=np.float32 if wide else array.dtype.newbyteorder("="))
    with warnings.catch_warnings():
        # Read-only arrays (a memory map, a table's column) are not copied: `predict` never writes to its inputs.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def as_targets(raw: Any, labels: Labels, index: ClassIndex | None) -> torch.Tensor:
    """Give a criterion the labels as the data has them, or as int64 where they may be looked up or are no tensor."""
    untouched = isinstance(raw, torch.Tensor) and (index is None or (index.text_only and raw.dtype != torch.bool))
    return raw if untouched else torch.from_numpy(labels)


def parts(inputs: Inputs) -> list[torch.Tensor]:
    """Return the tensors of *inputs*: in order, of a dict by sorted key."""
    if isinstance(inputs, torch.Tensor):
        return [inputs]
    return list(inputs) if isinstance(inputs, tuple) else [inputs[key] for key in sorted(inputs)]


def each(inputs: Inputs, change: Callable[[torch.Tensor], torch.Tensor]) -> Inputs:
    """Apply *change* to every tensor of *inputs*."""
    if isinstance(inputs, torch.Tensor):
        return change(inputs)
    if isinstance(inputs, tuple):
        return tuple(change(part) for part in inputs)
    return {key: change(part) for key, part in inputs.items()}


def count(inputs: Inputs) -> int:
    """Return how many samples *inputs* hold."""
    # The shape, since a tensor's len() takes several times as long, and a loader's batches are many.
    return (inputs if isinstance(inputs, torch.Tensor) else parts(inputs)[0]).shape[0]


def _of_lists(targets: list[Any]) -> Any:
    """Undo what `default_collate` does to labels that are lists of numbers: K tensors (n,), not n rows of K."""
    tensors = bool(targets) and all(isinstance(part, torch.Tensor) and part.ndim == 1 for part in targets)
    return torch.stack(targets, dim=1) if tensors else targets


def _same_columns(labels: Labels, before: tuple[int, ...] | None, start: int) -> tuple[int, ...]:
    """Return the labels' shape without the samples; BadInput where it is another one than *before*."""
    columns = labels.shape[1:]
    if before is not None:
        new, old = (f"(N, {form[0]})" if form else "(N,)" for form in (columns, before))
        raise BadInput(f"from sample {start} on, the labels have the shape {new}, but before it {old}: give all alike.")
    return columns


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, list | tuple) else "")
