"""Files: whole or not at all, inside their folder, and a lock that dies with its holder."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlflow_pt_eval.errors import BadInput, PathEscape, RunConflict, StorageFailed
from mlflow_pt_eval.files import (
    RunLock,
    atomic_file,
    atomic_write_bytes,
    atomic_write_text,
    directory_size,
    inside,
    readable_size,
    remove_partials,
    sha256_file,
    storage_errors,
)
from mlflow_pt_eval.files.atomic import CHUNK, DigestingFile


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with nothing in it."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


# --- whole or not at all -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, 2 * CHUNK + 3])
def test_a_written_file_holds_its_bytes_and_its_digest(tmp_path, size):
    """The digest taken while writing is the one of the file, at every border of the chunks."""
    data = random.Random(size).randbytes(size)
    entry = atomic_write_bytes(tmp_path / "new" / "file", data)
    assert (tmp_path / "new" / "file").read_bytes() == data
    assert entry.size == size
    assert entry.sha256 == hashlib.sha256(data).hexdigest() == sha256_file(tmp_path / "new" / "file")


def test_text_is_utf8(tmp_path):
    """Whatever the locale says."""
    atomic_write_text(tmp_path / "t", "ä\n")
    assert (tmp_path / "t").read_bytes() == b"\xc3\xa4\n"


def test_pieces_of_any_size_arrive_in_order(tmp_path):
    """Small ones are gathered, large ones are not; neither overtakes the other."""
    pieces = [b"a", b"b" * CHUNK, b"", b"c" * 3, memoryview(b"d" * (CHUNK + 1)), bytearray(b"e")]
    with atomic_file(tmp_path / "file") as file:
        for piece in pieces:
            assert file.write(piece) == len(piece)
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)


@pytest.mark.parametrize("there", [True, False])
def test_an_error_leaves_the_folder_as_it_was(folder, there):
    """Neither a half file nor a temporary one is left, and the old one stays."""
    path = folder / "file"
    if there:
        path.write_text("old")
    with pytest.raises(TypeError), atomic_file(path) as file:
        file.write(b"x" * (CHUNK + 1)), file.write("not bytes")
    assert [(p.name, p.read_text()) for p in folder.iterdir()] == ([("file", "old")] if there else [])


def test_the_file_is_not_there_before_it_is_whole(tmp_path):
    """Who looks meanwhile sees the old one."""
    atomic_write_bytes(tmp_path / "file", b"old")
    with atomic_file(tmp_path / "file") as file:
        file.write(b"n" * (CHUNK + 1))
        assert (tmp_path / "file").read_bytes() == b"old"


def test_permissions_are_those_of_any_new_file(tmp_path):
    """Others who may read a folder may read what is written there; a temporary file's 0600 would lock them out."""
    atomic_write_bytes(tmp_path / "ours", b"")
    (tmp_path / "theirs").write_bytes(b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


def test_writing_draws_no_random_numbers(tmp_path):
    """Temporary names come from the system, not from a generator that a training could use."""
    before = random.getstate()
    atomic_write_bytes(tmp_path / "file", b"")
    assert random.getstate() == before


def test_a_killed_writer_leaves_only_a_partial_file(folder):
    """It is never taken for the file, and whoever holds the folder can sweep it."""
    code = (
        "import os, signal, sys; from mlflow_pt_eval.files import atomic_file\n"
        "with atomic_file(sys.argv[1]) as file:\n"
        "    file.write(bytes(9 << 20)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder / "file")])
    assert done.returncode == -signal.SIGKILL
    (folder / "other").write_text("stays")
    assert not (folder / "file").exists()
    assert len(list(folder.iterdir())) == 2
    remove_partials(folder)
    assert [p.name for p in folder.iterdir()] == ["other"]


def test_a_part_written_is_not_taken_for_the_whole(tmp_path):
    """The kernel may take less than it was given; the rest must follow."""
    reader, writer = os.pipe()
    os.set_blocking(writer, True)
    data = random.Random(0).randbytes(300_000)  # a pipe holds 65,536 bytes
    got = bytearray()

    def read():
        while piece := os.read(reader, 10_000):
            got.extend(piece)

    thread = threading.Thread(target=read)
    thread.start()
    file = DigestingFile(writer)
    file.write(data)
    file.flush()
    os.close(writer)
    thread.join()
    os.close(reader)
    assert bytes(got) == data
    assert file.entry().sha256 == hashlib.sha256(data).hexdigest()


# --- what a disk refuses -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission is denied")],
)
def test_a_refusal_names_folder_need_and_free_space(tmp_path, number, reason):
    """The one line that the owner of a full disk needs; the folder may not even exist yet."""
    folder = tmp_path / "a" / "b"
    said = rf"^cannot use {folder}: .*{reason}.*; 3\.0 GB were needed, .* are free"
    with pytest.raises(StorageFailed, match=said) as error, storage_errors(folder, 3_000_000_000):
        raise OSError(number, os.strerror(number))
    assert error.value.errno == number


def test_it_is_said_once(tmp_path):
    """The innermost place knows best; those around it don't wrap it again."""
    with pytest.raises(StorageFailed, match="/inner:") as error, storage_errors("/outer"), storage_errors("/inner"):
        raise OSError(errno.ENOSPC, "full")
    assert "outer" not in str(error.value)


def test_other_errors_pass(tmp_path):
    """A missing file is no refusal of the disk."""
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path):
        (tmp_path / "none").read_text()


def test_a_full_disk_is_storage_failed(tmp_path):
    """`/dev/full` refuses as a full disk does."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        file = DigestingFile(descriptor)
        file.write(b"x")
        with pytest.raises(StorageFailed, match="the disk is full"), storage_errors(tmp_path):
            file.flush()
    finally:
        os.close(descriptor)


SIZES = [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (5 * 10**15, "5000.0 TB")]


@pytest.mark.parametrize(("size", "text"), SIZES)
def test_sizes_are_readable(size, text):
    """In the units of people who buy disks."""
    assert readable_size(size) == text


def test_a_folder_has_the_size_of_its_files(tmp_path):
    """Links are not followed; none is zero."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "f").write_bytes(b"123")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "b" / "f")
    assert directory_size(tmp_path / "a") == 3
    assert directory_size(tmp_path / "none") == 0


# --- paths ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["a", "a/b.txt", "./a", "...", "a b", Path("x/y")])
def test_a_path_below_the_folder_is_fine(tmp_path, path):
    """Resolved, so that what was checked is what is used."""
    assert inside(tmp_path, path) == (tmp_path / path).resolve()


@pytest.mark.parametrize("path", ["..", "../a", "a/../../b", "a/..", "/etc/passwd", "", ".", "a\0b", "link", "link/a"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, path):
    """By dots, from the root, through a link, or by naming the folder itself."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    with pytest.raises(PathEscape):
        inside(tmp_path / "in", path)


def test_a_link_within_the_folder_is_fine(tmp_path):
    """It doesn't lead out."""
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert inside(tmp_path, "link/b") == (tmp_path / "a" / "b").resolve()


# --- the lock ---------------------------------------------------------------------------------

HOLDER = (
    "import sys; from mlflow_pt_eval.files import RunLock\n"
    "lock = RunLock(sys.argv[1]).acquire(); print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_process_is_refused_and_told_who_holds_it(tmp_path, holder):
    """With the process id, so that its owner can find it."""
    with pytest.raises(RunConflict, match=rf"process {holder.pid} on this host already works on this run"):
        RunLock(tmp_path / "lock").acquire()


def test_a_killed_holder_is_not_in_the_way(tmp_path, holder):
    """Not even its file, which nobody was left to remove."""
    holder.kill()
    holder.wait()
    assert (tmp_path / "lock").exists()
    with RunLock(tmp_path / "lock") as lock:
        assert lock.held
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_release_leaves_nothing(tmp_path):
    """The staging folder has to be empty after a clean end; releasing twice is fine, and so is taking it again."""
    lock = RunLock(tmp_path / "new" / "lock")
    for _ in range(2):
        lock.acquire()
        assert lock.acquire() is lock
        lock.release()
        lock.release()
        assert not lock.held
        assert list((tmp_path / "new").iterdir()) == []


def test_two_locks_of_one_process_are_two(tmp_path):
    """A second training on the same run in the same process is refused too."""
    with RunLock(tmp_path / "lock"), pytest.raises(RunConflict, match=f"process {os.getpid()} "):
        RunLock(tmp_path / "lock").acquire()


def test_a_folder_that_goes_before_the_file_is_made_is_made_again(tmp_path, monkeypatch):
    """The last holder removes it when it is empty, at any moment."""
    real, seen = os.open, []

    def late(path, *args):
        if Path(path) == tmp_path / "new" / "lock" and not seen:
            seen.append(path)
            (tmp_path / "new").rmdir()
        return real(path, *args)

    monkeypatch.setattr(os, "open", late)
    with RunLock(tmp_path / "new" / "lock") as lock:
        assert (seen, lock.held, lock.path.exists()) == ([lock.path], True, True)


def test_a_file_where_the_folder_belongs_is_named(tmp_path):
    """Whatever it is, it is not ours to move."""
    (tmp_path / "new").touch()
    with pytest.raises(BadInput, match=r"new/run has to be a folder, but a file is in the way"):
        RunLock(tmp_path / "new" / "run" / "lock").acquire()


def test_a_file_removed_while_waiting_is_not_a_lock(tmp_path, monkeypatch):
    """Opened before the holder removed it, locked after: another could lock a new file of that name meanwhile."""
    real, lock = os.open, RunLock(tmp_path / "lock")

    def late(path, *args):
        descriptor = real(path, *args)
        if Path(path) == tmp_path / "lock" and not seen:
            seen.append(path)
            (tmp_path / "lock").unlink()
        return descriptor

    seen: list[object] = []
    monkeypatch.setattr(os, "open", late)
    with lock, pytest.raises(RunConflict):
        RunLock(tmp_path / "lock").acquire()
    assert seen


def _worker(ready, end):
    ready.set()
    end.wait(30)


def test_forked_children_dont_keep_the_lock(tmp_path):
    """A DataLoader's workers outlive a killed parent for seconds; the rerun must not have to wait for them."""
    context = multiprocessing.get_context("fork")
    ready, end = context.Event(), context.Event()
    with RunLock(tmp_path / "lock") as lock:
        child = context.Process(target=_worker, args=(ready, end))
        child.start()
        assert ready.wait(30)
        os.close(lock._descriptor)  # as the kernel does when this process is killed
        lock._descriptor = None
        with RunLock(tmp_path / "lock"):
            assert child.is_alive()
    end.set()
    child.join()


def test_a_forked_child_doesnt_release_the_parents_lock(tmp_path):
    """Its copy is closed, which is not the same as unlocked."""
    context = multiprocessing.get_context("fork")
    with RunLock(tmp_path / "lock"):
        child = context.Process(target=str)
        child.start()
        child.join()
        with pytest.raises(RunConflict):
            RunLock(tmp_path / "lock").acquire()


def test_a_program_that_is_started_doesnt_keep_the_lock(tmp_path):
    """The descriptor is closed on exec."""
    with RunLock(tmp_path / "lock") as lock:
        assert not os.get_inheritable(lock._descriptor)
