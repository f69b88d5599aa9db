"""How large a step of a georeferenced grid is on the ground, metres, whatever its CRS."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ground_steps"]

SEMI_MAJOR, FLATTENING = 6378137.0, 1 / 298.257223563  # m, WGS 84
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


def _metres_per_degree(latitude: float) -> NDArray[np.float64]:
    """(2,) of longitude and latitude, by the ellipsoid's radii of curvature (Snyder 1987, Map Projections, p. 25)."""
    squared = FLATTENING * (2 - FLATTENING)
    sine = math.sin(math.radians(latitude))
    across = SEMI_MAJOR / math.sqrt(1 - squared * sine**2)
    along = SEMI_MAJOR * (1 - squared) / (1 - squared * sine**2) ** 1.5
    return np.radians([across * math.cos(math.radians(latitude)), along])
