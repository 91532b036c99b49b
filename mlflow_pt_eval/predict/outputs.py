"""What a model's outputs mean: the task by shapes, logits or probabilities by values, and the scores they give."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from mlflow_pt_eval.data.labels import Labels
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import Outputs, Task

# Rows are worked on in aligned blocks of this many numbers, which a core's cache holds: whatever the batches were,
# the same rows go through the same instructions, so that the scores are the same to the last bit.
_BLOCK = 1 << 17
_VECTOR = 16  # torch's softmax over fewer numbers than a register holds is scalar: across the rows it is 15 x faster
# How far rounding may take probabilities above 1, and a row's sum from 1 (as far as scikit-learn's log_loss allows).
_ABOVE, _SUM = 1e-6, float(np.sqrt(np.finfo(np.float32).eps))


def first_shape(scores: torch.Tensor, labels: Labels) -> torch.Tensor:
    """Check the first batch's scores; a model that squeezes a batch of one gets its first dimension back."""
    if len(labels) == 1 and (scores.ndim == 0 or (scores.ndim == 1 and len(scores) > 1)):
        scores = scores.reshape(1, -1)
    if scores.ndim not in (1, 2) or len(scores) != len(labels) or not scores.is_floating_point():
        kind = str(scores.dtype).removeprefix("torch.")
        raise BadInput(
            f"for {len(labels)} samples the model returned {kind} of shape {tuple(scores.shape)}: "
            "it must return float scores of shape (N, K), or (N,) or (N, 1) for one logit."
        )
    return scores


def infer_task(wanted: Task | Literal["auto"], scores: torch.Tensor, labels: Labels) -> Task:
    """Return the task: labels (N, K) are multilabel; one output, or two, is binary; more is multiclass.

    *wanted* ("auto" for the rule alone) chooses multiclass for two outputs; BadInput where it does not fit.
    """
    width = 1 if scores.ndim == 1 else scores.shape[1]
    if labels.ndim == 2:
        if labels.shape[1] != width:
            raise BadInput(
                f"labels of shape (N, {labels.shape[1]}) are multilabel, but the model has {width} outputs; "
                "give classes as (N,), or a model with one output a label."
            )
        fits: tuple[Task, ...] = ("multilabel",)
    else:
        fits = ("binary",) if width == 1 else ("binary", "multiclass") if width == 2 else ("multiclass",)
    if wanted == "auto":
        return fits[0]
    for task in fits:
        if task == wanted:
            return task
    shape = "(N, K)" if labels.ndim == 2 else "(N,)"
    raise BadInput(f"task is {wanted!r}, but labels of shape {shape} with {width} outputs are {' or '.join(fits)}.")


class Scores:
    """Takes a model's raw outputs batch by batch into one float32 array, and makes scores of them in place.

    Softmax for classes, sigmoid for one logit (giving the columns 1 - p and p) and for multilabel; nothing for
    probabilities. With *outputs* "auto" they are probabilities only if every value is in [0, 1] and, for classes,
    every row adds up to 1; that is known at the end.
    With *hold* everything stays raw until `finish`.
    Errors: BadInput with the sample's number and the value for NaN, infinities, and what is no probability.
    """

    def __init__(
        self, task: Task, outputs: Outputs | Literal["auto"], width: int, capacity: int | None, *, hold: bool = False
    ) -> None:
        self.task, self.width = task, width
        self._known: Outputs | None = None if outputs == "auto" else outputs
        self._columns = 2 if width == 1 else width
        self._allocate(capacity or 1024)
        self._rows, self._hold = max(1, _BLOCK // self._columns), hold
        self._filled = self._settled = 0

    @property
    def outputs(self) -> Outputs:
        """What the model's outputs are, as far as they have been seen."""
        return self._known or "probabilities"

    @property
    def n_classes(self) -> int:
        """How many different labels there can be: two where the columns are not classes of their own."""
        return 2 if self.task == "multilabel" else self._columns

    def add(self, scores: torch.Tensor, n_samples: int) -> None:
        """Take the raw outputs of the next *n_samples*: (n, K) or, for one logit, (n,) or (n, 1)."""
        if scores.ndim < 2 or n_samples == 1:
            scores = scores.reshape(-1, self.width) if scores.numel() == n_samples * self.width else scores
        if scores.shape != (n_samples, self.width):
            raise BadInput(
                f"for {n_samples} samples from {self._filled} on, the model returned scores of shape "
                f"{tuple(scores.shape)}, but {self.width} a sample before."
            )
        end = self._filled + n_samples
        if end > self._array.shape[0]:
            self._grow(end)
        self._raw[self._filled : end].copy_(scores)
        self._filled = end
        if end - self._settled >= self._rows and not self._hold:
            self._settle_whole_blocks()

    def raw(self) -> torch.Tensor:
        """Return the raw outputs, (n, K) or (n, 1), of scores that are held."""
        return self._raw[: self._filled]

    def finish(self) -> npt.NDArray[np.float32]:
        """Return the scores, (N, K)."""
        self._settle_whole_blocks()
        if self._filled > self._settled:
            self._settle(self._filled)
        if self.outputs == "probabilities" and self.width == 1:
            torch.sub(1.0, self._array[:, 1], out=self._array[:, 0])
        return self._array[: self._filled].numpy()

    def _settle_whole_blocks(self) -> None:
        while self._filled - self._settled >= self._rows:
            self._settle(self._settled + self._rows)

    def _allocate(self, capacity: int) -> None:
        # By NumPy, which asks for huge pages: the first touch of a large array costs a fifth of torch's.
        self._array = torch.from_numpy(np.empty((capacity, self._columns), np.float32))
        self._raw = self._array[:, self._columns - self.width :]  # one logit stands in the second of two columns

    def _grow(self, needed: int) -> None:
        filled = self._array[: self._filled]
        self._allocate(max(needed, 2 * len(self._array)))
        self._array[: self._filled] = filled

    def _settle(self, end: int) -> None:
        """Check the raw outputs up to *end*, and make scores of them once it is known that they are logits."""
        begin, self._settled = self._settled, end
        raw = self._raw[begin:end]
        # One sum of squares finds what is not finite; one that overflows by itself is looked at again.
        flat = raw.numpy().reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = flat @ flat
        if not np.isfinite(squares) and (bad := ~raw.isfinite()).any():
            self._refuse(bad, begin, "every output must be finite")
        if self._known != "logits" and (bad := self._improbable(raw)).any():
            if self._known == "probabilities":
                self._refuse(bad, begin, "probabilities are in [0, 1] and add up to 1; or are these logits?")
            self._known, begin = "logits", 0
        if self._known == "logits":
            for start in range(begin, end, self._rows):
                self._activate(slice(start, min(end, start + self._rows)))

    def _improbable(self, raw: torch.Tensor) -> torch.Tensor:
        bad = (raw < 0) | (raw > 1 + _ABOVE)
        if self.task != "multilabel" and self.width > 1:
            bad |= ((raw.sum(1) - 1).abs() > _SUM)[:, None]
        return bad

    def _activate(self, rows: slice) -> None:
        block = self._array[rows]
        if self.width == 1:
            logits = block[:, 1].clone()
            block[:, 0], block[:, 1] = (-logits).sigmoid(), logits.sigmoid()
        elif self.task == "multilabel":
            block.copy_(block.sigmoid())
        elif self.width < _VECTOR:
            # Transposed by NumPy, whose copies of few columns are three times as fast as torch's.
            columns = torch.from_numpy(np.ascontiguousarray(block.numpy().T))
            block.numpy()[:] = columns.softmax(0).numpy().T
        else:
            # In place: torch reads a row whole before it writes it, and a copy back would take as long again.
            torch.softmax(block, 1, out=block)

    def _refuse(self, bad: torch.Tensor, start: int, rule: str) -> None:
        row, column = (int(i) for i in bad.nonzero()[0])
        value = float(self._raw[start + row, column])
        raise BadInput(f"the model's output for sample {start + row} is {value:g} in column {column}: {rule}.")
