"""Colours of a confusion matrix: blue for what is right, orange for errors, each with a scale that shows rare cells."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.figures.style import INK

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Scale = Callable[[npt.NDArray[Any]], npt.NDArray[np.float64]]

EMPTY = (247, 249, 250)
WHITE = "white"
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # of red, green and blue in linear light (ITU-R BT.709)
DARKEST = 0.0212  # the luminance of `INK`


@cache
def ramp(name: str) -> Pixels:
    """Return 256 colours (256, 3) of matplotlib's map *name*, its palest part left out: one case must be seen."""
    colors: Pixels = (matplotlib.colormaps[name](np.linspace(0.17, 0.97, 256))[:, :3] * 255).round().astype(np.uint8)
    return colors


def shares(confusion: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return each row of *confusion* (K, K) divided by its sum; rows of absent classes are 0."""
    return confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)


def logarithm(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return log2(1 + values): for counts that span many powers of ten."""
    result: npt.NDArray[np.float64] = np.log2(1.0 + values)
    return result


def levels(values: npt.NDArray[Any], correct: Mask, *, normalize: bool, scale: Scale) -> npt.NDArray[np.float64]:
    """Return the place in [0, 1] of each value on its colour scale.

    Counts are on one scale, square root or logarithm. Shares are linear for what is right and by their square root
    for errors. On a linear scale errors of a few per cent would look like none.
    """
    if normalize:
        return np.where(correct, values, np.sqrt(values))
    result: npt.NDArray[np.float64] = scale(values) / scale(np.array(max(values.max(initial=0), 1)))
    return result


def paint(values: npt.NDArray[Any], correct: Mask, *, normalize: bool, scale: Scale) -> Pixels:
    """Return the colours (..., 3) of *values*, zero being almost white."""
    at = (levels(values, correct, normalize=normalize, scale=scale) * 255).round().astype(np.intp) + 1
    at[values == 0] = 0
    colors = _from_empty("Oranges").take(at, axis=0)
    colors[correct] = _from_empty("Blues")[at[correct]]
    return colors


@cache
def _from_empty(name: str) -> Pixels:
    """Return the colour of zero and the 256 of a ramp (257, 3)."""
    return np.vstack([np.array([EMPTY], np.uint8), ramp(name)])


def pool(values: npt.NDArray[Any], size: int) -> tuple[npt.NDArray[Any], Mask]:
    """Shrink a matrix (K, K) to (size, size) blocks of 2 x 2 px, and say which px show what is right.

    A block shows the largest value in it, so that no lone error fades. One on the diagonal holds more than that: its
    own diagonal shows what is right, the px above and the px below the largest error on that side. A matrix that has
    no more rows than *size* stays as it is.
    """
    if size >= len(values):
        return values, np.eye(len(values), dtype=bool)
    starts = np.arange(size) * len(values) // size
    largest = _largest_rows(_largest_rows(values, starts).T, starts).T
    pixels, first = largest.repeat(2, axis=0).repeat(2, axis=1), 2 * np.arange(size)
    right, above, below = _diagonal_blocks(values, starts)
    pixels[first, first] = pixels[first + 1, first + 1] = right
    pixels[first, first + 1], pixels[first + 1, first] = above, below
    return pixels, np.eye(2 * size, dtype=bool)


def _largest_rows(values: npt.NDArray[Any], starts: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return the largest of each block of rows, in a tenth of the time of `maximum.reduceat`."""
    ends = np.append(starts[1:], len(values))
    largest = values[starts]
    for step in range(1, int((ends - starts).max())):
        np.maximum(largest, values[np.minimum(starts + step, ends - 1)], out=largest)
    return largest


def _diagonal_blocks(values: npt.NDArray[Any], starts: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], ...]:
    """Return the largest value on, above and below the diagonal in each block on it; each (len(starts),)."""
    ends = np.append(starts[1:], len(values))
    places = np.minimum(starts[:, None] + np.arange((ends - starts).max()), ends[:, None] - 1)  # a last one again
    rows, columns = places[:, :, None], places[:, None, :]
    inside = values[rows, columns]
    sides = rows == columns, rows < columns, rows > columns
    return tuple(np.where(side, inside, 0).max(axis=(1, 2)) for side in sides)


def on(color: npt.NDArray[np.uint8]) -> str:
    """Return the ink of the higher contrast on *color* (3,), by WCAG's ratio of luminances."""
    light = float(LUMINANCE @ linear()[color])
    return WHITE if 1.05 / (light + 0.05) > (light + 0.05) / (DARKEST + 0.05) else INK


@cache
def linear() -> npt.NDArray[np.float64]:
    """Return the linear light of each sRGB byte, as a table (256,)."""
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
