"""Weights are found in whatever file people keep them, and nothing in it is executed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from safetensors.torch import save_file

from mlflow_pt_eval.errors import BadInput, NotFound, UnsafeFile
from mlflow_pt_eval.exporting.weights_file import read_weights


class Exploit:
    """Pickled, it leaves a file behind when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("__import__('pathlib').Path('executed').touch()",)


def prefixed(weights: dict[str, Any], *prefixes: str) -> dict[str, Any]:
    return {"".join(prefixes) + key: value for key, value in weights.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {"epoch": 7, "model_state_dict": w, "optimizer_state_dict": {"state": {}}, "loss": 0.5},
        lambda w: {"epoch": 7, "state_dict": prefixed(w, "module."), "best": torch.tensor(1.0)},
        lambda w: {"epoch": 7, "model": prefixed(w, "_orig_mod.")},
        lambda w: prefixed(w, "module.", "_orig_mod."),
        lambda w: {key.replace("layers.", "layers._orig_mod."): value for key, value in w.items()},
    ],
    ids=["bare", "textbook", "DDP", "compiled", "both", "a compiled part"],
)
def test_the_weights_are_found(tiny: Tiny, tmp_path: Path, wrap: Any) -> None:
    """A bare state dict or a checkpoint's, with the wrappers' prefixes or without."""
    path, own = tmp_path / "model.pth", tiny.state_dict()
    saved = wrap(dict(own))
    torch.save(saved, path)
    found = read_weights(path)
    weights = found.named_as(own)
    assert weights.keys() == own.keys()
    assert all(torch.equal(weights[key], own[key]) for key in own)
    assert found.epoch == saved.get("epoch")


def test_a_part_of_ones_own_that_is_called_module_keeps_its_name(tmp_path: Path) -> None:
    """A prefix that the module itself has is no wrapper's."""
    own = {"module.weight": torch.zeros(1)}
    torch.save(own, tmp_path / "model.pth")
    assert read_weights(tmp_path / "model.pth").named_as(own.keys()).keys() == own.keys()


def test_safetensors_are_read(tiny: Tiny, tmp_path: Path) -> None:
    """The format without pickles needs no other treatment."""
    save_file(tiny.state_dict(), tmp_path / "model.safetensors")
    assert read_weights(tmp_path / "model.safetensors").weights.keys() == tiny.state_dict().keys()


def test_a_pickled_model_is_refused_without_executing_it(tiny: Tiny, tmp_path: Path) -> None:
    """The message has the way round it."""
    path = tmp_path / "model.pth"
    for value in (tiny, Exploit(), {"model_state_dict": tiny.state_dict(), "args": Exploit()}):
        torch.save(value, path)
        with pytest.raises(UnsafeFile, match=r"torch\.save\(model\.state_dict\(\), "):
            read_weights(path)
    for protocol in (2, 3, 4, 5):
        path.write_bytes(pickle.dumps(tiny, protocol))
        with pytest.raises(UnsafeFile, match=r"torch\.save\(model\.state_dict\(\), "):
            read_weights(path)
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"epoch": 3, "loss": 0.5}, "a mapping with the keys epoch, loss"),
        ({}, "an empty mapping"),
        (torch.zeros(3), "a Tensor"),
        ([1, 2], "a list"),
    ],
)
def test_a_file_without_weights_says_what_it_holds(tmp_path: Path, value: Any, said: str) -> None:
    """One line, with what was there."""
    torch.save(value, tmp_path / "model.pth")
    with pytest.raises(BadInput, match=f"holds no state dict but {said}"):
        read_weights(tmp_path / "model.pth")


def test_missing_and_damaged_files_are_told_apart(tiny: Tiny, tmp_path: Path) -> None:
    """NotFound, or damaged; in either format."""
    with pytest.raises(NotFound, match="there is no file"):
        read_weights(tmp_path / "model.pth")
    torch.save(tiny.state_dict(), tmp_path / "model.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "model.pth").read_bytes()[:300])
    with pytest.raises(BadInput, match=r"cut.pth \(300 bytes\) is no whole PyTorch file: .*torch.save"):
        read_weights(tmp_path / "cut.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    with pytest.raises(BadInput, match="not a whole safetensors file"):
        read_weights(tmp_path / "cut.safetensors")
