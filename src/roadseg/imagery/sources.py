"""A raster that is read a window at a time, whatever lies behind it: the one thing that prediction and training read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .raster import Picture

__all__ = ["Placing", "Source"]


@dataclass(frozen=True)
class Placing:
    """Where the pixels of a raster lie on the earth.

    Attributes:
        transform: (a, b, c, d, e, f): x = a * column + b * row + c, y = d * column + e * row + f, of pixel corners;
            None: pixel coordinates.
        crs: WKT; None: not known.
        points: ground control points as rasterio has them, and their CRS; empty where there are none.
    """

    transform: tuple[float, float, float, float, float, float] | None = None
    crs: str | None = None
    points: tuple[tuple[Any, ...], Any] = ((), None)


class Source(Protocol):
    """A raster of any size, for a `with` block; one thread at a time.

    Attributes:
        name: what the user calls it: the file, or the first of several.
        height, width: px.
        bands: of what `read` gives; alpha is not one of them.
        dtype: of the pixels.
        placing: where it lies.
        resolution_m: metres on the ground per pixel, where known.
    """

    name: str
    height: int
    width: int
    bands: int
    dtype: np.dtype[Any]
    placing: Placing
    resolution_m: float | None

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> Picture:
        """(bottom - top, right - left, bands) of a window within the raster, in the file's own dtype.

        Raises:
            ImageError: the file is truncated or damaged there.
        """

    def __enter__(self) -> Source: ...

    def __exit__(self, *_: object) -> None: ...
