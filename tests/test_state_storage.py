"""State trees as files: whole, verified, and never a pickle that runs."""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from mlflow_pt_eval.errors import CheckpointDamaged, NotFound, StorageFailed, UnsafeFile
from mlflow_pt_eval.state import capture_rng, first_difference, load_tree, save_tree

TREE = {"epoch": 3, "model_state_dict": {f"w{i}": torch.arange(1000.0) + i for i in range(40)}, "rng": [capture_rng()]}


class Net(torch.nn.Linear):
    """A class that a reader of the file may not have."""


@pytest.fixture
def path(tmp_path) -> Path:
    """Where the state goes, in a folder that isn't there yet."""
    return tmp_path / "deep" / "state.pt"


def test_what_was_saved_is_loaded(path):
    """By us, and by torch alone."""
    save_tree(TREE, path)
    assert first_difference(load_tree(path), TREE) is None
    assert first_difference(torch.load(path, weights_only=True), TREE) is None


def test_the_entry_is_that_of_the_file(path):
    """It is taken while writing, and goes into the manifest."""
    entry = save_tree(TREE, path)
    assert (entry.sha256, entry.size) == (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)


def test_every_zip_reader_takes_the_file(path):
    """The CRC-32 of each record is there, so scanners and unzip don't call it damaged."""
    save_tree(TREE, path)
    assert zipfile.ZipFile(path).testzip() is None


def test_nothing_but_the_file_is_left(path):
    """No temporary file stays."""
    save_tree(TREE, path)
    save_tree(TREE, path)
    assert [p.name for p in path.parent.iterdir()] == ["state.pt"]


def test_what_cannot_be_saved_leaves_the_old_file(path):
    """An error in the middle of writing is the caller's; what was whole stays whole."""
    save_tree(TREE, path)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        save_tree({"a": torch.zeros(9), "b": lambda: 0}, path)
    assert first_difference(load_tree(path), TREE) is None
    assert [p.name for p in path.parent.iterdir()] == ["state.pt"]


class FullDisk:
    """Lets the kernel refuse writes beyond a size, as a full disk does: RLIMIT_FSIZE gives EFBIG."""

    def __init__(self, size):
        import resource
        import signal

        self.resource, self.signal, self.size = resource, signal, size

    def __enter__(self):
        self.handler = self.signal.signal(self.signal.SIGXFSZ, self.signal.SIG_IGN)
        self.limit = self.resource.getrlimit(self.resource.RLIMIT_FSIZE)
        self.resource.setrlimit(self.resource.RLIMIT_FSIZE, (self.size, self.limit[1]))

    def __exit__(self, *_):
        self.resource.setrlimit(self.resource.RLIMIT_FSIZE, self.limit)
        self.signal.signal(self.signal.SIGXFSZ, self.handler)


@pytest.mark.parametrize("size", [0, 10, 1000, 100_000])
def test_a_refused_write_names_folder_and_need_and_leaves_the_old_file(path, size):
    """Wherever in the file the disk says no, first, in the middle, or for a part of one write only."""
    save_tree(TREE, path)
    with FullDisk(size), pytest.raises(StorageFailed, match=rf"{path.parent}: .*; 5\.0 GB were needed, .* are free"):
        save_tree({"other": TREE}, path, needed=5_000_000_000)
    assert first_difference(load_tree(path), TREE) is None
    assert [p.name for p in path.parent.iterdir()] == ["state.pt"]


def test_a_folder_that_may_not_be_written_is_named(path):
    """A read-only store is the owner's to mend."""
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    path.parent.mkdir()
    path.parent.chmod(0o500)
    with pytest.raises(StorageFailed, match="permission is denied"):
        save_tree(TREE, path)


def test_a_missing_file_is_not_found(path):
    """With its path."""
    with pytest.raises(NotFound, match="state.pt"):
        load_tree(path)


def test_a_pickled_model_is_refused_with_the_way_round_it(path):
    """It is never executed; who has the class can save the weights."""
    path.parent.mkdir()
    torch.save(Net(2, 2), path)
    with pytest.raises(UnsafeFile, match=r"Net.*torch\.save\(model\.state_dict\(\), path\)"):
        load_tree(path)


class Bomb:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return (os.system, ("touch exploded",))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_is_never_executed(path, legacy):
    """Neither in today's format nor in torch's old one."""
    path.parent.mkdir()
    torch.save({"a": Bomb()}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UnsafeFile, match="system"):
        load_tree(path)
    assert not Path("exploded").exists()


def test_a_plain_pickle_is_never_executed(path):
    """Nor is one that torch has nothing to do with."""
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises((UnsafeFile, CheckpointDamaged)):
        load_tree(path)
    assert not Path("exploded").exists()


@pytest.mark.filterwarnings("ignore:.*TorchScript", "ignore:`torch.jit")
def test_a_torchscript_archive_is_refused(path):
    """It is a program, not weights."""
    path.parent.mkdir()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(UnsafeFile, match="TorchScript"):
        load_tree(path)


@pytest.mark.parametrize("kept", [0, 1, 10, 100, 1000, 20_000, -1000, -10, -1])
def test_a_file_that_is_cut_off_is_damaged(path, kept):
    """Wherever it was cut."""
    save_tree(TREE, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointDamaged, match="damaged, cut off"):
        load_tree(path)


@pytest.mark.parametrize("text", [b"", b"hello", b"PK\x03\x04 but no more", b"\x80\x02garbage.", b"\0" * 5000, b"{}"])
def test_what_is_no_checkpoint_is_damaged(path, text):
    """Whatever the reader makes of it."""
    path.parent.mkdir()
    path.write_bytes(text)
    with pytest.raises(CheckpointDamaged):
        load_tree(path)


def test_loading_doesnt_hold_on_to_the_file(path):
    """A tree that was read must not change when the file does: it is not mapped."""
    save_tree(TREE, path)
    tree = load_tree(path)
    with path.open("r+b") as file:
        file.truncate(10)
    assert first_difference(tree, TREE) is None
