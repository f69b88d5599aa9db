"""Cleaning a network as it comes from a skeleton: spurs, split junctions, small pieces, ends at the raster's border.

Every limit is a multiple of the local or typical width of the road, so that it means the same at any resolution.
"""

import math

import numpy as np
from numpy.typing import NDArray

from .tracing import GAP, HALF, RADIUS, Edge, Network

__all__ = [
    "direction",
    "drop_small",
    "gap_length",
    "merge_junctions",
    "prune",
    "straighten_ends",
    "straighten_junctions",
]

ROUNDS = 50  # of pruning; a comb of spurs on spurs needs a few


def direction(edge: Edge, reach: float) -> NDArray[np.float64]:
    """(2,) unit vector out of the edge at its end `a`, over about `reach` px.

    The outermost part is left out: where a road ends the skeleton turns towards a corner.
    """
    away = np.hypot(*(edge.points - edge.points[0]).T)
    far = int(np.argmax(away >= reach)) if away.max() >= reach else int(np.argmax(away))
    near = min(int(np.argmax(away >= 0.4 * reach)) if away.max() >= 0.4 * reach else 0, far)
    if near == far:
        near = 0
    way = edge.points[near] - edge.points[far]
    size = math.hypot(*way)
    return way / size if size else np.zeros(2)


def prune(network: Network, factor: float) -> None:
    """Drop spurs: edges to a dead end that are shorter than `factor` road widths at their junction; 0: none.

    The width is twice the radius at the junction: a bump of the road's border, or a corner of its end, gives a spur
    of about the radius, a side road one that sticks out of the road. All short ones of a junction go together, so
    that a road's end does not bend into one of its corners; where nothing else is there, the two longest stay.
    """
    if factor <= 0:
        return
    candidates = set(network.around)
    for _ in range(ROUNDS):
        changed: set[int] = set()
        for node in sorted(candidates):
            if node not in network.around or network.degree(node) < 3:
                continue
            limit = factor * 2 * network.radius[node]
            spurs = []
            for number in network.around[node]:
                edge = network.leaving(number, node)
                if edge.a != edge.b and network.degree(edge.b) == 1:
                    length = edge.length
                    if length < limit and length + _cut_off(network, edge.b, node) < limit:
                        spurs.append((length, number, edge.b))
            if not spurs:
                continue
            spurs.sort()
            if len(spurs) == network.degree(node):
                spurs = spurs[:-2]
            for _, number, end in spurs:
                network.remove_edge(number)
                network.join([end])
            changed.add(node)
        if not changed:
            return
        changed &= network.around.keys()  # one that became a dead end may itself have been a spur of the next
        ends = {network.leaving(number, node).b for node in changed for number in network.around[node]}
        network.join(sorted(changed))
        candidates = {node for node in ends | changed if node in network.around}


def _cut_off(network: Network, end: int, node: int) -> float:
    """px that the raster's border took from a road: thinning ends it half a width before, straight ahead; else 0."""
    way = network.places[end] - network.places[node]
    size = math.hypot(*way)
    ahead = _to_border(network, network.places[end], way / size) if size else math.inf
    return ahead if ahead <= 1.2 * network.radius[node] else 0.0


def merge_junctions(network: Network, factor: float) -> None:
    """Make one of junctions less than `factor` widths apart; 0: none.

    A crossing thins to two junctions with a short piece between. The distance is measured between the merged
    places, so that a row of close junctions does not collapse into one.
    """
    if factor <= 0:
        return
    short = []
    for number, edge in network.edges.items():
        if edge.a != edge.b and network.degree(edge.a) >= 3 and network.degree(edge.b) >= 3:
            length = edge.length
            if length < factor * (network.radius[edge.a] + network.radius[edge.b]):
                short.append((length, number))
    weight: dict[int, int] = {}
    touched: set[int] = set()
    for _, number in sorted(short):
        if number not in network.edges:
            continue
        a, b = network.edges[number].a, network.edges[number].b
        if a == b:
            continue
        apart = math.dist(network.places[a], network.places[b])
        if apart >= factor * (network.radius[a] + network.radius[b]):
            continue
        network.remove_edge(number)
        wa, wb = weight.get(a, 1), weight.get(b, 1)
        place = (network.places[a] * wa + network.places[b] * wb) / (wa + wb)
        _absorb(network, a, b, place)
        weight[a] = wa + wb
        touched.add(a)
    for node in sorted(touched & set(network.around)):
        _drop_loops(network, node)
    network.join(sorted(touched & set(network.around)))


def _absorb(network: Network, a: int, b: int, place: NDArray[np.float64]) -> None:
    """Put node b's edges on node a, which moves to `place`."""
    network.places[a] = place
    network.radius[a] = max(network.radius[a], network.radius[b])
    for number in sorted(set(network.around[b])):
        edge = network.edges[number]
        edge.a, edge.b = (a if end == b else end for end in (edge.a, edge.b))
    network.around[a] += network.around[b]
    del network.around[b], network.places[b], network.radius[b]
    for number in sorted(set(network.around[a])):
        edge = network.edges[number]
        for here, end in ((edge.a, 0), (edge.b, -1)):
            if here == a:
                edge.points = edge.points.copy()
                edge.points[end] = place


def _drop_loops(network: Network, node: int) -> None:
    """Drop what merging left over at a node: rings, and second edges to the same neighbour, inside of the junction."""
    inside = 2 * network.radius[node]
    seen: dict[int, float] = {}
    for number in sorted(set(network.around[node]), key=lambda k: (network.edges[k].length, k)):
        edge = network.leaving(number, node)
        if edge.a == edge.b:
            if edge.length < 2 * inside:
                network.remove_edge(number)
        elif edge.b in seen and edge.length < 2 * inside and edge.length < 1.5 * seen[edge.b]:
            network.remove_edge(number)
        else:
            seen.setdefault(edge.b, edge.length)


def drop_small(network: Network, area: float, length: float) -> None:
    """Drop connected pieces that cover less than `area` px², and pieces and dead ends shorter than `length`.

    Args:
        length: on the ground, in sides of a square with a pixel's area.
    """
    for piece in network.pieces():
        edges = [network.edges[number] for number in piece]
        lengths = [edge.length for edge in edges]
        half = [_mean_or_zero(edge.samples[:, HALF]) for edge in edges]
        widest = 2 * max(half)
        covered = sum(one * 2 * r for one, r in zip(lengths, half, strict=True)) + widest**2  # and its two ends
        if covered < area or sum(map(network.length, edges)) < length:
            for number in piece:
                network.remove_edge(number)
    if length > 0:
        for number in sorted(network.edges):
            edge = network.edges[number]
            free = sorted((network.degree(edge.a), network.degree(edge.b)))
            if free[0] == 1 and free[1] >= 3 and network.length(edge) < length:
                network.remove_edge(number)
    network.join(sorted(network.around))


def _mean_or_zero(values: NDArray[np.float32]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 0.0


def straighten_ends(network: Network) -> None:
    """Lead dead ends straight on, and to the raster's border where that is near.

    Where a road ends the skeleton turns towards a corner of its end, and at the raster's border thinning ends it
    half a width before.
    """
    for node in sorted(network.around):
        if network.degree(node) != 1:
            continue
        number = network.around[node][0]
        edge = network.leaving(number, node)
        known = edge.samples[np.isfinite(edge.samples[:, RADIUS]), RADIUS]
        radius = float(np.median(known)) if len(known) else network.radius[node]
        way = direction(edge, max(4 * radius, 8.0))
        if not way.any():
            continue
        away = np.hypot(*(edge.points - edge.points[0]).T)
        outside = away >= 1.5 * radius
        cut = int(np.argmax(outside)) if outside.any() else 0
        if cut in (0, len(away) - 1) or edge.length < 3 * radius:
            cut = 0
        base = edge.points[cut]
        forth = float((edge.points[0] - base) @ way)
        reach = _to_border(network, base, way)
        if reach <= forth + 2 * radius + 1:
            forth = reach
        if forth <= 0.5:
            continue
        new = np.clip(base + forth * way, 0, [network.width, network.height])
        network.remove_edge(number)
        network.places[node] = new
        points = np.concatenate([new[None], edge.points[cut:]])
        network.add_edge(Edge(node, edge.b, points, np.concatenate([edge.samples[:1], edge.samples[cut:]])))


def _to_border(network: Network, place: NDArray[np.float64], way: NDArray[np.float64]) -> float:
    """px from a place in the raster straight on to its border."""
    found = math.inf
    for k, size in enumerate((network.width, network.height)):
        if abs(way[k]) > 1e-6:
            found = min(found, ((size if way[k] > 0 else 0) - place[k]) / way[k])
    return max(found, 0.0)


def straighten_junctions(network: Network) -> None:
    """Lead the edges of each junction straight to it, from where they leave the junction's width.

    Inside of a crossing the skeleton says more about corners than about roads.
    """
    for edge in network.edges.values():
        for end in (0, -1):
            node = edge.a if end == 0 else edge.b
            if network.degree(node) < 3:
                continue
            away = np.hypot(*(edge.points - network.places[node]).T)
            outside = away > min(network.radius[node], edge.length / 3)
            if not outside.any():
                continue
            if end == 0:
                keep = slice(max(1, int(np.argmax(outside))), None)
                points = [network.places[node][None], edge.points[keep]]
                samples = [edge.samples[:1], edge.samples[keep]]
            else:
                keep = slice(None, min(len(away) - 1, len(away) - int(np.argmax(outside[::-1]))))
                points = [edge.points[keep], network.places[node][None]]
                samples = [edge.samples[keep], edge.samples[-1:]]
            edge.points, edge.samples = np.concatenate(points), np.concatenate(samples)


def gap_length(edge: Edge) -> float:
    """px of the edge that were bridged."""
    steps = np.hypot(*np.diff(edge.points, axis=0).T)
    bridged = np.maximum(edge.samples[1:, GAP], edge.samples[:-1, GAP])  # the ends of a bridge are the road's
    return float((steps * bridged).sum())
