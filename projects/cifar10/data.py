"""CIFAR-10 from its binary version: 50,000 + 10,000 images of 32 x 32 pixels, downloaded on first use (170 MB)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch.nn.functional import pad
from torch.utils.data import Dataset

from mlflow_pt_eval.downloads import Download, extract, fetch
from mlflow_pt_eval.errors import BadInput

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SPLIT_SEED = 0  # not a training's --seed: all trainings have the same validation split
# Where the files are, or come to be: CIFAR10_DATA_DIR tells an evaluation what --data-dir tells a training.
FOLDER = Path(os.environ.get("CIFAR10_DATA_DIR") or Path(__file__).parent / "files")
INSTEAD = "Files that you have elsewhere: give their folder with --data-dir, or in CIFAR10_DATA_DIR."

TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILES = ("test_batch.bin",)
ARCHIVE_FOLDER = "cifar-10-batches-bin"
ARCHIVE = Download(
    name="cifar-10-binary.tar.gz",
    urls=[
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/cifar-10-binary.tar.gz",
        "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-10-binary.tar.gz",
    ],
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    size=170052171,
)
IMAGE_SHAPE = (3, 32, 32)
RECORD_BYTES = 1 + 3 * 32 * 32


class Images(Dataset):
    """Images kept as bytes, a quarter of what floats would take: item -> ((3, 32, 32) float32 in 0 ... 255, int64)."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images = torch.from_numpy(images)
        self.labels = torch.tensor(labels, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.images[index].float(), self.labels[index]


def splits(folder: Path | None = None, limit: int | None = None) -> tuple[Images, Images, Images]:
    """Return train, validation and test (45,000, 5,000 and 10,000 images).

    With *limit*, train and validation come from the first *limit* images only; the test split stays whole, so that
    every version is evaluated on the same one.
    """
    x, y = _read(folder or FOLDER, TRAIN_FILES)
    first = np.arange(len(y))[:limit]
    train, validation = train_test_split(first, test_size=0.1, stratify=y[first], random_state=SPLIT_SEED)
    return (
        Images(x[train], y[train]),
        Images(x[validation], y[validation]),
        Images(*_read(folder or FOLDER, TEST_FILES)),
    )


def test() -> Images:
    """Return the test split: `--data projects.cifar10.data:test`, or `data:test` in this folder."""
    return Images(*_read(FOLDER, TEST_FILES))


def augment(x: torch.Tensor) -> torch.Tensor:
    """Mirror half of a batch's images, and move all of them by the same up to 4 pixels each way."""
    mirrored = torch.rand(len(x), 1, 1, 1) < 0.5
    down, right = torch.randint(0, 9, (2,)).tolist()
    x = torch.where(mirrored.to(x.device), x.flip(3), x)
    return pad(x, (4, 4, 4, 4), mode="reflect")[:, :, down : down + 32, right : right + 32]


def _read(folder: Path, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (N, 3, 32, 32) and labels (N,) of the files, as bytes; download them if they are not there."""
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        (archive,) = fetch([ARCHIVE], folder, instead=INSTEAD)
        extract(archive, [f"{ARCHIVE_FOLDER}/{name}" for name in missing], folder)
    records = np.concatenate([read_records(folder / name) for name in names])
    return records[:, 1:].reshape(-1, *IMAGE_SHAPE), records[:, 0]


def read_records(path: Path) -> np.ndarray:
    """Read a file of the binary version: (N, 3073) bytes, each record a label and the red, green and blue planes."""
    content = np.fromfile(path, dtype=np.uint8)
    if not len(content) or len(content) % RECORD_BYTES:
        raise BadInput(f"{path} has {len(content)} bytes, which is not a multiple of {RECORD_BYTES}; get it again.")
    records = content.reshape(-1, RECORD_BYTES)
    if records[:, 0].max() >= len(CLASS_NAMES):
        raise BadInput(f"{path} has the label {records[:, 0].max()}, but CIFAR-10's end at 9; get the file again.")
    return records
