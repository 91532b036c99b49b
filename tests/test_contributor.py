"""A process's part of a sharded checkpoint, from the loop to the store; real threads, a real store, a real board."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from mlflow_pt_eval.distributed import Alone, Courier
from mlflow_pt_eval.distributed.alive import Others
from mlflow_pt_eval.distributed.board import Board
from mlflow_pt_eval.errors import CheckpointDamaged, StorageFailed, StoreUnavailable
from mlflow_pt_eval.names import MANIFEST_FILE, STATE_FILE, CheckpointName, shard_file
from mlflow_pt_eval.records import FileEntry, History, Manifest
from mlflow_pt_eval.state import Shard, load_tree, tree_of
from mlflow_pt_eval.tracking.checkpoints import Checkpoints, Parts
from mlflow_pt_eval.tracking.outbox import staging_folder
from mlflow_pt_eval.tracking.store import connect
from mlflow_pt_eval.training.contributor import Contributor
from mlflow_pt_eval.training.payload import Contribution, Snapshot, write_payload

RUN = "0123456789abcdef"
FILE = shard_file(1, 2)


class Posting(Alone):
    """The second of two processes; notes what it hands in, and can be held up there."""

    rank, size = 1, 2

    def __init__(self) -> None:
        self.posted: dict[str, bytes] = {}
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def post(self, name: str, share: bytes, *, epoch: int, ended: bool = False) -> None:
        """Note it."""
        self.posted[name] = share
        if share:
            self.may_go_on.wait(60)


@dataclass(frozen=True)
class AwayOnce(Checkpoints):
    """A store that does not answer at first."""

    tries: list[str] = field(default_factory=list)

    def put_file(self, name: CheckpointName, source: Path) -> None:
        """Fail once."""
        self.tries.append(str(name))
        if len(self.tries) == 1:
            raise StoreUnavailable("the server does not answer")
        super().put_file(name, source)


@dataclass
class Bench:
    """A contributor, and rank 0's end of what it talks through."""

    contributor: Contributor
    ranks: Posting
    rank0: Courier
    stored: Path


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Make a contributor; its threads end with the test."""
    board = Board(dist.TCPStore("127.0.0.1", 0, 1, True, timedelta(seconds=30)))
    built: list[Contributor] = []

    def made(kind: type[Checkpoints] = Checkpoints) -> Bench:
        first, second = (Others(board.another(), rank, 2, 60.0) for rank in range(2))
        first.introduce(), second.introduce()
        ranks, root = Posting(), tmp_path / "artifacts"
        built.append(Contributor(kind(connect(), RUN, root.as_uri()), ranks, Courier(second)))
        return Bench(built[0], ranks, Courier(first), root)

    yield made
    for contributor in built:
        contributor._writer.close()


def part(epoch: int) -> Contribution:
    """A part of the checkpoint at the end of an epoch."""
    name = CheckpointName(epoch=epoch, step=epoch + 1, complete=True)
    return Contribution(name, {"step": epoch + 1}, Shard({"w": torch.full((2,), float(epoch))}, {}), FILE)


def until(done: Callable[[], Any]) -> Any:
    """Wait for something to happen on another thread."""
    deadline = time.monotonic() + 60
    while not (found := done()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_a_part_is_stored_when_rank_0_says_so(build):
    """Staged and handed in at once; in the store only after the word, and gone from staging then."""
    bench = build()
    bench.contributor.save(part(0), must=True, wait=True)
    bench.contributor.settle()
    said = tree_of(bench.ranks.posted[str(part(0).name)])
    staged = staging_folder(RUN) / str(part(0).name) / FILE
    assert said["shard"]["size"] == staged.stat().st_size
    assert not bench.stored.exists()
    bench.rank0.say(str(part(0).name), store=True)
    bench.rank0.until_stored(str(part(0).name), lambda: False)
    assert torch.equal(load_tree(bench.stored / part(0).name.path / FILE)["w"], torch.zeros(2))
    bench.contributor.release()
    assert not staging_folder(RUN).exists()


def test_a_part_that_is_not_wanted_is_let_go(build):
    """Rank 0 has skipped the checkpoint; the next one is stored."""
    bench = build()
    for epoch, wanted in ((0, False), (1, True)):
        bench.contributor.save(part(epoch), must=True, wait=True)
        bench.rank0.say(str(part(epoch).name), store=wanted)
    bench.rank0.until_stored(str(part(1).name), lambda: False)
    assert [path.name for path in bench.stored.glob("checkpoints/*")] == [str(part(1).name)]
    until(lambda: not list(staging_folder(RUN).glob("*/*")))


def test_without_time_for_a_part_the_others_are_told(build):
    """The one before is still being written: an empty share; one that must be saved waits instead."""
    bench = build()
    bench.ranks.may_go_on.clear()
    bench.contributor.save(part(0), must=True, wait=False)
    until(lambda: bench.ranks.posted)
    bench.contributor.save(part(1), must=False, wait=False)
    assert bench.ranks.posted[str(part(1).name)] == b""
    threading.Timer(0.1, bench.ranks.may_go_on.set).start()
    bench.contributor.save(part(2), must=True, wait=False)
    assert until(lambda: bench.ranks.posted.get(str(part(2).name)))


def test_a_full_disk_is_said_in_the_loop_and_nobody_waits(build):
    """Rank 0 gets an empty share, this process its error, at the latest before the end."""
    bench = build()
    staging_folder(RUN).parent.mkdir(exist_ok=True)
    staging_folder(RUN).write_text("a file where the folder should be")
    bench.contributor.save(part(0), must=True, wait=True)
    with pytest.raises((StorageFailed, OSError)):
        bench.contributor.settle()
    assert bench.ranks.posted[str(part(0).name)] == b""


def test_a_store_that_is_away_gets_its_part_later(build):
    """Rank 0 hears of it, and comes again."""
    bench = build(AwayOnce)
    bench.contributor.save(part(0), must=True, wait=True)
    name = str(part(0).name)
    bench.rank0.say(name, store=True)
    with pytest.raises(StoreUnavailable, match="rank 1 could not store its part .*: the server does not answer"):
        bench.rank0.until_stored(name, lambda: False)
    bench.rank0.until_stored(name, lambda: False)
    assert (bench.stored / part(0).name.path / FILE).exists()


def test_a_checkpoint_without_one_part_is_none(tmp_path, caplog):
    """Nothing of it is written, and it is said whose part is missing."""
    snapshot = Snapshot(part(0).name, {"step": 1}, {}, History(), lambda: [b"", b""], part(0).shard)
    assert write_payload(snapshot, tmp_path / "staged", needed=0) is None
    assert "was skipped: rank 1 is still writing the one before, or failed" in caplog.text
    assert not (tmp_path / "staged").exists()


def staged(folder: Path, sha256: str = "0" * 64) -> Path:
    """Rank 0's files of a checkpoint, whose manifest names the part of another process, too."""
    snapshot = Snapshot(part(0).name, {"rng": [0], "progress": {"ranks": []}}, {}, History(), None, part(0).shard)
    payload = write_payload(snapshot, folder, needed=0)
    files = {**payload.files, FILE: FileEntry(sha256, 1)}
    manifest = Manifest(epoch=0, step=1, complete=True, history=History(), files=files)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest.to_json()))
    return folder


class Remote(Checkpoints):
    """A store that is no local folder, as far as it says."""

    folder = None


@pytest.mark.parametrize("kind", [Checkpoints, Remote])
@pytest.mark.parametrize("content", [b"x", b"y", None])
def test_a_part_that_its_process_had_stored_already_counts(tmp_path, kind, content):
    """The job died before the manifest came: what is staged is stored later, if the part is there and the right one."""
    checkpoints, name = kind(connect(), RUN, (tmp_path / "artifacts").as_uri()), part(0).name
    if content is not None:
        (tmp_path / "part").mkdir()
        (tmp_path / "part" / FILE).write_bytes(content)
        checkpoints.put_file(name, tmp_path / "part" / FILE)
    folder = staged(tmp_path / "staged", hashlib.sha256(b"x").hexdigest())
    if content == b"x":
        checkpoints.put(name, folder, verify=True)
        assert checkpoints.committed() == [name]
    else:
        with pytest.raises(CheckpointDamaged, match=f"{FILE} (is missing|has changed)"):
            checkpoints.put(name, folder, verify=True)
        assert checkpoints.committed() == []


def test_the_manifest_comes_after_all_parts(tmp_path):
    """What stood there ends before any part of the new one comes, and nothing is whole until all are there."""
    checkpoints, name = Checkpoints(connect(), RUN, (tmp_path / "artifacts").as_uri()), part(0).name
    folder, seen = tmp_path / "artifacts" / name.path, []
    folder.mkdir(parents=True)
    (folder / MANIFEST_FILE).write_text("the one before")

    def look() -> None:
        seen.append({path.name for path in folder.iterdir()})
        if len(seen) == 2:
            raise StoreUnavailable("rank 1 has not stored its part yet")

    with pytest.raises(StoreUnavailable):
        checkpoints.put(name, staged(tmp_path / "staged"), parts=Parts(look, look))
    checkpoints.put(name, tmp_path / "staged", parts=Parts(look, look))
    own = {STATE_FILE, shard_file(0, 1)}
    assert seen == [set(), own, own, own]
    assert checkpoints.committed() == [name]
