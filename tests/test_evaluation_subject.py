"""What is evaluated is what was asked for: another module's numbers are not a version's, nor other names its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from conftest import Tiny
from nets import Stubborn, Two
from torch import nn

from mlflow_pt_eval import names
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.evaluation import evaluate
from mlflow_pt_eval.registration import register
from mlflow_pt_eval.tracking.registry import resolve
from mlflow_pt_eval.tracking.store import Store, connect

# MLflow's pyfunc warns of its own types when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
Y = torch.arange(60) % 3
CLASSES = ["ant", "bee", "cat"]


class Other(nn.Linear):
    """Takes a linear model's weights and computes something else."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -super().forward(x)


class Broken(nn.Linear):
    """Takes them, too, and fails."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("not today")


@pytest.fixture
def store(tracking: str) -> Store:
    """The test's own SQLite store."""
    return connect(tracking)


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def last_run(store: Store) -> Any:
    return store.client.get_run(store.client.search_runs(["0"])[0].info.run_id)


@pytest.mark.parametrize(
    ("into", "words"),
    [(Other(4, 3), "the module's scores differ: at most"), (Broken(4, 3), "the module fails on .* not today")],
)
def test_another_modules_numbers_are_not_evidence_for_the_version(store: Store, into: nn.Module, words: str) -> None:
    """Its tags stay those of its own evaluation, and the other is found by no one, which is said."""
    register(store, linear(), name="own", input_example=X[:2])
    evaluate("models:/own/1", (X, Y))
    before, logged = resolve(store, "own", 1), last_run(store).info.run_id
    assert before.tags[names.TAG_EVALUATION_RUN_ID] == logged
    if isinstance(into, Broken):
        with pytest.raises(BadInput, match="not today"):
            evaluate("models:/own/1", (X, Y), into=into)
    else:
        found = evaluate("models:/own/1", (X, Y), into=into)
        assert found.model_uri is None
        assert words in found.warnings[0]
        assert "does not count as one of models:/own/1" in found.warnings[0]
    run = last_run(store)
    assert run.info.run_id != logged
    assert names.TAG_MODEL_URI not in run.data.tags
    assert run.inputs.model_inputs == []
    assert resolve(store, "own", 1).tags == before.tags


@pytest.mark.parametrize(
    ("model", "options", "data"),
    [
        (Tiny(), {"input_example": X[:1]}, X),
        (Stubborn(), {"input_example": X[:2], "factory": "nets:Stubborn"}, X),
        (
            Two(),
            {"input_example": {"words": torch.ones(2, 5, dtype=torch.int64), "image": X[:2]}},
            {"image": X, "words": torch.ones(60, 5, dtype=torch.int64)},
        ),
    ],
    ids=["a graph", "a factory's", "keywords"],
)
def test_the_models_own_class_is_the_version(store: Store, model: nn.Module, options: Any, data: Any) -> None:
    """Its outputs on the stored example are the graph's, or the factory's, so that its numbers count."""
    register(store, model, name="own", **options)
    found = evaluate("models:/own/1", (data, Y), into=type(model)())
    assert found.model_uri == "models:/own/1"
    assert not any("does not count" in warning for warning in found.warnings)
    assert resolve(store, "own", 1).tags[names.TAG_EVALUATION_RUN_ID] == last_run(store).info.run_id


@pytest.mark.parametrize("example", [True, False])
def test_a_model_of_mlflows_needs_an_example_to_compare_by(store: Store, tiny: Tiny, example: bool) -> None:
    """With one that it keeps the class is proven; without one nothing can be shown."""
    with mlflow.start_run():
        logged = mlflow.pytorch.log_model(
            tiny.eval(), name="net", input_example=X[:3].numpy(), pip_requirements=["torch"], serialization_format="pt2"
        )
    if not example:
        folder = store.client.get_logged_model(logged.model_id).artifact_location
        Path(folder.removeprefix("file://"), "input_example.json").unlink()
    found = evaluate(logged.model_uri, (X, Y), into=Tiny(), outputs="logits", log=False)
    assert found.model_uri == (logged.model_uri if example else None)
    assert any("no input example is stored with it" in warning for warning in found.warnings) is not example


def test_a_class_is_no_module(store: Store) -> None:
    """One line, before anything is loaded into it."""
    register(store, linear(), name="own", input_example=X[:2])
    with pytest.raises(BadInput, match="the class Linear was given as a model: give an nn.Module"):
        evaluate("models:/own/1", (X, Y), into=nn.Linear)  # type: ignore[arg-type]


def test_what_is_said_otherwise_than_was_recorded_is_noted(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """The caller's word is taken; the same names in another order can only be a mistake."""
    model = nn.Sequential(linear(), nn.Softmax(1))
    register(store, model, name="said", input_example=X[:2], outputs="probabilities", class_names=CLASSES)
    as_logits = evaluate("models:/said/1", (X, Y), outputs="logits", log=False)
    assert as_logits.warnings[0] == (
        "the model was registered with outputs='probabilities', but its outputs were taken as logits, as outputs= says"
    )
    assert as_logits.warnings[0] in caplog.text
    renamed = evaluate("models:/said/1", (X, Y), class_names=["a", "b", "c"], log=False)
    assert renamed.class_names == ("a", "b", "c")
    assert "with the class names ant, bee, cat, but class_names= gives others: a, b, c" in renamed.warnings[0]
    texts = [CLASSES[label] for label in Y]
    same = evaluate("models:/said/1", (X, texts), class_names=CLASSES, outputs="probabilities", log=False)
    assert same.warnings == ()
    for option in ({"class_names": CLASSES[::-1]}, {"classes": CLASSES[::-1]}):
        with pytest.raises(BadInput, match="gives cat, bee, ant, but the model was registered with the same names in"):
            evaluate("models:/said/1", (X, texts), log=False, **option)
