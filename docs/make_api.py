"""Write docs/api.md from the docstrings: python docs/make_api.py"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow_pt_eval as mpe
from mlflow_pt_eval import errors

TARGET = Path(__file__).parent / "api.md"
WIDTH = 100
HEAD = """# API reference

Made from the docstrings by `python docs/make_api.py`. Everything here is imported from `mlflow_pt_eval`; `import
mlflow_pt_eval as mpe` itself imports neither torch nor mlflow, each name does when it is first used. The errors are in
`mlflow_pt_eval.errors`.
"""
GROUPS = {
    "Training": (
        *("TrainingRun", "ModelCheckpoint", "EarlyStopping", "RegisterBest", "Callback", "Stateful", "validate"),
        *("list_checkpoints", "load_checkpoint"),
    ),
    "Registered models": ("register_best", "load_model", "adopt"),
    "Evaluation": ("evaluate", "Evaluation", "compare", "Comparison"),
    "Promotion": ("MetricGate", "promote", "rollback"),
}


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    grouped = {name for names in GROUPS.values() for name in names}
    rest = tuple(name for name in mpe.__all__ if name not in grouped and name != "PtEvalError")
    for title, names in (GROUPS | ({"Further": rest} if rest else {})).items():
        parts.append(f"## {title}\n")
        for name in names:
            parts += entry(name, getattr(mpe, name))
    return "\n".join([*parts, *error_table()]) + "\n"


def entry(name: str, thing: Any) -> Iterator[str]:
    """Yield the parts of one public name."""
    yield f"### {name}\n"
    if not getattr(thing, "_is_protocol", False):
        yield signature(name, thing)
    yield docstring(thing)
    for member, value in members(thing) if inspect.isclass(thing) else ():
        yield f"#### {name}.{member}\n"
        function = getattr(value, "__func__", value)
        if not isinstance(value, property):
            yield signature(member, function)
        yield docstring(function)


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties that a class itself defines and describes, in their order."""
    for name, value in vars(cls).items():
        described = inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod)
        if described and not name.startswith("_") and inspect.getdoc(getattr(cls, name)):
            yield name, value


def signature(name: str, thing: Any) -> str:
    """Return the signature as a block, on one line where it fits."""
    found = inspect.signature(thing)
    words, starred = [], False
    for parameter in found.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            words.append("*")
            starred = True
        words.append(_parameter(parameter))
    returns = "" if inspect.isclass(thing) or found.return_annotation == "None" else f" -> {found.return_annotation}"
    text = f"{name}({', '.join(words)}){returns}"
    if len(text) > WIDTH:
        text = f"{name}(\n" + "".join(f"    {word},\n" for word in words) + f"){returns}"
    return f"```\n{text}\n```\n"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = f"{stars}{parameter.name}: {parameter.annotation}"
    if parameter.default is parameter.empty:
        return text.replace("'", '"')
    # What a dataclass makes anew each time stands behind an object that only says so.
    default = "..." if repr(parameter.default) == "<factory>" else repr(parameter.default)
    return f"{text} = {default}".replace("'", '"')


def docstring(thing: Any) -> str:
    """Return a docstring as it stands."""
    return f"{inspect.getdoc(thing) or ''}\n"


def error_table() -> Iterator[str]:
    """Yield the table of errors: each is a PtEvalError and a builtin."""
    yield "## Errors\n"
    yield docstring(errors.PtEvalError)
    yield "Each is a `PtEvalError` and a builtin, so that `except ValueError` works, too.\n"
    yield "| error | is also a | exit status | when |\n|---|---|---|---|"
    for name, cls in vars(errors).items():
        if inspect.isclass(cls) and issubclass(cls, errors.PtEvalError) and cls is not errors.PtEvalError:
            yield f"| `{name}` | {builtins_of(cls)} | {cls.exit_code} | {' '.join((cls.__doc__ or '').split())} |"


def builtins_of(cls: type) -> str:
    """Return the builtin errors that an error of ours is, without those that they are themselves."""
    bases = [base for base in cls.__mro__ if base.__module__ == "builtins"]
    nearest = [base for base in bases if not any(issubclass(other, base) for other in bases if other is not base)]
    return ", ".join(f"`{base.__name__}`" for base in nearest)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
