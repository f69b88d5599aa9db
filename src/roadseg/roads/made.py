"""Made road networks whose lines are known, and their masks: to test and to measure what turns masks into lines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .layers import Road, RoadLayer

__all__ = ["MadeNetwork", "burn", "made_network"]


@dataclass(frozen=True)
class MadeNetwork:
    """A network in pixel coordinates, with `width_px` of each road, and the raster's size."""

    layer: RoadLayer
    height: int
    width: int
    junctions: int

    def mask(self) -> NDArray[np.uint8]:
        """(height, width) uint8, 0 and 255."""
        return burn(self.layer, self.height, self.width)


def burn(layer: RoadLayer, height: int, width: int) -> NDArray[np.uint8]:
    """(height, width) uint8, 0 and 255: lines in pixel coordinates drawn `width_px` wide, with round ends.

    A pixel is road where its centre is within half a width of a line.
    """
    import shapely
    from rasterio.features import rasterize

    shapes = [
        shapely.buffer(shapely.LineString(road.line), float(road.properties.get("width_px", 1)) / 2)
        for road in layer.roads
    ]
    mask: NDArray[np.uint8] = np.zeros((height, width), np.uint8)
    if shapes:
        rasterize(((shape, 255) for shape in shapes), out=mask)
    return mask


def made_network(
    side: int = 23,
    *,
    spacing: int = 130,
    seed: int = 0,
    widths: Sequence[int] = (6, 9, 12, 15),
    curves: float = 0.3,
    roundabouts: float = 0.06,
    dead_ends: float = 0.12,
    missing: float = 0.1,
) -> MadeNetwork:
    """A crooked grid of `side` x `side` crossings; 23 gives about 500 junctions.

    Args:
        spacing: px between crossings.
        widths: px of a row's or a column's roads.
        curves: share of the roads that are bent; `roundabouts`: of the crossings that are rings; `dead_ends`: of the
            roads that have a side road to nowhere; `missing`: of the roads that are left out.
    """
    rng = np.random.default_rng(seed)
    size = spacing * (side + 1)
    places = (np.mgrid[1 : side + 1, 1 : side + 1][::-1].reshape(2, -1).T * spacing).astype(np.float64)
    places += rng.uniform(-0.18, 0.18, places.shape) * spacing
    wide = rng.choice(np.asarray(widths), (2, side))
    ring = rng.random(len(places)) < roundabouts
    radius = 0.17 * spacing
    roads: list[tuple[NDArray[np.float64], int]] = []
    bearings: dict[int, list[float]] = {}
    ends: dict[int, int] = {}
    extra = 0
    for y in range(side):
        for x in range(side):
            for across, ok in ((True, x + 1 < side), (False, y + 1 < side)):
                if not ok or rng.random() < missing:
                    continue
                start, stop = y * side + x, y * side + x + (1 if across else side)
                width = int(wide[0, y] if across else wide[1, x])
                line = _bent(places[start], places[stop], spacing, rng if rng.random() < curves else None)
                if ring[start]:
                    line = _from_ring(line, places[start], radius, bearings.setdefault(start, []))
                if ring[stop]:
                    line = _from_ring(line[::-1], places[stop], radius, bearings.setdefault(stop, []))[::-1]
                roads.append((line, width))
                ends[start], ends[stop] = ends.get(start, 0) + 1, ends.get(stop, 0) + 1
                if rng.random() < dead_ends:
                    roads.append((_side_road(line, spacing, rng), int(min(widths))))
                    extra += 1
    for node, angles in bearings.items():
        around = np.linspace(0, 2 * math.pi, 49)
        turns = np.unique(np.concatenate([around, np.mod(angles, 2 * math.pi)]))
        circle = places[node] + radius * np.column_stack([np.cos(turns), np.sin(turns)])
        roads.append((np.concatenate([circle[:-1], circle[:1]]), int(min(widths))))
    crossings = sum(1 for node, count in ends.items() if count >= 3 and not ring[node])
    in_rings = sum(len(angles) for angles in bearings.values())
    layer = RoadLayer(tuple(Road(line, {"width_px": float(width)}) for line, width in roads), None)
    return MadeNetwork(layer, size, size, crossings + in_rings + extra)


def _bent(
    start: NDArray[np.float64], stop: NDArray[np.float64], spacing: int, rng: np.random.Generator | None
) -> NDArray[np.float64]:
    """(N, 2) straight, or a quadratic Bézier curve bent to one side."""
    t = np.linspace(0, 1, 25)[:, None]
    if rng is None:
        return np.stack([start, stop])
    way = stop - start
    middle = (start + stop) / 2 + np.array([-way[1], way[0]]) / math.hypot(*way) * rng.uniform(-0.3, 0.3) * spacing
    curve: NDArray[np.float64] = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * stop
    return curve


def _from_ring(
    line: NDArray[np.float64], centre: NDArray[np.float64], radius: float, bearings: list[float]
) -> NDArray[np.float64]:
    """The line from where it leaves the ring around its start; the bearing of that place is noted."""
    t = np.linspace(0, 1, 400)
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    dense = np.column_stack([np.interp(t * along[-1], along, line[:, k]) for k in (0, 1)])
    first = int(np.argmax(np.hypot(*(dense - centre).T) >= radius))
    angle = math.atan2(*(dense[first] - centre)[::-1])
    bearings.append(angle)
    start = centre + radius * np.array([math.cos(angle), math.sin(angle)])
    keep = line[along > t[first] * along[-1] + 1]
    return np.concatenate([start[None], keep])


def _side_road(line: NDArray[np.float64], spacing: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, 2) from the middle of a line at about a right angle to nowhere."""
    k = max(1, len(line) // 2)
    start, way = (line[k - 1] + line[k]) / 2, line[k] - line[k - 1]
    side = np.array([-way[1], way[0]]) / math.hypot(*way) * rng.choice([-1, 1])
    return np.stack([start, start + side * rng.uniform(0.25, 0.33) * spacing])
