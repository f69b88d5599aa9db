"""Road networks in files: what OSMnx, networkx and a GIS find in them."""

import networkx as nx
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

import roadseg
from roadseg.errors import ConfigError, OutputError, RoadsegWarning
from roadseg.imagery.vector_files import read_features
from roadseg.roads.graph import merge_degree_two, to_graph
from roadseg.roads.layers import Road, RoadLayer, length_m, read_layer
from roadseg.roads.network_files import to_osmnx, write_graphml, write_network

UTM = "EPSG:32611"


def layer(*lines, crs=None, **properties):
    return RoadLayer(tuple(Road(np.array(points, float), properties) for points in lines), crs)


def test_osmnx_finds_what_it_documents():
    """OSMnx's reference: x, y on whole-numbered nodes; osmid, length, geometry on edges; crs on the graph."""
    graph = to_graph(layer([(0, 0), (30, 0), (30, 40)], [(30, 40), (60, 40)], crs=UTM, name="A"))
    directed = to_osmnx(graph)
    assert type(directed) is nx.MultiDiGraph and directed.graph["crs"] == UTM
    assert all(type(n) is int and {"x", "y"} <= set(data) for n, data in directed.nodes(data=True))
    assert directed.number_of_edges() == 2 * graph.number_of_edges()
    for u, v, data in directed.edges(data=True):
        assert type(data["osmid"]) is int and type(data["length"]) is float and data["name"] == "A"
        line = data["geometry"]
        for node, end in ((u, line.coords[0]), (v, line.coords[-1])):
            assert end == (directed.nodes[node]["x"], directed.nodes[node]["y"])
    assert nx.is_strongly_connected(directed)
    assert nx.shortest_path_length(directed, 0, max(directed), weight="length") > 0


def test_graphml_can_be_read_back(tmp_path):
    graph = to_graph(layer([(0, 0), (30, 0)], [(30, 0), (60, 0)], crs=UTM, name="A", lanes=2, width=None))
    for found, kind in ((graph, nx.MultiGraph), (to_osmnx(graph), nx.MultiDiGraph)):
        write_graphml(found, tmp_path / "a.graphml")
        back = nx.read_graphml(tmp_path / "a.graphml", node_type=int, force_multigraph=True)
        assert type(back) is kind and back.graph["crs"] == UTM
        assert back.number_of_edges() == found.number_of_edges()
        (_, _, data), *_ = back.edges(data=True)
        if kind is nx.MultiDiGraph:  # text, as `osmnx.save_graphml` writes and `osmnx.load_graphml` (2.1) wants it
            assert all(type(v) is str for _, node in back.nodes(data=True) for v in node.values())
            assert data["reversed"] in ("True", "False") and data["oneway"] == "False"
            data |= {"length": float(data["length"]), "lanes": int(data["lanes"])}
        assert shapely.from_wkt(data["geometry"]).length == data["length"] == 30
        assert data["lanes"] == 2 and "width" not in data


def test_a_network_file_has_nodes_with_degrees_and_edges_between_them(tmp_path):
    roads = layer([(0, 0), (100, 0)], [(40, 0), (40, 50)], crs=UTM, highway="service")
    write_network(roads, tmp_path / "net.gpkg")
    nodes = read_features(tmp_path / "net.gpkg", layer="nodes")
    edges = read_layer(tmp_path / "net.gpkg", layer="edges")
    places = {p["node"]: (g.x, g.y) for g, p in zip(nodes.geometries, nodes.properties, strict=True)}
    assert sorted(p["degree"] for p in nodes.properties) == [1, 1, 1, 3]
    assert sum(length_m(edges)) == pytest.approx(150)
    for road in edges.roads:
        assert tuple(road.line[0]) == places[road.properties["u"]]
        assert tuple(road.line[-1]) == places[road.properties["v"]]
        assert road.properties["highway"] == "service"


def test_a_layer_and_its_graph_give_the_same_files(tmp_path):
    roads = layer([(0, 0), (100, 0)], [(40, 0), (40, 50)], crs=UTM, highway="service")
    graph = roadseg.to_graph(roads)
    for k, network in enumerate((roads, graph, roadseg.to_osmnx(graph))):
        roadseg.write_network(network, tmp_path / f"{k}.gpkg")
        roadseg.write_network(network, tmp_path / f"{k}.graphml")
    nodes = [read_features(tmp_path / f"{k}.gpkg", layer="nodes").properties for k in range(3)]
    edges = [len(read_layer(tmp_path / f"{k}.gpkg", layer="edges").roads) for k in range(3)]
    assert nodes[0] == nodes[1] == nodes[2] and edges == [3, 3, 6]
    assert (tmp_path / "0.graphml").read_bytes() == (tmp_path / "1.graphml").read_bytes()
    assert type(nx.read_graphml(tmp_path / "2.graphml", force_multigraph=True)) is nx.MultiDiGraph


def test_what_cannot_be_written_says_so_and_keeps_the_old_file(tmp_path):
    roads = layer([(0, 0), (100, 0)], crs=UTM)
    with pytest.raises(ConfigError, match=r"nodes and edges need a \.gpkg or \.graphml"):
        write_network(roads, tmp_path / "net.geojson")
    with pytest.raises(ConfigError, match="a graph has its nodes already"):
        write_network(to_graph(roads), tmp_path / "net.gpkg", snap=1)
    (tmp_path / "file").write_text("kept")
    for name in ("net.gpkg", "net.graphml"):
        with pytest.raises(OutputError, match="cannot write"):
            write_network(roads, tmp_path / "file" / name)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_network_in_pixel_coordinates_has_no_crs(tmp_path):
    roads = layer([(0, 0), (100, 0)], [(40, 0), (40, 50)])
    with pytest.warns(RoadsegWarning, match="pixel coordinates"):
        write_network(roads, tmp_path / "net.gpkg")
    assert read_layer(tmp_path / "net.gpkg", layer="edges").crs is None
    write_network(roads, tmp_path / "net.graphml")
    back = nx.read_graphml(tmp_path / "net.graphml", node_type=int, force_multigraph=True)
    assert "crs" not in back.graph and back.number_of_edges() == 3
    assert {(data["x"], data["y"]) for _, data in back.nodes(data=True)} == {(0, 0), (40, 0), (40, 50), (100, 0)}


def test_a_network_without_roads_is_a_file(tmp_path):
    for name in ("net.gpkg", "net.graphml"):
        write_network(layer(crs=UTM), tmp_path / name)
    assert len(nx.read_graphml(tmp_path / "net.graphml")) == 0
    assert read_layer(tmp_path / "net.gpkg", layer="edges") == RoadLayer((), UTM)


@given(st.text(max_size=9), st.text(min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_any_text_gives_graphml_that_can_be_read(tmp_path_factory, value, name):
    path = tmp_path_factory.mktemp("graph") / "a.graphml"
    write_graphml(to_graph(layer([(0, 0), (9, 9)], crs=UTM, **{"tag_" + name: value})), path)
    ((_, _, data),) = nx.read_graphml(path, force_multigraph=True).edges(data=True)
    assert data["length"] == pytest.approx(9 * 2**0.5)


def test_attributes_may_be_called_as_arguments_of_networkx_are(tmp_path):
    taken = {"key": "a", "u_for_edge": "b", "v_for_edge": "c", "attr": "d", "u": "e"}
    graph = to_graph(layer([(0, 0), (50, 0), (100, 0)], [(0, 0), (50, 40), (100, 0)], crs=UTM, **taken))
    assert graph.number_of_edges() == 2  # both from one node to the other
    assert all(taken.items() <= data.items() for *_, data in graph.edges(data=True))
    merged = merge_degree_two(to_graph(layer([(0, 0), (50, 0)], [(50, 0), (90, 9)], **taken)))
    assert merged.number_of_edges() == 1
    for found, count in ((graph, 2), (to_osmnx(graph), 4)):
        write_graphml(found, tmp_path / "a.graphml")
        back = nx.read_graphml(tmp_path / "a.graphml", force_multigraph=True)
        assert found.number_of_edges() == back.number_of_edges() == count
        assert all(data["key"] == "a" for *_, data in back.edges(data=True))
    write_network(layer([(0, 0), (50, 0)], crs=UTM, **taken), tmp_path / "net.gpkg")
    (road,) = read_layer(tmp_path / "net.gpkg", layer="edges").roads
    assert (road.properties["u"], road.properties["v"], road.properties["source_u"]) == (0, 1, "e")
