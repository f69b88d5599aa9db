"""Polygons that a raster is restricted to (`--aoi`): read from a vector file, drawn on the raster's own pixel grid."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, RoadsegWarning
from .crs import short, transform_points
from .sources import Picture, Source, checked_window, surely_empty
from .vector_files import Features, read_features

__all__ = ["Area", "AreaSource", "limit", "read_area"]

PARTS = 64  # of the polygons' longer side: edges are cut so short before they are reprojected, as they bend there
ROWS = 512  # looked at together


@dataclass(frozen=True)
class Area:
    """Polygons on a raster; a pixel belongs to them where its centre lies within: neighbouring areas share none then.

    Attributes:
        polygons: shapely's, in pixels of the raster: x to the right, y down, (0, 0) its upper left corner.
        height, width: of the raster, px.
        extent: (top, bottom, left, right), the rows and columns that the polygons reach over, within the raster.
        name: of the file.
    """

    polygons: tuple[Any, ...]
    height: int
    width: int
    extent: tuple[int, int, int, int]
    name: str

    def window(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> NDArray[np.bool_]:
        """(bottom - top, right - left), True within the polygons."""
        import shapely
        from rasterio.features import rasterize
        from rasterio.transform import Affine

        right = self.width if right is None else right
        drawn = np.zeros((bottom - top, right - left), np.uint8)
        west, north, east, south = shapely.bounds(np.asarray(self.polygons, dtype=object)).T
        near = np.flatnonzero((west < right) & (east > left) & (north < bottom) & (south > top))
        if drawn.size and len(near):
            shapes = ((self.polygons[k], 1) for k in near)
            rasterize(shapes, out=drawn, transform=Affine.translation(left, top), all_touched=False)
        return drawn.astype(bool)


def read_area(path: str | Path, source: Source, *, layer: str | None = None) -> Area:
    """The polygons of a GeoPackage, GeoJSON, FlatGeobuf or Shapefile, on the pixels of `source`.

    They are reprojected to the raster's CRS. On a plain image, without a place on the earth, they are in pixels, and
    their file says no CRS.

    Args:
        layer: of a file with several.

    Raises:
        DataError: the file cannot be read; it has no polygons; it or the raster has no CRS; they do not meet.
    """
    path = Path(path)
    placed = source.placing.transform is not None
    features = read_features(path, layer=layer, pixels=source.placing.crs is None, kinds=("Polygon", "MultiPolygon"))
    if not len(features.geometries):
        raise DataError(f"'{path}' has no polygons: draw the area that is wanted, or leave --aoi out")
    if placed and source.placing.crs is None and features.crs is None:
        text = f"neither '{path}' nor '{source.name}' says its CRS: taken to be the same one"
        warnings.warn(text, RoadsegWarning, stacklevel=2)
    polygons = _parts(_in_pixels(features, source, path))
    height, width = source.height, source.width
    extent = _extent(polygons, height, width)
    area = Area(tuple(polygons), height, width, extent, str(path))
    if not _touches(area):
        raise DataError(_apart(features, source, path))
    return area


def _in_pixels(features: Features, source: Source, path: Path) -> Sequence[Any]:
    import shapely

    crs = source.placing.crs
    if (features.crs is None) != (crs is None):
        if crs is None:
            raise DataError(
                f"'{path}' is in {short(str(features.crs))} but '{source.name}' does not say its CRS: where the area "
                "lies on it is not known; give the raster its CRS (`rio edit-info --crs`), or draw polygons in pixels"
            )
        raise DataError(f"'{path}' is in pixels but '{source.name}' is georeferenced: save the polygons with their CRS")
    geometries = np.asarray(features.geometries, dtype=object)
    if crs is not None and features.crs is not None and features.crs != crs:
        west, south, east, north = shapely.total_bounds(geometries)
        geometries = shapely.segmentize(geometries, max(east - west, north - south) / PARTS or 1.0)
        ours, theirs = crs, features.crs
        geometries = shapely.transform(geometries, lambda points: transform_points(points, theirs, ours))
    if source.placing.transform is not None:
        a, b, c, d, e, f = source.placing.transform
        inverse = np.linalg.inv(np.array([[a, b], [d, e]]))
        geometries = shapely.transform(geometries, lambda points: (points - [c, f]) @ inverse.T)
    found: Sequence[Any] = list(geometries)
    return found


def _parts(geometries: Sequence[Any]) -> list[Any]:
    return [part for geometry in geometries for part in getattr(geometry, "geoms", [geometry])]


def _extent(polygons: Sequence[Any], height: int, width: int) -> tuple[int, int, int, int]:
    import shapely

    left, top, right, bottom = shapely.total_bounds(np.asarray(polygons, dtype=object))
    rows = (int(np.clip(side, 0, height)) for side in (np.floor(top), np.ceil(bottom)))
    columns = (int(np.clip(side, 0, width)) for side in (np.floor(left), np.ceil(right)))
    return (*rows, *columns)  # type: ignore[return-value]


def _touches(area: Area) -> bool:
    """Whether the centre of any pixel lies within; found at once where one does."""
    top, bottom, left, right = area.extent
    return any(area.window(y, min(y + ROWS, bottom), left, right).any() for y in range(top, bottom, ROWS))


def _apart(features: Features, source: Source, path: Path) -> str:
    import shapely

    if source.placing.crs is None:
        where = ", ".join(f"{v:g}" for v in shapely.total_bounds(np.asarray(features.geometries, dtype=object)))
        return (
            f"no pixel of '{source.name}' ({source.width}x{source.height}) lies within the polygons of '{path}', which "
            f"reach over {where} (left, top, right, bottom): draw them in pixels of that image"
        )
    return (
        f"no pixel of '{source.name}' lies within the polygons of '{path}': do both say their right CRS "
        f"({short(source.placing.crs)} and {short(str(features.crs))})?"
    )


class AreaSource:
    """A `Source` that has no data outside of an area; the pixels there are as they are."""

    def __init__(self, source: Source, area: Area) -> None:
        if (source.height, source.width) != (area.height, area.width):
            raise ValueError(f"the area is of a raster of {area.width}x{area.height}, not of '{source.name}'")
        self.source, self.area = source, area
        self.name, self.bands, self.dtype = source.name, source.bands, source.dtype
        self.height, self.width = source.height, source.width
        self.placing, self.resolution_m = source.placing, source.resolution_m

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> Picture:
        """(bottom - top, right - left, bands) of a window, in the source's dtype.

        Raises:
            ImageError: the file is truncated or damaged there.
        """
        right = checked_window(self, top, bottom, left, right)
        picture = self.source.read(top, bottom, left, right)
        valid = self.area.window(top, bottom, left, right)
        if picture.valid is not None:
            valid &= picture.valid
        return Picture(picture.pixels, None if valid.all() else valid, picture.palette)

    def empty(self, top: int, bottom: int, left: int, right: int) -> bool:
        """See `surely_empty`."""
        window = top, bottom, left, right
        return surely_empty(self.source, *window) or not self.area.window(*window).any()

    def __enter__(self) -> AreaSource:
        self.source.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.source.__exit__(*error)


def limit(source: Source, area: Area) -> Source:
    """`source` with data only within `area`, which was read for it."""
    return AreaSource(source, area)
