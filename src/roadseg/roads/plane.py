"""Two road layers in one plane, metres or pixels, and cut to one area: what every comparison of them begins with."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, RoadsegWarning
from ..imagery.regions import Region
from .layers import WGS84, Road, RoadLayer, metric_crs, read_layer, reproject, transform_points

__all__ = ["clip", "in_one_plane", "read_area", "read_near"]

MARGIN = 100.0  # metres (pixels) between the boxes of two layers above which they are of two places
SIDES = 20  # parts of the longer side of a raster's extent: it bends from one CRS to another
APART = 1.0  # degree between them, above which nothing in between is looked for


def in_one_plane(
    first: RoadLayer | Path | str,
    second: RoadLayer | Path | str,
    *,
    area: Path | str | None = None,
    names: tuple[str | None, str | None] = (None, None),
) -> tuple[RoadLayer, RoadLayer]:
    """Both layers in one CRS whose unit is the metre, or both in pixel coordinates; files are read.

    Of the systems that would do where the two meet (or in the area), the one whose name sorts first.

    A warning says when they lie nowhere near each other.

    Args:
        area: both layers are cut to it, see `read_area`; of files only the lines near it come into memory.
        names: of the layers in the files.

    Raises:
        DataError: a file cannot be read; one layer has a CRS and the other pixel coordinates.
    """
    layers = [read_near(item, area, layer=name) for item, name in zip((first, second), names, strict=True)]
    said = [f"'{item}'" if isinstance(item, Path | str) else f"layer {k}" for k, item in enumerate((first, second), 1)]
    if (layers[0].crs is None) != (layers[1].crs is None):
        without = 0 if layers[0].crs is None else 1
        raise DataError(
            f"{said[without]} is in pixel coordinates, {said[1 - without]} has a CRS: trace a georeferenced raster, "
            "or give both in pixel coordinates"
        )
    if layers[0].crs is not None:
        # Of two metric systems the one that sorts first, whichever layer comes first: swapped layers score the same.
        at = _place(layers, area)
        crs = min({metric_crs(layer, at=at) for layer in layers if layer.roads} or {metric_crs(layers[0])})
        layers = [reproject(layer, crs) for layer in layers]
    if all(layer.roads for layer in layers) and _apart(*layers):
        text = f"{said[0]} and {said[1]} do not overlap at all: are they of the same place, with the right CRS?"
        warnings.warn(text, RoadsegWarning, stacklevel=3)
    if area is not None:
        polygon = read_area(area, layers[0].crs)
        layers = [clip(layer, polygon) for layer in layers]
    return layers[0], layers[1]


def _place(layers: Sequence[RoadLayer], area: Path | str | None) -> tuple[float, float] | None:
    """Longitude and latitude of the middle of what is compared: the area, or what both layers' boxes share.

    A map of a country against the roads of one town is measured in the town.
    """
    found = [layer for layer in layers if layer.roads]
    if not found:
        return None
    if area is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said when the area is read in the plane's CRS
            west, south, east, north = read_area(area, WGS84).bounds
        return (west + east) / 2, (south + north) / 2
    boxes = [_bounds(reproject(layer, WGS84)) for layer in found]
    low, high = np.max([box[0] for box in boxes], axis=0), np.min([box[1] for box in boxes], axis=0)
    if (low - high).max() > APART:
        return None  # two places: no one plane is right for both
    middle = (low + high) / 2  # of the gap, where they share nothing
    return float(middle[0]), float(middle[1])


def _apart(first: RoadLayer, second: RoadLayer) -> bool:
    low, high = zip(*[_bounds(layer) for layer in (first, second)], strict=True)
    return bool((low[0] > high[1] + MARGIN).any() or (low[1] > high[0] + MARGIN).any())


def _bounds(layer: RoadLayer) -> tuple[Any, Any]:
    points = np.concatenate([road.line for road in layer.roads])
    return points.min(axis=0), points.max(axis=0)


def read_near(roads: RoadLayer | Path | str, area: Path | str | None, *, layer: str | None = None) -> RoadLayer:
    """A layer as it is; of a file the lines near `area`, or all of them without one.

    Raises:
        DataError: a file cannot be read.
    """
    if isinstance(roads, RoadLayer):
        return roads
    if area is None:
        return read_layer(roads, layer=layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said when the area is read in the plane's CRS
        shape, crs = _outline(Path(area), pixels=True)
    return read_layer(roads, layer=layer, bbox=Region((shape.bounds,), crs))


def read_area(path: Path | str, crs: str | None) -> Any:
    """An area as one shapely geometry in `crs` (None: pixel coordinates): a file's polygons, or a raster's extent.

    Raises:
        DataError: the file cannot be read, has no polygons, or says no CRS where the roads have one (or the reverse).
    """
    import shapely

    path = Path(path)
    whole, own = _outline(path, pixels=crs is None)
    if (own is None) != (crs is None):
        what = ("a CRS", "pixel coordinates") if crs is None else ("pixel coordinates", "a CRS")
        raise DataError(f"the area '{path}' has {what[0]}, the roads have {what[1]}: give both alike")
    if crs is None or own is None or own == crs:
        return whole
    source = own
    return shapely.transform(whole, lambda points: transform_points(points, source, crs))


def _outline(path: Path, *, pixels: bool) -> tuple[Any, str | None]:
    """The area as its file has it, and its CRS."""
    import shapely

    from ..imagery.vector_files import AREAS, SUFFIXES, read_features

    if path.suffix.lower() not in SUFFIXES and path.is_file():
        return _extent(path)
    found = read_features(path, pixels=pixels, kinds=AREAS)
    if not found.geometries:
        raise DataError(f"'{path}' has no polygon: draw the area to look at")
    return shapely.union_all(shapely.make_valid(np.array(list(found.geometries), dtype=object))), found.crs


def _extent(path: Path) -> tuple[Any, str | None]:
    """All of a raster, whether it has data there or not."""
    import shapely

    from .bands import grid_of

    grid, height, width = grid_of(path)
    sides = shapely.segmentize(shapely.box(0, 0, width, height), max(height, width) / SIDES)
    return shapely.transform(sides, grid.place), grid.crs


def clip(layer: RoadLayer, area: Any) -> RoadLayer:
    """The parts of the roads inside `area` (shapely, in the layer's CRS); of a road in several parts several roads."""
    import shapely

    shapely.prepare(area)
    roads = []
    for road in layer.roads:
        line = shapely.LineString(road.line)
        if shapely.covers(area, line):  # an intersection would cut a line that crosses itself
            roads.append(road)
            continue
        inside = shapely.intersection(line, area)
        roads += [Road(line, road.properties) for line in _lines(inside)]
    return RoadLayer(tuple(roads), layer.crs)


def _lines(geometry: Any) -> Sequence[Any]:
    """The lines of what an intersection gave; where a road only touches the area there are points, too."""
    import shapely

    if geometry.is_empty:
        return []
    # A line that crosses itself comes back in pieces.
    merged = shapely.line_merge(geometry) if geometry.geom_type == "MultiLineString" else geometry
    parts = getattr(merged, "geoms", [merged])
    return [np.asarray(part.coords, np.float64) for part in parts if part.geom_type == "LineString" and part.length > 0]
