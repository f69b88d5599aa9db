"""Two states of a road network: the parts of roads that are new, gone or the same."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, OutputError
from ..imagery.vector_writing import vector_suffix
from .graph import part
from .layers import Road, RoadLayer, lengths, reproject, unit_of, write_layer
from .nearness import Near, check_buffer
from .plane import in_one_plane, read_near

__all__ = ["BUFFER", "MIN_LENGTH", "STATES", "Change", "compare_networks"]

BUFFER = 5.0  # metres: hand-drawn lines of one street by two parties lie that far apart
MIN_LENGTH = 20.0  # metres: a shorter part is a wobble or a kerb, not a change
STATES = ("new", "gone", "same")


@dataclass(frozen=True)
class Change:
    """What became of the roads.

    Attributes:
        layer: all parts, in the CRS of the new network; each road has its source's attributes, `status` ("new",
            "gone", "same") and `length_m` (px of a pixel layer). What is the same is drawn as the new network has it.
        summary: `new_km`, `gone_km`, `same_km`, `old_km`, their numbers of parts `new_parts`, ..., `buffer_m`,
            `min_length_m`, `unit` ("m"; "px": `new_px`, ... instead, and both distances are pixels), and
            `missing_in_old`, the share of the new network's length that is new (None of an empty one).
    """

    layer: RoadLayer
    summary: dict[str, Any]


def compare_networks(
    old: RoadLayer | Path | str,
    new: RoadLayer | Path | str,
    out: Path | str | None = None,
    *,
    buffer: float = BUFFER,
    min_length: float = MIN_LENGTH,
    aoi: Path | str | None = None,
    old_layer: str | None = None,
    new_layer: str | None = None,
) -> Change:
    """Cut roads where they leave the other network's buffer, and say which parts are new, gone or the same.

    With an existing map as `old` and traced roads as `new`, "new" is what is missing in the map.

    A part shorter than `min_length` takes the state of what it adjoins, shortest first: a line that wobbles out of
    the buffer stays in one piece, and a side street is new from the junction on. A road that is shorter as a whole
    keeps its own state, that of the longer part of it.

    Args:
        old: a vector file or a layer; so is `new`.
        out: write the parts there: `.gpkg` or `.fgb` in the CRS of `new`, `.geojson` in EPSG:4326; one layer,
            "changes".
        buffer: metres (pixels of two layers in pixel coordinates).
        min_length: metres; 0 keeps every part.
        aoi: a file of polygons, or a raster: only what lies inside is compared, and of large files read.
        old_layer: which layer of a file with several (see `roads.layers.read_layer`); so is `new_layer`.

    Raises:
        DataError: a file cannot be read; one has a CRS and the other pixel coordinates.
        ConfigError: a distance is negative, or the buffer 0; `out` is no vector file that can be written.
        OutputError: `out` cannot be written, or is one of the files read.
    """
    check_buffer(buffer)
    if not min_length >= 0:
        raise ConfigError(f"min_length = {min_length}: expected 0 or more")
    if out is not None:
        vector_suffix(Path(out))
        _check_kept(Path(out), (old, new, aoi))
    shown = read_near(new, aoi, layer=new_layer)
    before, after = in_one_plane(old, shown, area=aoi, names=(old_layer, None))
    parts = [
        *_parts(after, before, buffer, min_length, near="same", far="new"),
        *_parts(before, after, buffer, min_length, near="", far="gone"),
    ]
    layer = RoadLayer(tuple(parts), after.crs)
    summary = _summary(layer, before, buffer, min_length)
    if shown.crs is not None:
        layer = reproject(layer, shown.crs)
    if out is not None:
        write_layer(layer, out, name="changes")
    return Change(layer, summary)


def _check_kept(out: Path, inputs: Iterable[RoadLayer | Path | str | None]) -> None:
    """Refuse to replace a file that is read; links to it are found, too."""
    for item in inputs:
        if isinstance(item, Path | str) and out.exists() and Path(item).exists() and out.samefile(item):
            raise OutputError(f"cannot write '{out}': it is the input '{item}', which would be lost: give another file")


def _parts(
    layer: RoadLayer, other: RoadLayer, buffer: float, min_length: float, *, near: str, far: str
) -> Iterator[Road]:
    """The roads of `layer` in parts that are near the other network or far from it; a state of "" is left out."""
    along = Near(road.line for road in other.roads).along([road.line for road in layer.roads], buffer)
    for road, (states, step) in zip(layer.roads, along, strict=True):
        at = 0
        for is_near, count in _runs(states, min_length / step):
            status = near if is_near else far
            if status:
                line = road.line if count == len(states) else part(road.line, at * step, (at + count) * step)
                length = float(np.hypot(*np.diff(line, axis=0).T).sum())
                yield replace(road, line=line, properties={**road.properties, "status": status, "length_m": length})
            at += count


def _runs(states: NDArray[np.bool_], shortest: float) -> list[tuple[bool, int]]:
    """(state, number of pieces) of each run of equal states, none shorter than `shortest` pieces unless it is alone."""
    edges = np.flatnonzero(np.diff(states)) + 1
    bounds = np.concatenate([[0], edges, [len(states)]])
    runs = [(bool(states[a]), int(b - a)) for a, b in itertools.pairwise(bounds)]
    while len(runs) > 1:
        k = min(range(len(runs)), key=lambda i: runs[i][1])
        if runs[k][1] >= shortest:
            break
        low, high = max(k - 1, 0), min(k + 2, len(runs))
        runs[low:high] = [(not runs[k][0], sum(count for _, count in runs[low:high]))]
    return runs


def _summary(layer: RoadLayer, before: RoadLayer, buffer: float, min_length: float) -> dict[str, Any]:
    unit = unit_of(layer)
    scale, suffix = (1.0, "px") if unit == "px" else (1000.0, "km")
    totals = dict.fromkeys(STATES, 0.0)
    counts = dict.fromkeys(STATES, 0)
    for road in layer.roads:
        totals[road.properties["status"]] += road.properties["length_m"]
        counts[road.properties["status"]] += 1
    whole = totals["new"] + totals["same"]
    return {
        **{f"{state}_{suffix}": totals[state] / scale for state in STATES},
        f"old_{suffix}": float(lengths(before).sum()) / scale,
        **{f"{state}_parts": counts[state] for state in STATES},
        "missing_in_old": totals["new"] / whole if whole else None,
        "buffer_m": buffer,
        "min_length_m": min_length,
        "unit": unit,
    }
