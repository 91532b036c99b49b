"""Optimizers that are watched for their steps, be they wrapped or not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlflow_pt_eval.training.accumulation import Accumulation
from mlflow_pt_eval.training.progress import Progress


class Wrapped(torch.optim.Optimizer):
    """An optimizer in name alone, as Accelerate's: it never called torch's `__init__`, and hands everything on."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    @property
    def param_groups(self):
        return self.optimizer.param_groups

    def step(self, closure=None):
        self.optimizer.step(closure)


class Nameless(Wrapped):
    """Keeps what it wraps where nobody looks."""

    def __init__(self, optimizer):
        self._inner = optimizer


@pytest.mark.parametrize("wrap", [lambda o: o, Wrapped, lambda o: Wrapped(Wrapped(o))])
def test_a_checkpoint_waits_for_the_step_of_an_optimizer_in_a_wrapper(wrap):
    """The hook is the inner one's, since the wrapper has none."""
    model = nn.Linear(2, 1)
    optimizer = wrap(torch.optim.SGD(model.parameters(), lr=0.1))
    progress = Progress()
    watched = Accumulation(progress)
    watched.watch({"model": model, "optimizer": optimizer}, waits=True, says=True)
    model(torch.ones(1, 2)).sum().backward()
    progress.step = 1
    assert not watched.may_save(None)
    optimizer.step()
    progress.step = 2
    assert watched.may_save(None)
    assert watched.updates == 1
    watched.close()
    optimizer.step()
    assert watched.updates == 1


def test_an_optimizer_that_cannot_be_watched_keeps_no_checkpoint_waiting():
    """Whether its gradients are used nobody knows."""
    model = nn.Linear(2, 1)
    watched = Accumulation(Progress())
    watched.watch({"optimizer": Nameless(torch.optim.SGD(model.parameters(), lr=0.1))}, waits=True, says=True)
    model(torch.ones(1, 2)).sum().backward()
    assert watched.may_save(None)
