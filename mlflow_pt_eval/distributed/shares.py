"""The shares of a checkpoint: what each process adds to rank 0's state, handed over without anybody's waiting."""

from __future__ import annotations

import threading

from mlflow_pt_eval.distributed.alive import Others
from mlflow_pt_eval.names import CheckpointName

_DONE = "shares/done"


class Shares:
    """Every process but rank 0 posts its share at the same boundaries; rank 0 collects those that it saves.

    A process that has no batch left in an epoch counts with its share at the end of its batches. What rank 0 has
    collected or passed over, each process removes itself when it next posts. An empty share says that there is none.
    """

    def __init__(self, mine: Others, saving: Others) -> None:
        self._mine = mine  # for the loop's thread
        self._saving = saving  # for rank 0's saving thread; of the others, any thread posts
        self._posting = threading.Lock()
        self._posted: list[str] = []
        self._ended: list[str] = []

    def post(self, name: str, share: bytes) -> None:
        """Put up the share of the checkpoint *name*."""
        board = self._saving.board
        with self._posting:
            done = CheckpointName.parse(board.take(_DONE) or "")
            for old in [old for old in self._posted if done is not None and _parsed(old) <= done]:
                board.drop_bytes(self._key(old, self._mine.rank))
                self._posted.remove(old)
            board.put_bytes(self._key(name, self._mine.rank), share)
            self._posted.append(name)

    def post_end(self, epoch: int, share: bytes) -> None:
        """Put up the share at the end of this process's batches in *epoch*."""
        board = self._saving.board
        with self._posting:
            for old in self._ended:
                board.drop_bytes(old)
            self._ended = [self._key(f"end-{epoch}", self._mine.rank)]
            board.put_bytes(self._ended[0], share)

    def collect(self, name: str, *, epoch: int, ended: bool, late: bool = False) -> list[bytes]:
        """Wait for every other process's share; RankFailed, naming it, for one that does not come.

        *late* ones come from another thread than the loop's, also after the loop has ended.
        """
        found = []
        for rank in range(1, self._saving.size):
            end = self._key(f"end-{epoch}", rank)
            here = self._key(name, rank)
            inside = not _parsed(name).complete
            keys = [end] if ended else [here, end] if inside and not late else [here]
            key = self._saving.expect(keys, rank, ending=True, leaving=late, patient=late)
            # Its end may have been put up between the two looks, after the share.
            key = here if not ended and self._saving.board.has(here) else key
            found.append(self._saving.board.take_bytes(key))
        self._saving.board.put(_DONE, name)
        return found

    def pass_over(self, name: str) -> None:
        """Say that the shares of *name* are not needed."""
        self._mine.board.put(_DONE, name)

    def _key(self, name: str, rank: int) -> str:
        return f"share/{name}/{rank}"


def _parsed(name: str) -> CheckpointName:
    parsed = CheckpointName.parse(name)
    assert parsed is not None
    return parsed
