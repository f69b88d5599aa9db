"""Vector files through pyogrio: any geometries with their attributes, read and written; nothing here knows of roads.

A file in pixel coordinates has no CRS that a map could use. GeoPackage and FlatGeobuf then get a local one that says
so by its name, GeoJSON a description; read here, these files are in pixel coordinates again.
"""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, DataError, OutputError, RoadsegWarning
from ..files import write_aside
from .crs import transform_points

__all__ = ["SUFFIXES", "WRITABLE", "Features", "read_features", "vector_suffix", "write_features"]

WRITABLE = (".gpkg", ".geojson", ".fgb")
SUFFIXES = (*WRITABLE, ".json", ".shp")
DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".json": "GeoJSON", ".fgb": "FlatGeobuf", ".shp": "ESRI Shapefile"}
STARTS = {"GPKG": b"SQLite format 3\0", "FlatGeobuf": b"fgb", "ESRI Shapefile": b"\0\0\x27\x0a"}
PIXELS = "pixel coordinates: x to the right, y down"
PIXEL_CRS = f'LOCAL_CS["{PIXELS}",UNIT["pixel",1]]'
RESERVED = ("fid", "geom", "geometry", "ogc_fid")  # columns that the formats keep for themselves


@dataclass(frozen=True)
class Features:
    """Geometries of one layer, their attributes in the same order, and the CRS (None: pixel coordinates)."""

    geometries: Sequence[Any]
    properties: Sequence[Mapping[str, Any]]
    crs: str | None


def vector_suffix(path: Path) -> str:
    """The suffix of a vector file to be written, checked before any work.

    Raises:
        ConfigError: no format that can be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in WRITABLE:
        raise ConfigError(f"cannot write '{path}': vector files are {', '.join(WRITABLE)}")
    return suffix


# --- reading ---------------------------------------------------------------------------------------------------------


def read_features(
    path: Path, *, layer: str | None = None, pixels: bool = False, kinds: tuple[str, ...] = ()
) -> Features:
    """One layer of a vector file, in two dimensions. Features without a geometry are left out with a warning.

    Args:
        layer: None: the only layer with geometries (of `kinds`), or the one called "roads", "edges" or "lines".
        pixels: a file without a CRS is in pixel coordinates, instead of an error.
        kinds: shapely's names of the geometries wanted; others are left out with a warning; () is all.

    Raises:
        DataError: missing, empty, not such a file; no such layer; nothing of `kinds` in it; no CRS.
    """
    import shapely
    from pyogrio import errors

    path = Path(path)
    driver = _driver(path)
    try:
        chosen = _layer(path, layer, kinds)
        meta, _, blobs, columns = _read(path, chosen, driver)
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
    crs = _crs(path, meta["crs"], driver, about, kept, pixels)
    return Features(kept, [rows[i] for i in keep], crs)


def _read(path: Path, layer: str, driver: str) -> Any:
    """What `pyogrio.raw.read` gives. Shapefiles that name the wrong encoding are common, and read as Latin-1."""
    from pyogrio import raw

    options: dict[str, Any] = {"layer": layer, "force_2d": True, "datetime_as_string": True}
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
    wanted = "lines" if "LineString" in kinds else "polygons"
    if not keep:
        raise DataError(
            f"layer '{layer}' of '{path}' has no {wanted} but {', '.join(others)}: give a layer of {wanted}"
        )
    n = len(geometries) - len(keep) - len(empty)
    text = f"{n} features of '{path}' are not {wanted} but {', '.join(others)}: left out"
    warnings.warn(text, RoadsegWarning, stacklevel=4)
    return keep


def _crs(
    path: Path, said: str | None, driver: str, about: Mapping[str, Any], geometries: Any, pixels: bool
) -> str | None:
    if (said or "").startswith(("LOCAL_CS", "ENGCRS")) and PIXELS in (said or ""):
        return None
    if PIXELS in about.values():
        return None
    if driver == "GeoJSON" and said in (None, "EPSG:4326", "OGC:CRS84"):
        if not geometries or _are_degrees(geometries):
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


def _are_degrees(geometries: Any) -> bool:
    import shapely

    west, south, east, north = shapely.total_bounds(np.asarray(geometries, dtype=object))
    return bool(west >= -360 and east <= 360 and south >= -90 and north <= 90)


# --- writing ---------------------------------------------------------------------------------------------------------


def write_features(path: Path, layers: Mapping[str, Features], *, kind: str | Mapping[str, str]) -> None:
    """Write layers by name, aside and renamed: `.gpkg`; `.fgb` and `.geojson` (in EPSG:4326) have one layer.

    Args:
        kind: the geometries' type as shapely names it, of all layers or by layer.

    Raises:
        ConfigError: another suffix, or several layers in a file of one.
        OutputError: the file cannot be written.
    """
    from pyogrio import errors, raw

    path = Path(path)
    suffix = vector_suffix(path)
    if len(layers) != 1 and suffix != ".gpkg":
        raise ConfigError(f"cannot write {len(layers)} layers to '{path}': give a .gpkg")
    if any(features.crs is None for features in layers.values()):
        warnings.warn(f"'{path}' is in pixel coordinates (x to the right, y down)", RoadsegWarning, stacklevel=3)
    with write_aside(path) as aside, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'crs' was not provided")  # a GeoJSON of pixels
        aside.unlink()  # an empty file is not a GeoPackage to add to
        for name, features in layers.items():
            features, options = _fitted(features, suffix)
            fields, columns, masks = _columns(features.properties)
            try:
                raw.write(
                    aside,
                    _wkb(features.geometries),
                    field_data=columns,
                    fields=np.array(fields, dtype=object),
                    field_mask=masks,
                    layer=name,
                    driver=DRIVERS[suffix],
                    geometry_type=kind if isinstance(kind, str) else kind[name],
                    crs=features.crs,
                    **options,
                )
            except (errors.DataSourceError, errors.DataLayerError, errors.FieldError, errors.FeatureError) as error:
                raise OutputError(f"cannot write '{path}': {error}") from error
            except errors.GeometryError as error:
                raise OutputError(f"cannot write '{path}': {error}") from error
            except UnicodeError as error:
                raise OutputError(f"cannot write '{path}': an attribute holds what is no text ({error})") from error
            _check_written(aside, path, name if suffix == ".gpkg" else None, len(features.geometries))


def _check_written(aside: Path, path: Path, layer: str | None, expected: int) -> None:
    """Read back what was written: GDAL keeps silent where the disk filled up as it closed the file.

    Raises:
        OutputError: not all of it is there.
    """
    from pyogrio import errors, raw

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, _, geometries, _ = raw.read(aside, layer=layer, columns=[])
        found = sum(geometry is not None for geometry in geometries)
    except (errors.DataSourceError, errors.DataLayerError, errors.FeatureError, OSError):
        found = -1
    if found != expected:
        raise OutputError(f"cannot write '{path}': not all of its {expected} features reached the disk: is it full?")


def _fitted(features: Features, suffix: str) -> tuple[Features, dict[str, Any]]:
    """The features in a CRS that the format has, and the options of the format."""
    if suffix == ".geojson":
        if features.crs is None:
            return features, {"layer_options": {"DESCRIPTION": PIXELS, "COORDINATE_PRECISION": "3"}}
        moved = features if features.crs == "EPSG:4326" else _degrees(features)
        # 8 decimals are a millimetre; RFC 7946 forbids naming a CRS.
        return moved, {"layer_options": {"RFC7946": "YES", "COORDINATE_PRECISION": "8"}}
    return (features if features.crs else Features(features.geometries, features.properties, PIXEL_CRS)), {}


def _degrees(features: Features) -> Features:
    import shapely

    source = str(features.crs)
    moved = shapely.transform(
        np.array(list(features.geometries), dtype=object),
        lambda points: transform_points(points, source, "EPSG:4326") if len(points) else points,
    )
    return Features(list(moved), features.properties, "EPSG:4326")


def _wkb(geometries: Sequence[Any]) -> NDArray[Any]:
    import shapely

    shapes = np.empty(len(geometries), dtype=object)
    shapes[:] = list(geometries)
    return np.asarray(shapely.to_wkb(shapes), dtype=object)


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[NDArray[Any]], list[NDArray[np.bool_]]]:
    """Names, values and null masks of the columns that any row has; names that differ by case only get a number."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    fields: list[str] = []
    columns, masks = [], []
    for name in names:
        values = [_plain(row.get(name)) for row in rows]
        nulls = np.array([v is None for v in values], bool)
        columns.append(_typed(values))
        masks.append(nulls)
        field, n = (f"source_{name}" if name.lower() in RESERVED else name), 2
        while field.lower() in (f.lower() for f in fields):
            field, n = f"{name}_{n}", n + 1
        fields.append(field)
    return fields, columns, masks


def _plain(value: Any) -> Any:
    """One of None, bool, int, float, str."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)


def _typed(values: list[Any]) -> NDArray[Any]:
    kinds = {type(v) for v in values if v is not None}
    if kinds == {bool}:
        return np.array([bool(v) for v in values], bool)
    if kinds == {int} and all(v is None or -(2**63) <= v < 2**63 for v in values):
        return np.array([v or 0 for v in values], np.int64)
    if kinds and kinds <= {int, float}:
        return np.array([np.nan if v is None else v for v in values], np.float64)
    return np.array([None if v is None else str(v) for v in values], dtype=object)
