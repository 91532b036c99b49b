"""`evaluate`: exact numbers, a run that holds everything or has failed, and versions that show their last test."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Tiny
from mlflow.entities import LoggedModel, Run
from sklearn import metrics as oracle
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mlflow_pt_eval import names
from mlflow_pt_eval.cli import main
from mlflow_pt_eval.data import digest, load_data
from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.evaluation import evaluate, recompute, subject
from mlflow_pt_eval.metrics import Evaluation
from mlflow_pt_eval.names import check_metric_key
from mlflow_pt_eval.registration import register
from mlflow_pt_eval.tracking.evaluation_log import flat_metrics
from mlflow_pt_eval.tracking.evaluations import find
from mlflow_pt_eval.tracking.models import load_version
from mlflow_pt_eval.tracking.registry import resolve_uri
from mlflow_pt_eval.tracking.store import Store, connect
from mlflow_pt_eval.training.run import TrainingRun

# MLflow's pyfunc warns of its own types when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
Y = torch.arange(60) % 3
FILES = {
    "confusion_matrix.png",
    "confusion_matrix_normalized.png",
    "roc_curve.png",
    "precision_recall_curve.png",
    "calibration_curve.png",
    "per_class.csv",
    "evaluation.json",
    "report.html",
    "predictions.parquet",
}
FIGURES = {name.removesuffix(".png") for name in FILES if name.endswith(".png")}


class Given(nn.Module):
    """Returns its inputs: its outputs are what the test says."""

    def forward(self, x):
        return x


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


def runs(store: Store) -> list[Run]:
    """Return all runs, newest first."""
    experiments = [experiment.experiment_id for experiment in store.client.search_experiments()]
    return list(store.client.search_runs(experiments))


def root(store: Store, run: Run) -> set[str]:
    """Return the files at the root of a run's artifacts."""
    return {entry.path for entry in store.client.list_artifacts(run.info.run_id) if not entry.is_dir}


def test_a_versions_evaluation_is_whole_and_found_from_everywhere(each_store: Store, tiny: Tiny) -> None:
    """Over SQLite and HTTP: metrics, artifacts, images, data set, model, parent, tags on the run and on the version."""
    store = each_store
    experiment = store.experiment_id("evaluations")
    training = store.client.create_run(experiment, tags={"pt_eval.kind": "training"}).info.run_id
    store.client.set_terminated(training)
    version = register(
        store, tiny, name="whole", input_example=X[:2], run_id=training, class_names=["ant", "bee", "cat"]
    )
    loader = DataLoader(TensorDataset(X, Y), batch_size=7)
    result = evaluate("models:/whole@challenger", loader, dataset_name="test set")

    run = store.client.search_runs([experiment], "tags.`pt_eval.kind` = 'evaluation'")[0]
    run = store.client.get_run(run.info.run_id)  # a search leaves out the models that were read
    scores = tiny.eval()(X).softmax(1).detach().numpy()
    assert run.info.status == "FINISHED"
    assert run.info.run_name == f"evaluate whole/{version} on test"
    assert run.data.metrics["test_accuracy"] == oracle.accuracy_score(Y, scores.argmax(1))
    expected = oracle.roc_auc_score(Y, scores / scores.sum(1, keepdims=True), multi_class="ovr")
    assert run.data.metrics["test_roc_auc_macro"] == pytest.approx(expected, abs=1e-9)
    assert run.data.metrics["test_n_samples"] == 60
    assert run.data.metrics["test_accuracy_ci_low"] < run.data.metrics["test_accuracy"]
    assert root(store, run) >= FILES
    images = {Path(entry.path).name.split("+")[0] for entry in store.client.list_artifacts(run.info.run_id, "images")}
    assert images == FIGURES

    content = digest(load_data((X, Y)))
    tags = {key: value for key, value in run.data.tags.items() if key.startswith("pt_eval.")}
    assert run.info.start_time <= int(tags.pop("pt_eval.evaluated")) <= run.info.end_time
    assert tags == {
        "pt_eval.kind": "evaluation",
        "pt_eval.model_uri": f"models:/whole/{version}",
        "pt_eval.split": "test",
        "pt_eval.dataset_digest": content,
    }
    assert run.data.tags["mlflow.parentRunId"] == training
    (read,) = run.inputs.dataset_inputs
    assert (read.dataset.name, read.dataset.digest, read.tags[0].value) == ("test set", content, "test")
    info = resolve_uri(store, "models:/whole@challenger")
    assert [model.model_id for model in run.inputs.model_inputs] == [info.model_id]
    assert info.tags["pt_eval.evaluation_run_id"] == run.info.run_id
    assert info.tags["pt_eval.dataset_digest"] == content
    assert float(info.tags["pt_eval.test_accuracy"]) == pytest.approx(result.metrics["accuracy"], rel=1e-5)
    logged: LoggedModel = store.client.get_logged_model(str(info.model_id))
    shown = {m.key: (m.value, m.dataset_name, m.dataset_digest) for m in logged.metrics or []}
    assert shown["test_accuracy"] == (result.metrics["accuracy"], "test set", content)

    stored = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/evaluation.json"))
    assert stored.pop("report").keys() == {"Run", "When", "Speed"}
    assert stored == json.loads(json.dumps(result.to_json()))
    assert result.class_names == ("ant", "bee", "cat")
    assert (result.model_uri, result.dataset_digest, result.dataset_name) == (
        f"models:/whole/{version}",
        content,
        "test set",
    )
    assert result.warnings == ()


def test_every_form_of_a_models_address_gives_the_same(store: Store, tiny: Tiny) -> None:
    """Version, alias, logged model, run, folder, the user's own class: one model, one result."""
    run = store.client.create_run(store.experiment_id("forms")).info.run_id
    register(store, tiny, name="forms", input_example=X[:2], run_id=run)
    info = resolve_uri(store, "models:/forms/1")
    folder = Path(store.client.get_logged_model(str(info.model_id)).artifact_location.removeprefix("file://"))
    uris = ["models:/forms/1", "models:/forms@challenger", f"models:/{info.model_id}", f"runs:/{run}/forms", folder]
    found = [evaluate(uri, (X, Y), log=False) for uri in uris]
    found += [
        evaluate("models:/forms/1", (X, Y), into=Tiny(), log=False),
        evaluate(tiny, (X, Y), outputs="logits", log=False),
    ]
    assert all(result.metrics == pytest.approx(found[0].metrics, abs=1e-6) for result in found)
    assert [result.model_uri for result in found[:2]] == ["models:/forms/1"] * 2
    assert all(result.warnings == () for result in found)


def test_without_logging_nothing_is_written(tiny: Tiny, tmp_path: Path) -> None:
    """No store, no digest, no bootstrap."""
    before = sorted(tmp_path.rglob("*"))
    result = evaluate(tiny, (X, Y), log=False)
    assert sorted(tmp_path.rglob("*")) == before
    assert (result.dataset_digest, result.model_uri, result.split) == (None, None, "test")
    assert "roc_auc_macro" not in result.intervals


def test_a_live_module_is_logged_too(store: Store, tiny: Tiny) -> None:
    """It has no address, and is no version's evidence."""
    result = evaluate(tiny, (X, Y), split="val", outputs="logits")
    (run,) = runs(store)
    assert run.data.metrics["val_accuracy"] == result.metrics["accuracy"]
    assert "pt_eval.model_uri" not in run.data.tags
    assert root(store, run) >= FILES


def test_the_loss_of_a_criterion_is_a_metric(tiny: Tiny) -> None:
    """Weighted by samples."""
    result = evaluate(tiny, (X, Y), criterion=nn.CrossEntropyLoss(), log=False, batch_size=7)
    with torch.no_grad():
        expected = float(nn.CrossEntropyLoss()(tiny.eval()(X), Y))
    assert result.metrics["loss"] == pytest.approx(expected, rel=1e-6)


def test_text_labels_are_read_by_the_class_names(tiny: Tiny) -> None:
    """Names in the order of the outputs."""
    names_ = ["ant", "bee", "cat"]
    text = [names_[label] for label in Y.tolist()]
    assert evaluate(tiny, (X, text), class_names=names_, log=False).metrics == evaluate(tiny, (X, Y), log=False).metrics
    assert evaluate(tiny, (X, Y), class_names=np.array(names_), log=False).class_names == tuple(names_)
    mapped = evaluate(tiny, (X, Y + 10), classes=[10, 11, 12], class_names=names_, log=False)
    assert mapped.metrics == evaluate(tiny, (X, Y), log=False).metrics


@pytest.mark.parametrize(
    ("outputs", "labels", "options", "words"),
    [
        (torch.full((3, 3), torch.nan), [0, 1, 2], {}, "sample 0 is nan in column 0"),
        (torch.zeros(3, 3), [0, 1, 3], {}, "label 2 is 3"),
        (torch.zeros(3, 3), [0, 1.5, 2], {}, "label 1 is 1.5"),
        (torch.zeros(3, 3), [0, 1], {}, "there are 3 inputs, but 2 labels"),
        (torch.zeros(0, 3), [], {}, "is empty"),
        (torch.zeros(3, 3), [0, 1, 2], {"class_names": ["a", "b"]}, "has 2 entries, but the model has 3 outputs"),
        (torch.zeros(3, 3), [0, 1, 2], {"classes": [0, 1, 2, 3]}, "classes has 4 entries, but the model has 3 outputs"),
        (torch.zeros(2, 1), [0, 1], {"classes": [0, 1, 2]}, "classes has 3 entries, but the model tells two classes"),
        (torch.zeros(3, 1), [0, 1, 2], {}, "label 2 is 2, but the model tells two classes apart, so labels are 0 or 1"),
        (
            torch.zeros(3, 3),
            [0, 1, 2],
            {"device": "mps:7"},
            "device is 'mps:7', which torch cannot use here; write cpu",
        ),
        (torch.zeros(3, 3), [0, 1, 2], {"device": "meta"}, "device is 'meta', which torch cannot use here; write cpu"),
        (torch.zeros(3, 3), [0, 1, 2], {"device": 3.5}, "3.5 is not a device; write cpu"),
        (torch.zeros(3, 3), [0, 1, 2], {"target": "y"}, "names a table's column"),
    ],
)
def test_bad_input_leaves_a_failed_run_with_the_reason_and_nothing_else(store, outputs, labels, options, words):
    """No metric, no artifact, no tag by which it would be found as evidence."""
    with pytest.raises(BadInput, match=words):
        evaluate(Given(), (outputs, labels), **options)
    (run,) = runs(store)
    assert run.info.status == "FAILED"
    assert words.split(".*")[0] in run.data.tags["pt_eval.error"]
    assert run.data.metrics == {}
    assert store.client.list_artifacts(run.info.run_id) == []
    assert not {names.TAG_SPLIT, names.TAG_DATASET_DIGEST, names.TAG_MODEL_URI} & set(run.data.tags)


def test_an_evaluation_inside_a_training_belongs_to_it(store):
    """So that those of each epoch stand under the training in the UI, and not side by side with it."""
    model = nn.Linear(4, 3)
    with TrainingRun({"model": model}) as run:
        for epoch in run.epochs(2):
            evaluate(
                model, (torch.zeros(6, 4), [0, 1, 2] * 2), outputs="logits", split="val", run_name=f"epoch {epoch}"
            )
            run.log(val_loss=1.0)
    evaluate(model, (torch.zeros(6, 4), [0, 1, 2] * 2), outputs="logits", run_name="after it")
    parents = {found.info.run_name: found.data.tags.get("mlflow.parentRunId") for found in runs(store)}
    del parents[next(name for name in parents if name not in ("epoch 0", "epoch 1", "after it"))]
    assert parents == {"epoch 0": run.run_id, "epoch 1": run.run_id, "after it": None}


def test_names_that_an_open_run_leaves_no_use_for_are_said(store, caplog):
    """The run has its own name and experiment, which stay."""
    data = (torch.zeros(6, 4), [0, 1, 2] * 2)
    with mlflow.start_run(run_name="mine") as mine:
        evaluate(nn.Linear(4, 3), data, outputs="logits", run_name="other", experiment_name="elsewhere")
        assert "not used are run_name='other' (it keeps its name 'mine'); experiment_name='elsewhere'" in caplog.text
        evaluate(nn.Linear(4, 3), data, outputs="logits", run_name="second")
        assert f"the run {mine.info.run_id} holds the evaluation of an earlier call" in caplog.text
    assert sorted(run.info.run_name for run in runs(store)) == ["mine", "second"]


@pytest.mark.parametrize(("entry_point", "named", "wanted"), [
    ("evaluate", None, "evaluate on test"), ("evaluate", "mine", "mine"), ("main", None, None),
])  # fmt: skip
def test_the_run_of_the_evaluate_entry_point_says_what_it_is(store, entry_point, named, wanted):
    """Not by the name that MLflow drew, by which nobody tells two of them apart; another's run keeps that."""
    with mlflow.start_run(run_name=named, tags={"mlflow.project.entryPoint": entry_point}) as active:
        evaluate(nn.Linear(4, 3), (torch.zeros(6, 4), [0, 1, 2] * 2), outputs="logits")
    (run,) = runs(store)
    assert run.info.run_name == (wanted or active.info.run_name)


def test_names_that_do_not_fit_the_model_are_refused_after_its_first_batch():
    """Not at the end of a pass that took an hour."""
    calls = []
    model = nn.Linear(4, 3)
    model.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(BadInput, match="has 2 entries, but the model has 3 outputs"):
        evaluate(model, (torch.zeros(100, 4), [0, 1] * 50), class_names=["a", "b"], batch_size=10, log=False)
    assert len(calls) == 1


def test_an_output_that_is_not_finite_is_traced_to_its_input():
    """NaN in the data is the first thing to look for; where the input is finite, nothing is said of it."""
    model, inputs = nn.Linear(4, 4), torch.ones(300, 4)
    inputs[217, 2] = torch.inf
    with pytest.raises(BadInput, match=r"output for sample 217 is .* Its input is inf, too, at \[2\]\.$"):
        evaluate(model, (inputs, [0, 1, 2, 3] * 75), log=False)
    model.bias.data[1] = torch.nan
    with pytest.raises(BadInput, match=r"sample 0 is nan in column 1: every output must be finite\.$"):
        evaluate(model, (inputs, [0, 1, 2, 3] * 75), log=False)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("models:/nobody/1", {}, "nobody"),
        (3, {}, "a int cannot be evaluated"),
        (Given(), {"into": Given()}, "into= takes the weights of a stored model"),
        (Given(), {"split": "a@b"}, "split is 'a@b', which cannot stand in front of a metric's key"),
        (Given(), {"split": ""}, "split is ''"),
        (Given(), {"split": "/x"}, "split is '/x'"),
        (Given(), {"split": "../x"}, "split is '../x'"),
        (Given(), {"split": "a//b"}, "split is 'a//b'"),
        (Given(), {"split": "a" * 224}, "at most 223"),
        (Given(), {"run_id": "0" * 32}, "there is no run"),
        (Given(), {"run_id": 3}, "run_id is 3, a int: give a text"),
        (Given(), {"run_name": 3}, "run_name is 3"),
        (Given(), {"experiment_name": 3}, "experiment_name is 3"),
        (Given(), {"dataset_name": 3}, "dataset_name is 3"),
        (Given(), {"split": 3}, "split is 3"),
        (Given(), {"bootstrap": 2.5}, "bootstrap is 2.5: give at least 100 resamples, or 0"),
        (Given(), {"bootstrap": "10"}, "bootstrap is '10'"),
        (Given(), {"bootstrap": float("nan")}, "bootstrap is nan"),
        (Given(), {"bootstrap": -1}, "bootstrap is -1"),
        (Given(), {"bootstrap": 99}, "bootstrap is 99"),
        (Given(), {"class_names": ["a", "", "c"]}, "class_names .* gives class 1 the name ''"),
        ("models:/nobody/1", {"device": "xla"}, "device is 'xla', which torch cannot use here"),
        ("models:/nobody/1", {"device": 3.5}, "3.5 is not a device"),
        ("m3", {}, "a registered model's version is models:/m3/VERSION"),
        ("m3/1", {}, "a registered model's version is models:/m3/1.$"),
        ("m3@champion", {}, "a registered model's version is models:/m3@champion.$"),
    ],
)
def test_what_cannot_begin_leaves_no_run(store, model, options, words):
    """There is nothing that a run could tell."""
    with pytest.raises((BadInput, NotFound), match=words):
        evaluate(model, (X, Y), **options)
    assert runs(store) == []


@pytest.mark.parametrize("labels", [Y % 2, torch.arange(60) % 7, torch.eye(60)[:, :3]])
def test_the_longest_split_fits_in_front_of_every_metric(labels):
    """A key that is too long would be refused when everything is computed."""
    shape = (60, 3) if labels.ndim == 2 else (60, int(labels.max()) + 1)
    split = "dev/a.b:c" + "a" * 214
    found = evaluate(Given(), (torch.randn(shape), labels), split=split, log=False)
    assert check_metric_key(max(flat_metrics(found), key=len)) == f"{split}_{names.LONGEST_METRIC}"


def test_a_store_that_refuses_files_gives_no_evidence(store: Store, tiny: Tiny, tmp_path: Path) -> None:
    """Files come first: where they fail, there are no numbers and no tags."""
    (tmp_path / "no_folder").write_text("")
    experiment = store.client.create_experiment("broken", (tmp_path / "no_folder" / "x").as_uri())
    with pytest.raises(OSError, match="no_folder"):
        evaluate(tiny, (X, Y), experiment_name="broken")
    (run,) = store.client.search_runs([experiment])
    assert run.info.status == "FAILED"
    assert run.data.metrics == {}
    assert names.TAG_DATASET_DIGEST not in run.data.tags


def test_a_password_in_an_error_is_not_stored(store: Store) -> None:
    """A data set that could not be fetched says from where."""

    class Refused(Given):
        def forward(self, x):
            raise OSError("no answer from s3://me:secret@host/data")

    with pytest.raises(BadInput):
        evaluate(Refused(), (X, Y))
    (run,) = runs(store)
    assert "me:***@host" in run.data.tags["pt_eval.error"]


def test_an_interrupted_evaluation_is_killed(store: Store) -> None:
    """Statuses are true."""

    class Interrupting(Given):
        def forward(self, x):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(Interrupting(), (X, Y))
    assert [run.info.status for run in runs(store)] == ["KILLED"]


def test_the_callers_run_is_used_and_left_open_and_only_once(store: Store, tiny: Tiny) -> None:
    """A second evaluation opens a child under it; so do those in a training run."""
    with mlflow.start_run() as active:
        evaluate(tiny, (X, Y))
        assert store.client.get_run(active.info.run_id).info.status == "RUNNING"
        evaluate(tiny, (X, Y), split="val")
    mine, child = store.client.get_run(active.info.run_id), runs(store)[0]
    assert mine.info.status == child.info.status == "FINISHED"
    assert "test_accuracy" in mine.data.metrics
    assert "val_accuracy" not in mine.data.metrics
    assert child.data.tags["mlflow.parentRunId"] == active.info.run_id


def test_an_evaluation_counts_at_once_and_the_last_one_made_is_the_newest(store: Store, tiny: Tiny) -> None:
    """Also in a run that its owner goes on with, and in one that was begun long before."""
    register(store, tiny, name="seen", input_example=X[:2])
    info = resolve_uri(store, "models:/seen/1")
    older = store.client.create_run("0").info.run_id
    with mlflow.start_run() as active:
        evaluate("models:/seen/1", (X, Y))
        assert [each.run_id for each in find(store, info, "test")] == [active.info.run_id]
    evaluate("models:/seen/1", (X, Y), run_id=older)
    assert [each.run_id for each in find(store, info, "test")] == [older, active.info.run_id]


def test_a_run_that_is_named_is_used_or_is_the_parent(store: Store, tiny: Tiny) -> None:
    """By `run_id`, with the same rule."""
    given = store.client.create_run("0").info.run_id
    evaluate(tiny, (X, Y), run_id=given)
    evaluate(tiny, (X, Y), run_id=given)
    assert "test_accuracy" in store.client.get_run(given).data.metrics
    assert runs(store)[0].data.tags["mlflow.parentRunId"] == given


def test_a_deleted_training_run_is_nobodys_parent(store: Store, tiny: Tiny) -> None:
    """The version outlives it."""
    training = store.client.create_run("0").info.run_id
    register(store, tiny, name="orphan", input_example=X[:2], run_id=training)
    store.client.delete_run(training)
    evaluate("models:/orphan/1", (X, Y))
    (run,) = runs(store)
    assert "mlflow.parentRunId" not in run.data.tags


def test_evaluating_leaves_the_random_numbers_alone(store: Store, tiny: Tiny) -> None:
    """MLflow draws from `random` to name a run."""
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    evaluate(tiny, (X, Y))
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.parametrize(
    ("outputs", "labels", "metric"),
    [
        (torch.randn(40, 1), torch.arange(40) % 2, "test_roc_auc"),
        (torch.randn(40, 3), torch.arange(120).reshape(40, 3) % 2, "test_hamming_loss"),
        (torch.randn(40, 1), torch.zeros(40), "test_accuracy"),
    ],
)
def test_binary_and_multilabel_evaluations_are_whole_too(store, outputs, labels, metric):
    """Every artifact of the contract, whatever the task, and where a curve is undefined."""
    evaluate(Given(), (outputs, labels), outputs="logits")
    (run,) = runs(store)
    assert metric in run.data.metrics
    assert root(store, run) >= FILES


class TestMistakes:
    """What the model is wrong about and sure of."""

    def test_the_worst_come_first_with_what_was_said(self, store):
        """At most 24, highest loss first."""
        logits = torch.zeros(40, 3)
        logits[:, 0] = torch.arange(40) / 4 + 0.1
        evaluate(Given(), (logits, torch.arange(40) % 2), outputs="logits", class_names=["ant", "bee", "cat"])
        (run,) = runs(store)
        table = pd.read_csv(f"{run.info.artifact_uri.removeprefix('file://')}/worst_mistakes.csv")
        assert table["index"].tolist() == list(range(39, 0, -2))
        assert set(table["label"]) == {"bee"}
        assert set(table["prediction"]) == {"ant"}
        assert table["loss"].is_monotonic_decreasing
        assert "worst_mistakes.png" not in root(store, run)

    def test_inputs_that_look_like_images_are_shown(self, store):
        """In a grid, with their captions."""
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
        evaluate(model, (torch.rand(30, 1, 8, 8), Y[:30]), outputs="logits")
        assert "worst_mistakes.png" in root(store, runs(store)[0])

    @pytest.mark.parametrize("shown", [True, False])
    def test_a_picture_that_cannot_be_made_costs_no_evaluation(self, store, caplog, shown):
        """Raw items are only the user's collate function's; one that fails for a single item is said."""

        def collate(items):
            if len(items) < 2 and not shown:
                raise RuntimeError("too few")
            return torch.ones(len(items), 3), torch.tensor([label for _, label in items])

        rows = [("good bad", i % 3) for i in range(12)]
        evaluate(Given(), DataLoader(rows, 4, collate_fn=collate), outputs="logits")
        (run,) = runs(store)
        assert run.info.status == "FINISHED"
        assert "worst_mistakes.csv" in root(store, run)
        assert ("no picture of the worst mistakes" in caplog.text) is not shown

    def test_a_row_of_labels_says_which_are_wrong(self, store):
        """What is right, of dozens, is not repeated; a recomputed report has the same table."""
        logits = torch.tensor([[9.0, 9, -9, -9], [9, -9, -9, 9], [-9, -9, -9, -9]])
        truth = torch.tensor([[1, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 1]])
        evaluate(Given(), (logits, truth), task="multilabel", outputs="logits", class_names=list("abcd"))
        (run,) = runs(store)
        folder = Path(run.info.artifact_uri.removeprefix("file://"))
        table = pd.read_csv(folder / "worst_mistakes.csv", keep_default_na=False)
        assert list(table) == ["index", "missed", "wrongly given", "certainty of the surest error", "loss"]
        assert table[["index", "missed", "wrongly given"]].values.tolist() == [[0, "c", "b"], [2, "d", "none"]]
        recompute(run.info.run_id)
        assert table.equals(pd.read_csv(folder / "worst_mistakes.csv", keep_default_na=False))
        assert "wrongly given" in (folder / "report.html").read_text(encoding="utf-8")

    def test_no_mistake_is_an_empty_table(self, store):
        """With its columns."""
        evaluate(Given(), (torch.eye(3)[Y] * 9, Y), outputs="logits")
        (run,) = runs(store)
        table = pd.read_csv(f"{run.info.artifact_uri.removeprefix('file://')}/worst_mistakes.csv")
        assert len(table) == 0
        assert list(table) == ["index", "label", "prediction", "probability", "loss"]


class TestRecompute:
    """From the stored predictions, without model and data."""

    def test_it_gives_the_same_again(self, store, tiny):
        """Every number; nothing is logged twice."""
        first = evaluate(tiny, (X, Y), outputs="logits", criterion=nn.CrossEntropyLoss())
        (run,) = runs(store)
        images = store.client.list_artifacts(run.info.run_id, "images")
        again = recompute(run.info.run_id)
        assert again.to_json() == first.to_json()
        assert store.client.list_artifacts(run.info.run_id, "images") == images
        assert len(store.client.get_metric_history(run.info.run_id, "test_accuracy")) == 1

    @pytest.mark.parametrize("bootstrap", [0, 150])
    def test_it_draws_as_often_as_the_run_did(self, store, tiny, bootstrap):
        """Each metric keeps its one point, and none is added."""
        evaluate(tiny, (X, Y), outputs="logits", bootstrap=bootstrap)
        (run,) = runs(store)
        again = recompute(run.info.run_id)
        assert again.resamples == bootstrap
        assert ("f1_macro" in again.intervals) == (bootstrap > 0)
        after = store.client.get_run(run.info.run_id).data.metrics
        assert after == run.data.metrics
        assert all(len(store.client.get_metric_history(run.info.run_id, key)) == 1 for key in after)
        assert "test_f1_macro_ci_low" in flat_metrics(recompute(run.info.run_id, bootstrap=200))

    def test_the_report_says_what_it_said(self, store, tiny):
        """When it was and how fast; of an older run, whose file says neither, the run alone."""
        evaluate(tiny, (X, Y), outputs="logits")
        (run,) = runs(store)
        folder = Path(run.info.artifact_uri.removeprefix("file://"))
        before = (folder / "report.html").read_bytes()
        recompute(run.info.run_id)
        recompute(run.info.run_id)
        assert b"samples a second" in before
        assert (folder / "report.html").read_bytes() == before
        data = json.loads((folder / "evaluation.json").read_text())
        del data["report"], data["resamples"]
        (folder / "evaluation.json").write_text(json.dumps(data))
        assert recompute(run.info.run_id).resamples == 1000
        assert b"samples a second" not in (folder / "report.html").read_bytes()

    def test_an_interval_that_is_left_out_now_is_gone(self, store):
        """With the reason, though an older version drew it."""
        evaluate(Given(), (torch.eye(3)[Y] * 9, Y), outputs="logits")
        (run,) = runs(store)
        path = Path(run.info.artifact_uri.removeprefix("file://")) / "evaluation.json"
        data = json.loads(path.read_text())
        data["intervals"]["f1_macro"], data["warnings"] = [1.0, 1.0], ["said before"]
        path.write_text(json.dumps(data))
        again = recompute(run.info.run_id)
        assert again.intervals.keys() == {"accuracy"}
        assert [text[:30] for text in again.warnings] == ["said before", "no interval of f1_macro and ro"]

    def test_it_mends_what_another_version_drew(self, store, tiny):
        """Metrics, figures and the report are replaced."""
        evaluate(tiny, (X, Y), outputs="logits")
        (run,) = runs(store)
        folder = Path(run.info.artifact_uri.removeprefix("file://"))
        before = {name: (folder / name).read_bytes() for name in FILES}
        (folder / "roc_curve.png").write_bytes(b"old")
        (folder / "report.html").unlink()
        store.client.log_metric(run.info.run_id, "test_accuracy", 0.0, timestamp=1)
        accuracy = recompute(run.info.run_id).metrics["accuracy"]
        assert store.client.get_run(run.info.run_id).data.metrics["test_accuracy"] == accuracy
        assert (folder / "roc_curve.png").read_bytes() == before["roc_curve.png"]
        assert b"Worst mistakes" in (folder / "report.html").read_bytes()
        assert len(store.client.list_artifacts(run.info.run_id, "images")) == 2 * (len(FIGURES) + 1)

    def test_what_the_predictions_do_not_hold_stays(self, store):
        """Above 100 classes only some probabilities are stored."""
        first = evaluate(Given(), (torch.randn(300, 120), torch.arange(300) % 120), outputs="logits")
        again = recompute(runs(store)[0].info.run_id)
        assert again.metrics == pytest.approx(first.metrics, abs=1e-12)
        assert len(again.curves.roc) == len(first.curves.roc) > 0

    @pytest.mark.parametrize("name", ["evaluation.json", "predictions.parquet"])
    def test_a_damaged_file_is_named_with_its_run(self, store, tiny, name):
        """One line, and the run stays as it is."""
        evaluate(tiny, (X, Y), outputs="logits")
        (run,) = runs(store)
        (Path(run.info.artifact_uri.removeprefix("file://")) / name).write_bytes(b"{")
        with pytest.raises(BadInput, match=f"the evaluation run {run.info.run_id} cannot be computed again"):
            recompute(run.info.run_id)
        assert runs(store)[0].data.metrics == run.data.metrics

    def test_a_run_that_is_no_evaluation_is_refused(self, store, tiny):
        """Or one that failed."""
        other = store.client.create_run("0").info.run_id
        with pytest.raises(BadInput, match="is no evaluation but of no kind that is ours"):
            recompute(other)
        with pytest.raises(BadInput):
            evaluate(tiny, (X, Y + 9))
        with pytest.raises(BadInput, match="has no evaluation.json: it did not end well"):
            recompute(runs(store)[0].info.run_id)


def test_the_stored_predictions_give_the_evaluation_again(store: Store, tiny: Tiny) -> None:
    """By anybody who has the file."""
    result = evaluate(tiny, (X, Y), outputs="logits")
    path = f"{runs(store)[0].info.artifact_uri.removeprefix('file://')}/predictions.parquet"
    assert Evaluation.from_predictions(path).metrics == result.metrics


def test_classes_are_names_where_there_are_no_others(store: Store, tiny: Tiny) -> None:
    """The caller's names first, then the registered ones if as many, then the label values themselves."""
    text = ["cat", "dog", "eel"]
    data = (torch.eye(3)[Y], [text[label] for label in Y.tolist()])
    assert evaluate(Given(), data, classes=text, log=False).class_names == tuple(text)
    assert evaluate(Given(), (data[0], Y + 7), classes=[7, 8, 9], log=False).class_names == ("7", "8", "9")
    assert evaluate(Given(), data, classes=text, class_names=["x", "y", "z"], log=False).class_names == ("x", "y", "z")
    blank = evaluate(Given(), (data[0], Y % 2), classes=[0, 1, ""], log=False)  # no name
    assert blank.class_names == ("0", "1", "2")
    register(store, tiny, name="named", input_example=X[:2], class_names=["ant", "bee", "cow"])
    registered = evaluate("models:/named/1", (X, Y + 7), classes=[7, 8, 9], log=False)
    assert registered.class_names == ("ant", "bee", "cow")


def test_a_version_whose_names_are_no_names_is_evaluated_with_numbers(store: Store, tiny: Tiny, caplog, monkeypatch):
    """It was registered when nothing was asked of them."""
    register(store, tiny, name="old", input_example=X[:2], class_names=["ant", "bee", "cow"])
    loaded = load_version(store, "models:/old/1")
    monkeypatch.setattr(subject, "load_version", lambda *_, **__: replace(loaded, class_names=("ant", "", "ant")))
    assert evaluate("models:/old/1", (X, Y), log=False).class_names == ("0", "1", "2")
    assert "the class names that models:/old/1 was registered with are not used" in caplog.text


@pytest.mark.parametrize(
    ("model", "inputs", "hint"),
    [
        (
            nn.Linear(3, 3),
            torch.ones(60, 3, dtype=torch.int64).numpy(),
            "as float32, too: torch.as_tensor.X, dtype=torch.float32.; a file's, stored so$",
        ),
        (nn.Linear(3, 3), torch.ones(60, 3).double(), "as float32, too"),
        (nn.Conv1d(3, 3, 1), torch.ones(60, 3, 1, dtype=torch.int64), "as float32, too"),
        (nn.Linear(2, 3), torch.ones(60, 3), "cannot be multiplied .60x3 and 2x3.$"),
    ],
)
def test_inputs_in_another_number_format_are_said_to_be(model, inputs, hint):
    """What torch says of it names neither the inputs nor the way out."""
    with pytest.raises(BadInput, match=hint):
        evaluate(model, (inputs, Y), log=False)


def test_a_run_that_has_no_such_model_says_which_it_has(store: Store, tiny: Tiny) -> None:
    """Nothing is gone: it has another name."""
    run = store.client.create_run(store.experiment_id("named")).info.run_id
    with pytest.raises(NotFound, match=f"the run {run} has no model 'model'; the models that it has: none.$"):
        evaluate(f"runs:/{run}/model", (X, Y), log=False)
    register(store, tiny, name="other", input_example=X[:2], run_id=run)
    with pytest.raises(NotFound, match=f"the run {run} has no model 'model'; the models that it has: other.$"):
        evaluate(f"runs:/{run}/model", (X, Y), log=False)


class TestCommand:
    """`mlflow-pt-eval evaluate`."""

    def test_each_warning_is_printed_once(self, store, tiny, tmp_path, capsys, caplog):
        """On stderr, through logging; of an evaluation that is computed again, what its run has said."""
        register(store, tiny, name="said", input_example=X[:2])
        np.savez(tmp_path / "two.npz", X=X.numpy(), y=(Y % 2).numpy())
        assert main(["evaluate", "models:/said/1", "--data", "two.npz"]) == 0
        assert "occurs in no sample" not in capsys.readouterr().out
        assert caplog.text.count("class '2' occurs in no sample") == 1
        assert main(["evaluate", "--from-run", runs(store)[0].info.run_id]) == 0
        captured = capsys.readouterr()
        assert "occurs in no sample" not in captured.out
        assert (captured.err + caplog.text).count("class '2' occurs in no sample") == 2

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            (["models:/m/1", "--data", "x.npz"], "MODEL_URI, --data does not go with --from-run"),
            (["--split", "val", "--class-names", "a,b"], "--split, --class-names does not go"),
            (["--task", "binary"], "--task does not"),
            (["--run-id", "7"], "--run-id does not"),
            (["--batch-size", "7"], "--batch-size does not"),
        ],
    )
    def test_nothing_else_stands_beside_from_run(self, options, named, capsys):
        """It would be ignored."""
        with pytest.raises(SystemExit) as caught:
            main(["evaluate", *options, "--from-run", "0" * 32])
        assert caught.value.code == 2
        assert named in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--class-names", "a,,b"], "class_names (--class-names) gives class 1 the name ''"),
            (["--device", "mps:7"], "device is 'mps:7', which torch cannot use here"),
            (["--device", "meta"], "device is 'meta', which torch cannot use here"),
        ],
    )
    def test_a_bad_option_is_one_line_and_status_2(self, options, said, store, tiny, tmp_path, capsys):
        """Before a run is opened."""
        register(store, tiny, name="bad", input_example=X[:2])
        np.savez(tmp_path / "two.npz", X=X.numpy(), y=Y.numpy())
        before = len(runs(store))
        assert main(["evaluate", "models:/bad/1", "--data", "two.npz", *options]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
        assert len(runs(store)) == before
