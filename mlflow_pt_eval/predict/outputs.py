"""A model's outputs, logits or probabilities by their values, and the scores they give."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import Outputs, Task
from mlflow_pt_eval.predict.activations import activate

# Rows are worked on in aligned blocks of this many numbers, which a core's cache holds: whatever the batches were,
# the same rows go through the same instructions, so that the scores are the same to the last bit.
_BLOCK = 1 << 17
# How far rounding may take probabilities above 1, and a row's sum from 1 (as far as scikit-learn's log_loss allows).
_ABOVE, _SUM = 1e-6, float(np.sqrt(np.finfo(np.float32).eps))
_KEPT = 32  # samples whose raw outputs are kept
_MANY = 20  # numbers that are all in [0, 1] hardly by chance
_SOME = 0.01  # of the rows: so many are not probabilities by chance
_WAY = "outputs='logits' or outputs='probabilities' (--outputs) says what they are"
_PROBABILITIES = (
    "the model's outputs look like probabilities, but were stated to be logits, so that they went through a softmax or "
    "sigmoid once more; if they are probabilities, give outputs='probabilities'"
)
_NEVER_POSITIVE = (
    "none of the model's outputs is above 0, so that as logits they never speak for a label; if they are logarithms of "
    "probabilities (logsigmoid), let the model return what stands inside the logarithm"
)


class NotFinite(BadInput):
    """A model's output is NaN or infinite for *sample*."""

    def __init__(self, message: str, sample: int) -> None:
        super().__init__(message)
        self.sample = sample


class Scores:
    """Takes a model's raw outputs batch by batch into one float32 array, and makes scores of them in place.

    Softmax for classes, sigmoid for one logit (giving the columns 1 - p and p) and for multilabel; nothing for
    probabilities. With *outputs* "auto" they are probabilities only if every value is in [0, 1] and, for classes,
    every row adds up to 1; that is known at the end. What is neither throughout is refused.
    *dtype* is what the model computes in: of half precision, probabilities may add up to 1 less exactly. With *hold*
    everything stays raw until `finish`.
    Errors: BadInput with the sample's number and the value for NaN, infinities, and what is no probability.
    """

    def __init__(
        self,
        task: Task,
        outputs: Outputs | Literal["auto"],
        width: int,
        capacity: int | None,
        *,
        dtype: torch.dtype = torch.float32,
        hold: bool = False,
    ) -> None:
        self.task, self.width = task, width
        self._known: Outputs | None = None if outputs == "auto" else outputs
        self.columns = 2 if width == 1 else width
        self._allocate(capacity or 1024)
        self._rows, self._hold = max(1, _BLOCK // self.columns), hold
        self._rounding = max(_SUM, torch.finfo(dtype).eps)
        self._filled = self._settled = 0
        self.first = torch.empty(0, width)  # a few raw outputs, (n, K) or (n, 1), which are scores soon after
        self.doubt: str | None = None  # what has to be said of outputs that hardly are what they are taken for

    @property
    def outputs(self) -> Outputs:
        """What the model's outputs are, as far as they have been seen."""
        return self._known or "probabilities"

    @property
    def n_classes(self) -> int:
        """How many different labels there can be: two where the columns are not classes of their own."""
        return 2 if self.task == "multilabel" else self.columns

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
        if not self._filled:
            self.first = self._raw[: min(end, _KEPT)].clone()
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
        if self.outputs == "logits" and (self.width == 1 or self.task == "multilabel"):
            scores = self._raw[: self._filled]
            if scores.numel() >= _MANY and scores.max() <= 0.5:
                self.doubt = _NEVER_POSITIVE
        elif self.outputs == "probabilities" and self.width == 1:
            torch.sub(1.0, self._array[:, 1], out=self._array[:, 0])
        elif self.outputs == "probabilities" and self._rounding > _SUM and self.task != "multilabel":
            self._add_up_to_one()
        return self._array[: self._filled].numpy()

    def _add_up_to_one(self) -> None:
        """Take from the scores what rounding to half precision has left over, with which no metric would take them."""
        scores = self._array[: self._filled].numpy()
        for start in range(0, self._filled, self._rows):
            scores[start : start + self._rows] /= scores[start : start + self._rows].sum(axis=1, keepdims=True)

    def _settle_whole_blocks(self) -> None:
        while self._filled - self._settled >= self._rows:
            self._settle(self._settled + self._rows)

    def _allocate(self, capacity: int) -> None:
        # By NumPy, which asks for huge pages: the first touch of a large array costs a fifth of torch's.
        self._array = torch.from_numpy(np.empty((capacity, self.columns), np.float32))
        self._raw = self._array[:, self.columns - self.width :]  # one logit stands in the second of two columns

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
            squares = np.einsum("i,i->", flat, flat)  # by BLAS it would wake threads that spin in the way of torch's
        if not np.isfinite(squares) and (bad := ~raw.isfinite()).any():
            message, sample = self._complaint(bad, begin, "every output must be finite")
            raise NotFinite(message, sample)
        if self._known == "logits" and not begin and self._look_like_probabilities(raw):
            self.doubt = _PROBABILITIES
        if self._known != "logits" and not self._could_be_probabilities(raw, begin):
            if begin:
                raise BadInput(
                    f"the model's outputs for samples 0 to {begin - 1} could be probabilities, those of the next "
                    f"{end - begin} cannot: {_WAY}."
                )
            self._known = "logits"
        if self._known == "logits":
            for start in range(begin, end, self._rows):
                rows = slice(start, min(end, start + self._rows))
                activate(self._array[rows], self.task, one_logit=self.width == 1)

    def _look_like_probabilities(self, raw: torch.Tensor) -> bool:
        """Say so of outputs that were stated to be logits."""
        if raw.min() < 0 or raw.max() > 1 + _ABOVE:
            return False
        if self.task == "multilabel" or self.width == 1:
            return raw.numel() >= _MANY
        return bool(((raw.sum(1) - 1).abs() <= self._rounding).all())

    def _could_be_probabilities(self, raw: torch.Tensor, start: int) -> bool:
        """Say so of outputs from sample *start* on; BadInput where they had to be, or look like it and are not."""
        outside = (raw < 0) | (raw > 1 + _ABOVE)
        if outside.any():
            if self._known == "probabilities":
                rule = "probabilities are in [0, 1]; for logits, give outputs='logits'"
                raise BadInput(self._complaint(outside, start, rule)[0])
            self._refuse_mixed(raw, outside, start)
            return False
        if self.task == "multilabel" or self.width == 1:
            return True
        sums = raw.sum(1)
        off = (sums - 1).abs() > self._rounding
        if not off.any():
            return True
        if self._known == "probabilities" or (raw.numel() >= _MANY and raw.any()):
            row = int(off.nonzero()[0])
            raise BadInput(
                f"the model's outputs for sample {start + row} are all in [0, 1], but add up to {float(sums[row]):g}: "
                "probabilities of classes add up to 1, a sigmoid for each does not; for logits, give outputs='logits' "
                "(--outputs logits)."
            )
        return False

    def _refuse_mixed(self, raw: torch.Tensor, outside: torch.Tensor, start: int) -> None:
        """Refuse outputs of which only some samples' are probabilities: no one reading of them all is right."""
        if self.task == "multilabel" or self.width == 1:
            return
        good = ((raw.sum(1) - 1).abs() <= self._rounding) & ~outside.any(1)
        if int(good.sum()) >= max(_MANY, _SOME * len(raw)):
            one, other = (start + int(rows.nonzero()[0]) for rows in (good, ~good))
            raise BadInput(
                f"the model's outputs are probabilities for sample {one}, but not for sample {other}: {_WAY}."
            )

    def _complaint(self, bad: torch.Tensor, start: int, rule: str) -> tuple[str, int]:
        """Return what to say of the first output that is *bad*, and its sample."""
        row, column = (int(i) for i in bad.nonzero()[0])
        sample, value = start + row, float(self._raw[start + row, column])
        return f"the model's output for sample {sample} is {value:g} in column {column}: {rule}.", sample
