"""Which run an evaluation goes to, which one it names, and what is said when it is computed again."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from nets import Batch
from torch import nn

from mlflow_pt_eval import names
from mlflow_pt_eval.cli import main
from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.evaluation import evaluate, recompute
from mlflow_pt_eval.evaluation.recompute import _all_said
from mlflow_pt_eval.metrics import Evaluation
from mlflow_pt_eval.metrics.intervals import NO_INTERVAL
from mlflow_pt_eval.metrics.recompute import NEED_SCORES
from mlflow_pt_eval.registration import register
from mlflow_pt_eval.tracking.store import Store, connect
from mlflow_pt_eval.validation import validate

# MLflow's pyfunc warns of its own types when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
Y = torch.arange(60) % 3


class Called(nn.Module):
    """A linear layer whose input has a name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class Sum(nn.Module):
    """Two inputs that must not change places."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return self.layer(one) - 2 * other


@pytest.fixture
def store(tracking: str) -> Store:
    """The test's own SQLite store."""
    return connect(tracking)


def test_an_evaluation_names_its_run(store: Store) -> None:
    """In Python, in its file, and after it was computed again; one that is not logged has none."""
    found = evaluate(Called(), (X, Y))
    assert found.run_id is not None
    path = store.client.download_artifacts(found.run_id, names.EVALUATION_JSON)
    data = json.loads(Path(path).read_text(encoding="utf-8"))
    assert Evaluation.from_json(data).run_id == found.run_id
    assert recompute(found.run_id).run_id == found.run_id
    assert evaluate(Called(), (X, Y), log=False).run_id is None
    del data["run_id"]  # as files had it before
    assert Evaluation.from_json(data).run_id is None


def test_the_command_says_which_run_it_was(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Else nobody knows what to give to --from-run."""
    register(store, Called(), name="said", input_example=X[:2])
    np.savez("set.npz", X=X.numpy(), y=Y.numpy())
    assert main(["evaluate", "models:/said/1", "--data", "set.npz"]) == 0
    run_id = capsys.readouterr().out.splitlines()[-1].removeprefix("run: ")
    assert store.client.get_run(run_id).data.tags[names.TAG_KIND] == names.KIND_EVALUATION
    assert main(["evaluate", "--from-run", run_id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run_id"] == run_id


@pytest.mark.parametrize("active", [False, True], ids=["run_id", "MLFLOW_RUN_ID"])
def test_after_a_mistake_the_same_run_is_used(active: bool, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds nothing but the reason of the first attempt; what holds an evaluation gets a child."""
    run_id = store.client.create_run(store.experiment_id(None)).info.run_id
    store.client.log_metric(run_id, "train_loss", 1.0)  # what the caller has there is no evaluation
    store.client.log_text(run_id, "mine", "notes.txt")
    if active:
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    given = None if active else run_id
    with pytest.raises(BadInput):
        evaluate(Called(), (X, Y + 1), run_id=given)
    assert "outputs" in store.client.get_run(run_id).data.tags[names.TAG_ERROR]
    found = evaluate(Called(), (X, Y), run_id=given)
    run = store.client.get_run(run_id)
    assert found.run_id == run_id
    assert names.TAG_ERROR not in run.data.tags
    assert run.data.metrics["test_accuracy"] == found.metrics["accuracy"]
    again = evaluate(Called(), (X, Y), run_id=given)
    child = store.client.get_run(str(again.run_id))
    assert again.run_id != run_id
    assert child.data.tags["mlflow.parentRunId"] == run_id


def test_a_run_that_has_ended_or_holds_something_gets_a_child(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of our own, which failed, stays what it is; two evaluations are not mixed in one run."""
    with pytest.raises(BadInput):
        evaluate(Called(), (X, Y + 1))
    ended = store.client.search_runs([store.experiment_id(None)])[0].info.run_id
    assert evaluate(Called(), (X, Y), run_id=ended).run_id != ended
    assert store.client.get_run(ended).info.status == "FAILED"

    half = store.client.create_run(store.experiment_id(None)).info.run_id
    with monkeypatch.context() as patch:
        patch.setattr("mlflow_pt_eval.tracking.evaluation_log.log_inputs", raise_os_error)
        with pytest.raises(OSError, match="cut"):
            evaluate(Called(), (X, Y), run_id=half)
    assert names.TAG_ERROR in store.client.get_run(half).data.tags
    assert evaluate(Called(), (X, Y), run_id=half).run_id != half
    with pytest.raises(NotFound):
        evaluate(Called(), (X, Y), run_id="")


def raise_os_error(*_: object, **__: object) -> None:
    """Break a logging off in its midst."""
    raise OSError("cut")


def test_of_intervals_the_whole_truth_is_said_once() -> None:
    """By the evaluation that knew every probability."""
    old, new = f"{NO_INTERVAL} f1_macro and roc_auc_macro: why.", f"{NO_INTERVAL} f1_macro: why."
    before, again = ("of the model", old), (new, NEED_SCORES, "of the data")
    area = f"{NO_INTERVAL} roc_auc_macro: why."
    assert _all_said(before, again, whole=False) == ("of the model", area, new, "of the data")
    assert _all_said((area,), again, whole=False) == (area, new, "of the data")
    assert _all_said((new,), ("of the data",), whole=False) == ("of the data",)
    assert _all_said(before, (new, "of the data"), whole=True) == ("of the model", new, "of the data")
    assert _all_said((old,), (old,), whole=True) == (old,)
    absent, better = "class '0' occurs in no sample: left out.", "class '0' occurs in no sample: undefined."
    assert _all_said((absent,), (better,), whole=True) == (better,)
    assert _all_said((absent,), (), whole=False) == (absent,)


def test_a_version_takes_the_mappings_that_its_module_takes(store: Store) -> None:
    """A loader's dict: of one input whatever its name, of several by their names."""
    torch.manual_seed(0)
    one, two = Called(), Sum()
    register(store, one, name="one", input_example=X[:2])
    register(store, two, name="two", input_example=(X[:2], torch.ones(2, 3)))
    other = torch.randn(60, 3, generator=torch.Generator().manual_seed(2))
    for version, live, parts in (("one", one, {"x": X}), ("two", two, {"other": other, "one": X})):
        wanted = evaluate(live, (parts, Y), log=False)
        found = evaluate(f"models:/{version}/1", (parts, Y), log=False)
        assert (found.confusion == wanted.confusion).all()
    with pytest.raises(
        BadInput, match=r"registered with 2 input\(s\) by place \(one, other\), but got a, b: give tens"
    ):
        evaluate("models:/two/1", ({"a": X, "b": other}, Y), log=False)


def test_texts_of_any_length_in_whole_mappings_are_evaluated(store: Store) -> None:
    """Padded to the longest of each batch; `forward(batch)` gets the mapping as it is, as a version, too."""
    live, rng = Batch().eval(), torch.Generator().manual_seed(0)
    batches = [
        {
            "weight": torch.rand(n, generator=rng) + 0.5,
            "words": torch.randint(0, 12, (n, length), generator=rng),
            "labels": torch.randint(0, 12, (n,), generator=rng),
        }
        for n, length in ((6, 5), (9, 8), (3, 2))
    ]
    example = {key: part for key, part in batches[0].items() if key != "labels"}
    register(store, live, name="texts", input_example=example)
    wanted = evaluate(live, iter(batches), log=False)
    found = evaluate("models:/texts/1", iter(batches), log=False)
    assert (found.confusion == wanted.confusion).all()
    assert found.metrics["log_loss"] == pytest.approx(wanted.metrics["log_loss"], abs=1e-6)
    assert validate(live, batches)["val_accuracy"] == wanted.metrics["accuracy"]
    with pytest.raises(BadInput, match="with the inputs weight, words by name, but got 1 by place: give a dict of"):
        evaluate("models:/texts/1", (batches[0]["words"], batches[0]["labels"]), log=False)
    with pytest.raises(BadInput, match="with the inputs weight, words by name, but got words, other: give a dict of"):
        evaluate("models:/texts/1", ({"words": X, "other": X}, Y), log=False)
    served = mlflow.pyfunc.load_model("models:/texts/1").predict({key: part.numpy() for key, part in example.items()})
    assert served == pytest.approx(live(example).detach().numpy(), abs=1e-6)
