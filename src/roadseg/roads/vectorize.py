"""Rasters to one vector file: what `roadseg vectorize` and `roadseg.vectorize` do."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ConfigError, DataError, OutputError
from ..files import check_place
from .centrelines import TraceOptions, trace_file
from .layers import RoadLayer, unit_of, write_layer

if TYPE_CHECKING:
    from .polygons import PolygonLayer

__all__ = ["Vectorized", "vectorize"]


@dataclass(frozen=True)
class Vectorized:
    """What came of it.

    Attributes:
        path: the file, None where none was asked for.
        layer: lines or polygons of all rasters.
        sources: the rasters.
        network: the file of nodes and edges, None where none was asked for.
    """

    path: Path | None
    layer: "RoadLayer | PolygonLayer"
    sources: tuple[Path, ...]
    network: Path | None = None

    def about(self) -> dict[str, Any]:
        """The numbers, as `--json` has them."""
        said: dict[str, Any] = {
            "out": None if self.path is None else str(self.path),
            "network": None if self.network is None else str(self.network),
            "sources": [str(path) for path in self.sources],
            "crs": self.layer.crs,
        }
        if isinstance(self.layer, RoadLayer):
            unit = unit_of(self.layer)
            said |= {"form": "lines", "roads": len(self.layer.roads)}
            said["unit"] = unit
            for name in ("length", "bridged"):
                said[name] = float(sum(road.properties[f"{name}_{unit}"] for road in self.layer.roads))
            ends = [road.properties[f"degree_{end}"] for road in self.layer.roads for end in ("start", "end")]
            said["dead_ends"] = ends.count(1)
            return said
        unit = "px" if self.layer.crs is None else "m2"
        area = float(sum(one[f"area_{unit}"] for one in self.layer.properties))
        return said | {"form": "polygons", "polygons": len(self.layer.polygons), "unit": unit, "area": area}


def vectorize(
    rasters: Path | str | Sequence[Path | str],
    out: Path | str | None = None,
    *,
    network: Path | str | None = None,
    form: Literal["lines", "polygons"] = "lines",
    options: TraceOptions | None = None,
    uncertainty: Path | str | None = None,
    like: Path | str | None = None,
) -> Vectorized:
    """Masks or probability rasters to one layer of centre lines or polygons, written to `out`.

    >>> roadseg.vectorize("predictions/town_prob.tif", "town.gpkg").layer.roads[0].properties

    A GeoTIFF's roads are in its CRS (in EPSG:4326 in a GeoJSON), a plain image's in pixels, which a warning says. Of
    several rasters each road has a `source`; lines that go on in a neighbouring raster are not joined.

    Args:
        rasters: image files, or folders of them; a folder that has `x_prob.tif` gives that and not `x.tif`,
            and never the `x_unc.tif` beside it.
        out: `.gpkg`, `.geojson` or `.fgb`; None writes nothing.
        network: write the lines as nodes and edges, too: `.gpkg` or `.graphml`, see `roadseg.write_network`.
        uncertainty: 8-bit uncertainty of a single raster, e.g. `x_unc.tif` of a prediction: roads get it as a share of
            the largest there is (0.2 is a standard deviation of 0.1).
        like: a GeoTIFF of the same size, for a single plain image.

    Raises:
        ConfigError: an option that makes no sense, or another suffix.
        DataError: no raster, one that is no mask, rasters in different CRS.
        OutputError: `out` or `network` cannot be written.
    """
    options = options or TraceOptions()
    options.check()
    if form not in ("lines", "polygons"):
        raise ConfigError(f"form is '{form}': expected lines or polygons")
    if form == "polygons" and (options.min_length or options.bridge or network is not None):
        raise ConfigError("min_length, bridge and network are for lines: leave them out for polygons")
    sources = _sources([rasters] if isinstance(rasters, Path | str) else rasters)
    if len(sources) > 1 and (uncertainty is not None or like is not None):
        raise ConfigError(f"an uncertainty or a 'like' belongs to one raster, and these are {len(sources)}")
    path, nodes = _places(out, network)
    layer = (_lines if form == "lines" else _polygons)(sources, options, uncertainty, like)
    if path is not None:
        if isinstance(layer, RoadLayer):
            write_layer(layer, path)
        else:
            layer.write(path)
    if nodes is not None and isinstance(layer, RoadLayer):
        from .network_files import write_network

        write_network(layer, nodes)
    return Vectorized(path, layer, tuple(sources), nodes)


def _places(out: Path | str | None, network: Path | str | None) -> tuple[Path | None, Path | None]:
    """Where to write, checked before any work."""
    from ..imagery.vector_writing import vector_suffix
    from .network_files import network_suffix

    path, nodes = (None if place is None else Path(place) for place in (out, network))
    if path is not None:
        vector_suffix(path)
    if nodes is not None:
        network_suffix(nodes)
    for place in (path, nodes):
        if place is not None:
            check_place(place)
            if place.is_dir():
                raise OutputError(f"'{place}' is a folder: give a file to write")
    if path is not None and nodes is not None and path.absolute() == nodes.absolute():
        raise ConfigError(f"the roads and their network cannot both be '{path}': give two files")
    return path, nodes


def _sources(given: Sequence[Path | str]) -> list[Path]:
    from ..imagery.layouts import list_images

    found: list[Path] = []
    for place in map(Path, given):
        images = list_images(place)
        if place.is_dir():
            names = {image.name for image in images}
            beside = {f"{image.stem}_unc{image.suffix}" for image in images}
            images = [
                image
                for image in images
                if f"{image.stem}_prob{image.suffix}" not in names and image.name not in beside
            ]
        found += images
    if not found:
        raise DataError("no rasters: give masks or probabilities, or folders that hold some")
    return found


def _same_crs(sources: Sequence[Path], systems: Sequence[str | None]) -> str | None:
    for source, crs in zip(sources, systems, strict=True):
        if crs != systems[0]:
            first, this = (name[:40] if name else "pixel coordinates" for name in (systems[0], crs))
            raise DataError(
                f"'{sources[0]}' is in {first} but '{source}' in {this}: vectorize them into two files, or warp one"
            )
    return systems[0]


def _lines(
    sources: Sequence[Path], options: TraceOptions, uncertainty: Path | str | None, like: Path | str | None
) -> RoadLayer:
    layers = [trace_file(source, options, uncertainty=uncertainty, like=like) for source in sources]
    crs = _same_crs(sources, [layer.crs for layer in layers])
    if len(layers) == 1:
        return layers[0]
    roads = [
        replace(road, properties={**road.properties, "source": source.name})
        for source, layer in zip(sources, layers, strict=True)
        for road in layer.roads
    ]
    return RoadLayer(tuple(roads), crs)


def _polygons(
    sources: Sequence[Path], options: TraceOptions, uncertainty: Path | str | None, like: Path | str | None
) -> "PolygonLayer":
    from .polygons import PolygonLayer, outline_file

    layers = [outline_file(source, options, uncertainty=uncertainty, like=like) for source in sources]
    crs = _same_crs(sources, [layer.crs for layer in layers])
    if len(layers) == 1:
        return layers[0]
    said = [
        {**properties, "source": source.name}
        for source, layer in zip(sources, layers, strict=True)
        for properties in layer.properties
    ]
    return PolygonLayer(tuple(polygon for layer in layers for polygon in layer.polygons), tuple(said), crs)
