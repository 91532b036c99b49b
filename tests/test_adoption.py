"""Hand-named files become versions, once each, in the order that people mean."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Tiny
from torch import nn

from mlflow_pt_eval import names
from mlflow_pt_eval.adoption import adopt, natural_order
from mlflow_pt_eval.errors import BadInput, NotFound, StateMismatch, UnsafeFile
from mlflow_pt_eval.tracking.models import load_version
from mlflow_pt_eval.tracking.registry import get_alias, versions
from mlflow_pt_eval.tracking.store import Store, connect

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def store(tracking: str) -> Store:
    """The test's own SQLite store."""
    return connect(tracking)


def model_files(*file_names: str) -> list[Path]:
    """Write a tiny model's weights under each name, other weights each time, and set their times."""
    for index, name in enumerate(file_names):
        torch.manual_seed(index)
        torch.save(Tiny().state_dict(), name)
        os.utime(name, (1_700_000_000, 1_700_000_000))
    return [Path(name) for name in file_names]


def test_numbers_are_read_as_numbers() -> None:
    """v2 before v10; a file named twice is one file."""
    given = ["b/net.pth", "model_v10.pth", "model_v2.pth", "./model_v2.pth", "model_v1.pth", "model_best.pth"]
    assert [path.name for path in natural_order(given)] == [
        "model_best.pth",
        "model_v1.pth",
        "model_v2.pth",
        "model_v10.pth",
        "net.pth",
    ]
    with pytest.raises(BadInput, match="no file is named"):
        natural_order([])


def test_files_become_versions_that_say_where_they_are_from(store: Store) -> None:
    """In natural order, with the file's name, time and digest; a run says when; again, nothing is adopted twice."""
    files = model_files("model_v10.pth", "model_v2.pth")
    adopted = adopt(files, name="hand", factory="conftest:Tiny", input_example=X)
    assert [(one.file.name, one.version, one.what) for one in adopted] == [
        ("model_v2.pth", 1, "a new version"),
        ("model_v10.pth", 2, "a new version"),
    ]
    first, second = versions(store, "hand")
    assert first.tags[names.TAG_SOURCE_FILE] == "model_v2.pth"
    assert first.tags[names.TAG_SOURCE_MTIME] == "2023-11-14T22:13:20+00:00"
    assert first.tags[names.TAG_SOURCE_SHA256] == adopted[0].sha256
    assert (first.aliases, second.aliases) == ((), ())
    live = Tiny().eval()
    live.load_state_dict(torch.load("model_v10.pth", weights_only=True))
    assert torch.equal(load_version(store, second.uri)(X), live(X))
    run = store.client.get_run(str(first.run_id))
    assert (run.data.tags[names.TAG_KIND], run.info.status) == (names.KIND_ADOPTION, "FINISHED")

    again = adopt(files, name="hand", factory="conftest:Tiny", input_example=X)
    assert [(one.version, one.what) for one in again] == [(1, "registered already"), (2, "registered already")]
    assert len(versions(store, "hand")) == 2
    assert len(store.client.search_runs([run.info.experiment_id])) == 1


def test_a_dry_run_registers_nothing(store: Store) -> None:
    """It reads and checks every file and says what would become of it."""
    files = model_files("a1.pth", "a2.pth")
    Path("a3.pth").write_bytes(Path("a1.pth").read_bytes())
    adopted = adopt([*files, "a3.pth"], name="dry", factory=Tiny, input_example=X, dry_run=True)
    assert [(one.version, one.what) for one in adopted] == [
        (None, "a new version"),
        (None, "a new version"),
        (None, "the same weights as a1.pth"),
    ]
    assert adopted[0].to_json()["file"] == "a1.pth"
    assert store.client.search_registered_models() == []
    assert store.client.search_runs(["0"]) == []


def test_two_files_with_the_same_weights_are_one_version(store: Store) -> None:
    """model_best.pth is usually a copy of another; the alias ends on the last file's version."""
    model_files("net1.pth", "net2.pth")
    Path("net3.pth").write_bytes(Path("net1.pth").read_bytes())
    adopted = adopt(["net1.pth", "net2.pth", "net3.pth"], name="twin", factory=Tiny, input_example=X, alias="last")
    assert [one.version for one in adopted] == [1, 2, 1]
    assert [info.aliases for info in versions(store, "twin")] == [("last",), ()]


def test_the_example_may_be_a_spec(store: Store) -> None:
    """The first samples of the data; the user's own generators are left alone."""
    np.savez("data.npz", X=X.numpy(), y=np.array([0, 1]))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    adopt(model_files("one.pth"), name="spec", factory=Tiny, input_example="data.npz", dry_run=True)
    torch.manual_seed(5)
    adopt(["one.pth"], name="spec", factory=Tiny, input_example="data.npz")
    assert torch.equal(torch.get_rng_state(), before)
    assert len(versions(store, "spec")) == 1


def test_the_example_may_be_a_table_of_inputs(store: Store) -> None:
    """All of its columns; one of text is named."""
    table = pd.DataFrame(X.numpy(), columns=list("abcd"))
    table.to_csv("inputs.csv", index=False)
    table.assign(kind=["no", "yes"]).to_csv("labelled.csv", index=False)
    files = model_files("one.pth")
    adopt(files, name="table", factory=Tiny, input_example="inputs.csv")
    assert load_version(store, "models:/table/1")(X).shape == (2, 3)
    with pytest.raises(BadInput, match="column 'kind' holds no numbers; give a table of the model's inputs alone"):
        adopt(files, name="table", factory=Tiny, input_example="labelled.csv")


def test_one_bad_file_stops_all_before_anything_is_registered(store: Store) -> None:
    """A pickled model, a misfit, a missing file: named, and no version is made."""
    files = model_files("good.pth")
    torch.save(Tiny(), "whole.pth")
    torch.save(Tiny(classes=9).state_dict(), "other.pth")
    Path("cut.pth").write_bytes(Path("other.pth").read_bytes()[:500])
    Path("text.pth").write_text("weights")
    Path("plain.pkl").write_bytes(pickle.dumps(Tiny()))
    for bad, error, said in [
        ("whole.pth", UnsafeFile, r"whole\.pth holds pickled objects .*torch\.save\(model\.state_dict"),
        ("plain.pkl", UnsafeFile, r"plain\.pkl"),
        ("other.pth", StateMismatch, r"other\.pth: .*layers\.4\.bias: \(9,\) instead of \(3,\)"),
        ("other.pth", BadInput, r"Use the class and the arguments that they were trained with"),
        ("cut.pth", BadInput, r"cut\.pth \(\d+ bytes\) is no whole PyTorch file"),
        ("text.pth", BadInput, r"text\.pth \(\d+ bytes\) is no whole PyTorch file"),
        (".", NotFound, r"is a folder, not a file"),
        ("gone.pth", NotFound, r"there is no file gone\.pth"),
    ]:
        with pytest.raises(error, match=said):
            adopt([*files, bad], name="bad", factory=Tiny, input_example=X)
    assert store.client.search_registered_models() == []


def test_a_failed_adoption_says_so(store: Store) -> None:
    """An example that does not fit: the error, and a run that is FAILED."""
    with pytest.raises(BadInput, match="does not take the example"):
        adopt(model_files("one.pth"), name="fails", factory=Tiny, input_example=torch.zeros(2, 9))
    assert [run.info.status for run in store.client.search_runs(["0"])] == ["FAILED"]


def test_the_alias_ends_on_the_last_file_also_where_its_version_was_there_before(store: Store) -> None:
    """Set once, at the end: also where a file between is new, and where none is."""
    files = model_files("v1.pth", "v2.pth", "v3.pth")
    adopt([files[0], files[2]], name="ends", factory=Tiny, input_example=X)
    for some in files[:1], files:
        adopted = adopt(some, name="ends", factory=Tiny, input_example=X, alias="champ")
        assert get_alias(store, "ends", "champ") == adopted[-1].version
    assert [one.version for one in adopted] == [1, 3, 2]


class Soft(Tiny):
    """Gives probabilities."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).softmax(1)


def test_corrected_outputs_are_another_version(store: Store) -> None:
    """Weights that were adopted as logits and give probabilities: the table says why they get a second version."""
    files = model_files("soft.pth")
    adopt(files, name="soft", factory=Soft, input_example=X)
    for dry_run, version in (True, None), (False, 2):
        (one,) = adopt(files, name="soft", factory=Soft, input_example=X, outputs="probabilities", dry_run=dry_run)
        said = "it records outputs='logits', and 'probabilities' is given"
        assert (one.version, one.what) == (version, f"a new version; version 1 has its weights, but {said}")
    assert load_version(store, "models:/soft/2").outputs == "probabilities"


def test_a_dry_run_knows_weights_of_another_type_again(store: Store) -> None:
    """What counts is the module's own type: half-precision files are registered in it."""
    torch.save({key: value.half() for key, value in Tiny().state_dict().items()}, "half.pth")
    (real,) = adopt("half.pth", name="half", factory=Tiny, input_example=X)
    (planned,) = adopt(Path("half.pth"), name="half", factory=Tiny, input_example=X, dry_run=True)
    assert (real.version, planned.version, planned.what) == (1, 1, "registered already")
    assert planned.weights_sha256 == versions(store, "half")[0].tags[names.TAG_WEIGHTS_SHA256]


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        (nn.Linear, "the factory Linear failed (TypeError: .*it has to return the model when it is called with no"),
        (lambda: 3, "returned a int instead of an nn.Module"),
        (nn.Linear(4, 3), "factory is a Linear: give what makes a new module, its class"),
        (3, "factory is a int"),
    ],
)
def test_a_factory_that_makes_no_module_is_named(store: Store, factory: Any, said: str) -> None:
    """Before a file is read."""
    with pytest.raises(BadInput, match=said.replace("(", r"\(")):
        adopt(model_files("one.pth"), name="made", factory=factory, input_example=X)


@pytest.mark.parametrize("wrong", [{"factory": nn.Linear}, {"input_example": "gone.npz"}, {"files": "gone.pth"}])
def test_no_store_is_made_for_what_cannot_be_adopted(tracking: str, wrong: dict[str, Any]) -> None:
    """An empty one would hide that there is none here."""
    Path("mlflow.db").unlink()
    options = {"files": model_files("one.pth"), "factory": Tiny, "input_example": X, **wrong}
    with pytest.raises(BadInput):
        adopt(options.pop("files"), name="nothing", **options)
    assert not Path("mlflow.db").exists()


def test_a_callable_gets_its_arguments(store: Store) -> None:
    """As a factory that is named does."""
    torch.save(Tiny(classes=5).state_dict(), "five.pth")
    options = {"name": "five", "factory": Tiny, "factory_kwargs": {"classes": 5}, "input_example": X}
    assert adopt("five.pth", dry_run=True, **options)[0].what == "a new version"


def test_weights_that_are_not_numbers_are_no_version(store: Store) -> None:
    """A training that diverged: the tensor is named."""
    weights = Tiny().state_dict()
    weights["layers.4.weight"][0, 1] = float("nan")
    torch.save(weights, "nan.pth")
    with pytest.raises(BadInput, match=r"nan\.pth: 'layers\.4\.weight' holds NaN"):
        adopt("nan.pth", name="nan", factory=Tiny, input_example=X)
    assert store.client.search_registered_models() == []
