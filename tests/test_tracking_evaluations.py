"""Evaluation runs as evidence: found by their tags on either store, read back, and refused where they are damaged."""

from __future__ import annotations

import uuid

import mlflow
import numpy as np
import pytest
from registered import DIGEST, add_evaluation, add_version, scores_with

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics import predictions_frame
from mlflow_pt_eval.names import EVALUATION_JSON, PREDICTIONS_PARQUET
from mlflow_pt_eval.tracking import registry
from mlflow_pt_eval.tracking.evaluations import (
    EvaluationRun,
    find,
    on_digest,
    read_evaluation,
    read_outputs,
    shared_digest,
)
from mlflow_pt_eval.tracking.missing_evaluations import evaluate_command
from mlflow_pt_eval.tracking.sample_outputs import SampleOutputs, require_same_samples
from mlflow_pt_eval.tracking.store import connect


@pytest.fixture(params=["sqlite", "http"])
def store(request, tracking):
    """A store of each kind, made the ambient one."""
    if request.param == "http":
        mlflow.set_tracking_uri(request.getfixturevalue("server"))
    return connect()


@pytest.fixture
def name():
    """A registered model's name of this test's own, with a quote, which a search has to survive."""
    return f"o'model-{uuid.uuid4().hex[:8]}"


def run(digest="a", evaluated=0, spec=None):
    """An evaluation run as a search would find it."""
    return EvaluationRun(
        run_id=f"{digest}{evaluated}",
        experiment_id="0",
        model_uri="models:/m/1",
        split="test",
        dataset_digest=digest,
        dataset_name=None,
        data_spec=spec,
        evaluated=evaluated,
    )


def test_evaluations_are_found_newest_first_in_any_experiment_with_what_they_were_made_of(store, name):
    """By the tags that every evaluation sets; another version's, split's and unfinished ones are not found."""
    info = registry.resolve(store, name, add_version(store, name))
    other = add_version(store, name)
    old = add_evaluation(store, name, 1, [0])
    add_evaluation(store, name, other, [0])
    add_evaluation(store, name, 1, [0], split="validation")
    add_evaluation(store, name, 1, [0], complete=False, status="RUNNING")
    new = add_evaluation(store, name, 1, [0], digest="e" * 32, spec="other.data:test")
    found = find(store, info, "test")
    assert [each.run_id for each in found] == [new, old]
    assert [(each.dataset_digest, each.dataset_name, each.data_spec) for each in found] == [
        ("e" * 32, "set", "other.data:test"),
        (DIGEST, "set", "project.data:test"),
    ]


def test_what_an_evaluation_stored_is_read_back(store, name):
    """The metrics from the JSON, each sample's scores from the table."""
    info = registry.resolve(store, name, add_version(store, name))
    add_evaluation(store, name, 1, [0, 1])
    (found,) = find(store, info, "test")
    assert read_evaluation(store, found).metrics["accuracy"] == 58 / 60
    outputs = read_outputs(store, found)
    assert np.array_equal(outputs.labels, np.arange(60) % 3)
    assert np.flatnonzero(outputs.predictions != outputs.labels).tolist() == [0, 1]
    assert np.array_equal(outputs.outputs, scores_with(outputs.labels, [0, 1]))


@pytest.mark.parametrize("text", [None, "not json", "{}"])
def test_a_damaged_evaluation_is_refused_with_what_to_do(store, name, text):
    """A file that is gone or that someone changed is named with its run."""
    info = registry.resolve(store, name, add_version(store, name))
    run_id = add_evaluation(store, name, 1, [0])
    (found,) = find(store, info, "test")
    if text is None:
        found = EvaluationRun(**{**vars(found), "run_id": store.client.create_run("0").info.run_id})
        run_id = found.run_id
    else:
        for artifact in (EVALUATION_JSON, PREDICTIONS_PARQUET):
            store.client.log_text(run_id, text, artifact)
    for read in (read_evaluation, read_outputs):
        with pytest.raises(BadInput, match=f"{run_id} cannot be read.*evaluate models:/{name}/1 again"):
            read(store, found)


@pytest.mark.parametrize(
    ("versions", "shared"),
    [
        ([{"a": 1}, {"a": 2}], "a"),
        ([{"a": 1}, {"b": 2}], None),
        ([{"a": 1}, {}], None),
        ([{"a": 1, "b": 2}, {"a": 3, "b": 4}], "b"),
        ([{"a": 1, "b": 2, "c": 9}, {"b": 3, "a": 4}], "a"),  # c is newer, but not of both
        ([{"a": 1, "b": 2}], "b"),
    ],
)
def test_the_newest_data_that_every_version_has_seen_decide(versions, shared):
    """Each version's evaluations are given as digest: when."""
    found = [[run(digest, when) for digest, when in each.items()] for each in versions]
    assert shared_digest(found) == shared


def test_of_several_evaluations_on_the_same_data_the_newest_counts():
    """An evaluation that is made again replaces the older one."""
    runs = [run("a", 3), run("b", 2), run("a", 1)]
    assert on_digest(runs, "a").evaluated == 3
    assert on_digest(runs, "c") is None


def test_the_command_that_mends_it_can_be_pasted():
    """With the data's own SPEC where it is known, quoted for the shell."""
    assert evaluate_command("models:/m/2", "test", None) == (
        "mlflow-pt-eval evaluate models:/m/2 --data SPEC --split test"
    )
    assert evaluate_command("models:/my model/2", "test", run(spec="a b.npz")) == (
        "mlflow-pt-eval evaluate 'models:/my model/2' --data 'a b.npz' --split test"
    )


def stored(tmp_path, labels, **options):
    """Stored predictions that are always right."""
    path = tmp_path / "p.parquet"
    predictions_frame(labels, scores_with(labels, []), **options).to_parquet(path)
    return SampleOutputs.read(path)


def test_two_models_outputs_are_of_the_same_samples_or_refused(tmp_path):
    """Same labels in the same order under the same indices; anything else would compare nothing."""
    labels = np.arange(12) % 3
    one = stored(tmp_path, labels)
    assert np.array_equal(require_same_samples([one, stored(tmp_path, labels)]), labels)
    others = [
        stored(tmp_path, labels[::-1].copy()),
        stored(tmp_path, labels[:9]),
        stored(tmp_path, labels, index=labels),
    ]
    for other in others:
        with pytest.raises(BadInput, match="different samples"):
            require_same_samples([one, other])


def test_the_loss_needs_losses_and_everything_else_the_outputs(tmp_path):
    """An evaluation keeps the loss's average only: there is nothing to pair, and what has an interval is named."""
    labels = np.arange(12) % 3
    bare, whole = stored(tmp_path, labels), stored(tmp_path, labels, losses=np.ones(12))
    assert np.array_equal(whole.for_metric("loss"), np.ones(12))
    assert whole.for_metric("accuracy") is whole.scores
    with pytest.raises(BadInput, match=r"keeps only its average.*a metric that has one: log_loss"):
        bare.for_metric("loss")
