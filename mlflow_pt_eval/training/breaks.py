"""A loop over epochs that is left by `break`: whether its epoch is finished, and what the state was then."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from mlflow_pt_eval.state import is_part
from mlflow_pt_eval.training.accumulation import Accumulation
from mlflow_pt_eval.training.captures import Captures, Left
from mlflow_pt_eval.training.progress import Progress

_log = logging.getLogger("mlflow_pt_eval")
Marks = list[tuple[int, int, int]]


class Breaks:
    """Watches the body of each epoch for signs that it is done, since a `break` after that loses nothing.

    Signs are that its first `run.batches` has come to its end, or that `run.log` was called behind the last step.
    """

    def __init__(
        self, state: Mapping[str, Any], progress: Progress, captures: Captures, accumulation: Accumulation
    ) -> None:
        self._state, self._progress, self._captures, self._accumulation = state, progress, captures, accumulation
        self._first_step = self._first_update = 0
        self._marks: Marks | None = None  # of the tensors, when the epoch's batches had come to their end
        self._seen = False  # whether it was seen how the loop was left
        self._left: Left | None = None

    def begin_epoch(self) -> None:
        """Forget the epoch before."""
        self._first_step, self._first_update = self._progress.step, self._accumulation.updates
        self._marks, self._seen, self._left = None, False, None

    def batches_ended(self) -> None:
        """Note that the epoch's batches are done, and the tensors as they are."""
        self._marks = list(_marks(self._state))

    def leave(self, epoch: int) -> None:
        """Keep a copy of the state, if the body of *epoch* is done: called when its loop is left, in whatever way.

        Nobody can say here whether that is by `break` or by an exception, so nothing is decided, and nothing raised.
        """
        progress = self._progress
        if progress.epoch != epoch or not progress.epoch_open or self._seen:
            return
        self._seen = True
        if not self._is_done():
            return
        try:
            self._left = self._captures.leave()
        except Exception as error:
            _log.warning("the state at the end of epoch %d was not kept: %s", epoch, error)

    def taken(self) -> tuple[bool, Left | None]:
        """Say whether the epoch that is open counts as finished, and give the state that it left, if that was kept.

        A loop over something that holds the iterator, such as a `tqdm` in a variable, is not seen to be left: its
        epoch counts only if its batches were done, and no tensor has changed since.
        """
        if self._seen:
            left, self._left = self._left, None
            return left is not None, left
        return self._marks is not None and self._marks == list(_marks(self._state)), None

    def _is_done(self) -> bool:
        progress = self._progress
        if self._marks is not None:
            return True
        return progress.logged_at == progress.step and self._has_trained()

    def _has_trained(self) -> bool:
        """Say whether the epoch has done anything, as far as it can be known."""
        accumulation = self._accumulation
        nobody_counts = self._progress.step == 0 and not accumulation.updates
        return nobody_counts or self._progress.step > self._first_step or accumulation.updates > self._first_update


def _marks(state: Mapping[str, Any]) -> Iterator[tuple[int, int, int]]:
    """Yield what changes with each tensor of a module that is written to in place, or replaced."""
    for part in state.values():
        if isinstance(part, nn.Module):
            for tensor in (*part.parameters(), *part.buffers()):
                version = 0 if tensor.is_inference() else tensor._version
                yield id(tensor), version, 0 if is_part(tensor) else tensor.data_ptr()
