"""A published folder proves itself in a fresh process: it gives there what the live model gives here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from nets import Stubborn, Two
from torch import nn

from mlflow_pt_eval.errors import RegistrationFailed
from mlflow_pt_eval.exporting.candidate import Candidate, take_candidate
from mlflow_pt_eval.exporting.folder import save_weights
from mlflow_pt_eval.exporting.prove import Prover, compare


def written(candidate: Candidate, folder: Path) -> Path:
    """Write the candidate's folder, with as much of an MLmodel file as loading needs."""
    folder.mkdir()
    info = candidate.write(folder)
    (folder / "MLmodel").write_text(yaml.safe_dump({"metadata": info.metadata(), "flavors": {"pytorch": {}}}))
    return folder


def test_a_whole_folder_proves_itself(tmp_path: Path) -> None:
    """Several inputs of several types, in their order, and several outputs."""
    x, words = torch.randn(2, 4), torch.ones(2, 7, dtype=torch.int64)
    candidate = take_candidate(Two(), input_example=(x, words))
    with Prover() as prover:
        prover.check(written(candidate, tmp_path / "model"), candidate.example, candidate.expected)


def test_a_difference_is_named(tmp_path: Path) -> None:
    """Other weights in the folder than in the live model: the error has the number."""
    torch.manual_seed(0)
    x = torch.ones(2, 4)
    layer = nn.Linear(4, 3)
    folder = written(take_candidate(layer, input_example=x), tmp_path / "model")
    with torch.no_grad():
        layer.bias[0] += 0.25
    live = take_candidate(layer, input_example=x)
    with Prover() as prover, pytest.raises(RegistrationFailed, match=r"at most 0\.25, allowed are 1e-05"):
        prover.check(folder, live.example, live.expected)


def test_a_factory_is_imported_as_here(tmp_path: Path) -> None:
    """The fresh process finds the factory's module where this one does."""
    candidate = take_candidate(Stubborn(), input_example=torch.randn(2, 4), factory="nets:Stubborn")
    folder = written(candidate, tmp_path / "model")
    with Prover() as prover:
        prover.check(folder, candidate.example, candidate.expected)


def test_the_process_knows_no_run_of_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the caller's MLflow run nor its working directory reaches the fresh process."""
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "spy.py").write_text(
        "import os, torch\nclass Net(torch.nn.Linear):\n    def __init__(self):\n"
        "        assert 'MLFLOW_RUN_ID' not in os.environ and os.getcwd() != " + repr(str(Path.cwd())) + "\n"
        "        super().__init__(4, 3)\n"
    )
    layer = nn.Linear(4, 3)
    folder = tmp_path / "model"
    folder.mkdir()
    save_weights(folder, layer.state_dict())
    (folder / "MLmodel").write_text("metadata: {pt_eval.factory: 'spy:Net', pt_eval.form: factory}\n")
    candidate = take_candidate(layer, input_example=torch.randn(2, 4))
    with Prover() as prover:
        prover.check(folder, candidate.example, candidate.expected)


def test_what_the_fresh_process_says_arrives(tmp_path: Path) -> None:
    """A folder that cannot be loaded there: the reason, in one line."""
    candidate = take_candidate(nn.Linear(4, 3), input_example=torch.randn(2, 4))
    folder = written(candidate, tmp_path / "model")
    (folder / "data" / "model.pt2").write_bytes(b"cut")
    with Prover() as prover, pytest.raises(RegistrationFailed, match="fresh process could not run .*not a whole .pt2"):
        prover.check(folder, candidate.example, candidate.expected)


def test_nothing_to_prove_ends_the_process() -> None:
    """A registration that fails before the proof leaves no process behind."""
    with Prover() as prover:
        process = prover._process
        assert process is not None
    assert process.poll() is not None


@pytest.mark.parametrize(
    ("want", "got", "said"),
    [
        ({"": torch.zeros(2)}, {"logits": torch.zeros(2)}, r"outputs \['logits'\] instead of \[''\]"),
        ({"": torch.zeros(2)}, {"": torch.zeros(3)}, r"\(3,\) torch.float32 instead of \(2,\)"),
        ({"a": torch.zeros(2)}, {"a": torch.tensor([0.0, 1e-3])}, r"output 'a' .*at most 0.001.*1 of 2 values"),
        ({"": torch.zeros(2)}, {"": torch.tensor([0.0, torch.nan])}, "at most nan"),
        ({"": torch.tensor([torch.inf])}, {"": torch.tensor([-torch.inf])}, "at most inf"),
        ({"": torch.tensor([1, 2])}, {"": torch.tensor([1, 3])}, "at most 1, allowed are 0"),
        ({"": torch.tensor([True])}, {"": torch.tensor([False])}, "at most 1"),
    ],
)
def test_every_kind_of_difference_is_an_error(
    want: dict[str, torch.Tensor], got: dict[str, torch.Tensor], said: str
) -> None:
    """Names, shapes, values, NaN, infinities, integers."""
    with pytest.raises(RegistrationFailed, match=said):
        compare(want, got)


def test_the_last_bits_may_differ() -> None:
    """Fused kernels sum in another order; NaN and infinities at the same places are the same."""
    want = torch.tensor([1000.0, torch.nan, torch.inf, 0.0])
    assert compare({"": want}, {"": want + torch.tensor([1e-3, 0, 0, 1e-4])}) is None
    assert compare({"": torch.zeros(0)}, {"": torch.zeros(0)}) is None
    with pytest.raises(RegistrationFailed, match="differs from the live model"):
        compare({"": want}, {"": want + torch.tensor([1.0, 0, 0, 1e-4])})
