"""What several processes agree on: tables, no process at all."""

from __future__ import annotations

import math

import pytest

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.records import MeanOf
from mlflow_pt_eval.training.agreeing import agree, average
from mlflow_pt_eval.training.progress import Progress


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.1, None], [0.1, None], [0.1, None]], [0.1, None]),  # equal values stay so, to the bit
        ([[1.0, None], [2.0, None]], [1.5, None]),
        ([[1.0, 1], [4.0, 3]], [3.25, 4]),
        ([[1.0, 1], [4.0, None]], [2.5, None]),  # a count that only some know is of no use
        ([[math.nan, 0], [4.0, 3]], [4.0, 3]),  # a share without a sample
        ([[7.0, 12]], [7.0, 12]),  # one rank alone has logged it
        ([[math.inf, 1], [1.0, 1]], [math.inf, 2]),
    ],
)
def test_values_of_several_ranks_are_one(values, expected):
    """Weighted where all know their count, the plain mean of those who logged it otherwise."""
    assert average(values) == expected


def test_nothing_anywhere_is_nan():
    """No sample on any rank is no mean."""
    value, count = average([[math.nan, 0], [math.nan, 0]])
    assert math.isnan(value)
    assert count == 0


def test_shards_of_a_data_set_give_its_mean_exactly():
    """What `validate` gives on shards, put together, is the mean of the whole."""
    whole = [float(i % 7) for i in range(37)]
    shards = [whole[rank::3] for rank in range(3)]
    values = [[MeanOf(sum(shard) / len(shard), len(shard)), len(shard)] for shard in shards]
    assert average(values)[0] == pytest.approx(sum(whole) / 37, rel=1e-15)


def said(progress: Progress, **further):
    """Return what a process says at the end of an epoch."""
    return {**progress.said(), "last": False, "stop": None, "signum": None, **further}


def test_everybody_hears_the_same_record():
    """Means of steps add up over the ranks; the step is rank 0's; a stop or a signal of anybody is everybody's."""
    ranks = [Progress(), Progress()]
    for rank, progress in enumerate(ranks):
        progress.begin_epoch(0)
        for i in range(2 + rank):
            progress.add("train_loss", float(10 * rank + i))
            progress.step += 1
        progress.log({"lr": 0.1, "val_loss": MeanOf(float(rank), 1 + rank)})
    agreed = agree([said(ranks[0]), said(ranks[1], stop="enough", signum=15, last=True)])
    assert (agreed["stop"], agreed["signum"], agreed["last"], agreed["step"]) == ("enough", 15, True, 2)
    records = []
    for progress in ranks:
        progress.heard(agreed)
        records.append(progress.record())
    assert records[0] == records[1]
    assert records[0].metrics == {"train_loss": 34 / 5, "lr": 0.1, "val_loss": 2 / 3}


def test_a_key_is_logged_one_way_on_all_ranks():
    """The same rule as in one process."""
    one, two = Progress(), Progress()
    one.begin_epoch(0)
    two.begin_epoch(0)
    one.log({"loss": 1.0})
    two.add("loss", 1.0)
    with pytest.raises(BadInput, match="'loss' was logged by run.log on one rank and by run.log_step on another"):
        agree([said(one), said(two)])
