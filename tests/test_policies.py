"""Policies are tables: arguments and a history in, a decision out; no disk, no MLflow."""

from __future__ import annotations

import math

import pytest

from mlflow_pt_eval.errors import BadInput, MetricNotLogged
from mlflow_pt_eval.names import CheckpointName
from mlflow_pt_eval.policies import EarlyStopping, ModelCheckpoint, newest, require_monitors, to_keep
from mlflow_pt_eval.records import History

NAN = math.nan
ACC = {"monitor": "val_accuracy", "mode": "max"}


def saved(policy, history):
    """The epochs that the policy saves, seen as the training goes on."""
    return [r.epoch for i, r in enumerate(history) if policy.should_save(History(history.records[: i + 1]))]


@pytest.mark.parametrize(
    ("arguments", "values", "expected"),
    [
        ({}, [0.1, 0.2, 0.3], [0, 1, 2]),
        ({"every_n_epochs": 2}, [0.1] * 6, [1, 3, 5]),
        ({**ACC, "save_last": False}, [0.5, 0.4, 0.6, 0.6, 0.7], [0, 2, 4]),
        ({**ACC, "save_last": False}, [NAN, 0.4, NAN, 0.3, 0.5], [1, 4]),
        ({**ACC, "save_last": False}, [None, 0.0, None, 0.1], [1, 3]),
        ({"monitor": "val_accuracy", "mode": "min", "save_last": False}, [0.9, math.inf, 0.1, -math.inf], [0, 2]),
        ({**ACC, "save_last": False, "save_top_k": 2}, [0.5, 0.4, 0.3, 0.45, 0.9], [0, 1, 3, 4]),
        ({**ACC, "save_last": False, "every_n_epochs": 2}, [0.9, 0.1, 0.9, 0.2], [1, 3]),
        ({**ACC}, [0.9, 0.1, 0.2], [0, 1, 2]),
        ({"save_top_k": 0, "save_last": False}, [0.9, 0.1], []),
    ],
)
def test_model_checkpoint_saves(history, arguments, values, expected):
    """Which epochs are saved: every n-th, each that is among the best, or all."""
    assert saved(ModelCheckpoint(**arguments), history(val_accuracy=values)) == expected


@pytest.mark.parametrize(
    ("arguments", "values", "expected"),
    [
        ({}, [0.1, 0.2, 0.3], {2}),
        ({"save_top_k": 2}, [0.1, 0.2, 0.3], {1, 2}),
        ({"save_top_k": 5}, [0.1, 0.2, 0.3, 0.4], {0, 1, 2, 3}),
        ({"save_top_k": 0}, [0.1, 0.2], {1}),
        ({"save_top_k": -1}, [0.1, 0.2, 0.3], {0, 1, 2}),
        ({**ACC}, [0.1, 0.9, 0.3], {1, 2}),
        ({**ACC, "save_last": False}, [0.1, 0.9, 0.9], {1}),
        ({**ACC, "save_last": False, "save_top_k": 2}, [NAN, 0.9, 0.9, 0.1], {1, 2}),
        ({**ACC, "save_last": False}, [0.0, -1.0], {0}),
    ],
)
def test_model_checkpoint_keeps(history, arguments, values, expected):
    """Which epochs are kept: the best k, ties keeping the earlier, and the last."""
    assert ModelCheckpoint(**arguments).keep(history(val_accuracy=values)) == expected


@pytest.mark.parametrize(
    ("arguments", "values", "stops_at"),
    [
        ({"patience": 1}, [0.5, 0.5], 1),
        ({"patience": 2}, [0.5, 0.6, 0.6, 0.6], 3),
        ({"patience": 2}, [NAN, NAN, 0.6], 1),
        ({"patience": 2}, [0.5, NAN, 0.6, NAN, NAN], 4),
        ({"patience": 2}, [0.5, None, None, None, 0.4, None, 0.3], 6),
        ({"patience": 1, "min_delta": 0.1}, [0.5, 0.55], 1),
        ({"patience": 3}, [0.1, 0.2, 0.3, 0.4], None),
        ({"patience": 1}, [0.0, -1.0], 1),
    ],
)
def test_early_stopping_stops(history, arguments, values, stops_at):
    """It stops at the first epoch at which nothing has improved for *patience* epochs that logged the metric."""
    full = history(val_accuracy=values)
    policy = EarlyStopping(**ACC, **arguments)
    reasons = [policy.should_stop(History(full.records[: i + 1])) for i in range(len(full))]
    first = next((i for i, reason in enumerate(reasons) if reason is not None), None)
    assert first == stops_at


def names(*epochs, partial=()):
    """Checkpoint names, ten steps an epoch."""
    complete = [CheckpointName(epoch=e, step=10 * (e + 1), complete=True) for e in epochs]
    return {*complete, *(CheckpointName(epoch=e, step=10 * e + 5, complete=False) for e in partial)}


def test_retention_keeps_the_union_of_all_policies_and_the_newest_two(history):
    """Several policies, a pinned epoch and the two that resume may need; the rest goes."""
    stored = names(0, 1, 2, 3, 4, 5)
    policies = [ModelCheckpoint(**ACC, save_last=False), ModelCheckpoint()]
    kept = to_keep(policies, history(val_accuracy=[0.1, 0.9, 0.2, 0.3, 0.4, 0.5]), stored, pinned_epochs=[2])
    assert {name.epoch for name in kept} == {1, 2, 4, 5}


def test_retention_never_keeps_old_partial_checkpoints(history):
    """One in the middle of an epoch is kept only while no later epoch's end is stored."""
    stored = names(0, 1, partial=[1, 2])
    kept = to_keep([ModelCheckpoint(save_top_k=-1)], history(val_accuracy=[0.1, 0.2]), stored)
    assert kept == names(0, 1, partial=[2])


def test_partial_checkpoints_do_not_crowd_out_the_two_complete_ones(history):
    """A resume that finds the newest epoch damaged goes on from the one before, not from nothing."""
    policies, known = [ModelCheckpoint()], history(val_accuracy=[0.1, 0.2])
    assert to_keep(policies, known, names(0, 1, partial=[1])) == names(0, 1)
    steps = {CheckpointName(epoch=2, step=step, complete=False) for step in (21, 22, 23)}
    kept = to_keep(policies, known, {*names(0, 1), *steps})
    assert kept == {*names(0, 1), *(name for name in steps if name.step > 21)}
    assert newest(steps) == kept - names(0, 1)  # within the first epoch


def test_a_better_epoch_that_is_not_stored_takes_nothing_away(history):
    """It may have been skipped, or is just being written: the best that is there stays until it is."""
    policies, known = [ModelCheckpoint(**ACC)], history(val_accuracy=[0.8, 0.1, 0.2, 0.9])
    assert to_keep(policies, known, names(0, 1, 2)) == names(0, 1, 2)
    assert to_keep(policies, known, names(0, 1, 2, 3)) == names(2, 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ModelCheckpoint(mode="maximum"),
        lambda: ModelCheckpoint(every_n_epochs=0),
        lambda: ModelCheckpoint(every_n_epochs=True),
        lambda: ModelCheckpoint(every_n_steps=1.5),
        lambda: ModelCheckpoint(every_seconds=NAN),
        lambda: ModelCheckpoint(every_seconds="600"),
        lambda: ModelCheckpoint(monitor=5),
        lambda: ModelCheckpoint(save_top_k=-2),
        lambda: ModelCheckpoint(when_busy="drop"),
        lambda: EarlyStopping(monitor="a", mode="max", patience=0),
        lambda: EarlyStopping(monitor="a", mode="max", patience=1, min_delta=-0.1),
        lambda: EarlyStopping(monitor="a", mode="max", patience=1, min_delta="0.1"),
        lambda: EarlyStopping(monitor=None, mode="max", patience=1),
    ],
)
def test_a_typo_fails_when_the_policy_is_made(make):
    """Before the first batch, not after the last."""
    with pytest.raises(BadInput, match="got .*; it is"):
        make()


def test_a_monitored_key_that_was_never_logged_is_named_with_what_was(history):
    """The message names the key, who monitors it and what there is instead."""
    with pytest.raises(
        MetricNotLogged, match="EarlyStopping monitors 'val_acc', but epochs 0 to 1 logged: val_accuracy"
    ):
        require_monitors(history(val_accuracy=[0.1, 0.2]), [("EarlyStopping", "val_acc")])
