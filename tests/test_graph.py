"""Graphs of road layers: where roads meet, and what other programs get."""

import random

import networkx as nx
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.errors import ConfigError
from roadseg.roads.graph import merge_degree_two, to_graph
from roadseg.roads.layers import Road, RoadLayer, reproject

UTM = "EPSG:32611"


def layer(*lines, crs=None, **properties):
    return RoadLayer(tuple(Road(np.array(points, float), properties) for points in lines), crs)


def degrees(graph):
    return sorted(degree for _, degree in graph.degree())


def total(graph):
    return sum(length for *_, length in graph.edges(data="length"))


def test_roads_meet_where_their_ends_meet():
    graph = to_graph(layer([(0, 0), (10, 0)], [(10, 0), (20, 0)], [(10, 10), (10, 0)]))
    assert degrees(graph) == [1, 1, 1, 3]
    assert total(graph) == 30
    assert [(data["x"], data["y"]) for n, data in graph.nodes(data=True) if graph.degree(n) == 3] == [(10, 0)]


def test_ends_within_the_snap_meet_and_farther_ones_do_not():
    roads = layer([(0, 0), (10, 0)], [(10.3, 0), (20, 0)])
    assert degrees(to_graph(roads)) == [1, 1, 2]
    assert degrees(to_graph(roads, snap=0.2)) == [1, 1, 1, 1]
    assert degrees(to_graph(roads, snap=0)) == [1, 1, 1, 1]
    with pytest.raises(ConfigError, match="snap = -1"):
        to_graph(roads, snap=-1)


def test_an_end_on_the_way_of_another_road_is_a_junction():
    graph = to_graph(layer([(0, 0), (100, 0)], [(40, 50), (40, 0.3)]))
    assert degrees(graph) == [1, 1, 1, 3]
    assert sorted(length for *_, length in graph.edges(data="length")) == pytest.approx([40, 50, 60])
    centre = next(data for n, data in graph.nodes(data=True) if graph.degree(n) == 3)
    assert (centre["x"], centre["y"]) == (40, 0)  # on the road that passes through


def test_a_crossing_without_a_node_stays_a_bridge():
    graph = to_graph(layer([(0, 0), (100, 0)], [(50, -50), (50, 50)]))
    assert degrees(graph) == [1, 1, 1, 1]
    assert nx.number_connected_components(graph) == 2


def test_a_vertex_in_common_is_a_junction():
    graph = to_graph(layer([(0, 0), (50, 0), (100, 0)], [(50, -50), (50, 0), (50, 50)]))
    assert degrees(graph) == [1, 1, 1, 1, 4]


def test_a_line_that_crosses_itself_has_no_node_there():
    graph = to_graph(layer([(0, 0), (100, 0), (100, 50), (50, 50), (50, -50)]))
    assert degrees(graph) == [1, 1] and graph.number_of_edges() == 1


def test_a_line_that_comes_back_to_its_own_vertex_meets_itself():
    graph = to_graph(layer([(0, 0), (50, 0), (100, 0), (100, 50), (50, 0)]))  # a lollipop
    assert degrees(graph) == [1, 3]
    assert nx.number_of_selfloops(graph) == 1


def test_a_ring_is_one_node_and_a_loop():
    ring = [(0, 0), (100, 0), (100, 100), (0, 100), (0, 0)]
    graph = to_graph(layer(ring))
    assert degrees(graph) == [2] and total(graph) == 400
    assert degrees(merge_degree_two(graph)) == [2]
    assert degrees(to_graph(layer(ring, [(100, 100), (150, 100)]))) == [1, 2, 3]


def test_a_road_drawn_twice_is_there_once():
    twice = layer([(0, 0), (50, 20), (100, 0)], [(100, 0), (50, 20), (0, 0)])
    assert to_graph(twice).number_of_edges() == 2  # cut at the vertex that both have
    assert merge_degree_two(to_graph(twice)).number_of_edges() == 1
    two_ways = to_graph(layer([(0, 0), (50, 20), (100, 0)], [(0, 0), (50, -20), (100, 0)]))
    assert two_ways.number_of_edges() == 2  # both sides of a roundabout


def test_lines_of_no_length_make_nothing():
    assert len(to_graph(layer([(5, 5), (5, 5)]))) == 0
    assert len(to_graph(layer())) == 0
    graph = to_graph(layer([(0, 0), (0, 0), (10, 0), (10, 0)]))
    assert graph.number_of_edges() == 1 and total(graph) == 10


def test_edges_carry_the_roads_attributes_and_their_own_length():
    roads = RoadLayer(
        (
            Road(np.array([[0.0, 0], [100, 0]]), {"name": "A", "length_m": 100.0, "length": "long", "geometry": 1}),
            Road(np.array([[40.0, 0], [40, 50]]), {"name": "B"}),
        ),
        None,
    )
    graph = to_graph(roads)
    found = sorted(
        (data["name"], data["length"], data.get("length_m"), data["road"]) for *_, data in graph.edges(data=True)
    )
    assert found == [("A", 40.0, 40.0, 0), ("A", 60.0, 60.0, 0), ("B", 50.0, None, 1)]
    for *_, data in graph.edges(data=True):
        assert isinstance(data["geometry"], shapely.LineString)


def test_a_layer_in_degrees_has_lengths_in_metres():
    metric = layer([(664000, 4012000), (664300, 4012400)], [(664300, 4012400), (664300, 4012500)], crs=UTM)
    graph = to_graph(reproject(metric, "EPSG:4326"))
    assert graph.graph["crs"] == "EPSG:4326"
    assert sorted(length for *_, length in graph.edges(data="length")) == pytest.approx([100, 500], abs=1e-3)
    assert all(-115.2 < data["x"] < -115.1 and 36.2 < data["y"] < 36.3 for _, data in graph.nodes(data=True))


grid_lines = st.lists(
    st.tuples(st.tuples(st.integers(0, 4), st.integers(0, 4)), st.tuples(st.integers(0, 4), st.integers(0, 4))).filter(
        lambda pair: pair[0] != pair[1]
    ),
    min_size=1,
    max_size=8,
    unique_by=frozenset,
)


@given(grid_lines, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_and_direction_of_the_lines_do_not_matter(pairs, chance: random.Random):
    roads = [np.array(pair, float) * 20 for pair in pairs]
    shuffled = [line[::-1] if chance.random() < 0.5 else line for line in chance.sample(roads, len(roads))]
    first, second = to_graph(layer(*roads)), to_graph(layer(*shuffled))
    assert degrees(first) == degrees(second)
    assert total(first) == pytest.approx(total(second))


@given(grid_lines)
@settings(max_examples=40, deadline=None)
def test_edges_lie_on_the_lines_and_merging_keeps_the_length(pairs):
    roads = layer(*(np.array(pair, float) * 20 for pair in pairs))
    graph = to_graph(roads)
    drawn = shapely.union_all([shapely.LineString(road.line) for road in roads.roads])
    covered = shapely.union_all([g for *_, g in graph.edges(data="geometry")])
    assert covered.hausdorff_distance(drawn) < 1e-6
    merged = merge_degree_two(graph)
    assert total(merged) == pytest.approx(total(graph))
    assert nx.number_connected_components(merged) == nx.number_connected_components(graph)
    for node in merged:
        assert merged.degree(node) != 2 or nx.number_of_selfloops(merged) > 0


def test_merging_leaves_junctions_and_dead_ends():
    graph = to_graph(layer([(0, 0), (10, 0)], [(10, 0), (20, 5)], [(20, 5), (30, 0)], name="A", length_m=1.0))
    merged = merge_degree_two(graph)
    ((_, _, data),) = merged.edges(data=True)
    assert degrees(merged) == [1, 1]
    assert data["length"] == pytest.approx(10 + 2 * np.hypot(10, 5)) and data["length_m"] == pytest.approx(
        data["length"]
    )
    assert data["name"] == "A"
    assert {tuple(p) for p in data["geometry"].coords} == {(0, 0), (10, 0), (20, 5), (30, 0)}
