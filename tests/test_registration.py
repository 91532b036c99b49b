"""A version exists only after it has proved itself; the same weights are the same version."""

from __future__ import annotations

import copy
import random
import subprocess
import sys
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from conftest import Tiny
from mlflow.entities import Metric
from nets import Image, Recurrent, Stubborn, Two, Words
from safetensors.torch import load_file
from torch import nn

from mlflow_pt_eval import names
from mlflow_pt_eval.errors import BadInput, NotFound, RegistrationFailed
from mlflow_pt_eval.exporting import candidate as candidates
from mlflow_pt_eval.registration import register
from mlflow_pt_eval.tracking.models import load_version
from mlflow_pt_eval.tracking.registry import get_alias, resolve_uri, versions
from mlflow_pt_eval.tracking.store import Store, connect

# MLflow's pyfunc warns of its own types when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def store(tracking: str) -> Store:
    """The test's own SQLite store."""
    return connect(tracking)


@pytest.fixture(params=["sqlite", "http"])
def each_store(request: pytest.FixtureRequest, tracking: str) -> Store:
    """The test's own SQLite store, and a real server over HTTP."""
    uri = tracking if request.param == "sqlite" else request.getfixturevalue("server")
    mlflow.set_tracking_uri(uri)
    return connect(uri)


def started(store: Store) -> str:
    return str(store.client.create_run(store.experiment_id("registration")).info.run_id)


def test_a_version_says_where_it_comes_from(each_store: Store, tiny: Tiny) -> None:
    """Its tags, its source run, its weights, its signature; the alias is on it; its bits are the live model's."""
    store, run_id = each_store, started(each_store)
    store.client.log_batch(run_id, metrics=[Metric("val_accuracy", 0.75, 1, 3)])
    version = register(
        store,
        tiny,
        name="origin",
        input_example=X,
        run_id=run_id,
        epoch=3,
        step=40,
        monitor="val_accuracy",
        value=0.75,
        metrics={"val_accuracy": 0.75},
        class_names=["a", "b", "c"],
    )
    info = resolve_uri(store, "models:/origin@challenger")
    assert (info.version, info.run_id) == (version, run_id)
    loaded = load_version(store, "models:/origin@challenger")
    assert (loaded.uri, loaded.version, loaded.run_id) == (f"models:/origin/{version}", version, run_id)
    assert (loaded.outputs, loaded.class_names, loaded.form) == ("logits", ("a", "b", "c"), "exported")
    assert torch.equal(loaded(X), tiny.eval()(X))
    assert dict(info.tags) == {
        "pt_eval.run_id": run_id,
        "pt_eval.epoch": "3",
        "pt_eval.step": "40",
        "pt_eval.monitor": "val_accuracy",
        "pt_eval.value": "0.75",
        "pt_eval.weights_sha256": loaded.weights_sha256,
        "pt_eval.outputs": "logits",
        "pt_eval.form": "exported",
    }
    logged = store.client.get_logged_model(str(info.model_id))
    assert str(logged.status) == "READY"
    assert [(m.key, m.value) for m in logged.metrics or []] == [("val_accuracy", 0.75)]
    assert [(m.value, m.timestamp) for m in store.client.get_metric_history(run_id, "val_accuracy")] == [(0.75, 1)]
    assert [o.model_id for o in store.client.get_run(run_id).outputs.model_outputs] == [info.model_id]


def test_the_same_weights_are_the_same_version(each_store: Store, tiny: Tiny) -> None:
    """Registered again, under another alias, nothing new is made; other weights are another version."""
    first = register(each_store, tiny, name="same", input_example=X)
    assert register(each_store, tiny, name="same", input_example=X, alias="again") == first
    with torch.no_grad():
        tiny.layers[4].bias += 1
    second = register(each_store, tiny, name="same", input_example=X)
    assert second != first
    assert [info.version for info in versions(each_store, "same")] == [first, second]
    assert get_alias(each_store, "same", "challenger") == second
    assert get_alias(each_store, "same", "again") == first


@pytest.mark.slow
def test_what_is_said_otherwise_of_the_same_weights_is_another_version(
    each_store: Store, tiny: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    """Corrected outputs or class names are not lost; whoever says nothing of the names gets the version there is."""
    store, said = each_store, {"name": "corrected", "input_example": X[:2]}
    model = nn.Sequential(tiny, nn.Sigmoid())
    first = register(store, model, **said)
    second = register(store, model, outputs="probabilities", class_names=["a", "b", "c"], **said)
    assert second != first
    assert (
        f"Version {first} of corrected has the same weights but is not used again: it records outputs=" in caplog.text
    )
    loaded = load_version(store, f"models:/corrected/{second}")
    assert (loaded.outputs, loaded.class_names) == ("probabilities", ("a", "b", "c"))
    caplog.clear()
    assert register(store, model, outputs="probabilities", **said) == second
    assert register(store, model, **said) == first
    assert caplog.text == ""


def test_the_same_weights_in_another_model_are_another_version(store: Store) -> None:
    """What the weights do is the model's code, too: a version that gives something else is not used again."""
    first = register(store, nn.Sequential(nn.Linear(4, 3), nn.ReLU()), name="code", input_example=X)
    again = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
    again.load_state_dict(load_version(store, "models:/code/1").module.state_dict())
    assert register(store, again, name="code", input_example=X) == first + 1


def test_publishing_leaves_no_trace_in_the_training(store: Store, tiny: Tiny) -> None:
    """Mode, buffers, gradients, parameters and all three random number generators are bit-identical after."""
    tiny.train()(torch.randn(5, 4)).sum().backward()
    modes = [module.training for module in tiny.modules()]
    before = copy.deepcopy((tiny.state_dict(), [p.grad for p in tiny.parameters()]))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002  (the generators that loops use)
    rng = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    register(store, tiny, name="traceless", input_example=X)
    assert random.getstate() == rng[0]
    assert np.random.get_state()[1].tolist() == rng[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), rng[2])
    assert [module.training for module in tiny.modules()] == modes
    assert all(torch.equal(value, before[0][key]) for key, value in tiny.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(tiny.parameters(), before[1], strict=True))
    assert all(p.requires_grad for p in tiny.parameters())


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (Words(), torch.ones(1, 7, dtype=torch.int64)),
        (Image().to(memory_format=torch.channels_last), torch.randn(2, 3, 8, 8).numpy()),
        (Two(), (X, torch.ones(2, 7, dtype=torch.int64))),
        (Two(), {"words": torch.ones(2, 7, dtype=torch.int64), "image": X}),
        (nn.DataParallel(Tiny()), X),
        (nn.TransformerEncoderLayer(4, 2, batch_first=True), torch.randn(2, 5, 4)),
    ],
    ids=["tied embedding", "channels-last", "two arguments", "keywords", "wrapped", "attention"],
)
def test_every_kind_of_model_is_registered_as_a_graph(store: Store, model: nn.Module, example: Any) -> None:
    """Tied weights, buffers, channels-last, integers, several inputs, wrappers, fused kernels: exported, and proved."""
    register(store, model, name="kinds", input_example=example)
    assert load_version(store, "models:/kinds/1").form == "exported"


def test_weights_go_into_the_users_own_class(store: Store) -> None:
    """Every name of a tied weight is in the file, so that a strict load fits."""
    live = Words()
    register(store, live, name="own", input_example=torch.ones(2, 7, dtype=torch.int64))
    mine = load_version(store, "models:/own/1", into=Words()).module
    assert all(torch.equal(value, mine.state_dict()[key]) for key, value in live.state_dict().items())
    assert not mine.training
    path = mlflow.artifacts.download_artifacts("models:/own/1/weights.safetensors")
    assert sorted(load_file(path)) == sorted(live.state_dict())


def test_a_model_that_torch_cannot_export_needs_a_factory(store: Store) -> None:
    """Without one the error has torch's reason and both ways out, and nothing is left behind."""
    with pytest.raises(RegistrationFailed) as caught:
        register(store, Stubborn(), name="stubborn", input_example=X)
    said = str(caught.value)
    assert "if x.sum() > 0:" in said
    assert "change that part of its forward, or give factory='package.module:callable'" in said
    assert len(said) < 600
    assert store.client.search_registered_models() == []
    assert store.client.search_logged_models(["0"]) == []


def test_a_factory_is_used_where_torch_cannot_export(store: Store) -> None:
    """The weights and the factory are registered with the reason, and load as a model and as a pyfunc."""
    live = Stubborn(width=5).eval()
    kwargs = {"factory": "nets:Stubborn", "factory_kwargs": {"width": 5}}
    version = register(store, live, name="factory", input_example=X, **kwargs)
    loaded = load_version(store, f"models:/factory/{version}")
    assert (loaded.form, loaded.module.training) == ("factory", False)
    assert torch.equal(loaded(X), live(X))
    assert "if x.sum() > 0" in resolve_uri(store, "models:/factory/1").tags[names.TAG_FORM_REASON]
    predicted = mlflow.pyfunc.load_model("models:/factory/1").predict(X.numpy())
    np.testing.assert_array_equal(predicted, live(X).detach().numpy())


def test_a_factory_is_used_where_the_graph_would_fix_a_length(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Torch's export of recurrent layers does; without a factory it is said, and the graph is registered."""
    words, longer = torch.ones(2, 5, dtype=torch.int64), torch.ones(3, 8, dtype=torch.int64)
    live = Recurrent().eval()
    register(store, live, name="any", input_example=words, factory="nets:Recurrent")
    loaded = load_version(store, "models:/any/1")
    assert loaded.form == "factory"
    assert torch.allclose(loaded(longer), live(longer))
    fixed = "torch.export makes a graph that refuses 10 as dimension 1 of 'input'"
    assert resolve_uri(store, "models:/any/1").tags[names.TAG_FORM_REASON] == fixed
    assert fixed not in caplog.text
    register(store, live, name="five", input_example=words)
    assert f"{fixed}: for other sizes give factory=" in caplog.text
    assert load_version(store, "models:/five/1").form == "exported"


def test_a_model_that_does_not_prove_itself_is_not_registered(
    each_store: Store, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph that differs from the live model: the error names the difference; no version, no alias, model FAILED."""

    def export_another(model: nn.Module, example: Any) -> Any:
        model.layers[2] = nn.Tanh()  # the same weights: those alone would be found by their digest
        return program(model, example)

    program = candidates.export_program
    monkeypatch.setattr(candidates, "export_program", export_another)
    run_id = started(each_store)
    with pytest.raises(RegistrationFailed, match=r"unproved got no new version.*differs from the live .*at most 0\.\d"):
        register(each_store, tiny, name="unproved", input_example=X, run_id=run_id)
    with pytest.raises(NotFound):
        versions(each_store, "unproved")
    experiment = each_store.client.get_run(run_id).info.experiment_id
    found = each_store.client.search_logged_models([experiment], filter_string="name = 'unproved'")
    assert [str(logged.status) for logged in found] == ["FAILED"]


def test_a_name_may_hold_what_a_logged_models_may_not(store: Store) -> None:
    """MLflow allows a dot or a percent sign in one kind of name and not in the other."""
    name = "net v1.5 (50% wide)"
    assert register(store, nn.Linear(4, 3), name=name, input_example=X) == 1
    assert load_version(store, f"models:/{name}/1").name == name


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "a/b"}, "cannot name a registered model"),
        ({"alias": "latest"}, "cannot be an alias"),
        ({"outputs": "scores"}, "outputs='scores'"),
        ({"input_example": torch.randn(2, 9)}, r"does not take the example \(input \(2, 9\) torch.float32\)"),
        ({"factory": "nets"}, "is not a factory"),
    ],
)
def test_bad_input_is_said_before_any_work(store: Store, tiny: Tiny, options: dict[str, Any], said: str) -> None:
    """Names, aliases, examples and factories are checked before anything reaches the store."""
    with pytest.raises(BadInput, match=said):
        register(store, tiny, **({"name": "bad", "input_example": X} | options))
    assert store.client.search_logged_models(["0"]) == []


def test_two_processes_register_at_once(store: Store) -> None:
    """Both succeed, each with a version of its own."""
    code = (
        "import sys, torch; from mlflow_pt_eval.registration import register; "
        "from mlflow_pt_eval.tracking.store import connect; torch.manual_seed(int(sys.argv[2])); "
        "print(register(connect(sys.argv[1]), torch.nn.Linear(4, 3), name='race', input_example=torch.zeros(2, 4)))"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, store.tracking_uri]
    both = [subprocess.Popen([*command, seed], stdout=subprocess.PIPE, text=True) for seed in ("1", "2")]
    assert sorted(int(process.communicate()[0]) for process in both) == [1, 2]
    assert [process.returncode for process in both] == [0, 0]
