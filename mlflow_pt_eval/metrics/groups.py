"""What a sorted row of keys says about its positives: runs of equal scores, and the counts above and below each.

A float32 that is not negative orders like its bits. So `bits << 1 | is_positive` is a uint32 that carries score and
truth through a plain sort of values: no argsort, no gather. Afterwards everything is linear in the number of
positives: inside a tie the negatives come first (their low bit is 0), hence a positive at place i of rank r has
i - r negatives at or below it, and whether negatives share its score is seen one key to the left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.metrics.blocks import BLOCK_VALUES

Keys = npt.NDArray[np.uint32]
Ints = npt.NDArray[np.int64]

LONG = 2 * BLOCK_VALUES  # from here on a single row is worked through in slices
SLICE = BLOCK_VALUES // 4  # of so many keys: there are a dozen arrays of 8 bytes for each
ONE = np.uint32(1)
INFINITE = np.float32(np.inf).view(np.uint32) << ONE


@dataclass(frozen=True, eq=False)
class Groups:
    """The runs of positives of one score, ascending, of R rows one after the other: arrays (G,).

    `tp` and `fp` count the positives and negatives at or above the run's score, `count` the run's positives, `tied`
    the negatives that share its score; `above` is the next higher key. Row r's runs are bounds[r] … bounds[r + 1].
    """

    key: Keys
    above: Keys
    count: Ints
    tied: Ints
    tp: Ints
    fp: Ints
    bounds: Ints


def scores_of(keys: Keys) -> npt.NDArray[np.float64]:
    """Return the scores that *keys* carry."""
    return (keys >> ONE).view(np.float32).astype(np.float64)


def walk(keys: Keys, positives: Ints) -> Iterator[Groups]:
    """Group sorted rows (R, n): all at once, or slice by slice if it is a single long one.

    Rows together, since with many classes NumPy's cost for each call is what counts; slices, so that what is needed
    beside a long row stays small. No tie crosses two slices; they come in ascending order.
    """
    if len(keys) > 1 or keys.shape[1] <= LONG:
        yield _group(keys, positives, positives, keys.shape[1] - positives, INFINITE)
    else:
        yield from _slices(keys[0], int(positives[0]))


def _slices(row: Keys, positives: int) -> Iterator[Groups]:
    low, left = 0, positives
    while low < len(row):
        end = row[min(low + SLICE, len(row)) - 1] | ONE
        high = int(np.searchsorted(row, end, side="right"))
        part = row[low:high]
        inside = int(np.count_nonzero(part & ONE))
        above = row[high] if high < len(row) else INFINITE
        yield _group(part[None], _one(inside), _one(left), _one(len(row) - low - left), above)
        low, left = high, left - inside


def _one(value: int) -> Ints:
    return np.array([value], np.int64)


def _group(keys: Keys, inside: Ints, tp: Ints, fp: Ints, above: np.uint32) -> Groups:
    """Group rows (R, m) that hold *inside* positives, *tp* positives and *fp* negatives at or above their starts."""
    flat, width = keys.reshape(-1), keys.shape[1]
    places = np.flatnonzero((flat & ONE).astype(bool))  # of booleans it is several times faster
    ends = np.concatenate(([0], np.cumsum(inside)))
    starts = _run_starts(flat[places], ends)
    bounds = np.searchsorted(starts, ends)
    row = np.repeat(np.arange(len(keys)), np.diff(bounds))
    count = np.diff(starts, append=len(places))
    first = places[starts]
    rank = starts - ends[row]
    key = flat[first]
    tied = _tied(keys, key, first, row)
    return Groups(
        key=key,
        above=_next(flat, first + count, (row + 1) * width, above),
        count=count,
        tied=tied,
        tp=tp[row] - rank,
        fp=fp[row] - (first - row * width - rank) + tied,
        bounds=bounds,
    )


def _run_starts(keys: Keys, ends: Ints) -> Ints:
    """Say where in the positives' *keys* a new score or a new row begins."""
    new = np.empty(len(keys), bool)
    new[1:] = keys[1:] != keys[:-1]
    new[ends[:-1][ends[:-1] < len(keys)]] = True
    return np.flatnonzero(new)


def _tied(keys: Keys, key: Keys, first: Ints, row: Ints) -> Ints:
    """Count for each run the negatives of the same score: they stand right before it."""
    tied = np.zeros(len(key), np.int64)
    width, flat = keys.shape[1], keys.reshape(-1)
    ties = np.flatnonzero((flat[first - 1] == key ^ ONE) & (first > row * width))
    for index in np.unique(row[ties]):
        here = ties[row[ties] == index]
        tied[here] = first[here] - index * width - np.searchsorted(keys[index], key[here] ^ ONE)
    return tied


def _next(flat: Keys, places: Ints, row_ends: Ints, above: np.uint32) -> Keys:
    """Return the key after each run, *above* where the row ends with it."""
    inside = places < row_ends
    return np.where(inside, flat[np.where(inside, places, 0)], above)
