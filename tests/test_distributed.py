"""What processes tell one another, on a real store; threads stand for processes where one test has several."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

import mlflow_pt_eval as mpe
from mlflow_pt_eval.distributed import Alone, alive, current
from mlflow_pt_eval.distributed.alive import Others
from mlflow_pt_eval.distributed.board import Board
from mlflow_pt_eval.distributed.courier import Courier
from mlflow_pt_eval.distributed.shares import Shares
from mlflow_pt_eval.distributed.stopping import Stopping
from mlflow_pt_eval.errors import BadInput, Interrupted, RankFailed, StoreUnavailable
from mlflow_pt_eval.names import CheckpointName


@pytest.fixture
def board() -> Board:
    """A board in a store of its own."""
    return Board(dist.TCPStore("127.0.0.1", 0, 1, True, timedelta(seconds=30)))


def others(board: Board, rank: int, size: int = 2, patience: float = 60.0) -> Others:
    """One process's view, introduced to the others."""
    found = Others(board.another(), rank, size, patience)
    found.introduce()
    return found


def test_one_process_has_nobody_to_ask(monkeypatch):
    """Without torch.distributed everything is as in one process."""
    monkeypatch.setenv("WORLD_SIZE", "1")
    ranks = current()
    assert isinstance(ranks, Alone)
    assert ranks.meet("anywhere", 3, sum_of) == 3
    assert not ranks.several


def sum_of(said: list[int]) -> int:
    """Merge numbers."""
    return sum(said)


def test_torchrun_without_a_process_group_is_told_what_to_do(monkeypatch, tracking):
    """Each process would train for itself, and all would write to the store."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    run = mpe.TrainingRun({"model": __import__("torch").nn.Linear(1, 1)})
    with pytest.raises(BadInput, match=r"one of 2 processes .* call torch.distributed.init_process_group\(\) before"):
        run.__enter__()


def test_a_board_keeps_notes_of_any_size(board):
    """Plain data, and bytes beyond what the store takes at once; the first claim of a name stands."""
    board.put("a", {"x": [1, None, "é"]})
    data = bytes(range(256)) * 40_000
    board.put_bytes("large", data)
    assert (board.take("a"), board.take("b"), board.take_bytes("large") == data) == ({"x": [1, None, "é"]}, None, True)
    assert (board.claim("c", 1), board.claim("c", 2)) == (1, 1)
    board.drop_bytes("large")
    assert not board.has("large")


def test_a_process_that_is_gone_is_named(board):
    """By its number and start time, which the kernel does not use twice."""
    me = others(board, 0)
    code = (
        "import os, sys, json, socket; from mlflow_pt_eval.processes import process_start as s; p = os.getpid(); "
        "print(json.dumps({'host': socket.gethostname(), 'pid': p, 'born': s(p)}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    board.put("who/1", __import__("json").loads(done.stdout))
    with pytest.raises(RankFailed, match=r"rank 1 of 2 \(process \d+\) is gone without a word"):
        me.expect(["never"], 1)


def test_a_process_that_does_not_answer_is_named(board):
    """After the process group's timeout."""
    others(board, 1)
    with pytest.raises(RankFailed, match=r"rank 1 of 2 did not answer within 0\.1 s"):
        others(board, 0, patience=0.1).expect(["never"], 1)


def test_a_long_wait_is_said_once(board, monkeypatch, caplog):
    """A training that rank 0 alone has opened would hang without a word until the timeout."""
    monkeypatch.setattr(alive, "_LONG", 0.05)
    others(board, 1)
    waiting = others(board, 0, patience=0.3)
    for _ in range(2):
        with pytest.raises(RankFailed):
            waiting.expect(["never"], 1, place="the opening of the training")
    (said,) = [record.getMessage() for record in caplog.records if "has waited" in record.getMessage()]
    assert "rank 0 has waited 0.05 s for rank 1 at the opening of the training, and will for 0.3 s" in said


@pytest.mark.parametrize(("signum", "raised"), [(None, RankFailed), (15, Interrupted)])
def test_who_waits_hears_of_a_third_process_s_end(board, signum, raised):
    """It would wait in vain: an error is named, a signal is everybody's."""
    waiting = others(board, 0, size=3)
    others(board, 1, size=3)
    board.put("left", {"rank": 2, "why": "ValueError: bad", "signum": signum})
    with pytest.raises(raised, match="rank 2 of 3 failed .ValueError: bad.|15"):
        waiting.expect(["never"], 1)


def shares(board: Board, rank: int) -> Shares:
    """One process's part in checkpoints."""
    me = others(board, rank)
    return Shares(me, me.another())


def test_shares_are_collected_and_removed(board):
    """A process that ran out of batches counts with its end; what is done with is removed at the next post."""
    first, second = shares(board, 0), shares(board, 1)
    names = [str(CheckpointName(epoch=0, step=step, complete=False)) for step in (1, 2, 3)]
    second.post(names[0], b"one")
    assert first.collect(names[0], epoch=0, ended=False) == [b"one"]
    second.post(names[1], b"two")
    first.pass_over(names[1])
    second.post_end(0, b"end")
    assert first.collect(names[2], epoch=0, ended=False) == [b"end"]
    assert first.collect(names[1], epoch=0, ended=True) == [b"end"]
    finished = str(CheckpointName(epoch=0, step=3, complete=True))
    with ThreadPoolExecutor(1) as pool:
        collecting = pool.submit(first.collect, finished, epoch=0, ended=False)
        second.post(finished, b"next")  # the end of its batches is not that of the epoch
        assert collecting.result(timeout=60) == [b"next"]
    second.post(str(CheckpointName(epoch=1, step=9, complete=True)), b"later")
    assert not any(board.has(f"share/{name}/1") for name in names)


def test_a_share_may_be_late_or_none_at_all(board):
    """Who writes a part of its own hands in its share later, from another thread, also after it has said it failed."""
    first, second = shares(board, 0), shares(board, 1)
    name, later = (str(CheckpointName(epoch=epoch, step=2, complete=True)) for epoch in (0, 1))
    second.post(name, b"")
    assert first.collect(name, epoch=0, ended=False, late=True) == [b""]
    board.put("left", {"rank": 1, "why": "ValueError: bad", "signum": None})
    with ThreadPoolExecutor(1) as pool:
        collecting = pool.submit(first.collect, later, epoch=1, ended=False, late=True)
        with pytest.raises(TimeoutError):
            collecting.result(timeout=1.2)  # long enough to have looked for who has left
        second.post(later, b"late")
        assert collecting.result(timeout=60) == [b"late"]


def couriers(board: Board, size: int) -> list[Courier]:
    """Those of so many processes."""
    return [Courier(others(board, rank, size)) for rank in range(size)]


def test_rank_0_waits_until_all_parts_are_stored(board):
    """The others store what rank 0 says, in order; notes that all have read are removed."""
    first, second, third = couriers(board, 3)
    one, two, three = (str(CheckpointName(epoch=epoch, step=1, complete=True)) for epoch in range(3))
    assert second.word(one) is None
    first.say(one, store=False)
    first.say(two, store=True)
    first.say(three, store=False)
    assert [second.word(name) for name in (one, two, three)] == [False, True, False]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(first.until_stored, two, lambda: False)
        second.tell(two)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.2)
        third.tell(two)
        waiting.result(timeout=60)
    assert [second.word(name) for name in (one, two, three)] == [None, None, False]


def test_a_part_that_cannot_be_stored_now_is_tried_again(board):
    """The store is away for one of them, or nobody waits any more: rank 0 may come again."""
    first, second = couriers(board, 2)
    name = str(CheckpointName(epoch=0, step=1, complete=True))
    first.say(name, store=True)
    second.tell(name, "the server does not answer")
    with pytest.raises(StoreUnavailable, match="rank 1 could not store its part .*: the server does not answer"):
        first.until_stored(name, lambda: False)
    with pytest.raises(StoreUnavailable, match="rank 1 has not stored its part"):
        first.until_stored(name, lambda: True)
    second.tell(name)
    first.until_stored(name, lambda: False)


def test_a_part_of_a_process_that_is_gone_is_not_waited_for(board):
    """It is named, and the checkpoint stays without a manifest."""
    first = couriers(board, 1)[0]
    first._others.size = 2
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    board.put("who/1", {"host": socket.gethostname(), "pid": gone.pid, "born": 1})
    with pytest.raises(RankFailed, match=r"rank 1 of 2 \(process \d+\) is gone without a word. Its part"):
        first.until_stored(str(CheckpointName(epoch=0, step=1, complete=True)), lambda: False)


def test_a_step_is_agreed_on_that_nobody_has_passed(board):
    """Loops of three speeds, asked by one of them: all save after the same step, and go on."""
    size, last = 3, 400
    began, acted = threading.Barrier(size), [[] for _ in range(size)]

    def loop(rank: int) -> None:
        done = [0]
        stopping = Stopping(others(board, rank, size), lambda: done[0])
        pause = threading.Event()
        began.wait()
        for step in range(1, last):
            pause.wait(0.001 * (rank + 1))
            done[0] = step
            if rank == 1 and step in (20, 120):
                stopping.want_save()
            if stopping.active and (ask := stopping.due(step)) is not None:
                acted[rank].append((step, ask.signum))
        began.wait()  # as all meet at the end of an epoch
        stopping.close()

    with ThreadPoolExecutor(size) as pool:
        for job in [pool.submit(loop, rank) for rank in range(size)]:
            job.result(timeout=60)
    assert acted[0] == acted[1] == acted[2]
    assert len(acted[0]) >= 1
    assert acted[0][0][0] > 20
