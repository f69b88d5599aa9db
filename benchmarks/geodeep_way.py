"""What GeoDeep does around a segmentation model, written down from its behaviour, to run our own network that way.

Tiles of one size overlap by a share; each gives the class of its pixels, its middle is kept; then a median filter, then
a sieve. Where the raster is finer than the model, tiles are that many times larger and resampled to the model's size.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import rasterio.features
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window
from scipy.ndimage import median_filter

__all__ = ["geodeep_mask", "iou"]

MEDIAN = 5  # pixels, of every model

Pixels = NDArray[np.uint8]


def geodeep_mask(
    raster: Path,
    classify: Callable[[Pixels], Pixels],
    tile: int,
    overlap: float,
    resolution_cm: float | None = None,
    small_segment: int = 0,
) -> Pixels:
    """The mask (H, W) uint8 of a GeoTIFF of three bands, by classes.

    Args:
        classify: a window (T, T, 3) uint8 -> the classes of its pixels (T, T).
        tile: T, pixels.
        overlap: of neighbouring tiles, percent.
        resolution_cm: centimetres per pixel that the model wants; None: what GeoDeep takes where a model does not say.
        small_segment: pieces of fewer than (2 * small_segment)**2 pixels take their neighbour's class.
    """
    with rasterio.open(raster) as source:
        ground = round(max(abs(source.transform.a), abs(source.transform.e)), 4) * 100
        wanted = 10.0 if resolution_cm is None else resolution_cm
        factor = int(wanted // ground) if ground < wanted else 1
        size, share = tile * factor, overlap / 100
        mask = np.zeros((source.height // factor, source.width // factor), np.uint8)
        trim = int(share * tile) // 2
        for x in _offsets(source.width, size, share):
            for y in _offsets(source.height, size, share):
                found = source.read(
                    indexes=(1, 2, 3),
                    window=Window(x, y, size, size),
                    boundless=True,
                    fill_value=0,
                    out_shape=(3, tile, tile),
                    resampling=Resampling.bilinear,
                )
                classes = classify(np.ascontiguousarray(np.moveaxis(found, 0, 2)))
                top, left = (trim if start > 0 else 0 for start in (y, x))
                bottom = tile - (trim if y + size < source.height else 0)
                right = tile - (trim if x + size < source.width else 0)
                _lay(mask, classes[top:bottom, left:right], int(y // factor) + top, int(x // factor) + left)
    mask = median_filter(mask, MEDIAN)
    if small_segment:
        mask = rasterio.features.sieve(mask, (2 * small_segment) ** 2)
    return np.asarray(mask, np.uint8)


def _offsets(n: int, size: int, share: float) -> list[int]:
    """Of the tiles along an axis; the last one ends with the raster, even where it begins before it."""
    step = size - int(np.floor(size * share))
    found = list(range(0, n - size + 1, step))
    return found if found and found[-1] == n - size else [*found, n - size]


def _lay(mask: Pixels, piece: Pixels, y: int, x: int) -> None:
    """Write `piece` at row y, column x, as far as it lies on the mask."""
    y0, x0 = max(y, 0), max(x, 0)
    y1, x1 = min(y + piece.shape[0], mask.shape[0]), min(x + piece.shape[1], mask.shape[1])
    if y1 > y0 and x1 > x0:
        mask[y0:y1, x0:x1] = piece[y0 - y : y1 - y, x0 - x : x1 - x]


def iou(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    """Intersection over union of two masks, 1 where both are empty."""
    a, b = one > 0, other > 0
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0
