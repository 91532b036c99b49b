"""Images with captions: the mistakes that cost most, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.figures.cells import Cell, CellText
from mlflow_pt_eval.figures.labels import drawable
from mlflow_pt_eval.figures.pixels import Pixels, Shades, shades_of
from mlflow_pt_eval.figures.style import INK, MUTED, WIDTH, board, figure_of, fit, heading, note, sheet

ACROSS: Final = 6  # images in a row
STEP: Final = (WIDTH - 48) // ACROSS  # px from one to the next
LARGEST: Final = 128  # px of an image's longer side
BUDGET: Final = 230_000  # px of all images together: even noise, in 256 colours, is less than 300 kB then
LINES: Final = 3  # of a caption
ROOM: Final = STEP - 8  # px of a caption's line
LETTERS: Final = 8.0  # points of captions
SMALLEST: Final = 8  # px; narrower arrays are no pictures


def is_image(array: npt.NDArray[Any]) -> bool:
    """Say whether `image_grid` can show *array*: (H, W), (H, W, C) or (C, H, W), C = 1, 3 or 4, at least 8 x 8 px."""
    shape = _planes_last(array).shape if array.ndim == 3 else array.shape
    return array.ndim in (2, 3) and min(shape[:2]) >= SMALLEST and (len(shape) == 2 or shape[2] in (1, 3, 4))


def image_grid(
    images: Sequence[npt.NDArray[Any]],
    captions: Sequence[str],
    *,
    title: str = "Worst mistakes",
    subtitle: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw *images* row by row, each with up to three lines of caption below it; into *ax* if it is given.

    uint8 and booleans are shown as they are. How other values are is decided once for all images that have the same
    number of channels, by what is finite of them: in [0, 1] as they are; in [0, 255], where some exceed 64, [-1, 1]
    or the range of ImageNet's normalisation (three channels) as such; else stretched, each channel from its smallest
    to its largest value. BadInput if there is not one caption an image, or `is_image` says no to one.
    """
    _check(images, captions)
    side = min(LARGEST, int((BUDGET / max(len(images), 1)) ** 0.5))
    tiles = _tiles(images, side)
    tall = max((len(tile) for tile in tiles), default=side) + 14 * LINES + 18
    height = max(-(-len(tiles) // ACROSS), 1) * tall
    if ax is None:
        figure = sheet(76 + height)
        heading(figure, title, subtitle)
        ax = board(figure, 24, 70, WIDTH - 48, height)
    edges = (0, WIDTH - 48, height, 0)
    ax.imshow(_paper(tiles, tall, height), interpolation="nearest", origin="upper", aspect="equal", extent=edges)
    ax.set(xlim=(0, WIDTH - 48), ylim=(height, 0))
    ax.set_axis_off()
    ax.add_artist(CellText(_lines(captions, tall), LETTERS, align=0))
    if not tiles:
        note(ax, "There is nothing to show.")
    return figure_of(ax)


def _paper(tiles: Sequence[Pixels], tall: int, height: int) -> Pixels:
    """Return all *tiles* in their places on one white image, so that they are drawn as one."""
    paper = np.full((height, WIDTH - 48, 3), 255, np.uint8)
    for k, tile in enumerate(tiles):
        top, left = tall * (k // ACROSS), STEP * (k % ACROSS)
        paper[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return paper


def _lines(captions: Sequence[str], tall: int) -> list[Cell]:
    cells = []
    for k, caption in enumerate(captions):
        left, top = STEP * (k % ACROSS), tall * (k // ACROSS + 1) - 14 * LINES - 6
        for row, line in enumerate(caption.splitlines()[:LINES]):
            cells.append(Cell(left, top + 14 * row, fit(drawable(line), ROOM, LETTERS), MUTED if row else INK))
    return cells


def _check(images: Sequence[npt.NDArray[Any]], captions: Sequence[str]) -> None:
    if len(images) != len(captions):
        raise BadInput(f"image_grid got {len(images)} images and {len(captions)} captions; give one caption an image.")
    for k, image in enumerate(images):
        if not is_image(image):
            raise BadInput(
                f"image {k} has shape {image.shape}; image_grid shows (H, W), (H, W, C) and (C, H, W) "
                f"with 1, 3 or 4 channels, {SMALLEST} x {SMALLEST} px at least."
            )


def _planes_last(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return (C, H, W) as (H, W, C); what has its channels last already stays."""
    first = array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4)
    return np.moveaxis(array, 0, 2) if first else array


def _tiles(images: Sequence[npt.NDArray[Any]], side: int) -> list[Pixels]:
    shaped = [_planes_last(image) if image.ndim == 3 else image[..., None] for image in images]
    shades = shades_of(shaped)
    return [_tile(shades.get(image.shape[2], Shades()).of(image), side) for image in shaped]


def _tile(pixels: Pixels, side: int) -> Pixels:
    """Return RGB whose longer side is at most *side* px: whole multiples of a small image, else shrunk."""
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    height, width = pixels.shape[:2]
    longer = max(height, width)
    if longer <= side:
        return pixels.repeat(side // longer, axis=0).repeat(side // longer, axis=1)
    size = (max(width * side // longer, 1), max(height * side // longer, 1))
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BOX))
