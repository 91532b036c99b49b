"""Reading a .pt2 archive without executing anything that it holds: what is checked is copied, and torch reads the copy.

`torch.export.load` unpickles what an archive asks it to, and makes Python code of its graph. Its reader and Python's
also find different files in an archive that was made to fool one of them. So each file is read once, here; only what
an export of tensors consists of is let through; and what torch gets is an archive that was written from that.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any

import torch

from mlflow_pt_eval.errors import BadInput, CheckpointDamaged, UnsafeFile, first_line, with_kind
from mlflow_pt_eval.exporting.graph_check import Refused, checked_graph, is_unquoted

_PLAIN = {"archive_format", "archive_version", "byteorder", "version", ".data/version", ".data/serialization_id"}
_CONFIGS = {"data/weights/model_weights_config.json", "data/constants/model_constants_config.json"}
_GRAPH = "models/model.json"
_SAMPLES = "data/sample_inputs/model.pt"
_RAW = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
_PAYLOAD = re.compile(r"(weight|tensor)_\d+")
_START, _END = b"PK\x03\x04", b"PK\x05\x06"
_END_SIZE = 22  # of the record that ends a zip archive without a comment


def checked_copy(path: Path) -> io.BytesIO:
    """Return a copy of the .pt2 archive *path*, in memory, that torch can read without executing anything.

    Errors: UnsafeFile if reading it would execute something; CheckpointDamaged if it is cut or changed; BadInput if it
    is no such archive.
    """
    made = io.BytesIO()
    try:
        _check_ends(path)
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as copy:
            _copy(archive, copy)
    except Refused as reason:
        raise UnsafeFile(
            f"{path} could execute code when it is loaded ({reason}), so it is not loaded. Register the model again "
            "from its weights with mlflow_pt_eval, or load its state dict with load_model(..., into=YourModel())."
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise CheckpointDamaged(
            f"{path} is damaged ({first_line(error)}); restore it or register the model again."
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, NotImplementedError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(
            f"{path} is not a whole .pt2 archive ({with_kind(error)}); restore or re-register it."
        ) from error
    made.seek(0)
    return made


def _check_ends(path: Path) -> None:
    """A whole archive starts with a file and ends with its end record; Python's reader would look for another one."""
    with path.open("rb") as file:
        start = file.read(len(_START))
        file.seek(max(0, file.seek(0, io.SEEK_END) - _END_SIZE))
        ends = file.read(len(_END)) == _END
    if start != _START:
        raise BadInput(f"{path} is not a whole .pt2 archive (it is no zip file); restore or re-register it.")
    if not ends:
        raise zipfile.BadZipFile("its end is missing")


def _copy(archive: zipfile.ZipFile, copy: zipfile.ZipFile) -> None:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names) or len({name.partition("/")[0] for name in names}) != 1:
        raise Refused("its files are ambiguous")
    if min(entry.header_offset for entry in entries) != 0:  # before the first file is what another reader may find
        raise Refused("there is something before its first file")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise Refused("its files are compressed, which torch's never are")
    empty = {entry.filename.partition("/")[2] for entry in entries if not entry.file_size}
    for entry in entries:
        name = entry.filename.partition("/")[2]
        copy.writestr(f"model/{name}", _checked(name, archive.read(entry), empty))


def _checked(name: str, content: bytes, empty: set[str]) -> bytes:
    """Return the content of the file *name* as torch may read it; *empty* are the files without content."""
    if name in _PLAIN or _RAW.fullmatch(name):
        return content
    if name in _CONFIGS:
        return _checked_config(name, content, empty)
    if name == _GRAPH:
        return checked_graph(content)
    if name == _SAMPLES:
        return _checked_samples(content)
    raise Refused(f"it holds {name!r}")


def _checked_config(name: str, content: bytes, empty: set[str]) -> bytes:
    config = json.loads(content)
    for entry in config["config"].values():
        if entry["use_pickle"] is not False or not _PAYLOAD.fullmatch(entry["path_name"]):
            raise Refused(f"{name} asks for a pickle")
        holds = prod(size["as_int"] for size in entry["tensor_meta"]["sizes"])
        if holds and f"{name.rpartition('/')[0]}/{entry['path_name']}" in empty:  # torch would take zeros instead
            raise zipfile.BadZipFile(f"{entry['path_name']} is empty")
    return json.dumps(config).encode()


def _checked_samples(content: bytes) -> bytes:
    """Read the example input by torch's restricted loader and write it anew: on the stored one, torch would fall back
    to a full unpickling."""
    if not content:
        return content
    try:
        samples = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # refused whatever the reason, since torch would then unpickle it
        raise Refused(f"its example input is not made of tensors: {first_line(error)}") from error
    if not _is_plain(samples):
        raise Refused("its example input is not made of tensors")
    made = io.BytesIO()
    torch.save(samples, made)
    return made.getvalue()


def _is_plain(value: Any) -> bool:
    """Say whether an example is tensors and numbers in Python's own containers; torch makes code of the keys."""
    if isinstance(value, dict):
        return all(map(is_unquoted, value)) and all(map(_is_plain, value.values()))
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, torch.Tensor | bool | int | float | str)
