"""A layer of roads as a graph: which roads meet where. Lines are `layers`' work, scores of graphs are `apls`'.

Roads meet
- where their ends meet, within `snap`;
- where the end of one touches another on its way, within `snap` (a T-junction that was drawn without a vertex);
- where they have a vertex in common: OpenStreetMap's rule for a junction.

Two lines that merely cross have no node there, nor has a line that crosses itself: a bridge stays a bridge.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .layers import RoadLayer, metric_crs, reproject, transform_points

if TYPE_CHECKING:
    import networkx as nx

    Graph: TypeAlias = "nx.MultiGraph[int]"
    DiGraph: TypeAlias = "nx.MultiDiGraph[int]"

__all__ = ["SNAP", "add_edge", "merge_degree_two", "oriented", "part", "to_graph"]

SNAP = 0.5  # metres (pixels of a pixel layer): what is drawn nearer than this was meant to touch
SAME_VERTEX = 1e-3  # metres (pixels): vertices of one place differ by this much after a reprojection and a text format
OWN = frozenset({"geometry", "length", "road", "x", "y"})  # attributes that are the graph's, whatever the file's are

Points: TypeAlias = NDArray[np.float64]


def to_graph(layer: RoadLayer, *, snap: float | None = None) -> "Graph":
    """The network of a layer: a `networkx.MultiGraph` with a node where roads meet or end (see the module).

    Nodes are 0, 1, ... with `x`, `y` in the layer's CRS. Edges have `geometry` (shapely LineString in the layer's CRS,
    its ends on the nodes), `length` (m; px of a pixel layer), `road` (the position in `layer.roads`), and the road's
    properties, of which `length_m` becomes the edge's. The graph has `crs`. A road drawn twice is there once. The same
    roads in another order give the same network, numbered otherwise.

    Args:
        snap: metres (pixels of a pixel layer) within which an end touches what it is near to; 0.5 unless given.

    Raises:
        ConfigError: `snap` is negative.
        DataError: a vertex has no place in the metric CRS of the layer.
    """
    import networkx as nx
    import shapely

    limit = SNAP if snap is None else float(snap)
    if not limit >= 0:
        raise ConfigError(f"snap = {snap}: expected a distance of 0 or more")
    graph: Graph = nx.MultiGraph(crs=layer.crs)
    metric = layer.crs if layer.crs is None else metric_crs(layer)
    flat = layer if metric is None else reproject(layer, metric)
    lines = {i: line for i, road in enumerate(flat.roads) if len(line := _clean(road.line)) > 1}
    if not lines:
        return graph
    places, pieces = _noded(lines, limit)
    shown = places if metric == layer.crs else transform_points(places, str(metric), str(layer.crs))
    drawn: set[tuple[int, int, bytes]] = set()
    degree_of = {k for start, end, _, _ in pieces for k in (start, end)}
    for node in sorted(degree_of):
        graph.add_node(node, x=float(shown[node, 0]), y=float(shown[node, 1]))
    for start, end, line, road in pieces:
        length = float(np.hypot(*np.diff(line, axis=0).T).sum())
        key = _key(start, end, line)
        if length == 0 or key in drawn:
            continue
        drawn.add(key)
        line = (
            line
            if metric == layer.crs
            else _with_ends(transform_points(line, str(metric), str(layer.crs)), shown[start], shown[end])
        )
        own = {k: v for k, v in layer.roads[road].properties.items() if k not in OWN}
        if "length_m" in own:
            own["length_m"] = length
        own |= {"geometry": shapely.LineString(line), "length": length, "road": road}
        add_edge(graph, start, end, own)
    graph.remove_nodes_from([n for n in list(graph) if graph.degree(n) == 0])
    return nx.convert_node_labels_to_integers(graph)


def add_edge(graph: "Graph | DiGraph", start: int, end: int, data: Mapping[str, Any]) -> None:
    """Not by keywords: `add_edge` has some of its own (`key`), and a file's attributes may be called so."""
    key = graph.add_edge(start, end)
    graph.edges[start, end, key].update(data)


def _clean(line: Points) -> Points:
    """Without vertices that repeat the one before."""
    keep = np.ones(len(line), bool)
    keep[1:] = (line[1:] != line[:-1]).any(axis=1)
    return line[keep]


def _key(start: int, end: int, line: Points) -> tuple[int, int, bytes]:
    """The same for one piece drawn either way."""
    grid = np.rint(line / SAME_VERTEX).astype(np.int64)
    forward, backward = grid.tobytes(), grid[::-1].tobytes()
    return min(start, end), max(start, end), min(forward, backward)


def _with_ends(line: Points, start: Points, end: Points) -> Points:
    line = line.copy()
    line[0], line[-1] = start, end
    return line


def _noded(lines: Mapping[int, Points], snap: float) -> tuple[Points, list[tuple[int, int, Points, int]]]:
    """Nodes (K, 2), and the lines cut at them: (node, node, (N, 2) from node to node, key in `lines`)."""
    cuts = _cuts(lines, snap)
    road = np.array([c[0] for c in cuts])
    along = np.array([c[1] for c in cuts])
    xy = np.array([c[2] for c in cuts])
    is_end = np.array([c[3] for c in cuts], bool)
    labels = _clusters(xy, is_end, [(a, b) for a, c in enumerate(cuts) for b in c[4]], snap)

    # A node lies on the road that passes through it, where there is one: those that end there do not bend its course.
    count = int(labels.max()) + 1
    places = np.zeros((count, 2))
    through = np.bincount(labels[~is_end], minlength=count) > 0
    used = ~is_end | ~through[labels]
    for axis in (0, 1):
        places[:, axis] = np.bincount(labels[used], xy[used, axis], count) / np.bincount(labels[used], minlength=count)

    pieces: list[tuple[int, int, Points, int]] = []
    order = np.lexsort((along, road))
    for k, following in itertools.pairwise(order):
        if road[k] != road[following]:
            continue
        start, end = int(labels[k]), int(labels[following])
        if start == end and along[following] - along[k] <= 2 * snap:
            continue  # two places of one road that have become one node
        line = part(lines[int(road[k])], along[k], along[following])
        pieces.append((start, end, _with_ends(line, places[start], places[end]), int(road[k])))
    return places, pieces


Cut: TypeAlias = tuple[int, float, Points, bool, list[int]]


def _cuts(lines: Mapping[int, Points], snap: float) -> list[Cut]:
    """Where each line is to be cut: (line, distance along it, x and y, whether its end, other cuts that it touches)."""
    import shapely
    from scipy.spatial import cKDTree

    along = {i: np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))]) for i, line in lines.items()}
    cuts: list[Cut] = []
    for i, line in lines.items():
        cuts += [(i, 0.0, line[0], True, []), (i, float(along[i][-1]), line[-1], True, [])]

    # Vertices in common: the same place in two lines, or twice in one (a ring's end, a P).
    owner = np.concatenate([np.full(len(line), i) for i, line in lines.items()])
    position = np.concatenate([np.arange(len(line)) for line in lines.values()])
    vertices = np.concatenate(list(lines.values()))
    labels = _near(vertices, SAME_VERTEX)
    shared = np.bincount(labels)[labels] > 1
    inner = np.array([0 < p < len(lines[i]) - 1 for i, p in zip(owner, position, strict=True)], bool)
    together: dict[int, list[int]] = defaultdict(list)
    for v in np.flatnonzero(shared & inner):
        i, p = int(owner[v]), int(position[v])
        together[int(labels[v])].append(len(cuts))
        cuts.append((i, float(along[i][p]), vertices[v], False, []))
    for group in together.values():
        for other in group[1:]:
            cuts[group[0]][4].append(other)

    # Ends that touch another line on its way.
    keys = list(lines)
    tree = shapely.STRtree([shapely.LineString(line) for line in lines.values()])
    ends = [k for k, cut in enumerate(cuts) if cut[3]]
    points = shapely.points(np.array([cuts[k][2] for k in ends]))
    known = cKDTree(np.array([cut[2] for cut in cuts]))
    reach = max(snap, SAME_VERTEX)
    for e, found in zip(*tree.query(points, predicate="dwithin", distance=reach), strict=True):
        k, other = ends[int(e)], keys[int(found)]
        if other == cuts[k][0] or any(cuts[n][0] == other for n in known.query_ball_point(cuts[k][2], reach)):
            continue
        shape = tree.geometries[int(found)]
        distance = float(shape.project(points[int(e)]))
        place = np.array(shape.interpolate(distance).coords[0])
        cuts[k][4].append(len(cuts))
        cuts.append((other, distance, place, False, []))
    return cuts


def _near(points: Points, distance: float) -> NDArray[np.int64]:
    """Labels 0, 1, ...: points within `distance` of each other have the same, also through others between them."""
    return _labels(_pairs(points, distance), len(points))


def _clusters(
    xy: Points, is_end: NDArray[np.bool_], touching: Iterable[tuple[int, int]], snap: float
) -> NDArray[np.int64]:
    """Labels of cuts that are one node: within `snap` where one of the two is an end, else in one place."""
    wide = _pairs(xy, max(snap, SAME_VERTEX))
    wide = wide[is_end[wide].any(axis=1)]
    told = np.array(list(touching), np.int64).reshape(-1, 2)
    return _labels(np.concatenate([wide, _pairs(xy, SAME_VERTEX), told]), len(xy))


def _pairs(points: Points, distance: float) -> NDArray[np.int64]:
    """(M, 2) positions of the points within `distance` of each other."""
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(points).query_pairs(distance, output_type="ndarray"), np.int64)


def _labels(links: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """(n,) labels 0, 1, ...: what is linked has the same."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    matrix = coo_array((np.ones(len(links), np.int8), (links[:, 0], links[:, 1])), shape=(n, n))
    return np.asarray(connected_components(matrix, directed=False)[1], np.int64)


def part(line: Points, start: float, end: float) -> Points:
    """(N, 2) of a line between two distances along it."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    inner = line[(along > start) & (along < end)]
    ends = np.array([[np.interp(d, along, line[:, axis]) for axis in (0, 1)] for d in (start, end)])
    return np.concatenate([ends[:1], inner, ends[1:]])


def oriented(graph: "Graph", u: int, v: int, data: Mapping[str, Any]) -> Points:
    """(N, 2) coordinates of an edge from node u to node v; a loop as it was drawn."""
    line = np.asarray(data["geometry"].coords, np.float64)
    here = np.array([graph.nodes[u]["x"], graph.nodes[u]["y"]])
    return line if np.abs(line[0] - here).sum() <= np.abs(line[-1] - here).sum() else line[::-1]


def merge_degree_two(graph: "Graph") -> "Graph":
    """The same network without the nodes that merely join two edges: what is left are junctions and dead ends.

    Lengths add up; a property stays where both edges have the same value. A ring keeps one node.
    """
    import shapely

    merged = graph.copy()
    for node in list(graph):
        around = list(merged.edges(node, keys=True, data=True))
        if merged.degree(node) != 2 or len(around) != 2:  # one edge of degree two is a loop
            continue
        (_, a, key_a, first), (_, b, key_b, second) = around
        line = np.concatenate([oriented(merged, node, a, first)[::-1], oriented(merged, node, b, second)[1:]])
        both = {k: v for k, v in first.items() if k in second and k not in OWN and second[k] == v}
        if "length_m" in first and "length_m" in second:
            both["length_m"] = first["length_m"] + second["length_m"]
        length = first["length"] + second["length"]
        road = min(first["road"], second["road"])
        merged.remove_edges_from([(node, a, key_a), (node, b, key_b)])
        merged.remove_node(node)
        add_edge(merged, a, b, both | {"geometry": shapely.LineString(line), "length": length, "road": road})
    return merged
