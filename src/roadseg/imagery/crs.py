"""Coordinate reference systems by their names, and points from one to another."""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

__all__ = ["crs_of", "is_geographic", "short", "transform_points"]


def transform_points(points: NDArray[np.float64], source: str, target: str) -> NDArray[np.float64]:
    """(N, 2) x, y from one CRS to another; geographic coordinates are longitude, latitude.

    Raises:
        DataError: a CRS is unknown, or a point has no place in `target`.
    """
    from rasterio.warp import transform

    start, end = crs_of(source), crs_of(target)
    try:
        x, y = transform(start, end, points[:, 0], points[:, 1])
    except Exception as error:  # GDAL's, of several kinds
        raise DataError(
            f"cannot reproject from {short(source)} to {short(target)}: {error} (is the first the file's real CRS?)"
        ) from error
    moved = np.column_stack([x, y]).astype(np.float64)
    bad = ~np.isfinite(moved).all(axis=1)
    if bad.any():
        where = ", ".join(f"{value:g}" for value in points[bad.argmax()])
        raise DataError(
            f"the point ({where}) has no place in {short(target)}: the file's CRS is probably not {short(source)}"
        )
    return moved


def is_geographic(crs: str) -> bool:
    """Whether coordinates are longitude and latitude.

    Raises:
        DataError: the CRS is unknown.
    """
    return bool(crs_of(crs).is_geographic)


@functools.lru_cache(maxsize=64)
def crs_of(text: str) -> Any:
    """rasterio's CRS of "EPSG:32611" or WKT.

    Raises:
        DataError: it is unknown.
    """
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise DataError(f"unknown CRS '{short(text)}': give one like EPSG:32611") from error


def short(crs: str) -> str:
    """For a message: of WKT the name."""
    if '["' in crs:
        return crs.split('"')[1]
    return crs if len(crs) <= 40 else crs[:37] + "..."
