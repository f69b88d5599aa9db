"""From the pixels of a skeleton to a network of nodes and edges; one pass over the pixels, no cleaning.

Pixels with two neighbours make up edges, all others are nodes; neighbouring junction pixels are one node. A closed
ring without a junction gets a node at its first pixel. Everything is in the order of the pixels, so that the same
skeleton gives the same network.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .skeleton import Skeleton

__all__ = ["GAP", "HALF", "OTHER", "RADIUS", "SAMPLES", "VALUE", "Edge", "Network", "drop_weak", "trace_pixels"]

RADIUS, HALF, VALUE, OTHER, GAP = range(5)  # the columns of an edge's samples
SAMPLES = 5


@dataclass
class Edge:
    """A line between two nodes.

    Attributes:
        a, b: the nodes.
        points: (N, 2) float64, column and row (pixel centres lie at halves), from a to b, both included.
        samples: (N, 5) float32 at the points: radius and half width in px, value and other 0 to 1, gap 1 where the
            line was bridged; NaN where unknown.
    """

    a: int
    b: int
    points: NDArray[np.float64]
    samples: NDArray[np.float32]

    @property
    def length(self) -> float:
        """px, along the points."""
        return float(np.hypot(*np.diff(self.points, axis=0).T).sum())

    def turned(self) -> "Edge":
        """The same from b to a."""
        return Edge(self.b, self.a, self.points[::-1], self.samples[::-1])


@dataclass
class Network:
    """Nodes and edges that cleaning changes in place. Numbers of nodes and edges are never used twice.

    Attributes:
        height, width: of the raster, px.
        ground: (2, 2) of a step in pixels, the step on the ground, in sides of a square with a pixel's area; what is
            given in metres is measured so.
        places: node -> (2,) float64 column and row.
        radius: node -> px, of the road around it.
        edges: number -> edge.
        around: node -> numbers of the edges that end there; a ring's edge twice.
    """

    height: int
    width: int
    ground: NDArray[np.float64] = field(default_factory=lambda: np.eye(2))
    places: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    radius: dict[int, float] = field(default_factory=dict)
    edges: dict[int, Edge] = field(default_factory=dict)
    around: dict[int, list[int]] = field(default_factory=dict)
    made: int = 0

    def add_node(self, place: NDArray[np.float64], radius: float) -> int:
        """A new node without edges."""
        self.made += 1
        self.places[self.made], self.radius[self.made], self.around[self.made] = place, radius, []
        return self.made

    def add_edge(self, edge: Edge) -> int:
        """Add an edge between nodes that are there; its number."""
        self.made += 1
        self.edges[self.made] = edge
        self.around[edge.a].append(self.made)
        self.around[edge.b].append(self.made)
        return self.made

    def remove_edge(self, number: int) -> Edge:
        """Take an edge out; its nodes stay."""
        edge = self.edges.pop(number)
        self.around[edge.a].remove(number)
        self.around[edge.b].remove(number)
        return edge

    def length(self, edge: Edge) -> float:
        """Of an edge on the ground, in sides of a square with a pixel's area."""
        return float(np.hypot(*(np.diff(edge.points, axis=0) @ self.ground).T).sum())

    def degree(self, node: int) -> int:
        """How many ends of edges meet there."""
        return len(self.around[node])

    def leaving(self, number: int, node: int) -> Edge:
        """The edge as seen from one of its nodes: `a` is that node."""
        edge = self.edges[number]
        return edge if edge.a == node else edge.turned()

    def join(self, nodes: Iterable[int]) -> None:
        """Make one edge of the two at each of `nodes` that has exactly two, and drop nodes without edges."""
        for node in nodes:
            if node not in self.around:
                continue
            if not self.around[node]:
                del self.around[node], self.places[node], self.radius[node]
                continue
            if len(self.around[node]) != 2 or self.around[node][0] == self.around[node][1]:
                continue
            one, two = (self.leaving(number, node) for number in self.around[node])
            for number in list(self.around[node]):
                self.remove_edge(number)
            points = np.concatenate([one.points[::-1], two.points[1:]])
            samples = np.concatenate([one.samples[::-1], two.samples[1:]])
            self.add_edge(Edge(one.b, two.b, points, samples))
            del self.around[node], self.places[node], self.radius[node]

    def pieces(self) -> list[list[int]]:
        """Numbers of the edges of each connected piece, pieces and edges in the order of their numbers."""
        root = {node: node for node in self.around}

        def find(node: int) -> int:
            while root[node] != node:
                root[node] = root[root[node]]
                node = root[node]
            return node

        for edge in self.edges.values():
            root[find(edge.a)] = find(edge.b)
        found: dict[int, list[int]] = {}
        for number, edge in sorted(self.edges.items()):
            found.setdefault(find(edge.a), []).append(number)
        return list(found.values())


def _neighbours(skeleton: Skeleton) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Neighbours of each pixel as (starts (N + 1,), numbers): those of pixel k are numbers[starts[k] : starts[k + 1]].

    A diagonal step counts only where no step through a pixel beside it does: else corners would be little triangles.
    """
    width = skeleton.width + 2  # a free column on either side: no step leads around the raster's border
    flat = (skeleton.rows.astype(np.int64) + 1) * width + skeleton.columns + 1
    n = len(flat)

    def at(step: int) -> NDArray[np.int64]:
        """Number of the pixel that lies `step` further, -1 where there is none."""
        place = np.searchsorted(flat, flat + step)
        place[place == n] = 0
        return np.where(flat[place] == flat + step, place, -1)

    right, down = at(1), at(width)
    left = at(-1)
    links = [right, down]
    links.append(np.where((right < 0) & (down < 0), at(width + 1), -1))
    links.append(np.where((left < 0) & (down < 0), at(width - 1), -1))
    start = np.concatenate([np.flatnonzero(link >= 0) for link in links])
    stop = np.concatenate([link[link >= 0] for link in links])
    source, target = np.concatenate([start, stop]), np.concatenate([stop, start])
    order = np.lexsort((target, source))
    starts = np.zeros(n + 1, np.int32)
    np.cumsum(np.bincount(source, minlength=n), out=starts[1:])
    return starts, target[order].astype(np.int32)


def _components(starts: NDArray[np.int32], targets: NDArray[np.int32]) -> NDArray[np.int32]:
    """(N,) number of the connected piece that each pixel belongs to."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    n = len(starts) - 1
    graph = csr_array((np.ones(len(targets), np.int8), targets, starts), shape=(n, n))
    labels: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return labels


def drop_weak(skeleton: Skeleton) -> Skeleton:
    """Hysteresis: only pieces of the skeleton that somewhere have a strong pixel."""
    if len(skeleton) == 0 or bool(skeleton.strong.all()):
        return skeleton
    labels = _components(*_neighbours(skeleton))
    strong = np.zeros(int(labels.max()) + 1, bool)
    strong[labels[skeleton.strong]] = True
    return skeleton.take(strong[labels])


def trace_pixels(skeleton: Skeleton) -> Network:
    """The network of a skeleton. Single pixels without neighbours are left out."""
    network = Network(skeleton.height, skeleton.width)
    if len(skeleton) == 0:
        return network
    starts, targets = _neighbours(skeleton)
    points = np.column_stack([skeleton.columns + 0.5, skeleton.rows + 0.5])
    samples = _samples(skeleton)
    degrees = np.diff(starts)
    nodes = _place_nodes(network, skeleton, starts, targets, degrees, points)

    start, target, node_of = starts.data, targets.data, nodes.data  # memoryviews: ints without NumPy's cost
    walked = bytearray(len(skeleton))

    def walk(first: int, second: int) -> list[int]:
        """From a node's pixel over a neighbour to the next node's pixel."""
        path = [first]
        previous, here = first, second
        while not node_of[here]:
            walked[here] = 1
            path.append(here)
            ahead = target[start[here]]
            if ahead == previous:
                ahead = target[start[here] + 1]
            previous, here = here, ahead
        path.append(here)
        return path

    def keep(path: list[int]) -> None:
        a, b = node_of[path[0]], node_of[path[-1]]
        line, values = points[path], samples[path]
        if not np.array_equal(line[0], network.places[a]):
            line, values = np.concatenate([network.places[a][None], line]), np.concatenate([values[:1], values])
        if not np.array_equal(line[-1], network.places[b]):
            line, values = np.concatenate([line, network.places[b][None]]), np.concatenate([values, values[-1:]])
        network.add_edge(Edge(a, b, line, values))

    for pixel in np.flatnonzero(nodes).tolist():
        for neighbour in target[start[pixel] : start[pixel + 1]].tolist():
            if node_of[neighbour]:
                if pixel < neighbour and node_of[neighbour] != node_of[pixel]:
                    keep([pixel, neighbour])
            elif not walked[neighbour]:
                keep(walk(pixel, neighbour))
    seen = np.frombuffer(walked, np.uint8).astype(bool)
    for pixel in np.flatnonzero((degrees == 2) & ~seen & (nodes == 0)).tolist():
        if not walked[pixel]:  # on a ring without junction
            nodes[pixel] = network.add_node(points[pixel], float(skeleton.radius[pixel]))
            keep(walk(pixel, target[start[pixel]]))
    network.join([node for node in list(network.around) if network.degree(node) in (0, 2)])
    return network


def _samples(skeleton: Skeleton) -> NDArray[np.float32]:
    samples = np.zeros((len(skeleton), SAMPLES), np.float32)
    samples[:, RADIUS], samples[:, HALF] = skeleton.radius, skeleton.half_width
    samples[:, VALUE] = skeleton.value / np.float32(255)
    samples[:, OTHER] = np.nan if skeleton.other is None else skeleton.other / np.float32(255)
    return samples


def _place_nodes(
    network: Network,
    skeleton: Skeleton,
    starts: NDArray[np.int32],
    targets: NDArray[np.int32],
    degrees: NDArray[np.int32],
    points: NDArray[np.float64],
) -> NDArray[np.int32]:
    """Make the nodes; the node of each pixel (N,), 0 on edges. Junction pixels that touch are one node."""
    nodes = np.zeros(len(degrees), np.int32)
    crossing = degrees >= 3
    if crossing.any():
        number = np.cumsum(crossing) - 1
        source = np.repeat(np.arange(len(degrees)), degrees)
        both = crossing[source] & crossing[targets]
        count = int(crossing.sum())
        inner = np.zeros(count + 1, np.int32)
        np.cumsum(np.bincount(number[source[both]], minlength=count), out=inner[1:])
        labels = _components(inner, number[targets[both]].astype(np.int32))
        weight = np.bincount(labels)
        place = np.column_stack([np.bincount(labels, points[crossing, k]) / weight for k in (0, 1)])
        radius = np.zeros(len(weight))
        np.maximum.at(radius, labels, skeleton.radius[crossing])
        made = [network.add_node(place[k], float(radius[k])) for k in range(len(weight))]
        nodes[crossing] = np.asarray(made, np.int32)[labels]
    for pixel in np.flatnonzero(degrees == 1).tolist():
        nodes[pixel] = network.add_node(points[pixel], float(skeleton.radius[pixel]))
    return nodes
