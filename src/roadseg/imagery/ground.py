"""How large a step of a georeferenced grid is on the ground, metres, whatever its CRS."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ground_steps", "resolution_of"]

SEMI_MAJOR, FLATTENING = 6378137.0, 1 / 298.257223563  # m, WGS 84
SCALE_ERROR = 0.01  # a projection whose metres are off by more is not one to measure in (Web Mercator)
POLE = 89.9  # degrees, from where on longitudes say little of directions


def ground_steps(crs: Any, transform: Any, height: int, width: int) -> NDArray[np.float64]:
    """(2, 2): one pixel to the right and one down, as metres to the east and north, at the middle of a grid.

    Where the CRS has no place on the earth (a local grid), its own units.

    Args:
        crs: as rasterio has it.
        transform: of (column, row), from the grid's upper left corner, to x and y in `crs`.
    """
    from rasterio.warp import transform as moved

    a, b, c, d, e, f = tuple(transform)[:6]
    step = np.array([max(width, 4) / 4, max(height, 4) / 4])
    points = np.array([width / 2, height / 2]) + np.array(
        [[0, 0], [step[0], 0], [-step[0], 0], [0, step[1]], [0, -step[1]]]
    )
    ground = points @ np.array([[a, d], [b, e]], np.float64) + [c, f]
    try:
        longitude, latitude = (np.asarray(v) for v in moved(crs, "EPSG:4326", ground[:, 0], ground[:, 1]))
    except Exception:  # GDAL's, of several kinds: a CRS with no way to the earth
        longitude = latitude = np.full(5, np.nan)
    known = bool(np.isfinite(longitude).all() and np.isfinite(latitude).all())
    if known and (abs(latitude[0]) < POLE or crs.is_geographic):
        longitude = longitude[0] + (longitude - longitude[0] + 180) % 360 - 180
        middle = min(max(float(latitude[0]), -POLE), POLE)
        ground = np.column_stack([longitude, latitude]) * _metres_per_degree(middle)
    else:
        ground = ground * float(crs.linear_units_factor[1])
    right, down = (ground[1] - ground[2]) / (2 * step[0]), (ground[3] - ground[4]) / (2 * step[1])
    return np.column_stack([right, down])


def resolution_of(crs: Any, transform: Any, height: int, width: int) -> float | None:
    """Metres on the ground per pixel, at the middle of a grid; None where it is nowhere on the earth.

    As the CRS says where that is right within 1 %, so that tiles of one grid agree; Web Mercator's metres are not.
    Pixels need not be square, nor the grid north up: the side of a square as large as a pixel.

    Args:
        crs, transform: as rasterio has them.
    """
    if crs is None or transform.is_identity:
        return None
    found = math.sqrt(abs(float(np.linalg.det(ground_steps(crs, transform, height, width)))))
    if crs.is_geographic:
        return found
    said = math.sqrt(abs(transform.determinant)) * float(crs.linear_units_factor[1])
    return said if abs(found / said - 1) < SCALE_ERROR else found


def _metres_per_degree(latitude: float) -> NDArray[np.float64]:
    """(2,) of longitude and latitude, by the ellipsoid's radii of curvature (Snyder 1987, Map Projections, p. 25)."""
    squared = FLATTENING * (2 - FLATTENING)
    sine = math.sin(math.radians(latitude))
    across = SEMI_MAJOR / math.sqrt(1 - squared * sine**2)
    along = SEMI_MAJOR * (1 - squared) / (1 - squared * sine**2) ** 1.5
    return np.radians([across * math.cos(math.radians(latitude)), along])
