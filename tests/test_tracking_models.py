"""Any model that MLflow can name loads, wherever it is, unless loading it would execute something."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
import yaml
from conftest import Tiny
from mlflow.entities import LoggedModelStatus
from nets import Stubborn, Two
from safetensors.torch import load_file, save_file
from servers import free_port, running
from torch import nn

from mlflow_pt_eval.errors import BadInput, CheckpointDamaged, NotFound, PathEscape, StateMismatch, UnsafeFile
from mlflow_pt_eval.registration import register
from mlflow_pt_eval.state import weights_sha256
from mlflow_pt_eval.tracking.models import load_model, load_version, located
from mlflow_pt_eval.tracking.registry import resolve_uri
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


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without anything of the project."""
    return tmp_path_factory.mktemp("elsewhere")


def outside_environment(store: Store) -> dict[str, str]:
    """Return an environment as a stranger has it: MLflow and torch, and the address of the store."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PYTHONPATH"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, "PATH": path, "MLFLOW_TRACKING_URI": store.tracking_uri, "MLFLOW_DISABLE_TELEMETRY": "true"}


def test_every_uri_leads_to_the_same_model(each_store: Store, tiny: Tiny) -> None:
    """Number, alias, logged model, the run's path and a downloaded folder; a version is named by its number."""
    store = each_store
    run_id = store.client.create_run(store.experiment_id("uris")).info.run_id
    version = register(store, tiny, name="uris", input_example=X, run_id=run_id)
    numbered = f"models:/uris/{version}"
    model_id = resolve_uri(store, numbered).model_id
    folder = mlflow.artifacts.download_artifacts(numbered)
    leads_to = {
        numbered: numbered,
        "models:/uris@challenger": numbered,
        f"models:/{model_id}": f"models:/{model_id}",
        f"runs:/{run_id}/uris": f"models:/{model_id}",
        folder: str(Path(folder)),
    }
    for uri, resolved in leads_to.items():
        found = load_version(store, uri)
        assert torch.equal(found(X), tiny.eval()(X))
        assert (found.uri, found.version) == (resolved, version if resolved == numbered else None)
        assert (found.model_id, found.run_id) == (model_id, run_id)
    assert torch.equal(load_model(numbered)(X), tiny.eval()(X))


def test_models_that_mlflow_logged_are_loaded_too(store: Store, tiny: Tiny) -> None:
    """Its own pt2 format, from a run; nothing of ours is recorded there."""
    with mlflow.start_run() as run:
        mlflow.pytorch.log_model(
            tiny.eval(), name="theirs", input_example=X.numpy(), pip_requirements=["torch"], serialization_format="pt2"
        )
    found = load_version(store, f"runs:/{run.info.run_id}/theirs")
    assert torch.equal(found(X), tiny(X))
    assert (found.outputs, found.form) == (None, None)
    mine = load_version(store, f"runs:/{run.info.run_id}/theirs", into=Tiny()).module
    assert torch.equal(mine(X), tiny(X))


def test_a_pickled_model_is_refused(store: Store, tiny: Tiny) -> None:
    """MLflow's pickle format would run code: refused, with the way round it."""
    with mlflow.start_run():
        logged = mlflow.pytorch.log_model(
            tiny, name="pickled", pip_requirements=["torch"], serialization_format="pickle"
        )
    for into in (None, Tiny()):
        with pytest.raises(UnsafeFile, match="register it again with mlflow_pt_eval"):
            load_version(store, logged.model_uri, into=into)


def test_another_flavor_is_not_a_pytorch_model(store: Store, tmp_path: Path) -> None:
    """The message says what it is instead."""
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {sklearn: {}, python_function: {}}\n")
    with pytest.raises(BadInput, match="no PyTorch model but python_function, sklearn"):
        load_version(store, str(folder))


@pytest.mark.parametrize(
    ("uri", "error", "said"),
    [
        ("models:/nothing/1", NotFound, "nothing"),
        ("models:/there/7", NotFound, "has no version 7; it has 1 @challenger"),
        ("models:/there@champion", NotFound, "has no alias 'champion'; it has 1 @challenger"),
        ("models:/m-0123", NotFound, "no logged model 'm-0123'"),
        ("runs:/0123/model", NotFound, "no run '0123'"),
        ("no/such/folder", NotFound, "is not a model's folder"),
        ("s3://bucket/model", BadInput, "is not a model's URI: write models:/NAME/VERSION"),
        ("models:/", BadInput, "does not name a registered version"),
        ("models:/there/1.0", BadInput, "names no version: give its number"),
    ],
)
def test_what_is_not_there_is_said(
    tracking: str, tmp_path_factory: pytest.TempPathFactory, uri: str, error: type[Exception], said: str
) -> None:
    """Each kind of URI has its own message, which says what there is."""
    store = connect(tracking)
    if "there" in uri:
        register(store, nn.Linear(4, 3), name="there", input_example=X)
    with pytest.raises(error, match=said):
        load_version(store, uri)


def test_a_class_that_does_not_fit_is_refused(store: Store, tiny: Tiny) -> None:
    """A strict load names the entries."""
    register(store, tiny, name="fit", input_example=X)
    with pytest.raises(StateMismatch, match=r"layers\.4\.bias: \(3,\) instead of \(5,\)"):
        load_version(store, "models:/fit/1", into=Tiny(classes=5))


@pytest.mark.parametrize("source", ["/etc", "file:///etc", "../outside", "file://{store}/mlartifacts/../../outside"])
def test_a_source_outside_the_artifact_store_is_refused(store: Store, tmp_path: Path, source: str, tiny: Tiny) -> None:
    """Anyone who may register can point a version at any folder; it is not loaded."""
    register(store, tiny, name="honest", input_example=X)
    with located(store, "models:/honest/1") as (_, folder):
        shutil.copytree(folder, tmp_path.parent / "outside", dirs_exist_ok=True)
    store.client.create_registered_model("escape")
    made = store.client.create_model_version("escape", source.format(store=tmp_path))
    with pytest.raises(PathEscape, match="outside the artifact store"):
        load_version(store, f"models:/escape/{made.version}")


def test_a_path_out_of_a_run_is_refused(each_store: Store) -> None:
    """Also where it is written in a URL's way."""
    run_id = each_store.client.create_run(each_store.experiment_id("escapes")).info.run_id
    for path in ("../../../etc", "a/%2e%2e/%2e%2e/b"):
        with pytest.raises(PathEscape, match="leads out of the run's artifacts"):
            load_version(each_store, f"runs:/{run_id}/{path}")


def test_a_copied_version_loads(each_store: Store, tiny: Tiny) -> None:
    """MLflow's copy to another name points to the first version, which is followed."""
    version = register(each_store, tiny, name="original", input_example=X)
    copied = each_store.client.copy_model_version(f"models:/original/{version}", "copied")
    found = load_version(each_store, f"models:/copied/{copied.version}")
    assert (found.name, torch.equal(found(X), tiny.eval()(X))) == ("copied", True)


@pytest.mark.parametrize("uri", [None, 3, b"models:/there/1", nn.Linear(1, 1)])
def test_what_is_no_text_is_no_uri(tracking: str, uri: object) -> None:
    """The message lists the kinds that there are."""
    with pytest.raises(BadInput, match="is not a model's URI: write models:/NAME/VERSION"):
        load_model(uri)  # type: ignore[arg-type]


def test_files_that_are_gone_are_named(store: Store, tiny: Tiny) -> None:
    """A version whose bytes were deleted is not there, whatever the registry says."""
    register(store, tiny, name="gone", input_example=X)
    with located(store, "models:/gone/1") as (_, folder):
        (folder / "data" / "model.pt2").unlink()
        with pytest.raises(NotFound, match=r"data/model\.pt2 is gone from .*register the model again"):
            load_version(store, "models:/gone/1")
        shutil.rmtree(folder)
    with pytest.raises(NotFound, match="the model's files are gone"):
        load_version(store, "models:/gone/1")


def in_folder(store: Store, uri: str) -> Path:
    """Return the folder of a model in a store on this machine: what is changed in it stays changed."""
    with located(store, uri) as (_, folder):
        return folder


def with_other_weights(folder: Path) -> None:
    """Change a published model's weights as somebody would who knows its form."""
    path = folder / "weights.safetensors"
    save_file({key: value + 1 for key, value in load_file(path).items()}, path)
    program = torch.export.load(folder / "data" / "model.pt2")
    for value in program.state_dict.values():
        value.data += 1
    torch.export.save(program, folder / "data" / "model.pt2")


@pytest.mark.parametrize("into", [False, True])
def test_weights_that_were_changed_are_refused(store: Store, tiny: Tiny, into: bool) -> None:
    """The graph's own, and those for a class of one's own: the message names the version."""
    register(store, tiny, name="changed", input_example=X)
    with_other_weights(in_folder(store, "models:/changed/1"))
    with pytest.raises(CheckpointDamaged, match="models:/changed/1 was not loaded: .*not those that were published"):
        load_version(store, "models:/changed@challenger", into=Tiny() if into else None)


@pytest.mark.parametrize("into", [False, True])
@pytest.mark.parametrize("by", ["version", "model_id"])
def test_the_store_knows_the_weights_too(store: Store, tiny: Tiny, into: bool, by: str) -> None:
    """Whoever can write the model's files, its description among them, cannot write the registry's tags by that."""
    register(store, tiny, name="forged", input_example=X)
    info = resolve_uri(store, "models:/forged/1")
    folder = in_folder(store, info.uri)
    with_other_weights(folder)
    forged = weights_sha256(load_file(folder / "weights.safetensors"))
    described = (folder / "MLmodel").read_text().replace(str(info.weights_sha256), forged)
    (folder / "MLmodel").write_text(described)
    assert load_version(store, str(folder)).weights_sha256 == forged  # the folder alone cannot tell
    with pytest.raises(CheckpointDamaged, match="not those that were published"):
        load_version(store, info.uri if by == "version" else f"models:/{info.model_id}", into=Tiny() if into else None)


def test_weights_of_a_factory_are_checked_before_its_code_runs(store: Store) -> None:
    """What is loaded into a factory's module is what was published."""
    register(store, Stubborn(), name="made", input_example=X, factory="nets:Stubborn")
    path = in_folder(store, "models:/made/1") / "weights.safetensors"
    save_file({key: value + 1 for key, value in load_file(path).items()}, path)
    with pytest.raises(CheckpointDamaged, match="models:/made/1 was not loaded"):
        load_version(store, "models:/made/1")


class Noted(nn.Linear):
    """It has an extra state, which an export leaves out of the graph's weights."""

    def get_extra_state(self) -> torch.Tensor:
        return torch.tensor(3)

    def set_extra_state(self, state: torch.Tensor) -> None:
        pass


def test_an_extra_state_is_no_other_weight(store: Store) -> None:
    """A graph without it is whole; with other weights, it is not."""
    live = Noted(4, 3)
    register(store, live, name="noted", input_example=X)
    assert torch.equal(load_version(store, "models:/noted/1")(X), live(X))
    program = in_folder(store, "models:/noted/1") / "data" / "model.pt2"
    changed = torch.export.load(program)
    changed.state_dict["bias"].data += 1
    torch.export.save(changed, program)
    with pytest.raises(CheckpointDamaged, match=r"model\.pt2 are not those that were published"):
        load_version(store, "models:/noted/1")


def test_an_exported_version_calls_no_factory(store: Store, tiny: Tiny) -> None:
    """Whatever its description names: the graph is the model."""
    register(store, tiny, name="graph", input_example=X)
    path = in_folder(store, "models:/graph/1") / "MLmodel"
    described = yaml.safe_load(path.read_text())
    described["metadata"] |= {"pt_eval.factory": "nets:Stubborn", "pt_eval.factory_kwargs": {}}
    path.write_text(yaml.safe_dump(described))
    assert torch.equal(load_version(store, "models:/graph/1")(X), tiny.eval()(X))


@pytest.mark.parametrize("status", [LoggedModelStatus.FAILED, LoggedModelStatus.PENDING])
def test_a_model_that_never_proved_itself_is_not_loaded(store: Store, tiny: Tiny, status: LoggedModelStatus) -> None:
    """By its id; by its run's path the one that is whole is found, also where a newer one is not."""
    run_id = store.client.create_run(store.experiment_id("unproved")).info.run_id
    register(store, tiny, name="unproved", input_example=X, run_id=run_id)
    good = resolve_uri(store, "models:/unproved/1")
    bad = store.client.create_logged_model(store.experiment_id("unproved"), name="unproved", source_run_id=run_id)
    store.client.log_model_artifacts(bad.model_id, str(in_folder(store, good.uri)))
    if status is LoggedModelStatus.FAILED:
        store.client.finalize_logged_model(bad.model_id, status)
    with pytest.raises(NotFound, match=f"models:/{bad.model_id} is {status}"):
        load_version(store, f"models:/{bad.model_id}")
    assert load_version(store, f"runs:/{run_id}/unproved").model_id == good.model_id


def test_requirements_are_pinned_and_found_on_an_index(store: Store, tiny: Tiny) -> None:
    """No local suffix such as +cpu, which no index has; nothing was inferred."""
    register(store, tiny, name="pinned", input_example=X)
    with located(store, "models:/pinned/1") as (_, folder):
        pinned = (folder / "requirements.txt").read_text().split()
        conda = yaml.safe_load((folder / "conda.yaml").read_text())
    assert [line.partition("==")[0] for line in pinned] == ["mlflow", "torch", "numpy"]
    assert not any("+" in line for line in pinned)
    assert conda["dependencies"][-1] == {"pip": pinned}


def test_mlflow_knows_the_signature_and_the_example(store: Store, tiny: Tiny) -> None:
    """A free batch, the user's own rows as the example."""
    register(store, tiny, name="signed", input_example=X)
    model = mlflow.models.Model.load("models:/signed/1")
    assert model.signature.inputs.inputs[0].shape == (-1, 4)
    assert model.signature.outputs.inputs[0].shape == (-1, 3)
    with located(store, "models:/signed/1") as (_, folder):
        np.testing.assert_allclose(model.load_input_example(str(folder)), X.numpy(), rtol=1e-6)


SCRIPT = """
import json, sys
import numpy as np, torch, mlflow
uri, x = sys.argv[1], np.array(json.loads(sys.argv[2]), dtype=np.float32)
sys.modules["mlflow_pt_eval"] = None  # importing it would fail, as it does where it is not installed
predicted = mlflow.pyfunc.load_model(uri).predict(x)
with torch.no_grad():
    graph = mlflow.pytorch.load_model(uri)(torch.from_numpy(x)).numpy()
print(json.dumps([predicted.tolist(), graph.tolist()]))
"""


def test_mlflow_loads_it_elsewhere(each_store: Store, tiny: Tiny, elsewhere: Path) -> None:
    """pyfunc and PyTorch flavors, in a folder without the project, where unpickling is forbidden."""
    version = register(each_store, tiny, name="elsewhere", input_example=X)
    x = torch.randn(5, 4)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, f"models:/elsewhere/{version}", json.dumps(x.tolist())],
        cwd=elsewhere,
        env=outside_environment(each_store) | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    want = tiny.eval()(x).tolist()
    assert json.loads(done.stdout.splitlines()[-1]) == [want, want]


def test_several_inputs_are_a_pyfunc_too(store: Store) -> None:
    """Named arrays in, named arrays out, by this package's loader."""
    live, words = Two().eval(), torch.ones(2, 7, dtype=torch.int64)
    register(store, live, name="named", input_example=(X, words))
    predicted = mlflow.pyfunc.load_model("models:/named/1").predict({"image": X.numpy(), "words": words.numpy()})
    want = live(X, words)
    assert sorted(predicted) == ["hidden", "logits"]
    np.testing.assert_array_equal(predicted["logits"], want["logits"].detach().numpy())


def test_a_real_server_answers_with_the_right_numbers(store: Store, tiny: Tiny, elsewhere: Path) -> None:
    """`mlflow models serve` over HTTP, started in a folder without the project."""
    register(store, tiny, name="served", input_example=X, alias="champion")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    serve = ["models", "serve", "-m", "models:/served@champion", "--env-manager", "local", "-p", str(port), "-w", "1"]
    command = [sys.executable, "-m", "mlflow", *serve]
    x = torch.randn(3, 4)
    with running(command, f"{url}/ping", elsewhere, outside_environment(store)):
        answer = post(f"{url}/invocations", {"inputs": x.tolist()})
    np.testing.assert_allclose(answer["predictions"], tiny.eval()(x).tolist(), rtol=1e-6)


def post(url: str, data: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(data).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
