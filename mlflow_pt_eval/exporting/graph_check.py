"""Checking the JSON of a stored graph: torch makes Python code of its names, and evaluates some of its texts.

Every text in it has a rule by the key that it stands under; a key without a rule holds a plain word.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from mlflow_pt_eval.exporting.operators import may_call

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
_WORD = re.compile(r"[\w.+\-<>= ]*")
_UNQUOTED = re.compile(r"[^\"'\\\x00-\x1f\x7f-\x9f\u2028\u2029]*")
_CONTAINERS = {"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}


def checked_graph(content: bytes) -> bytes:
    """Return a graph's JSON as torch may read it: without the notes for debugging, which a run has no use for.

    Errors: Refused, with the reason, for a graph that could execute something; whatever reading raises for no graph.
    """
    program = json.loads(content)
    module = program["graph_module"]
    module["metadata"] = {}
    module["treespec_namedtuple_fields"] = {}
    _drop_notes(module)
    for reason in _reasons(program):
        raise Refused(reason)
    return json.dumps(program).encode()


class Refused(Exception):
    """Something could be executed; the text says what. Never leaves the package."""


def is_unquoted(text: Any) -> bool:
    """Say whether *text*, a key or a name, cannot end the quotes that torch sets around it in the code it makes."""
    return isinstance(text, int) or (isinstance(text, str) and _UNQUOTED.fullmatch(text) is not None)


def _drop_notes(value: Any) -> None:
    """Empty the metadata of every node, also in the graphs inside of graphs."""
    if isinstance(value, dict):
        if isinstance(value.get("nodes"), list):
            for node in value["nodes"]:
                node["metadata"] = {}
        for part in value.values():
            _drop_notes(part)
    elif isinstance(value, list):
        for part in value:
            _drop_notes(part)


def _reasons(value: Any, key: str = "", inside: bool = False) -> Iterator[str]:
    """Yield why torch must not read *value*, which stands under *key*; *inside*: of a node, whose texts it quotes."""
    if isinstance(value, dict):
        for name, part in value.items():
            if not (is_harmless(name) if key == "range_constraints" else _WORD.fullmatch(name)):
                yield f"it holds the code {name[:80]!r}"
            yield from _reasons(part, name, inside or name == "nodes")
    elif isinstance(value, list):
        for part in value:
            yield from _reasons(part, key, inside)
    elif isinstance(value, str) and not (inside and key in {"as_string", "as_strings"}):
        kind, rule = _RULES.get(key, ("holds the code", lambda text: _WORD.fullmatch(text) is not None))
        if not rule(value):
            yield f"it {kind} {value[:80]!r}"


def is_harmless(text: str) -> bool:
    """Say whether *text* is arithmetic and comparison over symbols and sizes, and nothing else."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, _EXPRESSION) and _is_harmless_node(node) for node in nodes)


def _is_harmless_node(node: ast.AST) -> bool:
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


def _is_name(text: str) -> bool:
    return not text or text.isidentifier()


def _is_input_tree(text: str) -> bool:
    """The keyword arguments' names become code."""
    parts = json.loads(text)[1]["children_spec"]
    keywords = parts[1]["context"] if len(parts) == 2 else None
    names = json.loads(keywords) if isinstance(keywords, str) else None
    return _is_tree(text) and all(isinstance(name, str) and _is_name(name) for name in names or ())


def _is_tree(text: str) -> bool:
    """Only the containers of Python itself: torch imports the modules that other kinds name."""
    protocol, root = json.loads(text)
    return protocol == 1 and _is_branch(root)


def _is_branch(branch: Any) -> bool:
    if branch["type"] is None:
        return branch["context"] is None and not branch["children_spec"]
    if branch["type"] not in _CONTAINERS:
        return False
    keys = json.loads(branch["context"])
    plain = keys is None or (isinstance(keys, list) and all(map(is_unquoted, keys)))
    return plain and all(map(_is_branch, branch["children_spec"]))


_RULES: dict[str, tuple[str, Callable[[str], bool]]] = {
    **dict.fromkeys(("target", "as_operator"), ("calls", may_call)),
    **dict.fromkeys(("expr_str", "guards_code"), ("holds the code", is_harmless)),
    **dict.fromkeys(("name", "as_name", "user_input_name", "forward_arg_names"), ("has the name", _is_name)),
    **dict.fromkeys(
        ("parameter_name", "buffer_name", "tensor_constant_name", "custom_obj_name", "fqn"),
        ("has the name", is_unquoted),
    ),
    "in_spec": ("takes the inputs", _is_input_tree),
    "out_spec": ("gives the outputs", _is_tree),
}
