"""From a mask or a probability raster to roads as lines: the whole way, its options, and what is said of each road.

hysteresis -> holes filled -> skeleton          skeleton.py, tile by tile
-> pixels to nodes and edges                    tracing.py
-> spurs, gaps, junctions, small pieces, ends  cleaning.py, bridging.py: on the network of the whole raster
-> smoothed, simplified, measured               here
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, DataError, RoadsegWarning
from .bands import BAND, Grid, Raster, Survey, open_raster, survey
from .bridging import LONG, SHORT, Bridging, bridge
from .cleaning import drop_small, gap_length, merge_junctions, prune, straighten_ends, straighten_junctions
from .layers import Road, RoadLayer, length_m
from .skeleton import HALO, TILE, skeletonize
from .tracing import HALF, OTHER, VALUE, Network, drop_weak, trace_pixels

__all__ = ["TraceOptions", "has_roads", "trace", "trace_file", "trace_raster"]

SMOOTHING = (2, 6)  # px, half of the moving average: as wide as the road, within these
MOSTLY_ROAD = 0.6  # share of the pixels above which a mask is probably inverted


@dataclass(frozen=True)
class TraceOptions:
    """How a raster becomes lines.

    Attributes:
        threshold: road is where the probability is above it; of a mask, where it is not 0.
        low: and where it is above this in one piece with such; at least `threshold` switches hysteresis off.
        tolerance: px, how far a simplified line may be from the traced one (Douglas and Peucker 1973); 0: every pixel.
        min_length: metres; pieces of the network, and dead ends, shorter than this are dropped.
        bridge: metres, the longest gap to bridge; 0: none; None: four widths of the raster's typical road where there
            are probabilities, 1.5 where a mask says nothing of what lies in a gap.
        prune: spurs shorter than so many road widths are dropped; 0: none.
        merge: junctions closer than so many road widths are one; 0: none.
        hole: holes of up to so many squares of the road's width are filled; 0: none.
        speck: pieces that cover fewer than so many squares of the road's width are dropped; 0: none.
    """

    threshold: float = 0.5
    low: float = 0.3
    tolerance: float = 1.5
    min_length: float = 0.0
    bridge: float | None = None
    prune: float = 1.0
    merge: float = 1.0
    hole: float = 1.0
    speck: float = 4.0

    def check(self) -> None:
        """Raises ConfigError where a value makes no sense."""
        for name in ("threshold", "low"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ConfigError(f"{name} is {value:g}: expected a probability, 0 <= {name} < 1")
        for name in ("tolerance", "min_length", "bridge", "prune", "merge", "hole", "speck"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ConfigError(f"{name} is {value:g}: expected 0 or more")


def trace(
    raster: NDArray[Any],
    transform: Sequence[float] | None = None,
    crs: str | None = None,
    options: TraceOptions | None = None,
    *,
    valid: NDArray[np.bool_] | None = None,
    uncertainty: NDArray[Any] | None = None,
) -> RoadLayer:
    """Centre lines of the roads in an array.

    >>> layer = trace(mask)  # pixel coordinates
    >>> layer = trace(probability, source.transform, source.crs.to_string())

    Args:
        raster: (H, W) mask (bool, 0 and 1, or 0 and 255) or probability (uint8 0 to 255, or real 0 to 1).
        transform: of the pixels' corners, as rasterio's `Affine`, or its first six numbers; needs `crs`.
        crs: "EPSG:32611" or WKT; None: pixel coordinates, (0, 0) the upper left corner of the image.
        valid: (H, W), False where there is no data: not road.
        uncertainty: (H, W) like a probability; its mean along each road becomes an attribute.

    Returns:
        A layer whose roads have `length_m`, `width_m` (`length_px`, `width_px` in pixel coordinates), `probability`
        (where the raster is one), `uncertainty` (where given), `bridged_m` and the degree of both ends.

    Raises:
        DataError: another shape or dtype.
        ConfigError: an option that makes no sense.
    """
    if (crs is None) != (transform is None):
        raise DataError("give the transform together with the CRS, or neither: pixel coordinates have no transform")
    grid = Grid() if crs is None or transform is None else Grid(_six(transform), crs)
    other = None if uncertainty is None else Raster(uncertainty, name="the uncertainty")
    return trace_raster(Raster(raster, valid, grid), options, uncertainty=other)


def trace_file(
    path: Path | str,
    options: TraceOptions | None = None,
    *,
    uncertainty: Path | str | None = None,
    like: Path | str | None = None,
) -> RoadLayer:
    """Centre lines of the roads in a raster file of any size; see `trace`.

    Args:
        uncertainty: a raster of the same size.
        like: a GeoTIFF that says where the pixels of a plain image lie.

    Raises:
        ImageError: a file is missing or unreadable.
        DataError: a colour image, sizes that differ.
    """
    with open_raster(path, like) as raster:
        if uncertainty is None:
            return trace_raster(raster, options)
        with open_raster(uncertainty) as other:
            return trace_raster(raster, options, uncertainty=other)


def trace_raster(
    raster: Raster,
    options: TraceOptions | None = None,
    *,
    uncertainty: Raster | None = None,
    band: int = BAND,
    tile: int = TILE,
    halo: int = HALO,
) -> RoadLayer:
    """The same for an open raster. `band`, `tile`, `halo`: px, what is looked at together; the result is the same."""
    options = options or TraceOptions()
    options.check()
    if uncertainty is not None and (uncertainty.height, uncertainty.width) != (raster.height, raster.width):
        raise DataError(
            f"{uncertainty.name} is {uncertainty.width}x{uncertainty.height} but {raster.name} is "
            f"{raster.width}x{raster.height}: give the uncertainty of this raster"
        )
    seen = survey(raster, options.threshold, options.low, band)
    if not has_roads(raster, seen, options):
        return RoadLayer((), raster.grid.crs)
    skeleton = skeletonize(raster, seen, hole=options.hole, other=uncertainty, tile=tile, halo=halo)
    network = trace_pixels(drop_weak(skeleton))
    _clean(network, raster, seen, options)
    return _layer(network, raster, seen, options, uncertainty is not None)


def _six(transform: Sequence[float]) -> tuple[float, float, float, float, float, float]:
    a, b, c, d, e, f = (float(value) for value in tuple(transform)[:6])
    return a, b, c, d, e, f


def has_roads(raster: Raster, seen: Survey, options: TraceOptions, *, lines: bool = True) -> bool:
    """False, with a warning, where there is nothing to trace: no road at all, or of lines nothing but road."""
    if seen.road == 0:
        why = (
            f"its largest value is {seen.largest} of 255; threshold {options.threshold:g}. If these are class indices, "
            "make a mask of the class of roads first"
            if seen.largest
            else "all of it is 0"
        )
        warnings.warn(f"{raster.name} has no road pixel ({why}): no roads", RoadsegWarning, stacklevel=4)
        return False
    if seen.road == seen.pixels:
        more = ": it has no centre lines" if lines else ""
        warnings.warn(f"every pixel of {raster.name} is road{more}", RoadsegWarning, stacklevel=4)
        return not lines
    if seen.road > MOSTLY_ROAD * seen.pixels:
        share = seen.road / seen.pixels
        text = f"{share:.0%} of {raster.name} is road: is the mask inverted, or the threshold too low?"
        warnings.warn(text, RoadsegWarning, stacklevel=4)
    return True


def _clean(network: Network, raster: Raster, seen: Survey, options: TraceOptions) -> None:
    pixel = raster.grid.pixel_m(raster.height, raster.width)
    network.ground = raster.grid.shape(raster.height, raster.width)
    prune(network, options.prune)
    usual = SHORT if seen.is_mask else LONG
    gap = usual * seen.width if options.bridge is None else options.bridge / pixel
    probable = None if seen.is_mask else min(options.low, options.threshold) / 2
    bridge(network, raster, Bridging(gap, seen.width, seen.levels[0] / 255, probable))
    merge_junctions(network, options.merge)
    drop_small(network, options.speck * seen.width**2, options.min_length / pixel)
    straighten_ends(network)
    straighten_junctions(network)


# --- lines -----------------------------------------------------------------------------------------------------------


def _layer(network: Network, raster: Raster, seen: Survey, options: TraceOptions, other: bool) -> RoadLayer:
    edges = [network.edges[number] for number in sorted(network.edges)]
    if not edges:
        return RoadLayer((), raster.grid.crs)
    half = int(np.clip(round(seen.width / 2), *SMOOTHING))
    lines = _simplified(_smoothed([edge.points for edge in edges], half), options.tolerance)
    metres = raster.grid.metres(raster.height, raster.width)
    unit = "px" if raster.grid.crs is None else "m"
    placed = [Road(raster.grid.place(line), {}) for line in lines]
    lengths = length_m(RoadLayer(tuple(placed), raster.grid.crs))
    roads = []
    for edge, line, road, length in zip(edges, lines, placed, lengths, strict=True):
        across, along = _scales(line, metres)
        half_width = _median(edge.samples[:, HALF])
        # From a pixel's centre to the nearest centre beyond the border is half a pixel more than to the border; a
        # road of an even number of pixels has its centre between two of them: a quarter each way is the mean error.
        width = None if half_width is None else (2 * half_width - 0.5) * across
        said: dict[str, Any] = {f"length_{unit}": float(length), f"width_{unit}": width}
        if not seen.is_mask:
            said["probability"] = _mean(edge.samples[:, VALUE])
        if other:
            said["uncertainty"] = _mean(edge.samples[:, OTHER])
        said[f"bridged_{unit}"] = gap_length(edge) * along
        said["degree_start"], said["degree_end"] = network.degree(edge.a), network.degree(edge.b)
        roads.append(Road(road.line, said))
    return RoadLayer(tuple(roads), raster.grid.crs)


def _smoothed(lines: Sequence[NDArray[np.float64]], half: int) -> list[NDArray[np.float64]]:
    """Moving averages over 2 * half + 1 points, twice; towards the ends over fewer, so that these stay in place."""
    sizes = np.array([len(line) for line in lines])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    points = np.concatenate(lines)
    inside = np.arange(len(points)) - np.repeat(starts[:-1], sizes)
    reach = np.minimum(np.minimum(inside, np.repeat(sizes, sizes) - 1 - inside), half)
    here = np.arange(len(points))
    origin = points.mean(axis=0)  # sums over millions of points stay exact enough
    points = points - origin
    for _ in range(2):
        sums = np.concatenate([np.zeros((1, 2)), np.cumsum(points, axis=0)])
        mean = (sums[here + reach + 1] - sums[here - reach]) / (2 * reach + 1)[:, None]
        points = np.where((reach > 0)[:, None], mean, points)
    return np.split(points + origin, starts[1:-1])


def _simplified(lines: Sequence[NDArray[np.float64]], tolerance: float) -> list[NDArray[np.float64]]:
    import shapely

    if tolerance <= 0:
        return list(lines)
    sizes = [len(line) for line in lines]
    shapes = shapely.linestrings(np.concatenate(lines), indices=np.repeat(np.arange(len(lines)), sizes))
    simple = shapely.simplify(shapes, tolerance, preserve_topology=False)
    found = []
    for shape, line in zip(simple, lines, strict=True):
        points = shapely.get_coordinates(shape)
        if len(points) < 2 or (len(points) == 2 and (points[0] == points[1]).all()):
            points = line[[0, len(line) // 3, 2 * len(line) // 3, -1]]  # a ring smaller than the tolerance
        found.append(points)
    return found


def _scales(line: NDArray[np.float64], metres: NDArray[np.float64]) -> tuple[float, float]:
    """Metres of a pixel across the line and along it, means over its parts: pixels in degrees are not square."""
    steps = np.diff(line, axis=0)
    sizes = np.hypot(*steps.T)
    total = max(float(sizes.sum()), 1e-9)
    along = np.hypot(*(steps @ metres).T)
    across = np.hypot(*(np.column_stack([-steps[:, 1], steps[:, 0]]) @ metres).T)
    return float(across.sum()) / total, float(along.sum()) / total


def _known(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values[np.isfinite(values)]


def _median(values: NDArray[np.float32]) -> float | None:
    known = _known(values)
    return float(np.median(known)) if len(known) else None


def _mean(values: NDArray[np.float32]) -> float | None:
    known = _known(values)
    return float(known.mean()) if len(known) else None
