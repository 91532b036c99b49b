"""An exported model is read only if nothing in it would be executed."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import Image, Words
from torch import nn
from torch.utils.checkpoint import checkpoint

from mlflow_pt_eval.errors import BadInput, CheckpointDamaged, UnsafeFile
from mlflow_pt_eval.exporting.archive import load_program
from mlflow_pt_eval.exporting.archive_copy import checked_copy
from mlflow_pt_eval.exporting.inputs import named_outputs, read_example
from mlflow_pt_eval.exporting.program import export_program, save_program
from mlflow_pt_eval.exporting.snapshot import frozen_copy

CPU = torch.device("cpu")


class Layers(nn.Module):
    """Two layers whose names are not identifiers, and any forward."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"one/1: a-b": nn.Linear(4, 3), "two (2)": nn.Linear(4, 3)})
        self.call = forward

    def forward(self, x: torch.Tensor) -> Any:
        return self.call(*self.layers.values(), x)


def with_autocast(one: nn.Module, two: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return one(x) + two(x)


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


def calling(target: str, **arguments: Any) -> Callable[[dict[str, bytes]], None]:
    """Let the graph begin with a call."""

    def insert(graph: Any) -> None:
        inputs = [{"name": name, "arg": value, "kind": 2} for name, value in arguments.items()]
        inside = graph["graph_module"]["graph"]
        inside["tensor_values"]["evil"] = inside["tensor_values"]["linear"]
        outputs = [{"as_tensor": {"name": "evil"}}]
        node = {"target": target, "inputs": inputs, "outputs": outputs, "metadata": {}, "name": "evil"}
        inside["nodes"].insert(0, node)

    return with_graph(insert)


def hidden_call(graph: Any) -> None:
    inner = {"inputs": [], "outputs": [], "tensor_values": {}, "sym_int_values": {}, "sym_bool_values": {}}
    node = {"target": "torch.os.system", "inputs": [], "outputs": [], "metadata": {}, "name": "evil"}
    branch = {"as_graph": {"name": "true_graph_0", "graph": inner | {"nodes": [node]}}}
    outer = {"target": "torch.ops.higher_order.cond", "outputs": [], "metadata": {}, "name": "outer"}
    outer["inputs"] = [{"name": "", "arg": branch, "kind": 1}]
    graph["graph_module"]["graph"]["nodes"].insert(0, outer)


def named_code(graph: Any) -> None:
    text = json.dumps(graph).replace('"linear"', json.dumps(f"linear = {EXPLOIT}; linear"))
    graph.update(json.loads(text))


def quoted_code(graph: Any) -> None:
    text = json.dumps(graph).replace(
        '"parameter_name": "weight"', json.dumps({"parameter_name": f'w"+{EXPLOIT}+"'})[1:-1]
    )
    graph.update(json.loads(text))


def signature(graph: Any) -> Any:
    return graph["graph_module"]["module_call_graph"][0]["signature"]


def tree(kind: str, context: Any) -> str:
    leaf = {"type": None, "context": None, "children_spec": []}
    return json.dumps([1, {"type": kind, "context": context, "children_spec": [leaf]}])


IMPORTING = {"default_factory_module": "spy", "default_factory_name": "X", "dict_context": ["a"]}
FREE = {"as_string": "touch executed"}

ATTACKS = {
    "a call of the system": calling("torch.os.system", command=FREE),
    "a call through a module": calling("torch.hub.os.system", command=FREE),
    "a call that maps a file": calling("torch.ops.aten.from_file.default", filename=FREE, shared={"as_bool": True}),
    "a call in a graph inside": with_graph(hidden_call),
    "a function as an argument": calling("torch.ops.higher_order.cond", to={"as_operator": "torch.os.system"}),
    "code as a name": with_graph(named_code),
    "code as a parameter's name": with_graph(quoted_code),
    "code as an argument's name": with_graph(
        lambda graph: signature(graph)["forward_arg_names"].append(f"x={EXPLOIT}")
    ),
    "code as a keyword": with_graph(
        lambda graph: signature(graph).update(
            in_spec=signature(graph)["in_spec"].replace('"[]"', json.dumps(json.dumps([f"x={EXPLOIT}"])))
        )
    ),
    "an output that imports": with_graph(
        lambda graph: signature(graph).update(
            out_spec=tree("builtins.dict", json.dumps([{"__enum__": True, "fqn": "spy:X", "name": "n"}]))
        )
    ),
    "an output whose default imports": with_graph(
        lambda graph: signature(graph).update(out_spec=tree("collections.defaultdict", IMPORTING))
    ),
    "code as an example's key": put(
        "data/sample_inputs/model.pt", saved(((torch.ones(2, 4),), {f'x"+{EXPLOIT}+"': torch.ones(2)}))
    ),
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
def test_nothing_in_an_archive_is_executed(
    archive: Path, attack: Callable[[dict[str, bytes]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever torch would unpickle, evaluate, call or import is refused before torch sees it."""
    Path("spy.py").write_text(EXPLOIT)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(sys.modules, "spy", raising=False)
    rewritten(archive, attack)
    with pytest.raises(UnsafeFile, match="could execute code"):
        load_program(archive, device=CPU)
    assert not Path("executed").exists()


@pytest.mark.parametrize("attack", ["a guard", "code as an argument's name", "an output that imports"])
def test_the_attacks_are_real(archive: Path, attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch itself executes what is in an archive: what is refused is not a theory."""
    Path("spy.py").write_text(EXPLOIT)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(sys.modules, "spy", raising=False)
    rewritten(archive, ATTACKS[attack])
    with contextlib.suppress(AssertionError, AttributeError):
        torch.export.load(archive).module()(torch.randn(2, 4))
    assert Path("executed").exists()


def two_in_one(archive: Path) -> Path:
    """Put an archive with a pickle before a clean one: torch's reader finds the first, Python's the second."""
    clean = archive.read_bytes()
    with zipfile.ZipFile(archive) as old:
        room = len(old.read("model/data/sample_inputs/model.pt"))
    rewritten(archive, lambda files: None)
    clean = archive.read_bytes()
    rewritten(archive, put("data/sample_inputs/model.pt", pickle.dumps(Exploit()).ljust(room, b"\0")))
    archive.write_bytes(archive.read_bytes()[:-22] + clean)
    return archive


def test_an_archive_in_front_of_the_archive_is_refused(archive: Path) -> None:
    """What is checked is what torch reads, also where two readers of zip files disagree."""
    with pytest.raises(UnsafeFile, match="something before its first file"):
        load_program(two_in_one(archive), device=CPU)
    assert not Path("executed").exists()


def test_readers_of_zip_files_disagree(archive: Path) -> None:
    """Torch itself executes the pickle in front, which Python's own reader does not see."""
    with contextlib.suppress(Exception):
        torch.export.load(two_in_one(archive))
    assert Path("executed").exists()


def test_torch_reads_a_copy(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that is exchanged after the check is not read again."""
    load = torch.export.load

    def exchanged(source: Any) -> Any:
        rewritten(archive, ATTACKS["a guard"])
        return load(source)

    monkeypatch.setattr(torch.export, "load", exchanged)
    load_program(archive, device=CPU)(torch.randn(2, 4))
    assert not Path("executed").exists()


def test_a_graph_still_checks_its_inputs(archive: Path) -> None:
    """The guards that torch stores are kept, and with them its message for an input of another shape."""
    with pytest.raises(AssertionError, match="Guard failed"):
        load_program(archive, device=CPU)(torch.randn(2, 5))


def test_compressed_files_are_refused(archive: Path) -> None:
    """A small file could fill the memory."""
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as more:
        more.writestr("model/data/weights/weight_7", bytes(1000))
    with pytest.raises(UnsafeFile, match="compressed"):
        load_program(archive, device=CPU)


def test_ambiguous_names_are_refused(archive: Path) -> None:
    """Two roots could show one content to the check and another to torch."""
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("other/models/model.json", b"{}")
    with pytest.raises(UnsafeFile, match="ambiguous"):
        checked_copy(archive)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (Image().to(memory_format=torch.channels_last), torch.randn(2, 3, 8, 8)),
        (Words(), torch.ones(2, 7, dtype=torch.int64)),
        (nn.LSTM(4, 3, batch_first=True), torch.randn(2, 5, 4)),
        (nn.GRU(4, 3, batch_first=True), torch.randn(2, 5, 4)),
        (nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2), torch.randn(2, 5, 8)),
        (nn.EmbeddingBag(9, 3), torch.ones(2, 7, dtype=torch.int64)),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Upsample(scale_factor=2)), torch.randn(2, 3, 8, 8)),
        (Layers(lambda one, two, x: torch.cond(x.sum() > 0, one, two, (x,))), torch.randn(2, 4)),
        (Layers(with_autocast), torch.randn(2, 4)),
        (Layers(lambda one, two, x: checkpoint(one, x, use_reentrant=False)), torch.randn(2, 4)),
        (Layers(lambda one, two, x: torch.vmap(one)(x)), torch.randn(2, 4)),
        (Layers(lambda one, two, x: {"a b/c": (one(x), [two(x)])}), torch.randn(2, 4)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*enable_nested_tensor:UserWarning")
def test_what_torch_exports_is_let_through(model: nn.Module, x: torch.Tensor, tmp_path: Path) -> None:
    """Convolutions, embeddings, recurrent layers, control flow: they load, and give what they gave."""
    loaded = load_program(exported(model, x, tmp_path / "model.pt2"), device=CPU)
    want, got = named_outputs(model.eval()(x)), named_outputs(loaded(x))
    assert want.keys() == got.keys()
    for key in want:
        torch.testing.assert_close(want[key], got[key])


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


def test_a_weight_without_its_bytes_is_damage(archive: Path) -> None:
    """Torch takes zeros for a file that is empty."""
    rewritten(archive, put("data/weights/weight_0", b""))
    with pytest.raises(CheckpointDamaged, match="weight_0 is empty"):
        load_program(archive, device=CPU)


@pytest.mark.parametrize("cut", [1, 100, 5000])
def test_an_archive_that_is_cut_is_damaged(archive: Path, cut: int) -> None:
    """Not unsafe, though the archive of the example input inside of it may end there."""
    archive.write_bytes(archive.read_bytes()[:-cut])
    with pytest.raises(CheckpointDamaged, match="its end is missing"):
        load_program(archive, device=CPU)


def test_a_changed_bit_is_damage(archive: Path) -> None:
    """The archive's own checksums say so."""
    archive.write_bytes(archive.read_bytes().replace(b"torch.ops.aten.linear", b"torch.ops.aten.linnar", 1))
    with pytest.raises(CheckpointDamaged, match="Bad CRC-32"):
        load_program(archive, device=CPU)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data/weights/model_weights_config.json", b'{"config": []}'),
        ("data/weights/model_weights_config.json", b"[]"),
        ("models/model.json", b"[]"),
        ("models/model.json", b"{"),
        ("models/model.json", b"[" * 200_000),
    ],
)
def test_json_of_another_kind_is_bad_input(archive: Path, name: str, content: bytes) -> None:
    """One line, however the parser fails."""
    rewritten(archive, put(name, content))
    with pytest.raises(BadInput, match="is not a whole .pt2 archive") as caught:
        load_program(archive, device=CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_damaged_archive_is_bad_input(tmp_path: Path, content: bytes) -> None:
    """One clear line, not a reader's traceback."""
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="is not a whole .pt2 archive"):
        load_program(path, device=CPU)
