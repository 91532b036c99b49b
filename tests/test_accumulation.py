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


class Two:
    """Two halves of a model, each with its optimizer, watched; *step* does one batch, in which some of them step."""

    def __init__(self):
        self.halves = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
        self.optimizers = [torch.optim.SGD(half.parameters(), lr=0.1) for half in self.halves]
        self.progress = Progress()
        self.watched = Accumulation(self.progress)
        self.watched.watch(dict(zip("ab", self.optimizers, strict=True)), waits=True, says=True)

    def batch(self, backward, step, *, free=True):
        """Do one batch; say whether a checkpoint may be made after it."""
        for one in backward:
            self.halves[one](torch.ones(1, 2)).sum().backward()
        for one in step:
            self.optimizers[one].step()
            if free:
                self.optimizers[one].zero_grad()
        self.progress.step += 1
        return self.watched.may_save(None)


def test_a_checkpoint_waits_for_the_optimizer_that_accumulates():
    """Though another steps in each batch."""
    two = Two()
    assert [two.batch([0, 1], [0, 1] if step % 3 == 2 else [0]) for step in range(9)] == [False, False, True] * 3


def test_gradients_that_are_left_over_keep_no_checkpoint_waiting():
    """As a generator's while the discriminator steps alone; that they are, is known of the first only a batch later."""
    two = Two()
    assert two.batch([0, 1], [0, 1], free=False)
    assert [two.batch([0], [0], free=False) for _ in range(4)] == [False, True, True, True]
    assert two.batch([0, 1], [0, 1], free=False)
    assert two.batch([0], [0], free=False)


@pytest.mark.parametrize("free", [True, False])
def test_gradients_that_grow_by_turns_keep_a_checkpoint_waiting(free):
    """Nothing is added to them in every second batch: they wait all the same, until their optimizer steps."""
    two = Two()
    turns = [([0], [0]), ([1], []), ([0], [0]), ([1], [1])]
    assert [two.batch(*turn, free=free) for turn in turns * 3][4:] == [True, False, False, True] * 2


def test_gradients_that_another_optimizer_uses_keep_no_checkpoint_waiting():
    """One for each phase of a training, over the same parameters."""
    model, progress = nn.Linear(2, 1), Progress()
    first, later = (torch.optim.SGD(model.parameters(), lr=0.1) for _ in range(2))
    watched = Accumulation(progress)
    watched.watch({"first": first, "later": later}, waits=True, says=True)
    model(torch.ones(1, 2)).sum().backward()
    first.step()
    progress.step = 1
    assert watched.may_save(None)


def test_an_optimizer_that_cannot_be_watched_keeps_no_checkpoint_waiting():
    """Whether its gradients are used nobody knows."""
    model = nn.Linear(2, 1)
    watched = Accumulation(Progress())
    watched.watch({"optimizer": Nameless(torch.optim.SGD(model.parameters(), lr=0.1))}, waits=True, says=True)
    model(torch.ones(1, 2)).sum().backward()
    assert watched.may_save(None)
