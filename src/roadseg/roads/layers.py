"""Roads as lines: a layer of them, read from and written to vector files, reprojected, measured.

What files are like is known to `vector_files`; graphs of a layer are made in `graph`.
"""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, RoadsegWarning
from ..imagery.crs import is_geographic, transform_points

if TYPE_CHECKING:
    from ..imagery.regions import Box, Region
    from ..imagery.vector_files import Features

__all__ = [
    "Road",
    "RoadLayer",
    "is_geographic",
    "joined",
    "length_m",
    "lengths",
    "metric_crs",
    "read_layer",
    "read_roads",
    "reproject",
    "transform_points",
    "unit_of",
    "write_layer",
]

WGS84 = "EPSG:4326"  # longitude, latitude in degrees: what GeoJSON has (RFC 7946, section 4)
SCALE_ERROR = 0.01  # a projection whose metres are off by more than this is not one to measure in (Web Mercator)


@dataclass(frozen=True)
class Road:
    """One road.

    Attributes:
        line: (N, 2) float64, x and y in the layer's units, N >= 2.
        properties: length_m, width_m, probability, ... or the file's own attributes; values are str, int, float,
            bool or None.
    """

    line: NDArray[np.float64]
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RoadLayer:
    """Roads in one coordinate reference system.

    Attributes:
        roads: the roads, in the order of the file.
        crs: "EPSG:32611" or WKT; None: pixel coordinates, x to the right, y down, (0, 0) the image's upper left corner.
    """

    roads: tuple[Road, ...]
    crs: str | None


def read_layer(
    path: Path | str, *, layer: str | None = None, pixels: bool = False, bbox: "Box | Region | None" = None
) -> RoadLayer:
    """The lines of a GeoPackage, GeoJSON, FlatGeobuf or Shapefile. Lines of several parts become several roads.

    A GeoJSON is in EPSG:4326 unless it names another CRS. Heights (z) are dropped. A line of no length or with
    coordinates that are not finite is left out with a warning.

    Args:
        layer: which layer of a file with several; None: the only one that has lines, or the one called "roads",
            "edges" or "lines".
        pixels: the file has no CRS and its coordinates are pixels of a plain image.
        bbox: only lines that touch this come into memory, whatever else the file holds: (left, bottom, right, top) in
            the file's CRS, or an `imagery.regions.Region` in any. A large map with a spatial index (GeoPackage,
            FlatGeobuf) is not even read elsewhere.

    Raises:
        DataError: the file is missing, empty or not a vector file; it has no such layer; a geometry is not a line; it
            says no CRS.
    """
    from ..imagery.regions import Region

    regions = [] if bbox is None else [Region((bbox,)) if isinstance(bbox, tuple) else bbox]
    return read_roads(path, layer=layer, pixels=pixels, regions=regions)[0]


def read_roads(
    path: Path | str, *, layer: str | None = None, pixels: bool = False, regions: "Sequence[Region]" = ()
) -> "tuple[RoadLayer, Features]":
    """The same near any of several regions, and what the file says of the rest."""
    from ..imagery.vector_files import LINES, read_features

    path = Path(path)
    features = read_features(path, layer=layer, pixels=pixels, kinds=LINES, regions=regions)
    roads = []
    broken = 0
    for geometry, properties in zip(features.geometries, features.properties, strict=True):
        for part in getattr(geometry, "geoms", [geometry]):
            line = np.asarray(part.coords, np.float64)[:, :2]
            if not np.isfinite(line).all() or not (line != line[:1]).any():
                broken += 1
                continue
            roads.append(Road(line, properties))
    if broken:
        text = f"{broken} lines of '{path}' have no length or no finite coordinates: left out"
        warnings.warn(text, RoadsegWarning, stacklevel=3)
    return RoadLayer(tuple(roads), features.crs), features


def write_layer(layer: RoadLayer, path: Path | str, *, name: str = "roads") -> None:
    """Write the roads: `.gpkg` (layer `name`), `.fgb`, or `.geojson` in EPSG:4326.

    Pixel coordinates have no place on the earth: they are written as they are, which a warning says; `read_layer` of
    such a file gives them back as pixel coordinates.

    Raises:
        OutputError: another suffix, or the file cannot be written.
    """
    import shapely

    from ..imagery.vector_files import Features
    from ..imagery.vector_writing import write_features

    geometries = [shapely.LineString(road.line) for road in layer.roads]
    features = Features(geometries, [road.properties for road in layer.roads], layer.crs)
    write_features(Path(path), {name: features}, kind="LineString")


def reproject(layer: RoadLayer, crs: str) -> RoadLayer:
    """The same roads in another CRS, vertex by vertex (a straight line of kilometres stays straight on the new map).

    Raises:
        DataError: the layer is in pixel coordinates, `crs` is unknown, or a vertex has no place in it.
    """
    if layer.crs is None:
        raise DataError("roads in pixel coordinates cannot be reprojected: trace a georeferenced raster instead")
    if layer.crs == crs:
        return layer
    if not layer.roads:
        return RoadLayer((), crs)
    ends = np.cumsum([len(road.line) for road in layer.roads])[:-1]
    moved = np.split(transform_points(np.concatenate([road.line for road in layer.roads]), layer.crs, crs), ends)
    return RoadLayer(
        tuple(replace(road, line=line) for road, line in zip(layer.roads, moved, strict=True)), crs
    )  # fmt: skip


def metric_crs(layer: RoadLayer, *, at: tuple[float, float] | None = None) -> str:
    """A CRS to measure the layer in: its own where its unit is a metre on the ground, else the UTM zone of its centre.

    Web Mercator is no such CRS (its metres are 1.24 times too short at 36 degrees), nor is one in feet. An empty
    layer in degrees gives EPSG:4326: there is nothing to measure.

    Args:
        at: longitude and latitude to measure at, instead of the layer's centre.

    Raises:
        DataError: the layer is in pixel coordinates.
    """
    if layer.crs is None:
        raise DataError("roads in pixel coordinates have no metres: give files with a CRS, or measure in pixels")
    if not layer.roads:
        return layer.crs
    centre: NDArray[np.float64] | None
    if at is None:
        points = np.concatenate([road.line for road in layer.roads])
        centre = (points.min(axis=0) + points.max(axis=0)) / 2
        longitude, latitude = transform_points(centre[None], layer.crs, WGS84)[0]
    else:
        longitude, latitude = at
        try:
            centre = transform_points(np.array([at], np.float64), WGS84, layer.crs)[0]
        except DataError:  # the layer's CRS ends before it: not one to measure in there
            centre = None
    zone = min(max(int((longitude + 180) // 6) + 1, 1), 60)
    utm = f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}"
    usable = centre is not None and not is_geographic(layer.crs) and _keeps_lengths(centre, layer.crs, utm)
    if layer.crs == utm or usable:
        return layer.crs
    return utm


def joined(layers: Iterable[RoadLayer]) -> RoadLayer:
    """The roads of several layers of one CRS in one layer.

    Raises:
        DataError: their CRS differ, or there is none.
    """
    found: Sequence[RoadLayer] = list(layers)
    systems = {layer.crs for layer in found}
    if len(systems) != 1:
        raise DataError(f"layers in {len(systems)} coordinate reference systems: reproject them to one first")
    return RoadLayer(tuple(road for layer in found for road in layer.roads), systems.pop())


def length_m(layer: RoadLayer) -> NDArray[np.float64]:
    """(n,) length of each road in metres; in pixels where the layer is in pixel coordinates."""
    return lengths(layer if layer.crs is None else reproject(layer, metric_crs(layer)))


def lengths(layer: RoadLayer) -> NDArray[np.float64]:
    """(n,) length of each road in the layer's own units."""
    return np.array([float(np.hypot(*np.diff(road.line, axis=0).T).sum()) for road in layer.roads], np.float64)


def unit_of(layer: RoadLayer) -> str:
    """What `length_m` of the layer is in: "m", or "px" of pixel coordinates."""
    return "px" if layer.crs is None else "m"


def _keeps_lengths(centre: NDArray[np.float64], crs: str, utm: str) -> bool:
    """Whether 100 units to the right and 100 up from `centre` are 100 m each on the ground, as UTM has it."""
    cross = centre + np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
    moved = transform_points(cross, crs, utm)
    return all(abs(math.dist(moved[0], moved[k]) / 100 - 1) < SCALE_ERROR for k in (1, 2))
