"""Bridging gaps: dead ends that point at each other, or at another road, where direction and probability agree.

A bridge crosses no road: ends on both sides of one are led onto it.

What is between two ends is read from the raster along the straight line; the gap is what is not road on it (a
skeleton ends half a width before its road does). A gap that is short against the road's width needs no more than
direction; a longer one needs some probability on the way where the raster has probabilities, and a narrower direction
where it is a mask, which knows nothing between 0 and 1. Lengths and directions are those on the ground, whatever the
shape of the pixels.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bands import Raster
from .cleaning import direction
from .tracing import GAP, HALF, OTHER, RADIUS, SAMPLES, VALUE, Edge, Network

__all__ = ["LONG", "SHORT", "Bridging", "bridge"]

SHORT = 1.5  # road widths: a gap that a tree or a shadow makes
LONG = 4.0  # the longest that probabilities may vouch for, unless another is asked for
WIDE = math.cos(math.radians(45))  # directions may be off by as much, for a short or a probable way
NARROW = math.cos(math.radians(25))  # and by as much for a long way over nothing
LOW_SLACK = 1e-6  # a value of just `low` is road, as 8-bit values have it
BLOCK = 512  # px: the raster is read in squares of this side


@dataclass(frozen=True)
class Bridging:
    """The rules.

    Attributes:
        distance: the longest gap on the ground, in sides of a square with a pixel's area.
        width: px, the typical road's width.
        low: value, 0 to 1, from which on a pixel is road.
        probable: mean value in the gap, 0 to 1, from which on it counts as probable; None: the raster is a mask.
    """

    distance: float
    width: float
    low: float
    probable: float | None


@dataclass(frozen=True)
class _Way:
    cost: float
    node: int
    other: int  # a dead end, or 0
    edge: int  # the edge that is met, or 0
    index: int  # the point of it
    points: NDArray[np.float64]
    values: NDArray[np.float32]


def bridge(network: Network, raster: Raster, rules: Bridging) -> int:
    """Bridge gaps in place, first between dead ends, then from dead ends to roads; the number of bridges."""
    if rules.distance <= 0:
        return 0
    free = {node: _heading(network, node, rules) for node in sorted(network.around) if network.degree(node) == 1}
    built = _between_ends(network, raster, rules, free)
    free = {node: way for node, way in free.items() if network.degree(node) == 1}
    built += _onto_roads(network, raster, rules, free)
    network.join(sorted(network.around))
    return built


def _heading(network: Network, node: int, rules: Bridging) -> NDArray[np.float64]:
    """(2,) unit vector on the ground, out of the road at its end."""
    edge = network.leaving(network.around[node][0], node)
    way = direction(edge, max(2 * rules.width, 8.0)) @ network.ground
    size = math.hypot(*way)
    return way / size if size else way


def _reach(network: Network, rules: Bridging) -> float:
    """How far apart the ends of two skeletons may be: each ends half a width before its road does."""
    return rules.distance + 2 * rules.width * float(np.linalg.norm(network.ground, 2))


def _gap(network: Network, points: NDArray[np.float64], values: NDArray[np.float32], rules: Bridging) -> float:
    """How long the part of a straight way is, on the ground, that is no road."""
    way = points[-1] - points[0]
    stretch = math.hypot(*(way @ network.ground)) / math.hypot(*way)
    return float((values < rules.low - LOW_SLACK).sum()) * stretch


def _between_ends(network: Network, raster: Raster, rules: Bridging, free: dict[int, NDArray[np.float64]]) -> int:
    from scipy.spatial import cKDTree

    if len(free) < 2:
        return 0
    nodes = list(free)
    places = np.array([network.places[node] for node in nodes]) @ network.ground
    pairs = sorted(cKDTree(places).query_pairs(_reach(network, rules)))
    asked = []
    for i, j in pairs:
        a, b = nodes[i], nodes[j]
        way = places[j] - places[i]
        length = math.hypot(*way)
        if length == 0:
            continue
        if network.around[a] == network.around[b] and network.length(network.edges[network.around[a][0]]) < 3 * length:
            continue  # the two ends of one short road
        aligned = min(float(free[a] @ way), float(-free[b] @ way)) / length
        if aligned >= WIDE:
            asked.append((a, b, aligned, length))
    ways = []
    lines = [_straight(network.places[a], network.places[b]) for a, b, _, _ in asked]
    for (a, b, aligned, length), points, values in zip(asked, lines, read_along(raster, lines), strict=True):
        if _agrees(aligned, _gap(network, points, values, rules), values, rules):
            ways.append(_Way(length * (1 + 2 * (1 - aligned)), a, b, 0, 0, points, values))
    if not ways:
        return 0
    ways.sort(key=lambda way: (way.cost, way.node, way.other))
    crossed, rivals = _crossings(network, ways)
    built: set[int] = set()
    for k, way in enumerate(ways):
        if k in crossed or built & rivals.get(k, set()):
            continue
        if network.degree(way.node) == 1 and network.degree(way.other) == 1:
            network.add_edge(_gap_edge(network, way.node, way.other, way.points, way.values))
            built.add(k)
    return len(built)


def _crossings(network: Network, ways: Sequence[_Way]) -> tuple[set[int], dict[int, set[int]]]:
    """Which ways cross a road, and which cross each other.

    A street that is hidden on both sides of another one must meet it: `_onto_roads` makes the junction.
    """
    import shapely

    numbers = sorted(number for number, edge in network.edges.items() if len(edge.points) > 1)
    tree = shapely.STRtree([shapely.LineString(network.edges[number].points) for number in numbers])
    lines = [shapely.LineString(way.points[[0, -1]]) for way in ways]
    own = [{*network.around[way.node], *network.around[way.other]} for way in ways]
    roads = tree.query(lines, predicate="intersects").T.tolist()
    rivals: dict[int, set[int]] = {}
    for k, other in shapely.STRtree(lines).query(lines, predicate="crosses").T.tolist():
        rivals.setdefault(k, set()).add(other)
    return {k for k, near in roads if numbers[near] not in own[k]}, rivals


def _onto_roads(network: Network, raster: Raster, rules: Bridging, free: dict[int, NDArray[np.float64]]) -> int:
    """From dead ends to the nearest other road ahead; the roads that are met get a junction there."""
    from scipy.spatial import cKDTree

    if not free or len(network.edges) < 2:
        return 0
    numbers = sorted(network.edges)
    sizes = [len(network.edges[number].points) for number in numbers]
    points = np.concatenate([network.edges[number].points for number in numbers])
    owner = np.repeat(np.asarray(numbers), sizes)
    index = np.concatenate([np.arange(size) for size in sizes])
    flat = points @ network.ground
    tree = cKDTree(flat)
    asked: list[tuple[int, int, float, float]] = []
    for node, heading in free.items():
        place = network.places[node] @ network.ground
        own = network.around[node][0]
        near = np.array(sorted(tree.query_ball_point(place, _reach(network, rules))), np.int64)
        near = near[owner[near] != own]
        if not len(near):
            continue
        ways = flat[near] - place
        lengths = np.hypot(*ways.T)
        ahead = (ways @ heading) / np.maximum(lengths, 1e-9)
        fits = (ahead >= WIDE) & (lengths > 0)
        if fits.any():
            cost = np.where(fits, lengths * (1 + 2 * (1 - ahead)), np.inf)
            best = int(np.argmin(cost))
            asked.append((node, int(near[best]), float(ahead[best]), float(lengths[best])))
    lines = [_straight(network.places[node], points[k]) for node, k, _, _ in asked]
    met: dict[int, list[_Way]] = {}
    for (node, k, aligned, length), line, values in zip(asked, lines, read_along(raster, lines), strict=True):
        if _agrees(aligned, _gap(network, line, values, rules), values, rules):
            edge = int(owner[k])
            met.setdefault(edge, []).append(_Way(length, node, 0, edge, int(index[k]), line, values))
    built = 0
    for number, ways_in in met.items():
        built += _meet(network, number, ways_in)
    return built


def _meet(network: Network, number: int, ways: Sequence[_Way]) -> int:
    """Split an edge where ways meet it, and lead them there."""
    edge = network.edges[number]
    last = len(edge.points) - 1
    nodes = {0: edge.a, last: edge.b}
    for way in sorted(ways, key=lambda way: (way.index, way.node)):
        if way.index not in nodes:
            radius = float(edge.samples[way.index, RADIUS])
            if not math.isfinite(radius):  # in a bridge: as wide as the road that meets it
                radius = network.radius[way.node]
            nodes[way.index] = network.add_node(edge.points[way.index], radius)
    cuts = sorted(nodes)
    if len(cuts) > 2 or last == 0:
        network.remove_edge(number)
        for start, stop in itertools.pairwise(cuts):
            part = slice(start, stop + 1)
            network.add_edge(Edge(nodes[start], nodes[stop], edge.points[part], edge.samples[part]))
    for way in ways:
        network.add_edge(_gap_edge(network, way.node, nodes[way.index], way.points, way.values))
    return len(ways)


def _agrees(aligned: float, gap: float, values: NDArray[np.float32], rules: Bridging) -> bool:
    """Whether a way of `values`, a pixel apart, may be bridged; `gap` of it is no road."""
    if gap > rules.distance:
        return False
    if gap <= SHORT * rules.width:
        return True
    if rules.probable is not None:
        return float(values[values < rules.low - LOW_SLACK].mean()) >= rules.probable
    return aligned >= NARROW


def _straight(start: NDArray[np.float64], stop: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2) points from start to stop about 1 px apart, both included."""
    steps = max(1, round(math.dist(start, stop)))
    along = np.linspace(0, 1, steps + 1)[:, None]
    return start * (1 - along) + stop * along


def _gap_edge(network: Network, a: int, b: int, points: NDArray[np.float64], values: NDArray[np.float32]) -> Edge:
    samples = np.full((len(points), SAMPLES), np.nan, np.float32)
    samples[:, VALUE] = values
    samples[1:-1, GAP] = 1
    samples[[0, -1], GAP] = 0 if len(points) > 2 else 1
    samples[0, RADIUS], samples[-1, RADIUS] = network.radius[a], network.radius[b]
    samples[:, [HALF, OTHER]] = np.nan
    return Edge(a, b, points, samples)


def read_along(raster: Raster, lines: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float32]]:
    """The raster's values, 0 to 1, at the points of each line. Each square of the raster is read once."""
    if not lines:
        return []
    points = np.concatenate(lines)
    columns = np.clip(points[:, 0].astype(np.int64), 0, raster.width - 1)
    rows = np.clip(points[:, 1].astype(np.int64), 0, raster.height - 1)
    wide = raster.width // BLOCK + 1
    square = (rows // BLOCK) * wide + columns // BLOCK
    values = np.empty(len(points), np.float32)
    order = np.argsort(square, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(square[order])) + 1):
        top, left = (rows[part[0]] // BLOCK) * BLOCK, (columns[part[0]] // BLOCK) * BLOCK
        window = raster.read(
            int(top), int(min(top + BLOCK, raster.height)), int(left), int(min(left + BLOCK, raster.width))
        )
        values[part] = window[rows[part] - top, columns[part] - left] / np.float32(255)
    return np.split(values, np.cumsum([len(line) for line in lines])[:-1])
