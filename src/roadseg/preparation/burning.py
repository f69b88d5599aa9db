"""Lines burnt onto an image's grid: a pixel is road when its centre lies within half the road's width of the line.

>>> burnt = Burnt.of(lines, widths, grid)
>>> burnt.part(0, 0, grid.height, grid.width)          # (H, W) uint8, 0 and 1

That rule makes ends round, adds nothing to thin roads, and does not blend: there are no soft edges. Widths are metres
on the ground, brought to pixels by the scale at the image's middle, in each direction for itself; so degrees, Web
Mercator, feet, and grids that are turned or not square need no care of the user.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..imagery.ground import ground_steps
from ..imagery.raster import raster_options
from ..imagery.regions import TURN, Region
from ..roads.layers import WGS84

__all__ = ["Burnt", "Grid", "grid_of"]

BESIDE = 1e-9  # degrees from the 180th meridian, on either side: 0.1 mm
APART = 1e6  # m: a map that shows its two sides so far from each other is cut there
SEGMENTS = 16  # of a quarter of a round end: the polygon is within 0.13 % of the circle

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Where the pixels of an image lie.

    Attributes:
        height, width: px.
        crs: as rasterio has it.
        transform: of (column, row), from the image's upper left corner, to x and y in `crs`.
    """

    height: int
    width: int
    crs: Any
    transform: Any

    def to_pixels(self, points: Points) -> Points:
        """(N, 2) x and y in `crs` -> (N, 2) column and row; a pixel's centre is at .5."""
        a, b, c, d, e, f = tuple(~self.transform)[:6]
        x, y = points[:, 0], points[:, 1]
        return np.column_stack([a * x + b * y + c, d * x + e * y + f])

    def to_ground(self, points: Points) -> Points:
        """(N, 2) column and row -> (N, 2) x and y in `crs`."""
        a, b, c, d, e, f = tuple(self.transform)[:6]
        x, y = points[:, 0], points[:, 1]
        return np.column_stack([a * x + b * y + c, d * x + e * y + f])

    @property
    def region(self) -> Region:
        """The rectangle that the image lies in."""
        corners = np.array([[0, 0], [self.width, 0], [0, self.height], [self.width, self.height]], np.float64)
        (left, bottom), (right, top) = (limit(self.to_ground(corners), axis=0).tolist() for limit in (np.min, np.max))
        return Region(((left, bottom, right, top),), self.crs.to_wkt())

    def beside(self, points: Points) -> Points:
        """(N, 2) x and y in `crs`, moved by whole turns of the earth to where the image is.

        Longitudes of -179.9 and 180.1 are one place; an image on the 180th meridian has lines by either name. So it is
        with the x of maps that are cut there.
        """
        if self._turn is None or not len(points):
            return points
        middle = self.to_ground(np.array([[self.width / 2, self.height / 2]]))[0, 0]
        moved = points.copy()
        moved[:, 0] += self._turn * np.round((middle - points[:, 0]) / self._turn)
        return moved

    @cached_property
    def _turn(self) -> float | None:
        """How far apart in x, in `crs`, the 180th meridian and itself are; None where a map is not cut there."""
        from rasterio.warp import transform

        if self.crs.is_geographic:
            return TURN
        middle = self.to_ground(np.array([[self.width / 2, self.height / 2]]))[0]
        try:
            _, (latitude,) = transform(self.crs, WGS84, [middle[0]], [middle[1]])
            x, y = transform(WGS84, self.crs, [-180 + BESIDE, 180 - BESIDE], [latitude, latitude])
        except Exception:  # GDAL's, of several kinds: a CRS with no way to the earth
            return None
        turn = abs(x[1] - x[0])
        level = abs(y[1] - y[0]) < 1e-6 * turn
        return turn if level and turn * float(self.crs.linear_units_factor[1]) > APART else None

    @cached_property
    def metres(self) -> Points:
        """(2, 2): one pixel to the right and one down, as metres to the east and north, at the image's middle.

        Where the CRS has no place on the earth (a local grid), its own units.
        """
        return ground_steps(self.crs, self.transform, self.height, self.width)

    @property
    def resolution(self) -> float:
        """Metres per pixel, the geometric mean of both directions."""
        return math.sqrt(abs(float(np.linalg.det(self.metres))))


def grid_of(path: Path) -> Grid:
    """The grid of a georeferenced TIFF.

    Raises:
        DataError: it is none: another kind of file, no CRS, no transform.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

    with raster_options(), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path, driver="GTiff") as source:
                grid = Grid(source.height, source.width, source.crs, source.transform)
                points = bool(source.gcps[0])
        except RasterioIOError as error:
            raise DataError(
                f"image '{path}' is no GeoTIFF, so nothing says where lines lie on it: give the GeoTIFF, or masks"
            ) from error
    if grid.crs is None or grid.transform.is_identity or grid.transform.determinant == 0:
        lacks = "coordinate reference system" if not grid.transform.is_identity else "place on the ground"
        advice = "warp it onto a grid first (gdalwarp)" if points else "write it in (gdal_edit -a_srs, -a_ullr)"
        raise DataError(f"image '{path}' has no {lacks}, so nothing says where lines lie on it: {advice}")
    return grid


class Burnt:
    """Roads as areas on one grid, drawn where asked for.

    Attributes:
        lines: (N, 2) columns and rows of each road that is drawn.
        index: of each of those in what was given.
        metres: (n,) length of each within the image, on the ground.
        grid: the image's.
    """

    def __init__(self, lines: list[Points], index: list[int], metres: Points, areas: Any, grid: Grid) -> None:
        import shapely

        self.lines = lines
        self.index = index
        self.metres = metres
        self.grid = grid
        self._areas = areas
        self._tree = shapely.STRtree(areas)

    @classmethod
    def of(cls, lines: Sequence[Points], widths: Sequence[float], grid: Grid) -> "Burnt":
        """Those lines that touch the image.

        Args:
            lines: (N, 2) x and y each, in the grid's CRS.
            widths: m.
        """
        import shapely

        placed = [grid.to_pixels(np.asarray(line, np.float64)) for line in lines]
        if not placed:
            return cls([], [], np.zeros(0), np.array([], object), grid)
        forward = grid.metres
        back = np.linalg.inv(forward)
        shapes = np.array([shapely.LineString(line) for line in placed], object)
        flat = shapely.transform(shapes, lambda p: p @ forward.T)
        areas = shapely.buffer(flat, np.asarray(widths, np.float64) / 2, quad_segs=SEGMENTS)
        areas = shapely.transform(areas, lambda p: p @ back.T)
        image = shapely.box(0, 0, grid.width, grid.height)
        inside = shapely.intersection(shapes, image)
        lengths = shapely.length(shapely.transform(inside, lambda p: p @ forward.T))
        kept = [int(k) for k in np.flatnonzero(shapely.intersects(areas, image))]
        return cls([placed[k] for k in kept], kept, np.asarray(lengths[kept], np.float64), areas[kept], grid)

    def part(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """(height, width) uint8 of a part of the image: 1 where there is road."""
        import shapely
        from rasterio.features import rasterize
        from rasterio.transform import Affine

        found = self._tree.query(shapely.box(left, top, left + width, top + height))
        if not len(found):
            return np.zeros((height, width), np.uint8)
        return np.asarray(
            rasterize(
                [(area, 1) for area in self._areas[np.sort(found)]],
                out_shape=(height, width),
                transform=Affine.translation(left, top),
                fill=0,
                dtype="uint8",
            ),
            np.uint8,
        )
