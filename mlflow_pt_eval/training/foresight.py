"""What would fail at a training's end, said at its start: a model that cannot be registered as it is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from torch import nn
from torch.nn.parameter import is_lazy

from mlflow_pt_eval.errors import PtEvalError
from mlflow_pt_eval.exporting.candidate import take_candidate
from mlflow_pt_eval.exporting.snapshot import unwrapped

if TYPE_CHECKING:
    from mlflow_pt_eval.training.session import Session

_log = logging.getLogger("mlflow_pt_eval")


def foresee(session: Session) -> None:
    """Warn of each model that is to be registered and would be refused: its example, its export, its factory.

    No error, since the training is worth its time all the same, and `register_best` does it afterwards. A lazy module
    is let be, which gets its weights with the first batch, and one of which this process holds only a part.
    """
    if not session.ranks.is_first or session.rehearsal is not None or session.captures.sharded:
        return
    for wanted in session.plan.registering:
        model = unwrapped(cast("nn.Module", session.state["model"]))
        if any(is_lazy(held) for held in (*model.parameters(), *model.buffers())):
            return
        try:
            take_candidate(model, **wanted.described).check()
        except PtEvalError as error:
            _log.warning("at its end this training could not register %r: %s", wanted.name, error)
