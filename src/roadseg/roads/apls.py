"""APLS, average path length similarity: how well one road network routes as another does.

Van Etten, Lindenbaum and Bacastow 2018, "SpaceNet: A Remote Sensing Dataset and Challenge Series" (arXiv 1807.01232),
section 5, with the settings of SpaceNet's own scoring: control points every 50 m, snapped within 4 m, and no path too
short to count. Which roads meet is decided in `graph`.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .graph import merge_degree_two, oriented

if TYPE_CHECKING:
    from .graph import Graph

__all__ = ["MAX_POINTS", "SNAP", "SPACING", "Apls", "apls"]

SPACING = 50.0  # metres between control points
SNAP = 4.0  # metres within which a control point is found on the other network
SHORT = 0.75  # an edge shorter than this share of the spacing has no control point between its nodes
MAX_POINTS = 3000  # control points up to which all pairs are compared (9 million paths)
STARTS = 1000  # of more control points: that many starts, drawn by the seed, each with all ends
ROUNDING = 1e-9  # what the same path summed up in another order may differ by, as a share
TOUCH = 1e-6  # a place on an edge nearer to its end than this is the end


@dataclass(frozen=True)
class Apls:
    """The score and what it is made of.

    Attributes:
        apls: harmonic mean of the two directions, 0 to 1.
        truth_to_proposed: 1 minus the mean difference of the truth's paths, sought in the proposed network.
        proposed_to_truth: the same of the proposed network's paths, sought in the truth.
        points: control points of truth and proposed network.
        snapped: how many of them were found on the other network.
        paths: paths compared in each direction, every pair both ways.
        sampled: whether some of the starts were drawn by the seed (of a network with more than `MAX_POINTS` points).
    """

    apls: float
    truth_to_proposed: float
    proposed_to_truth: float
    points: tuple[int, int] = (0, 0)
    snapped: tuple[int, int] = (0, 0)
    paths: tuple[int, int] = (0, 0)
    sampled: bool = False


def apls(truth: "Graph", proposed: "Graph", *, snap: float = SNAP, spacing: float = SPACING, seed: int = 0) -> Apls:
    """APLS of two networks in one plane, metres (or pixels: snap and spacing are then in pixels).

    Nodes that merely join two edges are merged. Control points are the nodes that are left, the middle of each edge
    from 0.75 to 1 `spacing` long, and points at even distances of at most `spacing` on longer ones. Each is moved to
    the nearest place of the other network within `snap`. For every pair of control points that has a path of length
    L > 0, the difference is min(1, |L - L'| / L) with L' the other network's path between the moved points, and 1
    where one of them was not found or no path joins them. A direction's score is 1 minus the mean difference.

    Swapping the networks swaps the directions and leaves the score. Two empty networks score 1, an empty one and
    another 0. A network without any path (one small ring) scores the share of its control points that were found.

    Args:
        truth: of `to_graph` with a metric CRS or none; so is `proposed`.
        snap: metres.
        spacing: metres.
        seed: of the starts drawn where a network has more than 3000 control points (`MAX_POINTS`).

    Raises:
        ConfigError: `snap` or `spacing` is not above 0.
    """
    for name, value in (("snap", snap), ("spacing", spacing)):
        if not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"{name} = {value}: expected a distance above 0")
    sides = [_Network(merge_degree_two(graph)) for graph in (truth, proposed)]
    if not sides[0].lines or not sides[1].lines:
        score = float(not sides[0].lines and not sides[1].lines)
        return Apls(score, score, score)
    there = _one_way(sides[0], sides[1], snap, spacing, seed)
    back = _one_way(sides[1], sides[0], snap, spacing, seed)
    total = there.score + back.score
    return Apls(
        apls=2 * there.score * back.score / total if total > 0 else 0.0,
        truth_to_proposed=there.score,
        proposed_to_truth=back.score,
        points=(there.points, back.points),
        snapped=(there.snapped, back.snapped),
        paths=(there.paths, back.paths),
        sampled=there.sampled or back.sampled,
    )


@dataclass(frozen=True)
class _OneWay:
    score: float
    points: int
    snapped: int
    paths: int
    sampled: bool


@dataclass(frozen=True)
class _Places:
    """K places on a network: (K,) number of the edge, and distance along it."""

    edge: NDArray[np.int64]
    along: NDArray[np.float64]


class _Network:
    """A graph's edges as arrays: start and end node (numbered 0, 1, ...), shapely line from start to end, length."""

    def __init__(self, graph: "Graph") -> None:
        import shapely

        number = {node: k for k, node in enumerate(graph)}
        self.size = len(number)
        self.lines: list[Any] = []
        starts, ends = [], []
        for u, v, data in graph.edges(data=True):
            self.lines.append(shapely.LineString(oriented(graph, u, v, data)))
            starts.append(number[u])
            ends.append(number[v])
        self.starts, self.ends = np.array(starts, np.int64), np.array(ends, np.int64)
        self.lengths = np.array([line.length for line in self.lines], np.float64)

    def controls(self, spacing: float) -> _Places:
        """The nodes, and points between them."""
        edge, along, seen = [], [], set[int]()
        for k, length in enumerate(self.lengths):
            for node, distance in ((self.starts[k], 0.0), (self.ends[k], length)):
                if int(node) not in seen:
                    seen.add(int(node))
                    edge.append(k)
                    along.append(distance)
            parts = 2 if length <= spacing else math.ceil(length / spacing - 1e-9)
            if length >= SHORT * spacing:
                edge += [k] * (parts - 1)
                along += [length * i / parts for i in range(1, parts)]
        return _Places(np.array(edge, np.int64), np.array(along, np.float64))

    def points(self, places: _Places) -> Any:
        """(K,) shapely points."""
        import shapely

        return shapely.line_interpolate_point(np.array(self.lines, dtype=object)[places.edge], places.along)

    def directions(self, places: _Places) -> NDArray[np.float64]:
        """(K, 2) unit vectors along the edges."""
        import shapely

        lines = np.array(self.lines, dtype=object)[places.edge]
        reach = 0.01 * self.lengths[places.edge]
        here, there = (
            shapely.get_coordinates(shapely.line_interpolate_point(lines, np.clip(at, 0, self.lengths[places.edge])))
            for at in (places.along - reach, places.along + reach)
        )
        course = there - here
        return np.asarray(course / np.maximum(np.hypot(*course.T), 1e-300)[:, None], np.float64)

    def nearest(self, points: Any, directions: NDArray[np.float64], limit: float) -> tuple[NDArray[np.int64], _Places]:
        """Which of the points lie within `limit` of the network, and the nearest place of each of these."""
        import shapely

        lines = np.array(self.lines, dtype=object)
        tree = shapely.STRtree(lines)
        (near, _), away = tree.query_nearest(points, max_distance=limit, all_matches=False, return_distance=True)
        order, edge = tree.query(points[near], predicate="dwithin", distance=away + TOUCH)
        which = near[order]
        found = _Places(edge, shapely.line_locate_point(lines[edge], points[which]))
        # Of several edges at one distance (a bridge) the one that runs the same way, then the first in the layer.
        turned = 1 - np.abs((self.directions(found) * directions[which]).sum(axis=1))
        order = np.lexsort((edge, np.rint(turned * 100), which))
        first = np.ones(len(which), bool)
        first[1:] = which[order][1:] != which[order][:-1]
        keep = order[first]
        return np.asarray(which[keep], np.int64), _Places(
            np.asarray(edge[keep], np.int64), np.asarray(found.along[keep], np.float64)
        )

    def with_places(self, places: _Places) -> tuple[Any, NDArray[np.int64]]:
        """The network cut at `places` as a sparse matrix of lengths, and the number of each place in it."""
        from scipy.sparse import csr_array

        number = np.empty(len(places.edge), np.int64)
        size = self.size
        rows, columns, weights = [], [], []
        order = np.lexsort((places.along, places.edge))
        bounds = np.searchsorted(places.edge[order], np.arange(len(self.lines) + 1))
        for k, length in enumerate(self.lengths):
            last, at = int(self.starts[k]), 0.0
            for i in order[bounds[k] : bounds[k + 1]]:
                distance = float(places.along[i])
                if distance >= length - TOUCH:
                    number[i] = self.ends[k]
                elif distance <= at + TOUCH:
                    number[i] = last
                else:
                    rows.append(last)
                    columns.append(size)
                    weights.append(distance - at)
                    last, at = size, distance
                    number[i] = size
                    size += 1
            rows.append(last)
            columns.append(int(self.ends[k]))
            weights.append(length - at)
        # A sparse matrix would add up two edges between the same nodes: keep the shorter.
        low, high = np.minimum(rows, columns), np.maximum(rows, columns)
        cost = np.array(weights)
        order = np.lexsort((cost, high, low))
        low, high, cost = low[order], high[order], cost[order]
        keep = low != high
        keep[1:] &= (low[1:] != low[:-1]) | (high[1:] != high[:-1])
        return csr_array((cost[keep], (low[keep], high[keep])), shape=(size, size)), number


def _one_way(own: _Network, other: _Network, snap: float, spacing: float, seed: int) -> _OneWay:
    """The paths of `own` sought in `other`."""
    places = own.controls(spacing)
    points = own.points(places)
    matrix, here = own.with_places(places)
    found, moved = other.nearest(points, own.directions(places), snap)
    other_matrix, there = other.with_places(moved)
    position = np.full(len(here), -1)
    position[found] = there

    starts = np.arange(len(here))
    sampled = len(here) > MAX_POINTS
    if sampled:
        starts = np.sort(np.random.default_rng(seed).choice(len(here), STARTS, replace=False))
    difference, paths = 0.0, 0
    step = max(1, 4_000_000 // max(matrix.shape[0], other_matrix.shape[0]))  # 32 MB of distances at a time
    for k in range(0, len(starts), step):
        part = starts[k : k + step]
        want = _paths(matrix, here[part], here)
        have = _paths(other_matrix, position[part], position)
        counted = np.isfinite(want) & (want > 0)
        gap = np.ones(want.shape)
        both = counted & np.isfinite(have)
        gap[both] = np.minimum(1.0, np.abs(want[both] - have[both]) / want[both])
        gap[gap < ROUNDING] = 0
        difference += float(gap[counted].sum())
        paths += int(counted.sum())
    score = 1 - difference / paths if paths else len(found) / len(here)
    return _OneWay(score, len(here), len(found), paths, sampled)


def _paths(matrix: Any, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.float64]:
    """(S, E) lengths of the shortest paths; infinite where there is none, or where a number is -1."""
    from scipy.sparse.csgraph import dijkstra

    lengths = np.full((len(starts), len(ends)), np.inf)
    known, wanted = starts >= 0, ends >= 0
    if known.any() and wanted.any():
        found = dijkstra(matrix, directed=False, indices=starts[known])
        lengths[np.ix_(known, wanted)] = found[:, ends[wanted]]
    return lengths
