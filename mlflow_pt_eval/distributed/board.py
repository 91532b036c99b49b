"""A board of notes in the store that torch.distributed keeps: any process puts one up, any may read or remove it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from mlflow_pt_eval.errors import RankFailed, first_line

_PIECE = 4 << 20  # the store takes no more than 8 MiB at a time


class Board:
    """Notes by name; nothing here waits. One object serves one thread: `another` gives a further one.

    Every method raises RankFailed if the process that keeps the store is gone.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    @classmethod
    def of_the_group(cls, name: str) -> Board:
        """Return the board of that name in the default process group's store, on a connection of its own."""
        store: Any = dist.distributed_c10d.PrefixStore(name, dist.distributed_c10d._get_default_store())
        return cls(store.clone())

    def another(self) -> Board:
        """Return the same board for another thread."""
        return Board(self._store.clone())

    def put(self, key: str, value: Any) -> None:
        """Put up plain data, in the place of what stood there."""
        with _kept():
            self._store.set(key, json.dumps(value))

    def has(self, key: str) -> bool:
        """Say whether there is a note of that name."""
        with _kept():
            return bool(self._store.check([key]))

    def take(self, key: str) -> Any:
        """Read plain data; None if there is no such note."""
        with _kept():
            return json.loads(self._store.get(key)) if self._store.check([key]) else None

    def claim(self, key: str, value: Any) -> Any:
        """Put up plain data where nothing stands yet; return what stands there now."""
        with _kept():
            return json.loads(self._store.compare_set(key, "", json.dumps(value)))

    def put_bytes(self, key: str, data: bytes) -> None:
        """Put up bytes of any number; they are there once `has(key)` says so."""
        pieces = [data[start : start + _PIECE] for start in range(0, len(data), _PIECE)] or [b""]
        with _kept():
            for number, piece in enumerate(pieces):
                self._store.set(f"{key}/{number}", piece)
        self.put(key, len(pieces))

    def take_bytes(self, key: str) -> bytes:
        """Read bytes that are there."""
        count = int(self.take(key))
        with _kept():
            return b"".join(self._store.get(f"{key}/{number}") for number in range(count))

    def drop(self, key: str) -> None:
        """Remove a note, if it is there."""
        with _kept():
            self._store.delete_key(key)

    def drop_bytes(self, key: str) -> None:
        """Remove bytes, if they are there."""
        count = self.take(key) or 0
        self.drop(key)
        for number in range(int(count)):
            self.drop(f"{key}/{number}")


@contextmanager
def _kept() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what torch.distributed raises for a connection that is lost
        raise RankFailed(
            f"the store of the process group cannot be reached any more ({first_line(error)}): the process that "
            "keeps it, torchrun or rank 0, is gone."
        ) from error
