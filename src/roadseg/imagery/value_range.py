"""Which pixel values become 0 and 255, and a raster as the network takes it: 8 bits, its number of bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .pixels import to_bands, to_uint8
from .sources import Source

__all__ = ["PERCENTILES", "Prepared", "as_uint8", "find_range", "prepared", "range_of"]

PERCENTILES = (0.5, 99.5)  # of the pixel values that become 0 and 255, where images are not 8-bit
GRID, SIDE = 16, 64  # windows a side that a raster is judged by, and their own side, px: a million pixels
ROWS = 256  # read together where all of a raster is looked through
KEPT = 2**20  # values kept of that


def range_of(values: NDArray[Any]) -> tuple[float, float]:
    """The values that become 0 and 255: percentiles of the finite ones. (0, 1) where there are none."""
    pooled = np.asarray(values).astype(np.float64).ravel()
    pooled = pooled[np.isfinite(pooled)]
    if not pooled.size:
        return 0.0, 1.0
    low, high = np.percentile(pooled, PERCENTILES).tolist()
    return (low, high) if high > low else (low, low + 1.0)


def find_range(source: Source) -> tuple[float, float]:
    """The values that become 0 and 255, of a raster of any size in bounded memory.

    By windows spread evenly over it, which costs the same with and without overviews, and whose values are not averaged
    as those of overviews are. Pixels without data do not count. All of it is read where it is small, or where no window
    met any data.

    Raises:
        ImageError: the file is truncated or damaged.
    """
    spread = source.height * source.width > (GRID * SIDE) ** 2 * 4
    values = _of_windows(source) if spread else _of_all(source)
    return range_of(values if values.size or not spread else _of_all(source))


def _of_windows(source: Source) -> NDArray[Any]:
    found = []
    for top in _starts(source.height):
        for left in _starts(source.width):
            picture = source.read(top, min(top + SIDE, source.height), left, min(left + SIDE, source.width))
            found.append((picture.pixels if picture.valid is None else picture.pixels[picture.valid]).ravel())
    return np.concatenate(found)


def _starts(length: int) -> list[int]:
    if length <= GRID * SIDE:
        return list(range(0, length, SIDE))
    return [int(start) for start in np.linspace(0, length - SIDE, GRID)]


def _of_all(source: Source) -> NDArray[Any]:
    step = max(1, source.height * source.width * source.bands // KEPT)
    found = [np.empty(0, source.dtype)]
    for top in range(0, source.height, ROWS):
        picture = source.read(top, min(top + ROWS, source.height))
        found.append((picture.pixels if picture.valid is None else picture.pixels[picture.valid]).ravel()[::step])
    return np.concatenate(found)


def as_uint8(pixels: NDArray[Any], value_range: tuple[float, float] | None, path: Path | str) -> NDArray[np.uint8]:
    """`to_uint8` of the pixels of a file.

    Raises:
        DataError: they are not 8-bit and no range is known, or are 8-bit where the range is not; `path` is named.
    """
    if value_range is None and pixels.dtype != np.uint8:
        raise DataError(f"image '{path}' has {pixels.dtype} pixels, expected uint8: export it with 8 bits per band")
    if value_range is not None and pixels.dtype == np.uint8 and value_range[1] > 255:
        low, high = value_range
        raise DataError(f"image '{path}' has 8-bit pixels, expected values {low:g}..{high:g}: give the original image")
    return to_uint8(pixels, value_range)


class Prepared:
    """A `Source` as a network takes it; made by `prepared`.

    Attributes:
        source: what is read; entered and left with this one.
        height, width: px.
        bands: of what `read` gives.
    """

    def __init__(self, source: Source, bands: int, value_range: tuple[float, float] | None) -> None:
        self.source, self.bands, self.value_range = source, bands, value_range
        self.name, self.height, self.width = source.name, source.height, source.width
        self._read(np.empty((0, 0, source.bands), source.dtype))  # says what does not fit before anything is read

    def read(
        self, top: int, bottom: int, left: int = 0, right: int | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """(bottom - top, right - left, bands) uint8 of a window, and where it has data: bool, or None for all of it.

        Raises:
            ImageError: the file is truncated or damaged there.
        """
        picture = self.source.read(top, bottom, left, right)
        return self._read(picture.pixels), picture.valid

    def _read(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        return as_uint8(to_bands(pixels, self.bands, Path(self.name)), self.value_range, self.name)

    def __enter__(self) -> Prepared:
        self.source.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.source.__exit__(*error)


def prepared(source: Source, bands: int, value_range: tuple[float, float] | None) -> Prepared:
    """`source` with the bands and the values that a model takes.

    Args:
        bands: grey becomes 3 and 3 become grey; see `to_bands`.
        value_range: pixel values that become 0 and 255; None: 8-bit as it is.

    Raises:
        DataError: its bands or its dtype do not fit.
    """
    return Prepared(source, bands, value_range)
