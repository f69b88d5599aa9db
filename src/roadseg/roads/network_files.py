"""Road networks for other programs: as OSMnx has them, as GraphML, as a GeoPackage of nodes and edges.

>>> graph = roadseg.to_graph(roadseg.read_layer("roads.gpkg"))
>>> roadseg.write_network(graph, "network.gpkg")                       # QGIS: layers "nodes" and "edges"
>>> roadseg.write_network(graph, "network.graphml")                    # networkx.read_graphml, Gephi
>>> roadseg.write_network(roadseg.to_osmnx(graph), "osmnx.graphml")    # osmnx.load_graphml

The graph itself is made in `graph`.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError
from ..files import write_aside
from .graph import add_edge, oriented, to_graph
from .layers import RoadLayer

if TYPE_CHECKING:
    from .graph import DiGraph, Graph

__all__ = ["NETWORKS", "network_suffix", "to_osmnx", "write_graphml", "write_network"]

NETWORKS = (".gpkg", ".graphml")
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def network_suffix(path: Path | str) -> str:
    """The suffix of a file for a network, checked before any work.

    Raises:
        ConfigError: no format that holds one.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in NETWORKS:
        raise ConfigError(f"cannot write the network to '{path}': nodes and edges need a {' or '.join(NETWORKS)}")
    return suffix


def write_network(network: "RoadLayer | Graph | DiGraph", path: Path | str, *, snap: float | None = None) -> None:
    """Write a road network: nodes where roads meet or end, and edges between them.

    `.gpkg`: the layers "edges" (`u`, `v`, `length` in metres, the roads' attributes) and "nodes" (`node`, `degree`), in
    the network's CRS. `.graphml`: see `write_graphml`.

    Args:
        network: a layer of roads, or a graph of one by `to_graph` or `to_osmnx`.
        snap: of a layer, see `to_graph`.

    Raises:
        ConfigError: another suffix, or a `snap` that makes no sense.
        OutputError: the file cannot be written.
    """
    suffix = network_suffix(path)
    if isinstance(network, RoadLayer):
        network = to_graph(network, snap=snap)
    elif snap is not None:
        raise ConfigError("snap is for layers: a graph has its nodes already")
    if suffix == ".graphml":
        write_graphml(network, path)
    else:
        _write_geopackage(network, Path(path))


def _write_geopackage(graph: "Graph | DiGraph", path: Path) -> None:
    import shapely

    from ..imagery.vector_files import Features
    from ..imagery.vector_writing import write_features

    crs = graph.graph.get("crs")
    nodes = list(graph.nodes(data=True))
    edges = list(graph.edges(data=True))
    points = Features(
        [shapely.Point(data["x"], data["y"]) for _, data in nodes],
        [{"node": n, "degree": int(data.get("street_count", graph.degree(n)))} for n, data in nodes],
        crs,
    )
    lines = Features(
        [shapely.LineString(oriented(graph, u, v, data)) for u, v, data in edges],
        [
            {"u": u, "v": v}
            | {f"source_{k}" if k in ("u", "v") else k: value for k, value in data.items() if k != "geometry"}
            for u, v, data in edges
        ],
        crs,
    )
    write_features(path, {"edges": lines, "nodes": points}, kind={"edges": "LineString", "nodes": "Point"})


def to_osmnx(graph: "Graph") -> "DiGraph":
    """A `networkx.MultiDiGraph` as OSMnx has it (its User Reference, "graph" and "convert" modules).

    Whole-numbered nodes with `x`, `y` and `street_count`; an edge each way with `osmid`, `length` in metres, `geometry`
    in its direction, `oneway` False and `reversed`; the graph has `crs`. OSMnx is not needed to make it.

    Args:
        graph: of `to_graph`. OSMnx wants one with a CRS, and longitudes and latitudes for what it does on the sphere.
    """
    import networkx as nx
    import shapely

    directed: DiGraph = nx.MultiDiGraph(**graph.graph)
    directed.graph.setdefault("created_with", "roadseg")
    directed.add_nodes_from(
        (int(n), {**data, "street_count": int(graph.degree(n))}) for n, data in graph.nodes(data=True)
    )
    for u, v, data in graph.edges(data=True):
        rest = {k: value for k, value in data.items() if k not in ("geometry", "road", "osmid", "oneway", "reversed")}
        line = oriented(graph, u, v, data)
        for start, end, way, back in ((u, v, line, False), (v, u, line[::-1], True)):
            shape = shapely.LineString(way)
            own = {"osmid": int(data["road"]), "oneway": False, "reversed": back, "geometry": shape}
            add_edge(directed, start, end, own | rest)
    return directed


def write_graphml(graph: "Graph | DiGraph", path: Path | str) -> None:
    """Write GraphML: geometries as WKT, missing values left out.

    A graph of `to_graph` keeps its numbers as such, for `networkx.read_graphml(path, node_type=int,
    force_multigraph=True)`. One of `to_osmnx` gets text for every value: `osmnx.load_graphml` takes nothing else, and
    brings back numbers and geometries itself.

    Raises:
        OutputError: the file cannot be written.
    """
    import networkx as nx

    numbers = not graph.is_directed()
    plain = graph.__class__(**{k: _text(v) for k, v in graph.graph.items() if v is not None})
    plain.add_nodes_from((n, dict(_simple(data, numbers))) for n, data in graph.nodes(data=True))
    for u, v, data in graph.edges(data=True):
        add_edge(plain, u, v, dict(_simple(data, numbers)))
    with write_aside(Path(path)) as aside:
        nx.write_graphml(plain, aside)


def _simple(data: Mapping[str, Any], numbers: bool) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        plain = value.item() if isinstance(value, np.generic) else value
        if plain is None:
            continue
        yield _text(key), plain if numbers and isinstance(plain, bool | int | float) else _text(plain)


def _text(value: Any) -> str:
    """WKT of a geometry, else text; without the characters that no XML file may hold."""
    return NOT_XML.sub("", str(getattr(value, "wkt", value)))
