"""MNIST from its original IDX files: 60,000 + 10,000 images of 28 x 28 pixels, downloaded on first use (11 MB)."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch.utils.data import TensorDataset

from mlflow_pt_eval.downloads import Download, fetch
from mlflow_pt_eval.errors import BadInput

CLASS_NAMES = tuple("0123456789")
SPLIT_SEED = 0  # not a training's --seed: all trainings have the same validation split
# Where the files are, or come to be: MNIST_DATA_DIR tells an evaluation what --data-dir tells a training.
FOLDER = Path(os.environ.get("MNIST_DATA_DIR") or Path(__file__).parent / "files")
INSTEAD = "Files that you have elsewhere: give their folder with --data-dir, or in MNIST_DATA_DIR."

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
FILES = {  # name: size and SHA-256 of the gzipped file
    "train-images-idx3-ubyte": (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    "train-labels-idx1-ubyte": (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    "t10k-images-idx3-ubyte": (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    "t10k-labels-idx1-ubyte": (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
}


def splits(folder: Path | None = None) -> tuple[TensorDataset, TensorDataset, TensorDataset]:
    """Return train, validation and test (55,000, 5,000 and 10,000 images): x (N, 1, 28, 28) float32, y (N,) int64."""
    train_x, train_y, test_x, test_y = (read_idx(path) for path in _paths(folder or FOLDER, list(FILES)))
    everything = np.arange(len(train_y))
    train, validation = train_test_split(everything, test_size=1 / 12, stratify=train_y, random_state=SPLIT_SEED)
    return (
        _dataset(train_x[train], train_y[train]),
        _dataset(train_x[validation], train_y[validation]),
        _dataset(test_x, test_y),
    )


def test() -> TensorDataset:
    """Return the test split: `--data projects.mnist.data:test`, or `data:test` in this folder."""
    x, y = (read_idx(path) for path in _paths(FOLDER, [name for name in FILES if name.startswith("t10k")]))
    return _dataset(x, y)


def _dataset(images: np.ndarray, labels: np.ndarray) -> TensorDataset:
    if len(images) != len(labels) or images.ndim != 3 or labels.max(initial=0) >= len(CLASS_NAMES):
        raise BadInput(f"the files hold {images.shape} images and {labels.shape} labels, which do not belong together.")
    return TensorDataset(torch.tensor(images[:, None], dtype=torch.float32), torch.tensor(labels, dtype=torch.int64))


def _paths(folder: Path, names: list[str]) -> list[Path]:
    """Return where each file is, plain or gzipped; download those that are not there."""
    plain = {name for name in names if (folder / name).exists()}
    lacking = [
        Download(name=f"{name}.gz", urls=[f"{mirror}{name}.gz" for mirror in MIRRORS], size=size, sha256=sha256)
        for name, (size, sha256) in FILES.items()
        if name in names and name not in plain
    ]
    fetch(lacking, folder, instead=INSTEAD)
    return [folder / (name if name in plain else f"{name}.gz") for name in names]


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes, plain or gzipped; BadInput when it is anything else, or not whole.

    The format: two zero bytes, the type (8: unsigned byte), the number of axes, the length of each axis as a
    big-endian 32-bit integer, then the data, the last axis running fastest.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadInput(f"{path} is damaged ({error}); delete it, so that it is downloaded again.") from error
    axes = content[3] if len(content) > 3 else 0
    start = 4 + 4 * axes
    if content[:3] != b"\0\0\x08" or not axes or len(content) < start:
        raise BadInput(f"{path} is not an IDX file of unsigned bytes; delete it, so that it is downloaded again.")
    shape = struct.unpack(f">{axes}I", content[4:start])
    if len(content) != start + math.prod(shape):
        raise BadInput(
            f"{path} should hold {math.prod(shape)} bytes for the shape {shape}, but has {len(content) - start}; "
            "delete it, so that it is downloaded again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
