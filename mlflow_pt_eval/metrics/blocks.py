"""Cutting work into blocks whose size never depends on the number of threads, so that no sum does either."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, pairwise
from typing import TypeVar

from mlflow_pt_eval.errors import BadInput

Item = TypeVar("Item")
Result = TypeVar("Result")

BLOCK_VALUES = 1 << 18  # 1 MB of float32: what a core's second-level cache holds
WORTH_A_THREAD = 1 << 19  # values: fewer take less time than two threads that wait for each other


def workers(threads: int | None) -> int:
    """Return *threads*, for None the number of processors that this process may use, at most 16."""
    if threads is not None:
        if threads < 1:
            raise BadInput(f"threads is {threads}: give at least 1, or None for as many as there are processors.")
        return threads
    if hasattr(os, "sched_getaffinity"):
        return min(16, len(os.sched_getaffinity(0)))
    return min(16, os.cpu_count() or 1)


def workers_for(values: int, threads: int | None) -> int:
    """Return `workers` of *threads*, but no more than so many *values* are worth the start of."""
    return min(workers(threads), 1 + values // WORTH_A_THREAD)


def cut(length: int, step: int) -> list[tuple[int, int]]:
    """Return the half-open ranges of *step* (the last one shorter) that cover *length*.

    >>> cut(5, 2)
    [(0, 2), (2, 4), (4, 5)]
    """
    return [(start, min(start + step, length)) for start in range(0, length, step)]


def share_out(length: int, most: int) -> list[tuple[int, int]]:
    """Return as few half-open ranges of at most *most* as cover *length*, as equal as they can be, the longer first.

    >>> share_out(10, 3)
    [(0, 3), (3, 6), (6, 8), (8, 10)]
    """
    parts = -(-length // most)
    least, longer = divmod(length, parts)
    sizes = [least + 1] * longer + [least] * (parts - longer)
    return list(pairwise(accumulate(sizes, initial=0)))


def row_blocks(rows: int, columns: int) -> list[tuple[int, int]]:
    """Cut the rows of a matrix into blocks of about BLOCK_VALUES values."""
    return cut(rows, max(1, BLOCK_VALUES // columns))


def run(job: Callable[[Item], Result], items: Iterable[Item], threads: int) -> list[Result]:
    """Return job(item) for each item, in the items' order; NumPy lets the threads run beside each other.

    This thread is one of them, since it takes a millisecond to start one while another is at work.
    """
    work = list(items)
    helpers = min(threads, len(work)) - 1
    if helpers < 1:
        return [job(item) for item in work]
    left, found = deque(enumerate(work)), {}

    def take() -> None:
        while left:
            try:
                place, item = left.popleft()
            except IndexError:  # another thread was faster
                return
            found[place] = job(item)

    with ThreadPoolExecutor(helpers) as pool:
        others = [pool.submit(take) for _ in range(helpers)]
        try:
            take()
        finally:
            left.clear()  # after an error there is nothing to go on for
    for other in others:
        other.result()
    return [found[place] for place in range(len(work))]
