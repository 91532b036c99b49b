"""The plugin: MLflow's own `evaluate` works on a torch model's logits."""

from __future__ import annotations

import subprocess
import sys

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as oracle
from torch import nn

from mlflow_pt_eval.data import digest, load_data
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.promotion import promote
from mlflow_pt_eval.registration import register
from mlflow_pt_eval.tracking.registry import create_version, resolve
from mlflow_pt_eval.tracking.store import connect

# MLflow's pyfunc warns of its own types when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
Y = (torch.arange(60) % 3).numpy()


def evaluated(uri, data, targets, **config):
    """Evaluate as an MLflow user does."""
    with mlflow.start_run():
        return mlflow.models.evaluate(
            model=uri,
            data=data,
            targets=targets,
            model_type="classifier",
            evaluators="pt_eval",
            evaluator_config=config,
        )


def test_mlflow_evaluates_a_torch_versions_logits(tracking, tiny):
    """By the plugin's name alone: metrics, artifacts and the full digest are in MLflow's own run."""
    store = connect(tracking)
    register(store, tiny, name="plugged", input_example=X[:2])
    result = evaluated("models:/plugged@challenger", X.numpy().astype(np.float64), Y, class_names=["a", "b", "c"])
    scores = tiny.eval()(X).softmax(1).detach().numpy()
    assert result.metrics["test_accuracy"] == oracle.accuracy_score(Y, scores.argmax(1))
    run = store.client.get_run(mlflow.last_active_run().info.run_id)
    assert run.data.metrics == result.metrics
    assert run.data.tags["pt_eval.kind"] == "evaluation"
    assert run.data.tags["pt_eval.dataset_digest"] == digest(load_data((X, Y)))
    assert result.artifacts["confusion_matrix.png"].content.size[0] > 100
    assert result.artifacts["evaluation.json"].content["class_names"] == ["a", "b", "c"]
    assert result.artifacts["evaluation.json"].content["warnings"] == []


def test_a_table_is_given_as_the_model_wants_it(tracking, tiny):
    """A frame with a target column, for a model whose signature is an array."""
    register(connect(tracking), tiny, name="table", input_example=X[:2])
    table = pd.DataFrame(X.numpy(), columns=list("abcd"))
    whole = evaluated("models:/table/1", X.numpy(), Y)
    assert evaluated("models:/table/1", table.assign(kind=Y), "kind").metrics == whole.metrics


def test_flat_rows_get_the_signatures_shape_again(tracking):
    """MLflow hands an evaluator two dimensions only."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 3))
    images = torch.rand(30, 1, 8, 8)
    register(connect(tracking), model, name="images", input_example=images[:2])
    result = evaluated("models:/images/1", images.flatten(1).numpy(), Y[:30], split="val", batch_size=7)
    assert result.metrics["val_accuracy"] == float((model(images).argmax(1).numpy() == Y[:30]).mean())


def test_a_models_named_columns_are_kept(tracking):
    """A model of another kind, whose scores are probabilities."""
    from sklearn.linear_model import LogisticRegression

    table = pd.DataFrame(X.numpy(), columns=list("abcd"))
    fitted = LogisticRegression().fit(table, Y)
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(
            fitted,
            name="other",
            pyfunc_predict_fn="predict_proba",
            input_example=table[:3],
            pip_requirements=[],
            serialization_format="cloudpickle",
        )
    result = evaluated(logged.model_uri, table.assign(kind=Y), "kind", outputs="probabilities")
    assert result.metrics["test_accuracy"] == fitted.score(table, Y)


def test_an_evaluation_by_mlflow_is_evidence_for_the_version(tracking, tiny):
    """MLflow hands on the logged model only; the version that is made of it is found, unless there are several."""
    store = connect(tracking)
    register(store, tiny, name="proof", input_example=X[:2])
    evaluated("models:/proof/1", X.numpy(), Y)
    assert promote("proof", 1).moved
    info = resolve(store, "proof", 1)
    assert info.tags["pt_eval.evaluation_run_id"] == mlflow.last_active_run().info.run_id
    create_version(store, "second", model_id=info.model_id, run_id=None, tags={})
    evaluated("models:/proof/1", X.numpy(), Y)
    assert mlflow.last_active_run().data.tags["pt_eval.model_uri"] == f"models:/{info.model_id}"


def test_a_run_that_is_a_training_gets_a_child(tracking, tiny):
    """Its evaluation does not pile into it."""
    store = connect(tracking)
    register(store, tiny, name="piled", input_example=X[:2])
    with mlflow.start_run(tags={"pt_eval.kind": "training"}) as run:
        result = mlflow.models.evaluate(
            model="models:/piled/1", data=X.numpy(), targets=Y, model_type="classifier", evaluators="pt_eval"
        )
    assert "test_accuracy" not in store.client.get_run(run.info.run_id).data.metrics
    child = store.client.get_run(store.client.search_runs(["0"])[0].info.run_id)
    assert child.data.tags["mlflow.parentRunId"] == run.info.run_id
    assert child.data.metrics == result.metrics


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"metric_prefix": "x"}, "has no option 'metric_prefix'; evaluator_config takes task, outputs"),
        ({"class_names": ["a"]}, "class_names .* has 1 entries, but the model has 3 outputs"),
        ({"class_names": 5}, "class_names .* is a int: give a list of names"),
        ({"split": "../x"}, "split is '../x', which cannot stand in front of a metric's key"),
        ({"split": None}, "split is None"),
        ({"split": 3}, "split is 3, a int: give a text"),
        ({"batch_size": "8"}, "batch_size is '8'; it must be a whole number of at least 1"),
        ({"bootstrap": "x"}, "bootstrap is 'x': give at least 100 resamples"),
        ({"task": "x"}, "task is 'x'; it must be one of"),
        ({"outputs": "x"}, "outputs is 'x'; it must be one of"),
    ],
)
def test_a_wrong_option_is_named(tracking, tiny, config, words):
    """One line."""
    register(connect(tracking), tiny, name="wrong", input_example=X[:2])
    with pytest.raises(BadInput, match=words):
        evaluated("models:/wrong/1", X.numpy(), Y, **config)


def test_a_column_of_text_is_named(tracking, tiny):
    """As `evaluate` names it."""
    register(connect(tracking), tiny, name="text", input_example=X[:2])
    table = pd.DataFrame(X.numpy(), columns=list("abcd")).assign(c="x", kind=Y)
    with pytest.raises(BadInput, match="the column 'c' holds no number for sample 0 but 'x'"):
        evaluated("models:/text/1", table, "kind")


def test_the_names_that_were_registered_are_those_of_the_classes(tracking, tiny):
    """For labels that are numbers, and for those that are the names; an order of the caller's own is refused."""
    classes = ["ant", "bee", "cat"]
    register(connect(tracking), tiny, name="named", input_example=X[:2], class_names=classes)
    table = pd.DataFrame(X.numpy(), columns=list("abcd"))
    numbers = evaluated("models:/named/1", X.numpy(), Y)
    assert list(numbers.artifacts["per_class.csv"].content.iloc[:, 0]) == classes
    texts = evaluated("models:/named/1", table.assign(kind=[classes[label] for label in Y]), "kind")
    assert texts.metrics == numbers.metrics
    with pytest.raises(BadInput, match="registered with the same names in the order ant, bee, cat"):
        evaluated("models:/named/1", X.numpy(), Y, class_names=classes[::-1])


def test_stored_predictions_are_refused(tracking):
    """They are labels, and an evaluation needs scores."""
    table = pd.DataFrame({"a": [1.0, 2.0], "kind": [0, 1], "guess": [0, 1]})
    with mlflow.start_run(), pytest.raises(BadInput, match="was given none: pass model="):
        mlflow.models.evaluate(
            data=table, targets="kind", predictions="guess", model_type="classifier", evaluators="pt_eval"
        )


def test_the_plugin_imports_nothing_heavy():
    """MLflow imports it whenever it evaluates anything."""
    code = (
        "import sys, mlflow.models.evaluation.artifacts; before = set(sys.modules); "
        "import mlflow_pt_eval.mlflow_evaluator; "
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "matplotlib", "sklearn"} & set(done.stdout.split())
