"""SPEC strings: `package.module:callable`, or a file of arrays or of a table."""

from __future__ import annotations

import importlib
import sys
import zipfile
import zlib
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.data.tables import read_table
from mlflow_pt_eval.errors import BadInput, NotFound, PtEvalError, UnsafeFile, with_kind

_FORMS = "package.module:callable, or a file that ends in .npz, .csv or .parquet"


def load_spec(spec: str, *, target: Hashable | None = None) -> Any:
    """Return what *spec* names: a callable's result, `(X, y)` of an `.npz` file, a `.csv` or `.parquet` as a table.

    An `.npz` file holds the arrays `X` and `y`. The working directory is importable. *target* is the label's column
    of a table, in which only an empty cell is a missing one.
    Errors: NotFound, UnsafeFile (an array that only a pickle could hold) and BadInput.
    """
    suffix = Path(spec).suffix.lower()
    if suffix == ".npz":
        return _npz(_existing(spec))
    if suffix in (".csv", ".parquet"):
        return read_table(_existing(spec), target)
    if ":" in spec:
        return call(spec)
    raise BadInput(f"{spec!r} names no data: a SPEC is {_FORMS}.")


def call(spec: str) -> Any:
    """Import `package.module:callable` and return what the callable returns, without arguments."""
    function = find_callable(spec)
    try:
        return function()
    except PtEvalError:
        raise
    except (Exception, SystemExit) as error:  # a script's own exit is not ours: its status might be 0
        raise BadInput(f"{spec} failed with {with_kind(error)}") from error


def find_callable(spec: str) -> Callable[..., Any]:
    """Import `package.module:callable` from the working directory or the installed packages."""
    module_name, _, path = spec.partition(":")
    if not module_name or not path:
        raise BadInput(f"{spec!r} names no callable: write package.module:callable.")
    found = _module(module_name)
    for name in path.split("."):
        if not hasattr(found, name):
            raise NotFound(f"the module {module_name} has no {path!r}; it has {_public(_module(module_name))}.")
        found = getattr(found, name)
    if not callable(found):
        raise BadInput(f"{spec} is a {type(found).__name__}, not a callable that returns data.")
    return found


def _existing(spec: str) -> Path:
    path = Path(spec)
    if not path.is_file():
        raise NotFound(f"there is no file {spec!r} (looked in {Path.cwd()}).")
    return path


def _npz(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    if not zipfile.is_zipfile(path):
        raise BadInput(f"{path} is not a whole .npz file; write it with numpy.savez(path, X=..., y=...).")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if not {"X", "y"} <= set(file.files):
                raise BadInput(f"{path}: it holds {', '.join(file.files) or 'nothing'}; it must hold 'X' and 'y'.")
            return file["X"], file["y"]
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise BadInput(f"{path} is not a whole .npz file: {with_kind(error)}") from error
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        raise UnsafeFile(f"{path} holds objects, which only a pickle can; store plain arrays of numbers.") from error


def _module(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # stays: a data set may import from there when its first item is read
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise NotFound(f"there is no module {name!r}, neither in {here} nor among the packages.") from error
        raise BadInput(f"importing {name} failed with {with_kind(error)}") from error
    except (Exception, SystemExit) as error:
        raise BadInput(f"importing {name} failed with {with_kind(error)}") from error


def _public(module: Any) -> str:
    """List what the module defines, or, if it defines nothing, what it has imported."""
    found = {name: value for name, value in vars(module).items() if not name.startswith("_") and callable(value)}
    own = [name for name, value in found.items() if getattr(value, "__module__", None) == module.__name__]
    return ", ".join((own or list(found))[:12]) or "no public callable"
