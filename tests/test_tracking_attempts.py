"""Attempts: what a run says of the processes that worked on it, and that it is true."""

from __future__ import annotations

import json

import mlflow
import pytest
import torch

import mlflow_pt_eval as mpe
from mlflow_pt_eval.names import TAG_ATTEMPT, TAG_ATTEMPTS
from mlflow_pt_eval.tracking import attempts
from mlflow_pt_eval.tracking.store import connect


def noted(run_id):
    """Return (number, ended) of each attempt that the run notes."""
    tags = mlflow.get_run(run_id).data.tags
    assert json.loads(tags[TAG_ATTEMPTS])[-1] == json.loads(tags[TAG_ATTEMPT])
    return [(one["number"], one["ended"]) for one in json.loads(tags[TAG_ATTEMPTS])]


def test_each_attempt_says_that_it_ended():
    """Whether it came to its end or failed; not while it is at work."""
    state = {"model": torch.nn.Linear(2, 2)}
    with mpe.TrainingRun(state) as run:
        for _ in run.epochs(1):
            assert noted(run.run_id) == [(1, False)]
    assert noted(run.run_id) == [(1, True)]

    def fail():
        with mpe.TrainingRun(state, resume=run.run_id):
            assert noted(run.run_id) == [(1, True), (2, False)]
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()
    assert noted(run.run_id) == [(1, True), (2, True)]


def test_an_attempt_that_was_taken_over_leaves_the_newer_one_the_newest():
    """The older process ends later, and must not look like the one that is at work."""
    store = connect()
    run_id = store.client.create_run("0").info.run_id
    first, tags = attempts.next_attempt({}, None)
    second, tags = attempts.next_attempt(tags, "epoch=0000-step=000000010")
    attempts.set_tags(store, run_id, tags)
    attempts.end(store, run_id, first)
    assert attempts.last_attempt(mlflow.get_run(run_id).data.tags) == second
    assert noted(run_id) == [(1, True), (2, False)]


@pytest.mark.parametrize("text", ['[{"number": 1', "null", '"text"', "[1]"])
def test_a_tag_that_somebody_has_changed_keeps_no_training_from_going_on(text):
    """A tag is anybody's to write; what it said of earlier attempts is gone."""
    _, tags = attempts.next_attempt({TAG_ATTEMPTS: text}, None)
    assert [one["number"] for one in json.loads(tags[TAG_ATTEMPTS])] == [1]
