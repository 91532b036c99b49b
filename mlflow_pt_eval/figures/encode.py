"""Figures as bytes: the same figure always gives the same ones, without date, version or machine in them."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

LEVEL: Final = 3  # of zlib: 6 saves a tenth and takes half as long again
HEAVY: Final = 280_000  # bytes above which 256 colours have to do, which only photographs reach


def rgba(figure: Figure) -> npt.NDArray[np.uint8]:
    """Draw *figure* and return its pixels, uint8 (H, W, 4), as MLflow's `log_image` takes them."""
    canvas = figure.canvas if isinstance(figure.canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def png_bytes(figure: Figure | npt.NDArray[np.uint8]) -> bytes:
    """Return *figure*, or the pixels (H, W, 4) that `rgba` made of it, as an opaque PNG."""
    pixels = rgba(figure) if isinstance(figure, Figure) else figure
    image = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    data = _encode(image)
    return (
        data
        if len(data) <= HEAVY
        else _encode(image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE))
    )


def _encode(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG", compress_level=LEVEL)
    return data.getvalue()
