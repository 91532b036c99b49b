"""`predict`: every sample once through the model, to labels and scores."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import nn
from tqdm import tqdm

from mlflow_pt_eval.data import Arrays, Data, Stream, load_data, share
from mlflow_pt_eval.data.digest import digest as digest_of
from mlflow_pt_eval.data.digest import digesting
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import Outputs, Task
from mlflow_pt_eval.predict.gathering import Gathered
from mlflow_pt_eval.predict.guard import seldom_collecting, untouched
from mlflow_pt_eval.predict.loss import Criterion
from mlflow_pt_eval.predict.model import choose_device, evaluating, without_ddp
from mlflow_pt_eval.predict.predictions import Predictions
from mlflow_pt_eval.predict.ranks import Ranks, agreed

Progress = bool | Literal["auto"]
_log = logging.getLogger("mlflow_pt_eval")


def predict(
    model: nn.Module,
    data: Any,
    *,
    task: Task | Literal["auto"] = "auto",
    outputs: Outputs | Literal["auto"] = "auto",
    device: str | torch.device = "auto",
    batch_size: int = 256,
    criterion: Criterion | None = None,
    progress: Progress = "auto",
    digest: bool = False,
    distributed: bool = False,
    on_width: Callable[[int], object] | None = None,
) -> Predictions:
    """Run *model* over *data* (`Data`, or what `load_data` takes) and return labels and scores.

    The model is called in eval mode without gradients: with a tensor as it is, with a tuple as its arguments, with
    a dict as its keywords; it returns scores as a tensor, a tuple's first part or a dict's `logits`. Modes, random
    numbers and the caller's arrays are afterwards as they were.
    *task* "auto": labels (N, K) are multilabel; one output or two are binary; more are multiclass.
    *outputs* "auto": probabilities if all are in [0, 1] and rows add up to 1, else logits; which is said.
    The criterion gets the model's outputs and the labels as the data has them; integer labels, one for each output,
    in the outputs' dtype and shape. *progress* "auto" shows a bar on a terminal only.
    With *distributed* every process of the job calls this with the same arguments; each sample goes through one of
    them, and all return what a single process would, to the last bit.
    Scores depend on the batch size only as far as the model's own forward pass does (BLAS may choose another
    kernel). *on_width* is told K, the scores' columns, as soon as the first batch says it, so that what does not fit
    can be refused at once.
    Errors: BadInput, with the sample's number where one is to blame; RankFailed where another process failed.
    """
    _check_choices(task, outputs)
    ranks = Ranks.current() if distributed else None
    model = without_ddp(model)
    with agreed(ranks):
        data = data if isinstance(data, Arrays | Stream) else load_data(data, batch_size=batch_size)
        mine = data if ranks is None else share(data, ranks.rank, ranks.size)
        for note in data.notes if ranks is None or ranks.is_first else ():
            _log.warning(note)
        gathered = Gathered(mine, choose_device(model, device), task, outputs, criterion, ranks, on_width)
        with ExitStack() as stack:
            done = stack.enter_context(_bar(mine.n_samples, progress))
            hasher = stack.enter_context(digesting()) if digest and ranks is None else None
            stack.enter_context(untouched(mine.loader if isinstance(mine, Stream) else None))
            gathered.note_modes(stack.enter_context(evaluating(model)))
            stack.enter_context(seldom_collecting())
            gathered.read(model, hasher, done)
            hashed = None if hasher is None else hasher.hexdigest()
    found = gathered.result()
    if ranks is not None and digest:
        hashed = _digest_of_first(ranks, data)
    return replace(found, digest=hashed)


def _digest_of_first(ranks: Ranks, data: Data) -> str:
    """Return the digest, for which rank 0 reads all of the data: a hash goes through it in order."""
    text = ""
    with agreed(ranks), untouched(data.loader if isinstance(data, Stream) else None):
        if ranks.is_first:
            text = digest_of(data)
    letters = torch.tensor(list(text.encode().ljust(32)), dtype=torch.uint8)
    return bytes(ranks.from_first(letters).tolist()).decode()


def _check_choices(task: str, outputs: str) -> None:
    for name, value, choices in (
        ("task", task, ("auto", *get_args(Task))),
        ("outputs", outputs, ("auto", *get_args(Outputs))),
    ):
        if value not in choices:
            raise BadInput(f"{name} is {value!r}; it must be one of {', '.join(choices)}.")


@contextmanager
def _bar(total: int | None, progress: Progress) -> Iterator[Callable[[int], object]]:
    """Give a function that takes the number of samples just done, and shows it where there is someone to see it."""
    if not (sys.stderr.isatty() if progress == "auto" else progress):
        yield lambda done: None
        return
    with tqdm(total=total, desc="evaluate", unit=" samples", unit_scale=True, leave=False) as bar:
        yield bar.update
