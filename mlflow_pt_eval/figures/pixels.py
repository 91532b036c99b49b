"""Arrays as pixels: images are inputs of models, so their values may be shifted and scaled in any way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

SLACK: Final = 0.05  # by which values leave a range where pictures were resized with overshoot
BRIGHT: Final = 64  # values of up to 255 go beyond it; those of scikit-learn's digits are up to 16
MEAN: Final = np.array([0.485, 0.456, 0.406])  # by which torchvision's models take ImageNet normalised
DEVIATION: Final = np.array([0.229, 0.224, 0.225])


@dataclass(frozen=True, eq=False)
class Shades:
    """Which value of each channel is shown as 0, and how many more make 255."""

    zero: Floats | float = 0.0
    span: Floats | float = 1.0

    def of(self, image: Array) -> Pixels:
        """Return *image* (H, W, C) as bytes; what is beyond the ends is cut to them, NaN is 0."""
        if image.dtype in (np.uint8, np.bool_):
            return image.astype(np.uint8) * (255 if image.dtype == np.bool_ else 1)
        with np.errstate(over="ignore", invalid="ignore"):  # of values near the largest that there are
            shown = np.nan_to_num((image.astype(np.float64) - self.zero) / self.span, nan=0.0)
        result: Pixels = (np.clip(shown, 0, 1) * 255).round().astype(np.uint8)
        return result


def shades_of(images: Sequence[Array]) -> Mapping[int, Shades]:
    """Return one way to show all *images* (H, W, C), for each number of channels that they have.

    Bytes and booleans are not looked at: they are shown as they are.
    """
    looked = [image for image in images if image.dtype not in (np.uint8, np.bool_)]
    found = {}
    for channels in {image.shape[2] for image in looked}:
        low, high = zip(*(_ends(image) for image in looked if image.shape[2] == channels), strict=True)
        found[channels] = _shades(*_finite(np.min(low, axis=0), np.max(high, axis=0)))
    return found


def _ends(image: Array) -> tuple[Floats, Floats]:
    """Return each channel's smallest and largest finite value; infinities where there is none."""
    values = image.astype(np.float64)
    look: dict[str, Any] = {"axis": (0, 1), "where": np.isfinite(values)}
    return values.min(initial=np.inf, **look), values.max(initial=-np.inf, **look)


def _finite(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    return np.where(low <= high, low, 0.0), np.where(low <= high, high, 0.0)


def _shades(low: Floats, high: Floats) -> Shades:
    """Choose by each channel's smallest and largest value, of all images together."""
    if _within(low, high, 0, 1):
        return Shades()
    if _within(low, high, 0, 255) and high.max() > BRIGHT:
        return Shades(0.0, 255.0)
    if _within(low, high, -1, 1):
        return Shades(-1.0, 2.0)
    if len(low) == len(MEAN) and _within(low, high, -MEAN / DEVIATION, (1 - MEAN) / DEVIATION):
        return Shades(-MEAN / DEVIATION, 1 / DEVIATION)
    varied = high > low
    with np.errstate(over="ignore"):
        span = np.where(varied, high - low, 1.0)
    return Shades(np.where(varied, low, low - 0.5), span)  # constant ones: mid-grey


def _within(low: Floats, high: Floats, least: Floats | float, most: Floats | float) -> bool:
    return bool((low >= least - SLACK).all() and (high <= most + SLACK).all())
