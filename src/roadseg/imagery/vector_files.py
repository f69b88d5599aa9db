"""Vector files read through pyogrio: any geometries with their attributes; nothing here knows of roads.

A file in pixel coordinates has no CRS that a map could use. GeoPackage and FlatGeobuf then have a local one that says
so by its name, GeoJSON a description, as `vector_writing` wrote them; read here, they are in pixel coordinates again.
"""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, RoadsegWarning
from .regions import Box, Region

__all__ = ["AREAS", "DRIVERS", "LINES", "PIXELS", "SUFFIXES", "WRITABLE", "Features", "read_features"]

WRITABLE = (".gpkg", ".geojson", ".fgb")
SUFFIXES = (*WRITABLE, ".json", ".shp")
DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".json": "GeoJSON", ".fgb": "FlatGeobuf", ".shp": "ESRI Shapefile"}
STARTS = {"GPKG": b"SQLite format 3\0", "FlatGeobuf": b"fgb", "ESRI Shapefile": b"\0\0\x27\x0a"}
LINES = ("LineString", "MultiLineString")  # shapely's names of what roads are drawn as
AREAS = ("Polygon", "MultiPolygon")
PIXELS = "pixel coordinates: x to the right, y down"


@dataclass(frozen=True)
class Features:
    """Geometries of one layer with their attributes.

    Attributes:
        geometries: shapely's.
        properties: in the same order.
        crs: None: pixel coordinates.
        bounds: of what was read: the extent of the whole layer, None of an empty one.
        elsewhere: of what was read: how many features of the layer were left where they are, far from the regions.
    """

    geometries: Sequence[Any]
    properties: Sequence[Mapping[str, Any]]
    crs: str | None
    bounds: Box | None = None
    elsewhere: int = 0


class _Summary(NamedTuple):
    features: int
    bounds: Box | None
    crs: str | None


def read_features(
    path: Path,
    *,
    layer: str | None = None,
    pixels: bool = False,
    kinds: tuple[str, ...] = (),
    regions: Sequence[Region] = (),
) -> Features:
    """One layer of a vector file, in two dimensions. Features without a geometry are left out with a warning.

    Args:
        layer: None: the only layer with geometries (of `kinds`), or the one called "roads", "edges" or "lines".
        pixels: a file without a CRS is in pixel coordinates, instead of an error.
        kinds: shapely's names of the geometries wanted; others are left out with a warning; () is all.
        regions: features that touch none of these are left out as the file is read; () is all.

    Raises:
        DataError: missing, empty, not such a file; no such layer; nothing of `kinds` in it; no CRS.
    """
    import shapely
    from pyogrio import errors

    path = Path(path)
    driver = _driver(path)
    try:
        chosen = _layer(path, layer, kinds)
        whole = _summary(path, chosen, kinds) if regions else None
        mask = None if whole is None else _mask(regions, whole.crs)
        meta, _, blobs, columns = _read(path, chosen, driver, mask)
        about = _metadata(path, chosen) if driver == "GeoJSON" else {}
    except (errors.DataSourceError, errors.DataLayerError, errors.FeatureError, errors.GeometryError) as error:
        text = " ".join(str(error).split())
        raise DataError(f"vector file '{path}' cannot be read ({text[:200]}): copy or export it again") from error
    except UnicodeError as error:
        raise DataError(f"the text in '{path}' is not UTF-8 ({error}): export it again with that encoding") from error
    geometries = shapely.from_wkb(blobs)
    kinds_of = zip(meta["ogr_types"], meta["ogr_subtypes"], strict=True)
    values = [_values(c, *kind) for c, kind in zip(columns, kinds_of, strict=True)]
    names = [str(name) for name in meta["fields"]]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)] or [{} for _ in geometries]
    keep = _wanted(path, chosen, geometries, kinds)
    kept = [geometries[i] for i in keep]
    if whole is None:
        whole = _Summary(len(geometries), _box(shapely.total_bounds(kept)) if kept else None, meta["crs"])
    crs = _crs(path, meta["crs"], driver, about, whole.bounds, pixels)
    return Features(kept, [rows[i] for i in keep], crs, whole.bounds, whole.features - len(geometries))


def _summary(path: Path, layer: str, kinds: tuple[str, ...]) -> _Summary:
    """What the layer says of itself, where only a part of it is to be read.

    Raises:
        DataError: it holds nothing of `kinds`, which the part would not show.
    """
    import pyogrio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        said = pyogrio.read_info(path, layer=layer, force_feature_count=True, force_total_bounds=True)
    kind = str(said["geometry_type"]).removeprefix("2.5D ").split()[0]
    if kinds and kind in ("Point", "MultiPoint", *LINES, *AREAS) and kind.removeprefix("Multi") not in kinds:
        raise DataError(_nothing_of(kinds, path, layer, [kind]))
    bounds = said["total_bounds"]
    known = bounds is not None and bool(np.isfinite(bounds).all()) and said["features"] > 0
    return _Summary(int(said["features"]), _box(bounds) if known else None, said["crs"])


def _box(bounds: Sequence[float]) -> Box:
    left, bottom, right, top = (float(value) for value in bounds)
    return left, bottom, right, top


def _mask(regions: Sequence[Region], crs: str | None) -> Any:
    """The regions in the layer's coordinates as one shapely geometry; None: read everything."""
    import shapely

    shapes = [region.shape("EPSG:4326" if crs == "OGC:CRS84" else crs) for region in regions]
    return None if None in shapes else shapely.union_all(shapes)


def _read(path: Path, layer: str, driver: str, mask: Any) -> Any:
    """What `pyogrio.raw.read` gives. Shapefiles that name the wrong encoding are common, and read as Latin-1."""
    from pyogrio import raw

    options: dict[str, Any] = {"layer": layer, "force_2d": True, "datetime_as_string": True, "mask": mask}
    try:
        return raw.read(path, **options)
    except UnicodeError:
        if driver != "ESRI Shapefile":
            raise
    text = f"the text in '{path}' is not in the encoding that it names: read as ISO-8859-1"
    warnings.warn(text, RoadsegWarning, stacklevel=4)
    return raw.read(path, encoding="ISO-8859-1", **options)


def _driver(path: Path) -> str:
    """The format by suffix, checked by the first bytes: GDAL left to choose would follow a virtual file elsewhere."""
    driver = DRIVERS.get(path.suffix.lower())
    if path.is_dir():
        raise DataError(f"'{path}' is a folder: expected one vector file ({', '.join(SUFFIXES)})")
    if not path.is_file():
        raise DataError(f"vector file '{path}' does not exist: check the path")
    if driver is None:
        raise DataError(f"'{path}' is no vector file that can be read: expected {', '.join(SUFFIXES)}")
    with path.open("rb") as file:
        start = file.read(64)
    if not start.strip():
        raise DataError(f"vector file '{path}' is empty: export it again")
    fits = (
        start.startswith(STARTS[driver])
        if driver in STARTS
        else start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"
    )
    if not fits:
        raise DataError(f"'{path}' is not a {driver} file, whatever its suffix says: export it again")
    return driver


def _layer(path: Path, wanted: str | None, kinds: tuple[str, ...]) -> str:
    import pyogrio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {str(name): kind for name, kind in pyogrio.list_layers(path)}
    if wanted is not None:
        if wanted not in found:
            raise DataError(f"'{path}' has no layer '{wanted}': its layers are {_listed(found)}")
        return wanted
    drawn = [name for name, kind in found.items() if kind is not None]
    bases = {kind.removeprefix("Multi") for kind in kinds}
    fitting = [n for n in drawn if str(found[n]).split()[0].removeprefix("Multi") in bases] or drawn
    if len(fitting) == 1:
        return fitting[0]
    for usual in ("roads", "edges", "lines"):  # ours, OSMnx's and a `write_network`'s, and GDAL's of OpenStreetMap
        if usual in fitting:
            return usual
    if not fitting:
        raise DataError(f"'{path}' has no layer with geometries: export it again")
    raise DataError(f"'{path}' has several layers ({_listed(fitting)}): keep one of them, or say which")


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"


def _metadata(path: Path, layer: str) -> Mapping[str, Any]:
    import pyogrio

    return pyogrio.read_info(path, layer=layer).get("layer_metadata") or {}


def _values(column: NDArray[Any], kind: str, subtype: str) -> list[Any]:
    """A column as Python's values: None where there is none, whole numbers as int, lists as JSON."""
    if subtype == "OFSTBoolean":
        return [None if v != v else bool(v) for v in column.tolist()]
    if kind in ("OFTInteger", "OFTInteger64") and column.dtype.kind == "f":  # pyogrio's way to say null
        return [None if math.isnan(v) else int(v) for v in column.tolist()]
    if column.dtype.kind == "f":
        return [v if math.isfinite(v) else None for v in column.tolist()]
    return [json.dumps(v.tolist()) if isinstance(v, np.ndarray) else v for v in column.tolist()]


def _wanted(path: Path, layer: str, geometries: Any, kinds: tuple[str, ...]) -> list[int]:
    """Positions of the features to keep; a warning, or an error when none is left, says what the others are."""
    empty = [i for i, g in enumerate(geometries) if g is None or g.is_empty]
    if empty:
        text = f"{len(empty)} features of '{path}' have no geometry: left out"
        warnings.warn(text, RoadsegWarning, stacklevel=4)
    gone = set(empty)
    keep = [i for i, g in enumerate(geometries) if i not in gone and (not kinds or g.geom_type in kinds)]
    others = sorted(
        {g.geom_type for i, g in enumerate(geometries) if i not in gone and kinds and g.geom_type not in kinds}
    )
    if not others:
        return keep
    if not keep:
        raise DataError(_nothing_of(kinds, path, layer, others))
    n = len(geometries) - len(keep) - len(empty)
    text = f"{n} features of '{path}' are not {_name(kinds)} but {', '.join(others)}: left out"
    warnings.warn(text, RoadsegWarning, stacklevel=4)
    return keep


def _nothing_of(kinds: tuple[str, ...], path: Path, layer: str, others: Sequence[str]) -> str:
    wanted = _name(kinds)
    return f"layer '{layer}' of '{path}' has no {wanted} but {', '.join(others)}: give a layer of {wanted}"


def _name(kinds: tuple[str, ...]) -> str:
    return "lines" if "LineString" in kinds else "polygons"


def _crs(
    path: Path, said: str | None, driver: str, about: Mapping[str, Any], bounds: Box | None, pixels: bool
) -> str | None:
    if (said or "").startswith(("LOCAL_CS", "ENGCRS")) and PIXELS in (said or ""):
        return None
    if PIXELS in about.values():
        return None
    if driver == "GeoJSON" and said in (None, "EPSG:4326", "OGC:CRS84"):
        if bounds is None or _are_degrees(bounds):
            return "EPSG:4326"
        if pixels:
            return None
        raise DataError(
            f"the coordinates of '{path}' are no degrees, and it names no other CRS (GeoJSON is in EPSG:4326 then): "
            "export it with its CRS, e.g. as GeoPackage"
        )
    if pixels and (said is None or said.startswith(("LOCAL_CS", "ENGCRS"))):
        return None
    if said is None or said.startswith(("LOCAL_CS", "ENGCRS")):
        raise DataError(
            f"'{path}' does not say its CRS: assign the right one (e.g. ogr2ogr -a_srs EPSG:32611 out.gpkg {path.name})"
        )
    return "EPSG:4326" if said == "OGC:CRS84" else said


def _are_degrees(bounds: Box) -> bool:
    west, south, east, north = bounds
    return west >= -360 and east <= 360 and south >= -90 and north <= 90
