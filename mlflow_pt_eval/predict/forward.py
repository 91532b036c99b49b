"""The forward pass: in pieces that fit into memory, and never writing to the caller's data."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import torch
from torch import nn

from mlflow_pt_eval.data import Arrays, Data
from mlflow_pt_eval.data.batches import Batch, Inputs, count, each, parts
from mlflow_pt_eval.errors import BadInput, PtEvalError, first_line, with_kind
from mlflow_pt_eval.predict.model import call, scores_in
from mlflow_pt_eval.wording import listed

# What torch says of numbers in a format that a layer's weights are not in.
_OTHER_FORMAT = re.compile(r"same dtype|dtype mismatch|scalar type|type .* should be the same")
_OTHER_SHAPE = "Guard failed"  # torch's word for inputs that a graph was not exported for
_BATCH_SIZE = re.compile(r"Guard failed: .*\.size\(\)\[0\]")  # of those, ones of so many samples
_NO_MEMORY = re.compile(
    r"DefaultCPUAllocator: can't allocate memory|CUDA error: out of memory|\w+ backend out of memory"
)
WIDENED = (
    "the inputs were arrays, which become float32, and were given to the model as float64, which its weights are; for "
    "all of their digits give tensors: torch.as_tensor(X)"
)
_log = logging.getLogger("mlflow_pt_eval")


class Forward:
    """Calls a model on batches; halves them for good when the memory does not suffice, which `notes` then says.

    With *may_widen* it is given floating inputs as float64 once it has refused them as they are. *columns* are the
    names of a table's inputs, for messages.
    """

    def __init__(
        self, model: nn.Module, device: torch.device, *, may_widen: bool = False, columns: Sequence[str] = ()
    ) -> None:
        self._model = model
        self._device = device
        self._columns = columns
        self._may_widen, self._wide = may_widen, False
        self._limit: int | None = None
        self._writes: bool | None = None  # whether the model changes its inputs in place; unknown before the first
        self.notes: list[str] = []

    def __call__(self, batch: Batch, start: int) -> list[tuple[slice, torch.Tensor]]:
        """Return the model's scores for *batch*, whose first sample is number *start*, in the pieces it took."""
        done, total = 0, len(batch.labels)
        pieces: list[tuple[slice, torch.Tensor]] = []
        while done < total:
            rows = slice(done, total if self._limit is None else min(total, done + self._limit))
            whole = rows.stop - done == total
            scores = self._try(batch.inputs if whole else _cut(batch.inputs, rows), start + done)
            if scores is not None:
                pieces.append((rows, scores))
                done = rows.stop
        return pieces

    def again(self, inputs: Inputs) -> torch.Tensor:
        """Return the scores for *inputs*, or raise what the model raises."""
        return scores_in(self._call(inputs))

    def _try(self, inputs: Inputs, start: int) -> torch.Tensor | None:
        try:
            return scores_in(self._call(inputs))
        except PtEvalError:
            raise
        except Exception as error:
            size = count(inputs)
            if self._may_widen and not self._wide and _OTHER_FORMAT.search(first_line(error)):
                self._wide = True
                self._say(WIDENED)
                return None
            if not _out_of_memory(error) or size == 1:
                raise BadInput(self._failed(inputs, start, error)) from error
        # Here the exception is gone, and with it what it kept alive of the failed call.
        self._halve(size)
        return None

    def _call(self, inputs: Inputs) -> object:
        moved = each(inputs, self._moved)
        if self._writes is not False:
            moved = each(moved, torch.clone)
        before = _writes_to(moved)
        output = call(self._model, moved)
        if self._writes is not True and _writes_to(moved) != before:
            if self._writes is False and self._device.type == "cpu":
                raise BadInput("the model changed a later batch of its inputs in place: your data is changed too.")
            self._writes = True
        self._writes = bool(self._writes)
        return output

    def _moved(self, part: torch.Tensor) -> torch.Tensor:
        if self._wide and part.is_floating_point():
            return part.to(self._device, torch.float64, non_blocking=True)
        return part if part.device == self._device else part.to(self._device, non_blocking=True)

    def _halve(self, size: int) -> None:
        self._limit = max(1, size // 2)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self._say(f"out of memory with {size} samples at once: went on with {self._limit}")

    def _say(self, note: str) -> None:
        self.notes.append(note)
        _log.warning(note)

    def _failed(self, inputs: Inputs, start: int, error: Exception) -> str:
        inputs = each(inputs, self._moved)
        shapes = ", ".join(f"{tuple(p.shape)} {str(p.dtype).removeprefix('torch.')}" for p in parts(inputs))
        of = f" of the columns {listed(self._columns, 12)}" if self._columns else ""
        return (
            f"the model failed on the {count(inputs)} samples from {start} on, with inputs {shapes}{of}: "
            f"{with_kind(error)}{self._hint(inputs, first_line(error))}"
        )

    def _hint(self, inputs: Inputs, reason: str) -> str:
        if _BATCH_SIZE.search(reason):
            return (
                "; the graph was exported for other numbers of samples: export it again with an example of two or more "
                "samples and a dynamic batch (dynamic_shapes), or give another batch_size"
            )
        if _OTHER_SHAPE in reason:
            return (
                "; the model was registered with inputs of another shape: look for a column too many, or too few. If "
                "the shape is right, register the model with factory=, or give the module of your own class, in "
                "Python: evaluate(uri, data, into=MyNet())"
            )
        return self._dtype_hint(inputs, reason)

    def _dtype_hint(self, inputs: Inputs, reason: str) -> str:
        """Return what to do where the inputs' number format is to blame: arrays of whole numbers are easily stored."""
        first = next(self._model.parameters(), None)
        if first is None or not _OTHER_FORMAT.search(reason) or all(p.dtype == first.dtype for p in parts(inputs)):
            return ""
        wanted = str(first.dtype).removeprefix("torch.")
        # As tensors, which stay as they are; arrays of float64 become float32 on their way.
        file = "stored so" if wanted == "float32" else "by --data package.module:callable, which returns such tensors"
        return (
            f"; the model's weights are {wanted}: give the inputs as {wanted}, too: "
            f"torch.as_tensor(X, dtype={first.dtype}); a file's, {file}"
        )


def may_widen(data: Data, model: nn.Module) -> bool:
    """Say whether *data*'s inputs were arrays, and so became float32, and all of *model*'s weights are float64."""
    if not isinstance(data, Arrays) or not data.of_arrays:
        return False
    weights = {weight.dtype for weight in model.parameters() if weight.is_floating_point()}
    return weights == {torch.float64} and any(part.is_floating_point() for part in parts(data.inputs))


def _cut(inputs: Inputs, rows: slice) -> Inputs:
    return each(inputs, lambda part: part[rows])


def _writes_to(inputs: Inputs) -> int:
    """Return how often *inputs* have been written to, which torch counts for a tensor and all its views together."""
    if isinstance(inputs, torch.Tensor):  # nearly always, and batches are many
        return 0 if inputs.is_inference() else inputs._version  # an inference tensor cannot be written to here
    return sum(_writes_to(part) for part in parts(inputs))


def _out_of_memory(error: BaseException | None) -> bool:
    """Say so of an error, or of one that it was raised from; not every device has an exception of its own for it."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError) or _NO_MEMORY.search(str(error)):
            return True
        error = error.__cause__
    return False
