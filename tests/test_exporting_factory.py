"""A factory is an importable callable with plain arguments that returns the module."""

from __future__ import annotations

import sys
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


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("os:system", "no function of os"),
        ("subprocess:check_output", "no function of subprocess"),
        ("builtins:exec", "no function of builtins"),
        ("torch.hub:load", "only the layers in torch.nn"),
        ("torch:load", "only the layers in torch.nn"),
        ("torch:os.system", "only the layers in torch.nn"),
        ("torch.utils.collect_env:run", "only the layers in torch.nn"),
        ("torch.nn.functional:relu", "no function of torch.nn.functional"),
        ("torch.nn:Embedding.from_pretrained", "it is a method"),
        ("pandas:read_pickle", "no function of pandas"),
        ("numpy:load", "no function of numpy"),
        ("yaml:unsafe_load", "no function of yaml"),
        ("mlflow.pytorch:load_model", "no function of mlflow"),
        ("mlflow_pt_eval.cli:main", "no function of mlflow_pt_eval"),
        ("safetensors.__main__:main", "is a program"),
        ("cloudpickle:load", "it is a builtin|has nothing of torch|it is from _?pickle"),
        ("net_of_mine:run", "it is from subprocess, another package"),
        ("net_of_mine:load", "it is from torch.serialization, another package"),
        ("net_of_mine:system", "neither a class of modules nor a plain function"),
        ("net_of_mine:os.system", "os is no class of net_of_mine"),
        ("net_of_mine:Script", "torch.jit._script makes no model"),
        ("net_of_mine:dict", "it is a type"),
        ("tool_of_mine:run", "has nothing of torch in it"),
    ],
)
def test_a_stored_model_calls_no_function_of_the_system(spec: str, said: str) -> None:
    """Whoever can write a model's description must not be able to run a command by it."""
    Path("net_of_mine.py").write_text(
        "import os\nfrom os import system\nfrom subprocess import run\nfrom torch import load, nn\n"
        "from torch.jit import ScriptModule as Script\ndict = dict\n"
    )
    Path("tool_of_mine.py").write_text("def run(command):\n    open('executed', 'w')\n")
    with pytest.raises(UnsafeFile, match=f"is not called: .*({said})"):
        Factory(spec, {"command": "touch executed"}).build()
    assert not Path("executed").exists()


def test_what_a_package_shows_may_be_defined_in_a_part_of_it() -> None:
    """A function that a package's `__init__` takes from its own module is the package's own."""
    Path("shown").mkdir()
    Path("shown/__init__.py").write_text("from shown.parts import Nets, make\nfrom torch.nn import Identity\n")
    Path("shown/parts.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Identity()\n"
        "class Nets:\n    @staticmethod\n    def make():\n        return nn.Identity()\n"
    )
    for spec in ("shown:make", "shown:Identity", "shown:Nets.make"):
        assert type(Factory(spec).build()) is nn.Identity


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "import torch\ndef make():\n    raise SystemExit(3)"])
def test_a_factory_does_not_end_the_program(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its module nor the function itself."""
    Path("ending.py").write_text(code)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(sys.modules, "ending", raising=False)
    with pytest.raises(BadInput, match="SystemExit"):
        Factory("ending:make").build()
