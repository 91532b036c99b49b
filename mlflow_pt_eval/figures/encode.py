"""Figures as bytes: the same figure always gives the same ones, without date, version or machine in them."""

from __future__ import annotations

import io
import struct
import zlib
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
    pixels = (rgba(figure) if isinstance(figure, Figure) else figure)[..., :3]
    if len(data := _flat(pixels)) <= HEAVY:
        return data
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if len(data := _filtered(image)) <= HEAVY:
        return data
    return _filtered(image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE))


def _flat(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode pixels (H, W, 3) without PNG's row filters, which Pillow always tries.

    They are for photographs: figures of lines and text become larger by them, and take twice as long.
    """
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # a row begins with its filter's number, of which 0 is none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits each of red, green and blue
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(*part) for part in ((b"IHDR", header), (b"IDAT", zlib.compress(rows.data, LEVEL)), (b"IEND", b""))
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _filtered(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG", compress_level=LEVEL)
    return data.getvalue()
