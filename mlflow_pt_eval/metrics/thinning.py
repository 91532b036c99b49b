"""Paths of curves, and which of their points stay: those without which a figure of them would look otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.keys import Keys
from mlflow_pt_eval.metrics.result import Floats

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Path:
    """Points of R curves one after the other, thresholds ascending: counts at or above the key's score, (Q,) each."""

    fp: Ints
    tp: Ints
    key: Keys
    bounds: Ints

    def only(self, kept: Ints) -> Path:
        """Return the points at the places *kept*, ascending."""
        return Path(self.fp[kept], self.tp[kept], self.key[kept], np.searchsorted(kept, self.bounds))

    def row(self, index: int) -> Path:
        """Return one curve."""
        part = slice(self.bounds[index], self.bounds[index + 1])
        return Path(self.fp[part], self.tp[part], self.key[part], self.bounds[index : index + 2] - self.bounds[index])

    def starts(self) -> Ints:
        """Return the place of each curve's first point."""
        return self.bounds[:-1][np.diff(self.bounds) > 0]

    def edges(self) -> Mask:
        """Mark each curve's first and last point."""
        mark = np.zeros(len(self.fp), bool)
        mark[self.starts()] = True
        mark[self.bounds[1:][np.diff(self.bounds) > 0] - 1] = True
        return mark

    def short(self, grid: int) -> Mask:
        """Mark the points of curves that have no more than two for each line of the *grid*, which stay whole."""
        length = np.diff(self.bounds)
        return np.repeat(length <= 2 * grid, length)


def entries(path: Path, positives: Ints, negatives: Ints, grid: int) -> Ints:
    """Return the places where a curve, from (0, 0) on, comes into a cell of a grid over the plot; and its ends.

    Every other point lies less than a cell's side from one of these, in both axes: 1 / *grid*, and less towards the
    upper left corner, where the curves of a good model are.
    """
    keep, near_0 = path.short(grid) | path.edges(), grid_lines(grid)
    for row in np.flatnonzero(np.diff(path.bounds) > 2 * grid).tolist():
        one, last = path.row(row), path.bounds[row + 1] - 1
        for counts, marks in ((one.fp, near_0 * negatives[row]), (one.tp, (1 - near_0[::-1]) * positives[row])):
            # Whole numbers, or the counts would be converted for each search.
            keep[last - crossings(counts[::-1], np.ceil(marks).astype(np.int64))] = True
    return np.flatnonzero(keep)


def thin_monotone(x: Floats, y: Floats, cells: int = 1000) -> tuple[Floats, Floats]:
    """Keep the points of a ROC curve, from (0, 0) to (1, 1), by the rule of `entries`.

    The cost is a binary search for each line of the grid, however many points there are.
    """
    if len(x) <= 2 * cells:
        return x, y
    near_0 = grid_lines(cells)
    keep = np.unique(np.concatenate([[0, len(x) - 1], crossings(x, near_0), crossings(y, 1 - near_0[::-1])]))
    return x[keep], y[keep]


@cache
def grid_lines(grid: int) -> Floats:
    """Return the lines of a grid over [0, 1], ascending: in equal steps of 1 / *grid*, and half as many towards 0."""
    return np.union1d(np.linspace(0, 1, grid + 1), np.linspace(0, 1, grid // 2 + 1) ** 2)


def crossings(ascending: npt.NDArray[Any], marks: npt.NDArray[Any]) -> Ints:
    """Return the places at which values come to each of those ascending *marks* that lie in their range."""
    first = np.searchsorted(marks, ascending[0])
    last = np.searchsorted(marks, ascending[-1], side="right")
    return np.searchsorted(ascending, marks[first:last])


def extremes(path: Path, positives: Ints, grid: int) -> Ints:
    """Return the places of the highest recall in each slice of recall, and a curve's ends.

    Where the precision in a slice varies by more than 1 / *grid*, those of the lowest recall, of the lowest and of the
    highest precision as well.
    """
    short = path.short(grid)
    if short.all():
        return np.arange(len(path.fp))
    starts = _slice_starts(path, _slices(path, path.tp, positives, grid))
    ends = np.append(starts[1:], len(path.tp)) - 1
    precision = path.tp / (path.tp + path.fp)
    low, high = np.minimum.reduceat(precision, starts), np.maximum.reduceat(precision, starts)
    jumps = np.flatnonzero(high - low > 1 / grid)
    keep = short | path.edges()
    keep[starts] = keep[ends[jumps]] = True
    for level in (low, high):
        keep[_first_at(precision, level[jumps], starts[jumps], ends[jumps])] = True
    return np.flatnonzero(keep)


def _slices(path: Path, counts: Ints, totals: Ints, grid: int) -> Floats:
    """Return the slice of its axis, 0 … *grid*, that each of *counts* lies in."""
    return np.floor(counts * np.repeat(grid / np.maximum(totals, 1), np.diff(path.bounds)))


def _slice_starts(path: Path, slices: Floats) -> Ints:
    """Return the places where another slice, or another curve, begins."""
    new = np.zeros(len(slices), bool)
    new[1:] = np.diff(slices) != 0
    new[path.starts()] = True
    return np.flatnonzero(new)


def _first_at(values: Floats, levels: Floats, starts: Ints, ends: Ints) -> Ints:
    """Return for each part of *values*, from its start to its end, the first place that has its level."""
    sizes = ends - starts + 1
    part = np.repeat(np.arange(len(sizes)), sizes)
    places = np.arange(len(part)) + np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
    found = np.flatnonzero(values[places] == levels[part])
    return places[found[np.diff(part[found], prepend=-1) != 0]]
