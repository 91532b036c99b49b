"""What a pass over data must leave as it was: random number generators, and how often Python looks for garbage."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlflow_pt_eval.state.generators import capture_generators, restore_generators
from mlflow_pt_eval.state.rng import preserved_rng

_ALIVE = 5000  # objects: a thousand samples with their parts


@contextmanager
def untouched(loader: Any) -> Iterator[None]:
    """Put back the random state of Python, NumPy and torch, and of *loader*'s private generators, after the block."""
    private = capture_generators(loader)
    with preserved_rng():
        try:
            yield
        finally:
            restore_generators(loader, private)


class _Seldom:
    """The threshold as it was before the first of the blocks that are open, in whatever threads."""

    lock = threading.Lock()
    blocks = 0
    before = (0, 0, 0)


@contextmanager
def seldom_collecting() -> Iterator[None]:
    """Let a batch's samples come and go in the block without Python looking for reference cycles among them.

    By Python's own setting it looks once 700 objects are alive more than before, which a batch of a few hundred
    samples reaches each time: 6 % of a pass over small samples. What is truly circular is still found, a little later.
    """
    with _Seldom.lock:
        _Seldom.blocks += 1
        if _Seldom.blocks == 1:
            _Seldom.before = gc.get_threshold()
            if 0 < _Seldom.before[0] < _ALIVE:
                gc.set_threshold(_ALIVE, *_Seldom.before[1:])
    try:
        yield
    finally:
        with _Seldom.lock:
            _Seldom.blocks -= 1
            if not _Seldom.blocks:
                gc.set_threshold(*_Seldom.before)
