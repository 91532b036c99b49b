"""A factory is an importable callable with plain arguments that returns the module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nets import Stubborn
from torch import nn

from mlflow_pt_eval.errors import BadInput, UnsafeFile
from mlflow_pt_eval.exporting.factory import Factory


def test_a_factory_makes_the_module_with_its_arguments() -> None:
    """A class or a function, from a package or from the working directory."""
    assert Factory("nets:Stubborn", {"width": 7}).build().layer.out_features == 7  # type: ignore[union-attr]
    assert type(Factory("nets:Stubborn").build()) is Stubborn
    assert type(Factory("torch.nn:Linear", {"in_features": 2, "out_features": 1}).build()) is nn.Linear


def test_the_working_directory_is_importable() -> None:
    """A module beside the script needs no installation."""
    Path("beside_the_script.py").write_text("import torch\ndef make():\n    return torch.nn.Identity()\n")
    assert type(Factory("beside_the_script:make").build()) is nn.Identity


@pytest.mark.parametrize(
    ("spec", "kwargs", "said"),
    [
        ("nets", {}, "is not a factory: write package.module:callable"),
        ("nets:", {}, "is not a factory"),
        ("nets:make()", {}, "is not a factory"),
        ("__main__:Net", {}, "in the script itself"),
        ("nets:Stubborn", {"width": {1, 2}}, "must be plain JSON data"),
        ("nets:Stubborn", {"width": (1, 2)}, "change when they are stored"),
    ],
)
def test_what_could_not_be_stored_is_refused_at_once(spec: str, kwargs: dict[str, Any], said: str) -> None:
    """Before a training, not when the model is loaded a month later."""
    with pytest.raises(BadInput, match=said):
        Factory(spec, kwargs)


@pytest.mark.parametrize(
    ("spec", "kwargs", "said"),
    [
        ("no_such_module:Net", {}, "there is no module 'no_such_module'"),
        ("nets:NoSuch", {}, "has no 'NoSuch'"),
        ("nets:Stubborn", {"height": 3}, "failed .TypeError: .*'height'"),
        ("nets:not_a_model", {}, "returned a str instead of an nn.Module"),
    ],
)
def test_a_factory_that_fails_says_how(spec: str, kwargs: dict[str, Any], said: str) -> None:
    """One line with the reason."""
    with pytest.raises((BadInput, LookupError), match=said):
        Factory(spec, kwargs).build()


@pytest.mark.parametrize("spec", ["os:system", "subprocess:check_output", "torch.hub:load", "builtins:exec"])
def test_a_stored_model_calls_no_function_of_the_system(spec: str) -> None:
    """Whoever can write a model's description must not be able to run a command by it."""
    with pytest.raises(UnsafeFile, match="is not called"):
        Factory(spec, {"command": "touch executed"}).build()
