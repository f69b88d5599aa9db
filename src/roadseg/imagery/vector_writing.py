"""Vector files written through pyogrio: any geometries with their attributes; nothing here knows of roads.

Pixel coordinates have no CRS that a map could use: GeoPackage and FlatGeobuf get a local one that says so by its name,
GeoJSON a description.
"""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, OutputError, RoadsegWarning
from ..files import write_aside
from .crs import transform_points
from .vector_files import DRIVERS, PIXELS, WRITABLE, Features

__all__ = ["vector_suffix", "write_features"]

PIXEL_CRS = f'LOCAL_CS["{PIXELS}",UNIT["pixel",1]]'
RESERVED = ("fid", "geom", "geometry", "ogc_fid")  # columns that the formats keep for themselves


def vector_suffix(path: Path) -> str:
    """The suffix of a vector file to be written, checked before any work.

    Raises:
        ConfigError: no format that can be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in WRITABLE:
        raise ConfigError(f"cannot write '{path}': vector files are {', '.join(WRITABLE)}")
    return suffix


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
