"""The projects' data: split once and for all, read from the original formats, refused when damaged."""

from __future__ import annotations

import gzip
import importlib
import io
import struct
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits

from mlflow_pt_eval.errors import BadInput, NotFound

ROOT = Path(__file__).parents[1]


def project(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import `projects.<name>.<module>` as a SPEC does, with the repository's root on the path."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module(f"projects.{name}.{module}")


# --- the sets that come with scikit-learn ----------------------------------------------------
@pytest.mark.parametrize(("name", "sizes"), [("digits", (1149, 288, 360)), ("breast_cancer", (341, 114, 114))])
def test_each_example_is_in_exactly_one_split(
    name: str, sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together the three are the whole set; the test split holds nothing that a training sees."""
    raw = load_digits() if name == "digits" else load_breast_cancer()
    splits = project(name, "data", monkeypatch).splits()
    assert tuple(map(len, splits)) == sizes
    rows = np.concatenate([split.tensors[0].flatten(1).numpy() for split in splits])
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, raw.data.astype(np.float32).tolist()))


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_the_splits_are_always_the_same_and_draw_no_random_numbers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the seeds are, versions are compared on one test split."""
    data = project(name, "data", monkeypatch)
    first = data.test()
    torch.manual_seed(123)
    np.random.seed(123)  # noqa: NPY002 - the global generator is what must not matter
    before = torch.get_rng_state()
    again = data.test()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.tensors, again.tensors, strict=True))


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_every_class_has_its_share_of_each_split(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stratified: no split has an example of a class more or fewer than its part of the whole set, rounded."""
    counts = np.array([np.bincount(split.tensors[1]) for split in project(name, "data", monkeypatch).splits()])
    expected = counts.sum(1, keepdims=True) * counts.sum(0) / counts.sum()
    assert np.abs(counts - expected).max() <= 1


def test_malignant_is_the_positive_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """212 of the 569 tumours are malignant: class 1 and its name."""
    data = project("breast_cancer", "data", monkeypatch)
    assert sum(int(split.tensors[1].sum()) for split in data.splits()) == 212
    assert data.CLASS_NAMES[1] == "malignant"


# --- MNIST -----------------------------------------------------------------------------------
def idx(array: np.ndarray) -> bytes:
    """Return *array* as an IDX file."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, *, zipped: bool) -> dict[str, np.ndarray]:
    """Write a tiny MNIST of 120 + 20 random images, all classes in equal numbers; return its arrays."""
    rng = np.random.default_rng(0)
    arrays = {}
    for prefix, n in (("train", 120), ("t10k", 20)):
        arrays[f"{prefix}-images-idx3-ubyte"] = rng.integers(0, 256, (n, 28, 28))
        arrays[f"{prefix}-labels-idx1-ubyte"] = np.arange(n) % 10
    for name, array in arrays.items():
        content = idx(array)
        (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(content) if zipped else content)
    return arrays


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_are_read_plain_and_gzipped(zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and labels come out as they went in, in order; a twelfth of the training images validates."""
    arrays = write_mnist(tmp_path, zipped=zipped)
    train, validation, test = project("mnist", "data", monkeypatch).splits(tmp_path)
    assert (len(train), len(validation), len(test)) == (110, 10, 20)
    assert torch.equal(test.tensors[0][:, 0], torch.tensor(arrays["t10k-images-idx3-ubyte"], dtype=torch.float32))
    assert test.tensors[1].tolist() == arrays["t10k-labels-idx1-ubyte"].tolist()
    seen = torch.cat([train.tensors[0], validation.tensors[0]]).flatten(1).numpy().astype(int)
    assert sorted(map(tuple, seen)) == sorted(map(tuple, arrays["train-images-idx3-ubyte"].reshape(120, -1)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[:6],
        lambda content: b"",
        lambda content: b"\0\0\x0d" + content[3:],
        lambda content: b"<html>" + content,
    ],
    ids=["a byte short", "a byte long", "half a header", "empty", "floats", "a page"],
)
def test_a_damaged_idx_file_is_refused(
    damage: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the file and says what to do."""
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(damage(idx(np.arange(10))))
    with pytest.raises(BadInput, match=f"{path}.*delete it"):
        project("mnist", "data", monkeypatch).read_idx(path)


def test_a_cut_gzip_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a file that is gzip by name only."""
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    for content in (gzip.compress(idx(np.arange(10)))[:-9], b"not gzip", b""):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=f"{path}.*delete it"):
            project("mnist", "data", monkeypatch).read_idx(path)


def test_images_and_labels_of_different_sets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label more than there are images is not cut off silently."""
    write_mnist(tmp_path, zipped=False)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.arange(21) % 10))
    with pytest.raises(BadInput, match="do not belong together"):
        project("mnist", "data", monkeypatch).splits(tmp_path)


def test_an_evaluation_finds_the_files_through_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SPEC takes no arguments: MNIST_DATA_DIR and CIFAR10_DATA_DIR stand for --data-dir."""
    write_mnist(tmp_path, zipped=True)
    write_cifar10(tmp_path)
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CIFAR10_DATA_DIR", str(tmp_path))
    for name in ("mnist", "cifar10"):
        monkeypatch.delitem(sys.modules, f"projects.{name}.data", raising=False)
        assert len(project(name, "data", monkeypatch).test()) == 20


# --- CIFAR-10 --------------------------------------------------------------------------------
def records(n: int, seed: int) -> np.ndarray:
    """Return *n* random records of CIFAR-10's binary version, all classes in equal numbers."""
    content = np.random.default_rng(seed).integers(0, 256, (n, 3073)).astype(np.uint8)
    content[:, 0] = np.arange(n) % 10
    return content


def write_cifar10(folder: Path) -> dict[str, np.ndarray]:
    """Write a tiny CIFAR-10 of 5 x 40 + 20 random images; return its records."""
    files = {f"data_batch_{i}.bin": records(40, i) for i in range(1, 6)} | {"test_batch.bin": records(20, 6)}
    for name, content in files.items():
        (folder / name).write_bytes(content.tobytes())
    return files


def test_the_binary_version_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record is a label, then the red, the green and the blue plane, row by row."""
    files = write_cifar10(tmp_path)
    train, validation, test = project("cifar10", "data", monkeypatch).splits(tmp_path)
    assert (len(train), len(validation), len(test)) == (180, 20, 20)
    image, label = test[3]
    record = files["test_batch.bin"][3]
    assert int(label) == record[0] == 3
    assert image[1, 2, 5] == float(record[1 + 1024 + 2 * 32 + 5])


def test_a_limit_leaves_the_test_split_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only training and validation get smaller: versions stay comparable."""
    write_cifar10(tmp_path)
    splits = project("cifar10", "data", monkeypatch).splits(tmp_path, limit=100)
    assert tuple(map(len, splits)) == (90, 10, 20)


def test_the_archive_is_unpacked_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has the archive needs no connection."""
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        for name, content in write_cifar10(tmp_path).items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = content.nbytes
            tar.addfile(info, io.BytesIO(content.tobytes()))
            (tmp_path / name).unlink()
    assert len(project("cifar10", "data", monkeypatch).splits(tmp_path)[0]) == 180


@pytest.mark.parametrize("cut", [0, 3072])
def test_a_cut_file_is_refused(cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A size that is no multiple of a record's is not rounded."""
    path = tmp_path / "test_batch.bin"
    path.write_bytes(records(2, 0).tobytes()[:cut])
    with pytest.raises(BadInput, match=f"{path}.*3073"):
        project("cifar10", "data", monkeypatch).read_records(path)


def test_a_label_beyond_nine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-100 has another layout, and shows so."""
    content = records(2, 0)
    content[1, 0] = 10
    path = tmp_path / "test_batch.bin"
    path.write_bytes(content.tobytes())
    with pytest.raises(BadInput, match="the label 10"):
        project("cifar10", "data", monkeypatch).read_records(path)


def test_augmentation_only_mirrors_and_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shape and type stay, all pixels are the image's own, and the same seed does the same."""
    augment = project("cifar10", "data", monkeypatch).augment
    x = torch.arange(2 * 3 * 32 * 32, dtype=torch.float32).reshape(2, 3, 32, 32)
    torch.manual_seed(0)
    moved = augment(x)
    assert (moved.shape, moved.dtype) == (x.shape, x.dtype)
    assert all(set(moved[i].flatten().tolist()) <= set(x[i].flatten().tolist()) for i in range(2))
    torch.manual_seed(0)
    assert torch.equal(augment(x), moved)


# --- offline ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "files", "option"),
    [
        (
            "mnist",
            "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, "
            "t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz",
            "MNIST_DATA_DIR",
        ),
        ("cifar10", "cifar-10-binary.tar.gz", "CIFAR10_DATA_DIR"),
    ],
)
def test_offline_the_message_says_which_files_belong_where(
    name: str, files: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a proxy that is not there nothing can be reached: files, folder and the way round are named."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(NotFound) as caught:
        project(name, "data", monkeypatch).splits(tmp_path)
    message = str(caught.value)
    assert f"{tmp_path}: {files} (from https://" in message
    assert option in message
    assert "--data-dir" in message
    assert list(tmp_path.glob("*.part")) == []
