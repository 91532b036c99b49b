"""Rows put in order; of those with few positives only the keys that say something about them.

A negative matters by how many positives it stands above, and by its own score only where that is hard to tell. So keys
are put into buckets by their leading bits: those in buckets without a positive are counted, the others sorted. Kept is
also the bucket above each positive's, since a point of a curve may name its lowest score, and the lowest of the row.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.metrics.blocks import BLOCK_VALUES, cut
from mlflow_pt_eval.metrics.groups import Ints, Rows, join, rows_of
from mlflow_pt_eval.metrics.keys import Keys, is_positive

KEY_BITS = 31  # of the key of a score in [0, 1]
LEAST_BITS, MOST_BITS = 11, 20  # of a bucket's number: 2,048 are counted in no time, a million are 8 MB
FINE = 64  # buckets for each positive: scores are far from uniform
WORTH = 50  # keys for each positive from which on sifting is faster than sorting on any processor
AT_ONCE = BLOCK_VALUES // 2  # keys, whose buckets are numbers of 8 bytes
HIGHEST = np.iinfo(np.uint32).max


def arrange(keys: Keys, positives: Ints) -> Rows:
    """Return rows (R, n) in order, for which the *keys* change places; *positives* (R,) counts each row's low bits."""
    sparse, step = positives * WORTH <= keys.shape[1], max(1, AT_ONCE // keys.shape[1])
    edges = [0, *(np.flatnonzero(np.diff(sparse)) + 1).tolist(), len(keys)]
    parts = []
    for begin, end in pairwise(edges):
        if sparse[begin]:
            for low, high in cut(end - begin, step):
                rows = slice(begin + low, begin + high)
                parts.append(_sift(keys[rows], positives[rows]))
        else:
            keys[begin:end].sort(axis=1)
            parts.append(rows_of(keys[begin:end], positives[begin:end]))
    return join(parts)


def _sift(keys: Keys, positives: Ints) -> Rows:
    """Return what matters of one row, or of several that are a block together."""
    rows, length = keys.shape
    bits = min(MOST_BITS, max(LEAST_BITS, (FINE * int(positives.max())).bit_length()))
    flat, begins, shift = keys.reshape(-1), np.arange(rows) << bits, np.uint32(KEY_BITS - bits)

    def buckets(part: Keys) -> npt.NDArray[np.intp]:
        found = (part >> shift).astype(np.intp)
        if rows > 1:
            found.reshape(rows, length)[:] += begins[:, None]
        return found

    counts, own = np.zeros(rows << bits, np.int64), []
    parts = [flat[low:high] for low, high in cut(len(flat), AT_ONCE)]
    for part in parts:
        found = buckets(part)
        counts += np.bincount(found, minlength=len(counts))
        own.append(found[np.flatnonzero(is_positive(part))])
    ups = np.sort(np.concatenate(own))
    near = _near(counts, ups, begins)
    kept = np.concatenate([part.take(np.flatnonzero(near.take(buckets(part)))) for part in parts])
    counts[near] = 0
    dropped = np.concatenate(([0], np.cumsum(counts)))
    bounds = length * np.arange(rows + 1) - dropped[np.append(begins, len(counts))]
    return Rows(
        keys=_sorted(kept, bounds),
        bounds=bounds,
        positives=positives,
        negatives=length - positives,
        passed=dropped[ups] - dropped[begins[ups >> bits]],
    )


def _near(counts: Ints, ups: Ints, begins: Ints) -> npt.NDArray[np.bool_]:
    """Say which buckets matter: the positives' *ups*, the next ones above them that are in use, each row's lowest."""
    near = np.zeros(len(counts), bool)
    near[ups] = True
    used = np.flatnonzero(counts != 0)
    near[used[np.flatnonzero(near[used[:-1]]) + 1]] = True
    near[used[np.searchsorted(used, begins)]] = True
    return near


def _sorted(keys: Keys, bounds: Ints) -> Keys:
    """Sort rows of different lengths with one call, as threads that make many short ones wait for each other."""
    if len(bounds) == 2:
        keys.sort()
        return keys
    lengths = np.diff(bounds)
    table = np.full((len(lengths), lengths.max()), HIGHEST, np.uint32)
    inside = np.arange(table.shape[1]) < lengths[:, None]
    table[inside] = keys
    table.sort(axis=1)
    return table[inside]
