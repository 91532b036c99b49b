"""Export: a frozen model becomes a graph with a free batch dimension that needs no class to be loaded."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlflow_pt_eval.errors import StorageFailed, first_line
from mlflow_pt_eval.exporting.inputs import Example
from mlflow_pt_eval.exporting.probing import refused_batch

_LOGGERS = ("torch.export", "torch._export", "torch.fx", "torch._dynamo", "torch._guards", "torch._subclasses")
# From the most that may come out free to the least. Read from the bytecode, which is strict, Python's own functions
# stay free of the batch size, too: `len(x)`, `range(len(x))`.
_FORMS = (
    (False, torch.export.Dim.AUTO),
    (False, torch.export.Dim.STATIC),
    (True, torch.export.Dim.AUTO),
    (True, torch.export.Dim.STATIC),
)
_alone = threading.RLock()
_TELLING = 1  # whose error says best what is wrong: nothing but the batch is free there
_log = logging.getLogger("mlflow_pt_eval")
_PLACE = re.compile(r'File "([^"]+)", line (\d+), in \w+\n\s*(.+)')


class ExportRefused(Exception):
    """`torch.export` cannot make a graph of a model; the text is the reason on one line. Never leaves the package."""


def export_program(model: nn.Module, example: Example) -> torch.export.ExportedProgram:
    """Return *model*, which must be frozen, as a graph whose batch dimension is free on every batched input.

    So are the other dimensions that the model's code leaves free: a text's length, an image's size. *example* has at
    least two samples. Errors: ExportRefused with a short reason, for instance for control flow that depends on the
    data, or a batch size that the model's code fixes.
    """
    errors: list[str] = []
    of_several: torch.export.ExportedProgram | None = None
    for strict, sizes in _FORMS:
        try:
            program = _exported(model, example, strict=strict, sizes=sizes)
            refused = refused_batch(graph_of(program), model, example)
        except Exception as error:  # torch raises dozens of types here, several of them private
            errors.append(short_reason(error))
            continue
        if refused is None:
            return program
        # Its batch is free in name alone: torch has made a condition of what the code computes from it.
        errors.append(f"the graph refuses {refused} samples at once, which the model takes")
        if refused == 1 and of_several is None:
            of_several = program
    if of_several is not None:
        _log.warning("the graph that torch.export makes of a %s takes no single sample", type(model).__name__)
        return of_several
    raise ExportRefused(errors[_TELLING])


def _exported(model: nn.Module, example: Example, *, strict: bool, sizes: Any) -> torch.export.ExportedProgram:
    shapes, batched = torch.export.ShapesCollection(), example.batched()
    for name, tensor in example.tensors.items():
        free = dict.fromkeys(range(tensor.ndim), sizes)
        shapes[tensor] = {**free, 0: torch.export.Dim.DYNAMIC} if name in batched else free
    with quiet_torch():
        free = shapes.dynamic_shapes(model, example.args, example.kwargs)
        return torch.export.export(model, example.args, example.kwargs, dynamic_shapes=free, strict=strict)


def graph_of(program: torch.export.ExportedProgram) -> nn.Module:
    """Return the module that runs *program*."""
    with quiet_torch():
        return program.module()


def save_program(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write *program* as a .pt2 archive.

    Errors: ExportRefused where it holds what has no form in a file; StorageFailed where the disk refuses.
    """
    try:
        with quiet_torch():
            torch.export.save(program, path)
    except Exception as error:  # torch raises whatever its serializer stumbles over
        path.unlink(missing_ok=True)
        if "PytorchStreamWriter" in str(error):  # a disk's error, behind torch's own
            raise StorageFailed(
                f"cannot write {path}: {first_line(error)}. Free space there, then run again."
            ) from error
        raise ExportRefused(short_reason(error)) from error


def short_reason(error: BaseException) -> str:
    """Return what torch says in one line, with the user's line of code where it names one."""
    text = first_line(error)
    bullet = re.search(r"^\s+- (.+?[.!])(\s|$)", str(error), re.MULTILINE)
    if bullet and text.startswith("Constraints violated"):
        text = f"{text.split('!')[0]}: {bullet[1]}"
    place = _PLACE.findall(str(error))
    where = f" (at {Path(place[-1][0]).name}:{place[-1][1]}: {place[-1][2].strip()[:80]})" if place else ""
    return f"{text.rstrip('. ')}{where}"


@contextlib.contextmanager
def quiet_torch() -> Iterator[None]:
    """Keep torch's notes about its internals (logs, warnings, a printed graph) off the user's screen.

    One thread at a time: torch exports, writes and reads graphs by way of variables of its modules. Errors still arrive
    as exceptions, and what other threads write to stderr still appears.
    """
    with _alone:
        before = {name: logging.getLogger(name).level for name in _LOGGERS}
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            with warnings.catch_warnings(), contextlib.redirect_stderr(_MutedHere(sys.stderr)):
                warnings.simplefilter("ignore")
                yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)


class _MutedHere:
    """A stream that drops what this thread writes."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        return len(text) if threading.get_ident() == self._thread else int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
