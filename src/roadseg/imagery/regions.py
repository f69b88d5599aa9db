"""Where to read: rectangles in one CRS, found again in that of a vector file, also across the 180th meridian.

Of a map of a country only the features near an image, or in an area, need come into memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..errors import DataError
from .crs import crs_of, is_geographic

__all__ = ["TURN", "Box", "Region"]

WGS84 = "EPSG:4326"  # longitude, latitude in degrees
Box: TypeAlias = tuple[float, float, float, float]
TURN = 360.0  # degrees: longitudes this far apart are the same place
MARGIN = 0.01  # of a box's extent: a straight line bends a little from one CRS to another


@dataclass(frozen=True)
class Region:
    """Rectangles that hold what is wanted.

    Attributes:
        boxes: (left, bottom, right, top) each; in degrees right may be beyond 180.
        crs: of the boxes; None: the coordinates of whatever file is read.
    """

    boxes: tuple[Box, ...]
    crs: str | None = None

    def boxes_in(self, crs: str) -> tuple[Box, ...]:
        """The rectangles of another CRS that hold these ones.

        Longitudes are in -180..180 in one file and in 0..360 in the next, so in degrees there is one rectangle for
        each turn of the earth. Where a box crosses the 180th meridian, a map that is cut there has two.

        Raises:
            DataError: a box has no place in that CRS.
        """
        if self.crs is None:
            return self.boxes
        return tuple(found for box in self.boxes for found in _moved(box, self.crs, crs))

    def wider(self, margin: float) -> "Region":
        """The same with so much more on each side, in the units of its CRS."""
        more = tuple(
            (left - margin, bottom - margin, right + margin, top + margin) for left, bottom, right, top in self.boxes
        )
        return Region(more, self.crs)

    def shape(self, crs: str | None) -> Any:
        """The region in a file's CRS as one shapely geometry; None where it has no place there: then read all."""
        import shapely

        if crs is None and self.crs is not None:
            return None
        try:
            boxes = self.boxes if crs is None else self.boxes_in(crs)
        except DataError:
            return None
        return shapely.union_all(
            [shapely.box(*_wider(box, MARGIN * max(box[2] - box[0], box[3] - box[1]))) for box in boxes]
        )


def _wider(box: Box, margin: float) -> Box:
    left, bottom, right, top = box
    return left - margin, bottom - margin, right + margin, top + margin


def _moved(box: Box, source: str, target: str) -> Iterator[Box]:
    if is_geographic(target):
        left, bottom, right, top = _bounds(box, source, target)
        right += TURN if right < left else 0.0
        for turn in (-TURN, 0.0, TURN):
            yield left + turn, bottom, right + turn, top
        return
    try:
        west, south, east, north = _bounds(box, source, WGS84)
    except DataError:  # a local CRS, which may still lead to another one
        yield _bounds(box, source, target)
        return
    east += TURN if east < west else 0.0
    cut = next((line for line in (-180.0, 180.0) if west < line < east), None)
    if cut is None:
        yield box if source == target else _bounds(box, source, target)
        return
    yield _bounds((west + 180 - cut, south, 180.0, north), WGS84, target)
    yield _bounds((-180.0, south, east - 180 - cut, north), WGS84, target)


def _bounds(box: Box, source: str, target: str) -> Box:
    from rasterio.warp import transform_bounds

    try:
        found = transform_bounds(crs_of(source), crs_of(target), *box)
    except DataError:
        raise
    except Exception as error:  # GDAL's, of several kinds
        raise DataError(f"it has no place there: {error}") from error
    if not np.isfinite(found).all():
        raise DataError("it has no place there")
    left, bottom, right, top = (float(value) for value in found)
    return left, bottom, right, top
