"""The arguments of a training: the forms that people give, and one line for each mistake, before a run exists."""

from __future__ import annotations

import argparse
import types
from dataclasses import dataclass, field

import mlflow
import numpy as np
import pytest
import torch

import mlflow_pt_eval as mpe
from mlflow_pt_eval.errors import BadInput

pytestmark = pytest.mark.usefixtures("tracking")
MODEL = torch.nn.Linear(2, 2)


@dataclass
class Net:
    """A part of a configuration."""

    width: int = 8


@dataclass
class Config:
    """A configuration, as scripts have them."""

    lr: float = 0.1
    net: Net = field(default_factory=Net)


def logged(params):
    """The params that a run has of these."""
    with mpe.TrainingRun({"model": MODEL}, params=params) as run:
        pass
    return mlflow.get_run(run.run_id).data.params


@pytest.mark.parametrize(
    "params",
    [
        {"lr": 0.1, "net": {"width": 8}},
        Config(),
        argparse.Namespace(lr=0.1, net=Net()),
        {"lr": 0.1, "net": types.SimpleNamespace(width=8)},
    ],
)
def test_params_are_taken_in_the_forms_that_scripts_have(params):
    """A mapping, what argparse gives, a dataclass; also one inside another."""
    assert logged(params) == {"lr": "0.1", "net.width": "8"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": MODEL}, "state is a Linear; it is a mapping of names"),
        ({"state": None}, "state is None; it is a mapping"),
        ({"callbacks": mpe.ModelCheckpoint()}, "callbacks is a ModelCheckpoint; it is a list"),
        ({"callbacks": None}, "callbacks is None; it is a list"),
        ({"resume": True}, "got resume=True; it is a text (a run id, or 'auto') or None"),
        ({"experiment_name": 5}, "got experiment_name=5; it is a text or None"),
        ({"run_name": 5}, "got run_name=5"),
        ({"parent_run_id": 5}, "got parent_run_id=5"),
        ({"tags": ["a"]}, "got tags=['a']; it is a mapping of texts"),
        ({"grace_seconds": "20"}, "got grace_seconds='20'; it is a time of at least 0"),
        ({"grace_seconds": None}, "got grace_seconds=None; it is a time"),
        ({"strict": "no"}, "got strict='no'; it is True or False"),
        ({"progress": "never"}, "got progress='never'; it is True, False or 'auto'"),
        ({"params": ["lr"]}, "params is ['lr']; it is a mapping such as"),
        ({"params": Config}, "it is a mapping such as"),
        ({"params": {"a.b": 1, "a": {"b": 2}}}, "two params come to the key 'a.b'"),
        ({"params": {1: 1, "1": 2}}, "two params come to the key '1'"),
    ],
)
def test_what_cannot_be_right_is_one_line(options, message):
    """What was given, and what it is to be."""
    with pytest.raises(BadInput) as caught:
        mpe.TrainingRun(**{"state": {"model": MODEL}, **options})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert mlflow.search_runs(output_format="list") == []


def test_numbers_of_numpy_count():
    """`np.int64(3)` is what an argument becomes that was calculated."""
    with mpe.TrainingRun(
        {"model": MODEL}, callbacks=[mpe.ModelCheckpoint(every_n_epochs=np.int64(2))], grace_seconds=np.int64(5)
    ) as run:
        assert list(run.epochs(np.int64(3))) == [0, 1, 2]
        for wrong in (3.0, "3", True, None):
            with pytest.raises(BadInput, match="it is a whole number of at least 0"):
                next(run.epochs(wrong))


@pytest.mark.parametrize("way", ["log", "log_step"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (10**400, "too large for a float"),
        (torch.zeros((), device="meta"), "on the meta device"),
        (torch.zeros(3), r"a Tensor of shape \(3,\)"),
        (np.zeros(2), r"a ndarray of shape \(2,\)"),
        (None, "a NoneType"),
        (1j, "a complex"),
    ],
)
def test_a_value_that_is_no_number_is_refused_where_it_is_logged(way, value, message):
    """And the key stays free: what is logged next under it is taken."""
    with mpe.TrainingRun({"model": MODEL}) as run:
        for _ in run.epochs(1):
            with pytest.raises(BadInput, match=message):
                getattr(run, way)(x=value)
            run.log(x=1.0)
    assert run.history[0].metrics == {"x": 1.0}


def test_a_key_is_not_that_of_another_ones_mean():
    """`log_step(a=...)` is logged as `a` for each step, and as `a_epoch` for each epoch."""
    with mpe.TrainingRun({"model": MODEL}) as run:
        for _ in run.epochs(1):
            run.log_step(a=1.0)
            run.log(b_epoch=1.0, c=2.0)
            for late in (lambda: run.log(a_epoch=2.0), lambda: run.log_step(a_epoch=2.0)):
                with pytest.raises(BadInput, match="'a_epoch' is the key .* mean of run.log_step's 'a'"):
                    late()
            with pytest.raises(BadInput, match="'b_epoch' is the key .* mean of run.log_step's 'b'"):
                run.log_step(b=2.0)
            run.log(c_epoch=3.0)
    assert run.history[0].metrics == {"a": 1.0, "b_epoch": 1.0, "c": 2.0, "c_epoch": 3.0}
