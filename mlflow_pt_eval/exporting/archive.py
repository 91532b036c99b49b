"""Reading a .pt2 archive without executing anything that it holds.

`torch.export.load` unpickles what an archive asks it to, and evaluates the strings of its shape expressions and
guards. So the archive is inspected first, and only what an export of tensors consists of is let through.
"""

from __future__ import annotations

import ast
import io
import json
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from mlflow_pt_eval.errors import BadInput, UnsafeFile
from mlflow_pt_eval.exporting.program import quiet_torch
from mlflow_pt_eval.exporting.snapshot import first_line

_PLAIN = {"archive_format", "archive_version", "byteorder", "version", ".data/version", ".data/serialization_id"}
_CONFIGS = {"data/weights/model_weights_config.json", "data/constants/model_constants_config.json"}
_GRAPH = "models/model.json"
_SAMPLES = "data/sample_inputs/model.pt"
_RAW = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
_PAYLOAD = re.compile(r"(weight|tensor)_\d+")
_TENSOR_GLOBALS = re.compile(
    r"torch\._tensor _rebuild_from_type_v2|torch\._utils _rebuild_(tensor_v2|tensor|parameter)"
    r"|torch (Tensor|\w+Storage)|torch\.storage UntypedStorage|torch\.nn\.parameter Parameter|collections OrderedDict"
)
_EXPRESSION = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.keyword, ast.Name, ast.Attribute,
    ast.Subscript, ast.Constant, ast.Tuple, ast.List,
    ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip
_FUNCTION = re.compile(
    r"[A-Z]\w*|floor|ceiling|max|min|abs|int|float|bool|round"
)  # SymPy's classes; no builtin that acts
_METHODS = {"size", "stride", "storage_offset", "shape", "ndim", "dtype"}
_MATH = re.compile(r"math\.[a-z]\w*|torch\.sym_\w+")
_TEXT = re.compile(r"[\w.\- ]*")


def load_program(path: Path, *, device: torch.device) -> nn.Module:
    """Return the graph in the .pt2 archive *path* as a module in eval mode on *device*.

    Errors: UnsafeFile for an archive with anything in it that would be executed; BadInput for a damaged one.
    """
    check_archive(path)
    with quiet_torch():
        try:
            program = torch.export.load(path)
        except Exception as error:  # torch raises whatever its reader stumbles over
            raise BadInput(
                f"{path} cannot be read as an exported model ({type(error).__name__}: {first_line(error)}); "
                f"it was made by another version of torch than {torch.__version__}, or it is damaged."
            ) from error
        if device.type != "cpu":
            program = move_to_device_pass(program, str(device))
        return _evaluating(program.module())


def check_archive(path: Path) -> None:
    """Raise UnsafeFile if reading the .pt2 archive *path* would execute anything; BadInput if it is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(set(names)) < len(names) or len({name.partition("/")[0] for name in names}) != 1:
                _refuse(path, "its files are ambiguous")
            for full in names:
                name = full.partition("/")[2]
                if name not in _PLAIN and not _RAW.fullmatch(name):
                    _check_entry(path, name, archive.read(full))
    except UnsafeFile:
        raise
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{path} is not a whole .pt2 archive ({first_line(error)}); restore or re-register it."
        ) from error


def _check_entry(path: Path, name: str, content: bytes) -> None:
    if name in _CONFIGS:
        for entry in json.loads(content)["config"].values():
            if entry["use_pickle"] is not False or not _PAYLOAD.fullmatch(entry["path_name"]):
                _refuse(path, f"{name} asks for a pickle")
    elif name == _GRAPH:
        for text in _expressions(json.loads(content)):
            if not _harmless(text):
                _refuse(path, f"it holds the code {text[:80]!r}")
    elif name == _SAMPLES:
        _check_samples(path, content)
    else:
        _refuse(path, f"it holds {name!r}")


def _refuse(path: Path, why: str) -> NoReturn:
    raise UnsafeFile(
        f"{path} could execute code when it is loaded ({why}), so it is not loaded. Register the model again from "
        "its weights with mlflow_pt_eval, or load its state dict with load_model(..., into=YourModel())."
    )


def _check_samples(path: Path, content: bytes) -> None:
    """Let only tensors through: torch falls back to a full unpickling where its restricted one fails."""
    if not content:
        return
    if not content.startswith(b"PK\x03\x04"):
        _refuse(path, "its example input is a bare pickle")
    with zipfile.ZipFile(io.BytesIO(content)) as inner:
        pickles = [inner.read(name) for name in inner.namelist() if name.endswith(".pkl")]
    for opcode, argument, _ in (found for data in pickles for found in pickletools.genops(data)):
        foreign = opcode.name == "GLOBAL" and not _TENSOR_GLOBALS.fullmatch(str(argument))
        if foreign or opcode.name in {"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"}:
            _refuse(path, f"its example input asks for {argument or opcode.name}")
    try:
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # refused whatever the reason, since torch would then unpickle it
        _refuse(path, f"its example input is not made of tensors: {first_line(error)}")


def _expressions(graph: Any) -> Iterator[str]:
    """Yield every text in a graph's JSON that torch evaluates: shape expressions and guards."""
    if isinstance(graph, dict):
        for key, value in graph.items():
            if key in {"expr_str", "guards_code"}:
                yield from value if isinstance(value, list) else [str(value)]
            elif key == "range_constraints":
                yield from value
            else:
                yield from _expressions(value)
    elif isinstance(graph, list):
        for value in graph:
            yield from _expressions(value)


def _harmless(text: str) -> bool:
    """Say whether *text* is arithmetic and comparison over symbols and sizes, and nothing else."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError):
        return False
    return all(isinstance(node, _EXPRESSION) and _harmless_node(node) for node in nodes)


def _harmless_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) or (
            isinstance(node.func, ast.Name) and _FUNCTION.fullmatch(node.func.id) is not None
        )
    if isinstance(node, ast.Attribute):
        of = node.value.id if isinstance(node.value, ast.Name) else ""
        return node.attr in _METHODS or _MATH.fullmatch(f"{of}.{node.attr}") is not None
    if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
        return isinstance(node.value, str) and _TEXT.fullmatch(node.value) is not None
    return not (isinstance(node, ast.Name) and node.id.startswith("__"))


def _evaluating(graph: nn.Module) -> nn.Module:
    """Let `eval()` be called on a graph, as every evaluation loop does; it was exported in eval mode for good."""

    def train(mode: bool = True) -> nn.Module:
        if mode:
            raise BadInput(
                "an exported graph is in eval mode for good; to train on, load the weights into "
                "your own class: load_model(uri, into=YourModel())."
            )
        return graph

    for module in graph.modules():
        module.training = False
    graph.train = train  # type: ignore[method-assign]
    graph.eval = lambda: graph  # type: ignore[method-assign]
    return graph
