"""What a sorted row of keys says about its positives: runs of equal scores, and the counts above and below each.

Everything is linear in the number of positives: inside a tie the negatives come first (their low bit is 0), hence a
positive at place i of rank r has i - r negatives at or below it, and whether negatives share its score is seen one key
to the left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.metrics.blocks import BLOCK_VALUES
from mlflow_pt_eval.metrics.keys import INFINITE, ONE, Keys, is_positive

Ints = npt.NDArray[np.int64]

LONG = 2 * BLOCK_VALUES  # from here on a single row is worked through in slices
SLICE = BLOCK_VALUES // 4  # of so many keys: there are a dozen arrays of 8 bytes for each


@dataclass(frozen=True, eq=False)
class Rows:
    """R sorted rows of keys one after the other, row r from bounds[r] to bounds[r + 1].

    `positives` and `negatives` (R,) are all there are. Negatives may be missing among the `keys`: `passed` counts them
    below each positive, in the order of the keys; None if all are there.
    """

    keys: Keys
    bounds: Ints
    positives: Ints
    negatives: Ints
    passed: Ints | None = None


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


def rows_of(keys: Keys, positives: Ints) -> Rows:
    """Return the sorted rows of a matrix (R, n)."""
    length = keys.shape[1]
    return Rows(keys.reshape(-1), np.arange(len(keys) + 1) * length, positives, length - positives)


def join(parts: Sequence[Rows]) -> Rows:
    """Put rows one after the other."""
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([0, *(len(part.keys) for part in parts)])
    return Rows(
        keys=np.concatenate([part.keys for part in parts]),
        bounds=np.concatenate([[0], *(end + part.bounds[1:] for end, part in zip(ends, parts, strict=False))]),
        positives=np.concatenate([part.positives for part in parts]),
        negatives=np.concatenate([part.negatives for part in parts]),
        passed=np.concatenate([_passed(part) for part in parts]),
    )


def _passed(rows: Rows) -> Ints:
    return np.zeros(rows.positives.sum(), np.int64) if rows.passed is None else rows.passed


def walk(rows: Rows) -> Iterator[Groups]:
    """Group sorted rows: all at once, or slice by slice if it is a single long one.

    Rows together, since with many classes NumPy's cost for each call is what counts; slices, so that what is needed
    beside a long row stays small. No tie crosses two slices; they come in ascending order.
    """
    if len(rows.positives) > 1 or rows.passed is not None or len(rows.keys) <= LONG:
        yield _group(rows, rows.positives, INFINITE)
    else:
        yield from _slices(rows.keys, int(rows.positives[0]))


def _slices(row: Keys, positives: int) -> Iterator[Groups]:
    low, left = 0, positives
    while low < len(row):
        end = row[min(low + SLICE, len(row)) - 1] | ONE
        high = int(np.searchsorted(row, end, side="right"))
        part = row[low:high]
        inside = int(np.count_nonzero(is_positive(part)))
        above = row[high] if high < len(row) else INFINITE
        rest = Rows(part, np.array([0, len(part)]), _one(left), _one(len(row) - low - left))
        yield _group(rest, _one(inside), above)
        low, left = high, left - inside


def _one(value: int) -> Ints:
    return np.array([value], np.int64)


def _group(rows: Rows, inside: Ints, above: np.uint32) -> Groups:
    """Group rows whose keys hold *inside* positives (R,), the lowest of all that count as there."""
    keys, begins = rows.keys, rows.bounds[:-1]
    places = np.flatnonzero(is_positive(keys))
    ends = np.concatenate(([0], np.cumsum(inside)))
    starts = _run_starts(keys[places], ends)
    bounds = np.searchsorted(starts, ends)
    row = np.repeat(np.arange(len(begins)), np.diff(bounds))
    count = np.diff(starts, append=len(places))
    first = places[starts]
    rank = starts - ends[row]
    key = keys[first]
    tied = _tied(rows, key, first, row)
    below = first - begins[row] - rank
    if rows.passed is not None:
        below += rows.passed[starts]
    return Groups(
        key=key,
        above=_next(keys, first + count, rows.bounds[row + 1], above),
        count=count,
        tied=tied,
        tp=rows.positives[row] - rank,
        fp=rows.negatives[row] - below + tied,
        bounds=bounds,
    )


def _run_starts(keys: Keys, ends: Ints) -> Ints:
    """Say where in the positives' *keys* a new score or a new row begins."""
    new = np.empty(len(keys), bool)
    new[1:] = keys[1:] != keys[:-1]
    new[ends[:-1][ends[:-1] < len(keys)]] = True
    return np.flatnonzero(new)


def _tied(rows: Rows, key: Keys, first: Ints, row: Ints) -> Ints:
    """Count for each run the negatives of the same score: they stand right before it."""
    tied = np.zeros(len(key), np.int64)
    ties = np.flatnonzero((rows.keys[first - 1] == key ^ ONE) & (first > rows.bounds[row]))
    for index in np.unique(row[ties]):
        here = ties[row[ties] == index]
        low, high = rows.bounds[index], rows.bounds[index + 1]
        tied[here] = first[here] - low - np.searchsorted(rows.keys[low:high], key[here] ^ ONE)
    return tied


def _next(flat: Keys, places: Ints, row_ends: Ints, above: np.uint32) -> Keys:
    """Return the key after each run, *above* where the row ends with it."""
    inside = places < row_ends
    return np.where(inside, flat[np.where(inside, places, 0)], above)
