"""A run that records one piece of work says truly how that ended, and stands beside what it is about."""

from __future__ import annotations

import mlflow
import pytest

from mlflow_pt_eval.errors import Interrupted
from mlflow_pt_eval.names import KIND_PROMOTION, TAG_KIND
from mlflow_pt_eval.tracking.recording import recording
from mlflow_pt_eval.tracking.store import connect


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (ValueError("no"), "FAILED"),
        (SystemExit(3), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (Interrupted(15), "KILLED"),
    ],
)
def test_the_status_is_true_whatever_ends_the_block(tracking, error, status):
    """The error goes on; the run holds its kind."""
    store, ids = connect(), []

    def work():
        with recording(store, kind=KIND_PROMOTION, run_name="work", tags={"a": "b"}) as run_id:
            ids.append(run_id)
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(type(error)):
            work()
    run = store.client.get_run(ids[0])
    assert (run.info.status, run.data.tags[TAG_KIND], run.data.tags["a"]) == (status, KIND_PROMOTION, "b")


def test_a_run_that_the_caller_opened_keeps_its_status(tracking):
    """Only what is ours is ended by us."""
    store = connect()
    with mlflow.start_run() as run:
        with recording(store, kind=KIND_PROMOTION, run_name="work", tags={}) as run_id:
            assert run_id == run.info.run_id
        assert store.client.get_run(run_id).info.status == "RUNNING"


def test_it_stands_in_the_experiment_of_what_it_is_about_while_that_exists(tracking):
    """A training's run or its whole experiment may be deleted: then the usual experiment has to do."""
    store = connect()
    experiment = store.experiment_id("training")
    training = store.client.create_run(experiment).info.run_id

    def where(beside):
        with recording(store, kind=KIND_PROMOTION, run_name="work", tags={}, beside=beside) as run_id:
            return store.client.get_run(run_id).info.experiment_id

    assert where(training) == experiment
    assert where("0" * 32) == where(None) == "0"
    store.client.delete_experiment(experiment)
    assert where(training) == "0"
