"""An exported model is read only if nothing in it would be executed."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import Image, Words
from torch import nn

from mlflow_pt_eval.errors import BadInput, UnsafeFile
from mlflow_pt_eval.exporting.archive import check_archive, load_program
from mlflow_pt_eval.exporting.inputs import read_example
from mlflow_pt_eval.exporting.program import export_program, save_program
from mlflow_pt_eval.exporting.snapshot import frozen_copy

CPU = torch.device("cpu")
EXPLOIT = "__import__('pathlib').Path('executed').touch()"


class Exploit:
    """Pickled, it leaves a file behind when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, (EXPLOIT,)


def exported(model: nn.Module, x: torch.Tensor, path: Path) -> Path:
    frozen = frozen_copy(model)
    save_program(export_program(frozen, read_example(x, frozen)), path)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A harmless exported model."""
    return exported(nn.Linear(4, 3), torch.randn(2, 4), tmp_path / "model.pt2")


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Write the archive again with other contents, keyed by the names without the root folder."""
    with zipfile.ZipFile(path) as old:
        root = old.namelist()[0].partition("/")[0]
        files = {name.partition("/")[2]: old.read(name) for name in old.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name, content in files.items():
            new.writestr(f"{root}/{name}", content)
    return path


def with_graph(change: Callable[[Any], Any]) -> Callable[[dict[str, bytes]], None]:
    def apply(files: dict[str, bytes]) -> None:
        graph = json.loads(files["models/model.json"])
        change(graph)
        files["models/model.json"] = json.dumps(graph).encode()

    return apply


def put(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda files: files.update({name: content})


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def pickled_weights(files: dict[str, bytes]) -> None:
    name = "data/weights/model_weights_config.json"
    config = json.loads(files[name])
    config["config"]["weight"]["use_pickle"] = True
    files[name] = json.dumps(config).encode()
    files["data/weights/weight_0"] = saved(Exploit())


def opaque_constant(files: dict[str, bytes]) -> None:
    name = "data/constants/model_constants_config.json"
    meta = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False, "tensor_meta": None}
    files[name] = json.dumps({"config": {"c": meta}}).encode()
    files["data/constants/opaque_obj_0"] = pickle.dumps(Exploit())


def symbol(graph: Any) -> None:
    dims = graph["graph_module"]["graph"]["tensor_values"]["input"]["sizes"]
    dims[0]["as_expr"]["expr_str"] = EXPLOIT


ATTACKS = {
    "pickled weights": pickled_weights,
    "an opaque constant": opaque_constant,
    "pickled examples": put("data/sample_inputs/model.pt", saved(((Exploit(),), {}))),
    "a bare pickle as examples": put("data/sample_inputs/model.pt", pickle.dumps(Exploit())),
    "a renamed pickle as examples": put("data/sample_inputs/model.pt", zipped("x.pkl", pickle.dumps(Exploit()))),
    "weights of the old format": put("data/weights/model.pt", saved({"weight": Exploit()})),
    "compiled code": put("data/aotinductor/model/x.so", b"\x7fELF"),
    "a guard": with_graph(lambda graph: graph["guards_code"].append(EXPLOIT)),
    "a guard with a quote": with_graph(lambda graph: graph["guards_code"].append("'\") or 1' == 1")),
    "a guard by attributes": with_graph(lambda graph: graph["guards_code"].append("torch.os.system('touch executed')")),
    "a guard by a builtin": with_graph(lambda graph: graph["guards_code"].append("exec('touch')")),
    "a shape expression": with_graph(symbol),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_nothing_in_an_archive_is_executed(archive: Path, attack: Callable[[dict[str, bytes]], None]) -> None:
    """Whatever torch would unpickle or evaluate is refused before torch sees it."""
    rewritten(archive, attack)
    with pytest.raises(UnsafeFile, match="could execute code"):
        load_program(archive, device=CPU)
    assert not Path("executed").exists()


def test_the_attacks_are_real(archive: Path) -> None:
    """Torch itself executes a guard of an archive: what is refused is not a theory."""
    rewritten(archive, ATTACKS["a guard"])
    with pytest.raises(AssertionError, match="Guard failed"):
        torch.export.load(archive).module()(torch.randn(2, 4))
    assert Path("executed").exists()


def test_ambiguous_names_are_refused(archive: Path) -> None:
    """Two roots could show one content to the check and another to torch."""
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("other/models/model.json", b"{}")
    with pytest.raises(UnsafeFile, match="ambiguous"):
        check_archive(archive)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (Image().to(memory_format=torch.channels_last), torch.randn(2, 3, 8, 8)),
        (Words(), torch.ones(2, 7, dtype=torch.int64)),
        (nn.LSTM(4, 3, batch_first=True), torch.randn(2, 5, 4)),
    ],
)
def test_what_torch_exports_is_let_through(model: nn.Module, x: torch.Tensor, tmp_path: Path) -> None:
    """Convolutions, embeddings and recurrent layers load, and give the same bits."""
    loaded = load_program(exported(model, x, tmp_path / "model.pt2"), device=CPU)
    want, got = model.eval()(x), loaded(x)
    first = (want[0], got[0]) if isinstance(want, tuple) else (want, got)
    assert torch.equal(*first)


def test_guards_of_several_free_dimensions_are_let_through(tmp_path: Path) -> None:
    """A graph that somebody exported with free heights and widths has arithmetic in its guards."""

    class Pyramid(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            small = nn.functional.interpolate(nn.functional.max_pool2d(x, 3), scale_factor=1.5)
            return small.flatten(1)[:, : x.shape[2] // 2] + (1 if x.shape[2] > 20 else 0)

    free = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    program = torch.export.export(Pyramid(), (torch.randn(2, 3, 32, 48),), dynamic_shapes=(free,))
    save_program(program, tmp_path / "model.pt2")
    x = torch.randn(3, 3, 36, 52)
    assert torch.equal(load_program(tmp_path / "model.pt2", device=CPU)(x), Pyramid()(x))


def test_a_loaded_graph_can_be_set_to_eval(archive: Path) -> None:
    """Evaluation loops call eval(); training a graph is refused with the way round it."""
    graph = load_program(archive, device=CPU)
    assert graph.eval() is graph
    assert graph.train(False) is graph
    assert not graph.training
    with pytest.raises(BadInput, match="into=YourModel"):
        graph.train()


def test_a_graph_moves_to_another_device_with_what_is_baked_in(tmp_path: Path) -> None:
    """Not only the weights: constants that forward makes are made there, too."""

    class Baked(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.arange(3, device=x.device)

    path = exported(Baked(), torch.randn(2, 3), tmp_path / "model.pt2")
    assert load_program(path, device=torch.device("meta"))(torch.randn(4, 3, device="meta")).device.type == "meta"


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_a_damaged_archive_is_bad_input(tmp_path: Path, content: bytes) -> None:
    """One clear line, not a reader's traceback."""
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="is not a whole .pt2 archive"):
        load_program(path, device=CPU)
