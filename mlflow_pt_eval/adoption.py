"""`adopt`: hand-named weight files (`model_v1.pth`, `model_v2.pth`, `model_v10.pth`) become consecutive versions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlflow_pt_eval import names
from mlflow_pt_eval.class_names import check_class_names
from mlflow_pt_eval.errors import BadInput, StateMismatch, WeightsMismatch
from mlflow_pt_eval.exporting.making import make_module
from mlflow_pt_eval.exporting.snapshot import load_strictly, unwrapped
from mlflow_pt_eval.exporting.weights_file import read_weights
from mlflow_pt_eval.files import sha256_file
from mlflow_pt_eval.registration import register
from mlflow_pt_eval.registration.example import read_spec_example
from mlflow_pt_eval.registration.reuse import Twins, find_twins
from mlflow_pt_eval.state import preserved_rng, weights_sha256
from mlflow_pt_eval.tracking.registry import set_alias
from mlflow_pt_eval.tracking.runs import finish, open_run
from mlflow_pt_eval.tracking.store import Store, connect, is_made, reaching

_NO_TWINS = Twins(same=(), others=())  # where no store is yet
_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """One file and what became of it: *version* is None where a dry run would make a new one.

    *modified* is the file's time (ISO 8601, UTC), *sha256* the whole file's, *weights_sha256* that of the weights.
    """

    file: Path
    version: int | None
    what: str
    sha256: str
    modified: str
    weights_sha256: str
    epoch: int | None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**vars(self), "file": str(self.file)}


def adopt(
    files: str | Path | Sequence[str | Path],
    *,
    name: str,
    factory: str | Callable[..., nn.Module],
    input_example: Any,
    factory_kwargs: Mapping[str, Any] | None = None,
    outputs: names.Outputs = "logits",
    class_names: Sequence[str] | None = None,
    alias: str | None = None,
    dry_run: bool = False,
) -> list[Adopted]:
    """Register weight *files*, or one, as consecutive versions of *name*, in natural order (v2 before v10).

    A file holds a state dict, or a checkpoint with one under the textbooks' names; the prefixes of DDP and
    torch.compile are taken off. *factory* (`package.module:callable`, or a callable), called with *factory_kwargs*,
    makes the module that the weights must fit strictly. *input_example* is one batch, or a SPEC string of data whose
    first samples are taken; of a table all columns are inputs.
    File name, time and SHA-256 become tags. Weights that are registered already, with these *outputs* and
    *class_names*, get no second version. All files are read and checked before the first is registered. *alias*, if
    given, is set once, on the last file's version.
    Returns what became of each file.
    Errors: UnsafeFile for a pickled model, WeightsMismatch, NotFound, BadInput, and those of registering.
    """
    names.check_model_name(name)
    if alias is not None:
        names.check_alias(alias)
    if class_names is not None:
        class_names = check_class_names(class_names)
    ordered = natural_order(files)
    store = connect() if is_made() else None
    with preserved_rng():
        module = make_module(factory, dict(factory_kwargs or {}))
        options = {
            "name": name,
            "outputs": outputs,
            "class_names": class_names,
            "input_example": read_spec_example(input_example),
        }
        adopted = _planned(store, name, ordered, module, outputs, class_names)
        if dry_run:
            return adopted
        store = store or connect()
        if any(one.version is None for one in adopted):
            options |= {"factory": factory if isinstance(factory, str) else None, "factory_kwargs": factory_kwargs}
            with _adoption_run(store, name) as run_id:
                adopted = [_adopted(store, one, module, run_id=run_id, **options) for one in adopted]
    if alias is not None and adopted[-1].version is not None:
        with reaching(store, f"the alias {alias!r} of {name} was not set"):
            set_alias(store, name, alias, adopted[-1].version)
    return adopted


def natural_order(files: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return *files*, or the one that is named, each once, ordered by their names with numbers read as numbers.

    >>> [p.name for p in natural_order(["model_v10.pth", "model_v2.pth", "model_v1.pth"])]
    ['model_v1.pth', 'model_v2.pth', 'model_v10.pth']
    """
    several = [files] if isinstance(files, str | Path) else list(files)
    if not several:
        raise BadInput("no file is named; give the weight files to adopt.")
    return sorted({Path(file).resolve(): Path(file) for file in several}.values(), key=_natural_key)


def _natural_key(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    parts = [part for part in _DIGITS.split(path.name.lower()) if part]
    return [(0, int(part)) if part.isascii() and part.isdigit() else (1, part) for part in parts], str(path)


def _planned(
    store: Store | None,
    name: str,
    files: Sequence[Path],
    module: nn.Module,
    outputs: names.Outputs,
    class_names: Sequence[str] | None,
) -> list[Adopted]:
    """Read every file, load its weights into *module*, and say what would become of it."""
    planned: list[Adopted] = []
    for path in files:
        _, epoch = _fitting(path, module)
        digest = weights_sha256(unwrapped(module).state_dict())  # in the module's own types, as they are registered
        twins = (
            _NO_TWINS if store is None else find_twins(store, name, digest, outputs=outputs, class_names=class_names)
        )
        planned.append(
            Adopted(
                file=path,
                version=twins.same[0] if twins.same else None,
                what=_what(twins, next((one for one in planned if one.weights_sha256 == digest), None)),
                sha256=sha256_file(path),
                modified=datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds"),
                weights_sha256=digest,
                epoch=epoch,
            )
        )
    return planned


def _what(twins: Twins, earlier: Adopted | None) -> str:
    if twins.same:
        return "registered already"
    if earlier is not None:
        return f"the same weights as {earlier.file.name}"
    others = "".join(f"; version {version} has its weights, but {reason}" for version, reason in twins.others)
    return f"a new version{others}"


def _fitting(path: Path, module: nn.Module) -> tuple[dict[str, torch.Tensor], int | None]:
    found = read_weights(path)
    weights = found.named_as(module.state_dict().keys())
    try:
        load_strictly(module, weights)
    except StateMismatch as error:
        raise WeightsMismatch(f"{path}: {error}") from error
    for key, value in weights.items():
        if value.is_floating_point() and value.isnan().any():
            raise BadInput(f"{path}: {key!r} holds NaN, so that no output is a number; adopt a file without any.")
    return weights, found.epoch


def _adopted(store: Store, planned: Adopted, module: nn.Module, **options: Any) -> Adopted:
    """Register one file's weights if no version has them; those of an earlier file give that one's version."""
    if planned.version is not None:
        return planned
    weights, _ = _fitting(planned.file, module)
    tags = {
        names.TAG_SOURCE_FILE: planned.file.name,
        names.TAG_SOURCE_MTIME: planned.modified,
        names.TAG_SOURCE_SHA256: planned.sha256,
    }
    version = register(store, module, weights=weights, epoch=planned.epoch, tags=tags, alias=None, **options)
    return replace(planned, version=version)


@contextmanager
def _adoption_run(store: Store, name: str) -> Iterator[str]:
    """Give the run that the versions come from; its status is true."""
    run = open_run(store, kind=names.KIND_ADOPTION, run_name=f"adopt {name}")
    try:
        yield run.run_id
    except BaseException:
        finish(run, "FAILED")
        raise
    finish(run, "FINISHED")
