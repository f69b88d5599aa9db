"""From a mask or a probability raster to polygons of the road surface; band by band, stitched where bands meet."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .bands import BAND, Raster, Survey, counts, open_raster, survey
from .centrelines import TraceOptions, has_roads

__all__ = ["PolygonLayer", "outline", "outline_file", "outline_raster"]


@dataclass(frozen=True)
class PolygonLayer:
    """Road surfaces.

    Attributes:
        polygons: shapely's, valid, with holes, in the layer's units.
        properties: of each: area_m2 (area_px in pixel coordinates), probability, uncertainty.
        crs: "EPSG:32611" or WKT; None: pixel coordinates.
    """

    polygons: tuple[Any, ...]
    properties: tuple[Mapping[str, Any], ...]
    crs: str | None

    def write(self, path: Path | str, *, name: str = "roads") -> None:
        """Write `.gpkg` (layer `name`), `.fgb`, or `.geojson` in EPSG:4326.

        Raises:
            ConfigError: another suffix.
            OutputError: the file cannot be written.
        """
        from ..imagery.vector_files import Features
        from ..imagery.vector_writing import write_features

        write_features(Path(path), {name: Features(self.polygons, self.properties, self.crs)}, kind="Polygon")


def outline(
    raster: NDArray[Any], options: TraceOptions | None = None, *, valid: NDArray[np.bool_] | None = None
) -> PolygonLayer:
    """Polygons of the roads in an array, in pixel coordinates; see `roads.centrelines.trace` for what it may be.

    Of the options `threshold`, `low`, `tolerance`, `hole` and `speck` count.
    """
    return outline_raster(Raster(raster, valid), options)


def outline_file(
    path: Path | str,
    options: TraceOptions | None = None,
    *,
    uncertainty: Path | str | None = None,
    like: Path | str | None = None,
) -> PolygonLayer:
    """Polygons of the roads in a raster file of any size; arguments and errors as of `trace_file`."""
    with open_raster(path, like) as raster:
        if uncertainty is None:
            return outline_raster(raster, options)
        with open_raster(uncertainty) as other:
            return outline_raster(raster, options, uncertainty=other)


def outline_raster(
    raster: Raster, options: TraceOptions | None = None, *, uncertainty: Raster | None = None, band: int = BAND
) -> PolygonLayer:
    """The same for an open raster. `band`: rows that are looked at together; the result is the same."""
    import shapely

    options = options or TraceOptions()
    options.check()
    if uncertainty is not None and (uncertainty.height, uncertainty.width) != (raster.height, raster.width):
        raise DataError(f"{uncertainty.name} and {raster.name} differ in size: give the uncertainty of this raster")
    seen = survey(raster, options.threshold, options.low, band)
    if not has_roads(raster, seen, options, lines=False):
        return PolygonLayer((), (), raster.grid.crs)
    metres = raster.grid.metres(raster.height, raster.width)
    pixel_m2, unit = abs(float(np.linalg.det(metres))), "px" if raster.grid.crs is None else "m2"
    square = seen.width**2
    found = []
    for region in _regions(raster, seen, uncertainty, band):
        if not region.strong:
            continue
        for polygon in _one(region.polygons, options.hole * square):
            if polygon.area < options.speck * square:
                continue
            simple = shapely.simplify(polygon, options.tolerance) if options.tolerance > 0 else polygon
            for part in _valid(simple):
                if part.area > 0:
                    found.append((part, region))
    found.sort(key=lambda one: (one[0].bounds[1], one[0].bounds[0], one[0].wkb))  # whatever band it ended in
    properties = []
    for polygon, region in found:
        said: dict[str, Any] = {f"area_{unit}": float(polygon.area) * pixel_m2}
        if not seen.is_mask:
            said["probability"] = region.value / region.pixels / 255
        if uncertainty is not None:
            said["uncertainty"] = region.other / region.pixels / 255
        properties.append(said)
    placed = tuple(shapely.transform(polygon, raster.grid.place) for polygon, _ in found)
    return PolygonLayer(placed, tuple(properties), raster.grid.crs)


@dataclass
class _Region:
    """Road pixels that touch by their sides: their outlines in the bands, and sums over them."""

    polygons: list[Any] = field(default_factory=list)
    strong: bool = False
    pixels: int = 0
    value: int = 0
    other: int = 0

    def add(self, more: "_Region") -> None:
        self.polygons += more.polygons
        self.strong |= more.strong
        self.pixels += more.pixels
        self.value += more.value
        self.other += more.other


def _regions(raster: Raster, seen: Survey, other: Raster | None, band: int) -> Iterator[_Region]:
    """Regions of the whole raster, each as soon as no later band can touch it."""
    import cv2
    from rasterio.features import shapes
    from shapely.geometry import shape

    low, high = seen.levels
    open_ones: dict[int, _Region] = {}  # those that reach the last row, by their number there
    above = np.zeros(raster.width, np.int32)
    for top, values in raster.bands(band):
        road = (values >= low).view(np.uint8)
        count, labels = cv2.connectedComponents(road, connectivity=4)
        pixels, sums = counts(labels, count), counts(labels, count, values)
        beside = np.zeros_like(values) if other is None else other.read(top, top + len(values))
        more = counts(labels, count, beside)
        strong = np.zeros(count, bool)
        strong[labels[values >= high]] = True
        here = {
            k: _Region([], bool(strong[k]), int(pixels[k]), int(sums[k]), int(more[k])) for k in range(1, count)
        }  # fmt: skip
        for geometry, label in shapes(labels, mask=road, connectivity=4, transform=(1, 0, 0, 0, 1, top)):
            here[int(label)].polygons.append(shape(geometry))
        touching = (above > 0) & (labels[0] > 0)
        here, number = _stitched(open_ones, here, np.unique(np.column_stack([above, labels[0]])[touching], axis=0))
        last = np.unique(labels[-1])
        staying = {int(number[k]) for k in last if k > 0}
        above = number[labels[-1]]
        for key in sorted(set(here) - staying):
            yield here[key]
        open_ones = {key: here[key] for key in staying}
    for key in sorted(open_ones):
        yield open_ones[key]


def _stitched(
    open_ones: dict[int, _Region], here: dict[int, _Region], pairs: NDArray[np.int32]
) -> tuple[dict[int, _Region], NDArray[np.int32]]:
    """Unite regions above with those of a band where they touch: regions by number, and the number of each label."""
    size = len(here) + 1  # labels 1 to n of the band, then those above
    offset = {key: size + k for k, key in enumerate(sorted(open_ones))}
    root = list(range(size + len(offset)))

    def find(k: int) -> int:
        while root[k] != k:
            root[k] = root[root[k]]
            k = root[k]
        return k

    for upper, lower in pairs.tolist():
        a, b = find(offset[upper]), find(lower)
        root[max(a, b)] = min(a, b)
    united: dict[int, _Region] = {}
    for k, region in [*here.items(), *((offset[key], one) for key, one in open_ones.items())]:
        united.setdefault(find(k), _Region()).add(region)
    number = np.array([find(k) for k in range(size)], np.int32)
    return united, number


def _one(pieces: list[Any], hole: float) -> Iterator[Any]:
    """One polygon of a region's pieces, the same however it was cut; holes of at most `hole` px² are filled."""
    import shapely

    for polygon in _valid(shapely.union_all(pieces) if len(pieces) > 1 else pieces[0]):
        holes = [ring for ring in polygon.interiors if shapely.Polygon(ring).area > hole]
        # Normalised, rings begin at a corner: seams leave points on straight lines, which go, and nothing else.
        whole = shapely.normalize(shapely.Polygon(polygon.exterior, holes))
        yield shapely.normalize(shapely.simplify(whole, 0))


def _valid(shape: Any) -> Iterator[Any]:
    """The polygons of a geometry, made valid."""
    import shapely

    whole = shape if shape.is_valid else shapely.make_valid(shape)
    for part in getattr(whole, "geoms", [whole]):
        if part.geom_type == "Polygon" and not part.is_empty and math.isfinite(part.area):
            yield part
        elif part.geom_type == "MultiPolygon":
            yield from part.geoms
