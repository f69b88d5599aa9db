"""Scores of road networks: hand-made graphs whose answers are worked out here, and what must hold for any."""

import json

import numpy as np
import pytest
from helpers import call
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.errors import ConfigError, DataError, RoadsegWarning
from roadseg.roads import apls as module
from roadseg.roads.apls import apls
from roadseg.roads.graph import to_graph
from roadseg.roads.layers import Road, RoadLayer, reproject, write_layer
from roadseg.roads.network_scores import score_graph
from roadseg.roads.relaxed import Relaxed, pool, relaxed

UTM = "EPSG:32611"
ORIGIN = np.array([664_000.0, 4_012_000.0])


def layer(*lines, crs=None):
    shift = 0 if crs is None else ORIGIN
    return RoadLayer(tuple(Road(np.array(points, float) + shift, {}) for points in lines), crs)


def score(truth, proposed, **options):
    return apls(to_graph(layer(*truth)), to_graph(layer(*proposed)), **options)


LINE = [(0, 0), (100, 0)]
GRID = [[(x, 0), (x, 300)] for x in (0, 100, 200, 300)] + [[(0, y), (100, y), (200, y), (300, y)] for y in (0, 300)]


# --- APLS ------------------------------------------------------------------------------------------------------------


def test_a_network_scores_one_against_itself_however_it_is_drawn():
    assert score([LINE], [LINE]).apls == 1
    assert score([LINE], [[(100, 0), (60, 0)], [(60, 0), (0, 0)]]).apls == 1
    assert score(GRID, [line[::-1] for line in reversed(GRID)]).apls == 1


def test_a_shift_within_the_snap_does_not_matter_and_a_larger_one_is_all():
    assert score([LINE], [[(0, 3), (100, 3)]]).apls == 1
    assert score([LINE], [[(0, 5), (100, 5)]]).apls == 0
    assert score([LINE], [[(0, 5), (100, 5)]], snap=6).apls == 1


def test_half_a_road():
    """Truth: points at 0, 50, 100. 100 is not found: of 3 pairs 1 is right. Back: 0, 25, 50 are all found."""
    found = score([LINE], [[(0, 0), (50, 0)]])
    assert found.truth_to_proposed == pytest.approx(1 / 3)
    assert found.proposed_to_truth == 1
    assert found.apls == pytest.approx(0.5)
    assert found.points == (3, 3) and found.snapped == (2, 3) and found.paths == (6, 6)


def test_a_detour():
    """The hypotenuse, 100 m, for two legs, 60 and 80 m.

    Truth: ends and middle; the middle is not found; the ends are 140 m apart: 1 - (0.4 + 1 + 1) / 3.
    Back: ends and points at 46.7 and 93.3 m that are not found: 1 - (40 / 140 + 5) / 6.
    """
    there, back = 1 - 2.4 / 3, 1 - (40 / 140 + 5) / 6
    found = score([LINE], [[(0, 0), (36, 48), (100, 0)]])
    assert found.truth_to_proposed == pytest.approx(there)
    assert found.proposed_to_truth == pytest.approx(back)
    assert found.apls == pytest.approx(2 * there * back / (there + back))


def test_a_gap_breaks_all_paths_across_it():
    """Truth: 0, 50, 100; 50 lies in the gap, from 0 to 100 there is no path. Back: each piece is as it should be."""
    found = score([LINE], [[(0, 0), (44, 0)], [(56, 0), (100, 0)]])
    assert found.truth_to_proposed == 0
    assert found.proposed_to_truth == 1
    assert found.apls == 0


def test_a_bridge_is_no_junction():
    """Nine points on a cross of four arms. Without the node the centre is on the first line: 5 and 4 are joined."""
    cross = [[(-100, 0), (0, 0)], [(0, 0), (100, 0)], [(0, -100), (0, 0)], [(0, 0), (0, 100)]]
    bridge = [[(-100, 0), (100, 0)], [(0, -100), (0, 100)]]
    found = score(cross, bridge)
    assert found.truth_to_proposed == pytest.approx((10 + 6) / 36)
    # The bridge's lines have 5 points each; in the cross they are all reached as they should be.
    assert found.proposed_to_truth == 1


def test_at_a_crossing_a_point_stays_on_its_own_road():
    """The middle of one line is the crossing: of two edges at no distance, the one of its direction is taken."""
    bridge = [[(-50, 0), (50, 0)], [(0, -50), (0, 50)]]
    assert score(bridge, bridge).apls == 1
    assert score(bridge, bridge[::-1]).apls == 1


def test_of_two_ways_between_two_nodes_the_shorter_counts():
    """A block with a cut through it: without the cut, the way along it is longer by the same for every pair across."""
    short, around = [(0, 0), (100, 0)], [(0, 0), (0, 30), (100, 30), (100, 0)]
    tails = [[(-60, 0), (0, 0)], [(100, 0), (160, 0)]]
    assert score([short, around, *tails], [around, short, *tails]).apls == 1
    ends = apls(to_graph(layer(short, around, *tails)), to_graph(layer(around, *tails)), spacing=1000)
    # Points: 4 nodes, all found. Pairs by true length: tail-node 60, 60 and node-node 100 (160 now), tail to the
    # farther node 160, 160 (220 now), tail to tail 220 (280 now).
    assert ends.truth_to_proposed == pytest.approx(1 - (60 / 100 + 2 * 60 / 160 + 60 / 220) / 6)


def test_empty_networks():
    assert score([], []).apls == 1
    assert score([LINE], []).apls == 0
    assert score([], [LINE]).apls == 0


def test_a_ring_too_short_for_paths_scores_what_is_found():
    ring = [(0, 0), (5, 0), (5, 5), (0, 0)]
    assert score([ring], [ring]).apls == 1
    assert score([ring], [[(50, 0), (55, 0), (55, 5), (50, 0)]]).apls == 0


@pytest.mark.parametrize("name", ["snap", "spacing"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_distances_must_be_above_zero(name, value):
    with pytest.raises(ConfigError, match=f"{name} = "):
        score([LINE], [LINE], **{name: value})


def test_large_networks_are_sampled_by_a_seed_and_say_so(monkeypatch):
    whole = score(GRID, GRID[:-1])
    assert not whole.sampled
    monkeypatch.setattr(module, "MAX_POINTS", 20)
    monkeypatch.setattr(module, "STARTS", 12)
    first, again, other = score(GRID, GRID[:-1]), score(GRID, GRID[:-1]), score(GRID, GRID[:-1], seed=1)
    assert first.sampled and first == again and first != other
    assert first.paths[0] < whole.paths[0]
    assert first.apls == pytest.approx(whole.apls, abs=0.15)
    assert score(GRID, GRID).apls == 1


places = st.tuples(st.integers(0, 5), st.integers(0, 5))
networks = st.lists(
    st.tuples(places, places).filter(lambda pair: pair[0] != pair[1]), min_size=0, max_size=7, unique_by=frozenset
).map(lambda pairs: [np.array(pair, float) * 40 for pair in pairs])


@given(networks, networks)
@settings(max_examples=40, deadline=None)
def test_swapping_swaps_the_directions_and_keeps_the_score(truth, proposed):
    there, back = score(truth, proposed), score(proposed, truth)
    assert there.apls == back.apls and 0 <= there.apls <= 1
    assert there.truth_to_proposed == back.proposed_to_truth
    one, other = relaxed(truth, proposed), relaxed(proposed, truth)
    assert one.f1 == other.f1 and 0 <= one.f1 <= 1
    assert (one.precision, one.recall) == (other.recall, other.precision)


@given(networks)
@settings(max_examples=25, deadline=None)
def test_every_network_scores_one_against_itself(lines):
    assert score(lines, lines).apls == pytest.approx(1)
    assert relaxed(lines, lines).f1 == 1


# --- relaxed precision and recall ------------------------------------------------------------------------------------


def arrays(*lines):
    return [np.array(line, float) for line in lines]


def test_relaxed_scores_are_shares_of_length():
    found = relaxed(arrays(LINE), arrays([(0, 2), (50, 2)]), buffer=3)
    assert found.precision == 1
    assert found.recall == pytest.approx((50 + np.sqrt(9 - 4)) / 100, abs=3 / 24 / 100)
    assert found.f1 == pytest.approx(2 * found.recall / (1 + found.recall))
    assert found.quality == pytest.approx(50 / (50 + 100 - found.truth_matched))


def test_a_line_outside_the_buffer_does_not_count():
    assert relaxed(arrays(LINE), arrays([(0, 3.5), (100, 3.5)]), buffer=3).f1 == 0
    assert relaxed(arrays(LINE), arrays([(0, 3.5), (100, 3.5)]), buffer=4).f1 == 1


def test_relaxed_scores_of_empty_networks():
    assert relaxed([], []).f1 == 1
    assert relaxed(arrays(LINE), []).f1 == 0 and relaxed([], arrays(LINE)).f1 == 0
    with pytest.raises(ConfigError, match="buffer = 0"):
        relaxed([], [], buffer=0)


def test_pooling_adds_lengths():
    whole = pool([Relaxed(100, 100, 100, 100), Relaxed(300, 0, 100, 0)])
    assert (whole.precision, whole.recall) == (0.5, 0.25)


# --- between files ---------------------------------------------------------------------------------------------------


def test_files_in_two_crs_are_compared_in_metres(tmp_path, capsys):
    truth = layer(*GRID, crs=UTM)
    write_layer(truth, tmp_path / "truth.gpkg")
    write_layer(reproject(truth, "EPSG:3857"), tmp_path / "mercator.gpkg")
    write_layer(truth, tmp_path / "degrees.geojson")
    for other in ("mercator.gpkg", "degrees.geojson"):
        answer = call(capsys, "score-graph", tmp_path / "truth.gpkg", tmp_path / other, "--json")
        found = json.loads(answer.out)
        assert answer.code == 0 and found["unit"] == "m" and found["crs"] == UTM
        assert found["apls"] == pytest.approx(1, abs=1e-4) and found["relaxed_f1"] == 1
        assert found["truth"]["km"] == pytest.approx(1.8) and found["length_ratio"] == pytest.approx(1)
        assert {"apls", "relaxed_precision", "relaxed_recall", "relaxed_f1", "buffer_m", "completeness"} <= set(found)
    assert found["truth"]["junctions"] == 4 and found["truth"]["dead_ends"] == 0


def test_the_buffer_and_the_snap_are_options(tmp_path, capsys):
    write_layer(layer(LINE, crs=UTM), tmp_path / "a.gpkg")
    write_layer(layer([(0, 3.5), (100, 3.5)], crs=UTM), tmp_path / "b.gpkg")
    words = ("score-graph", tmp_path / "a.gpkg", tmp_path / "b.gpkg")
    strict, wide = (json.loads(call(capsys, *words, "--json", *more).out) for more in ((), ("--buffer", 4)))
    assert (strict["relaxed_f1"], strict["apls"], strict["buffer_m"]) == (0, 1, 3)
    assert (wide["relaxed_f1"], wide["buffer_m"]) == (1, 4)
    assert json.loads(call(capsys, *words, "--json", "--snap", 2).out)["apls"] == 0
    told = call(capsys, *words).out
    assert "APLS 1.0000" in told and "0.100 km" in told and "within 3 m" in told
    bad = call(capsys, *words, "--buffer", 0)
    assert bad.code == 2 and "buffer = 0" in bad.err


def test_pixels_are_compared_with_pixels_and_said(tmp_path, capsys):
    for name in ("a.gpkg", "b.geojson"):
        with pytest.warns(RoadsegWarning):
            write_layer(layer(LINE), tmp_path / name)
    answer = call(capsys, "score-graph", tmp_path / "a.gpkg", tmp_path / "b.geojson")
    assert "both files are in pixel coordinates" in answer.out and "100 px" in answer.out
    found = score_graph(tmp_path / "a.gpkg", tmp_path / "b.geojson")
    assert found["unit"] == "px" and found["crs"] is None and found["apls"] == 1 and found["truth"]["px"] == 100
    write_layer(layer(LINE, crs=UTM), tmp_path / "c.gpkg")
    mixed = call(capsys, "score-graph", tmp_path / "c.gpkg", tmp_path / "a.gpkg")
    assert mixed.code == 2 and "a.gpkg' is in pixel coordinates" in mixed.err and "c.gpkg' has a CRS" in mixed.err


def test_networks_of_two_places_are_warned_of():
    far = RoadLayer((Road(np.array([[0.0, 0], [100, 0]]) + ORIGIN + 5000, {}),), UTM)
    with pytest.warns(RoadsegWarning, match="do not overlap at all"):
        assert score_graph(layer(LINE, crs=UTM), far)["apls"] == 0


def test_empty_files_have_defined_scores(tmp_path):
    write_layer(layer(LINE, crs=UTM), tmp_path / "a.gpkg")
    write_layer(layer(crs=UTM), tmp_path / "none.geojson")
    found = score_graph(tmp_path / "a.gpkg", tmp_path / "none.geojson")
    assert (found["apls"], found["relaxed_f1"], found["length_ratio"]) == (0, 0, 0)
    found = score_graph(tmp_path / "none.geojson", tmp_path / "none.geojson")
    assert (found["apls"], found["relaxed_f1"], found["length_ratio"]) == (1, 1, None)
    assert score_graph(tmp_path / "none.geojson", tmp_path / "a.gpkg")["crs"] == UTM


def area(path, *corners, crs=UTM):
    import shapely

    from roadseg.imagery.vector_files import Features
    from roadseg.imagery.vector_writing import write_features

    polygon = shapely.Polygon([np.array(corner, float) + ORIGIN for corner in corners])
    write_features(path, {"area": Features([polygon], [{}], crs)}, kind="Polygon")
    return path


def test_only_what_lies_in_the_area_counts(tmp_path, capsys):
    write_layer(layer(LINE, crs=UTM), tmp_path / "a.gpkg")
    write_layer(layer([(0, 0), (50, 0)], crs=UTM), tmp_path / "b.gpkg")
    half = area(tmp_path / "half.geojson", (-10, -10), (50, -10), (50, 10), (-10, 10))
    answer = call(capsys, "score-graph", tmp_path / "a.gpkg", tmp_path / "b.gpkg", "--aoi", half, "--json")
    found = json.loads(answer.out)
    assert found["apls"] == pytest.approx(1, abs=1e-4) and found["truth"]["km"] == pytest.approx(0.05, abs=1e-5)
    no_area = call(capsys, "score-graph", tmp_path / "a.gpkg", tmp_path / "b.gpkg", "--aoi", tmp_path / "a.gpkg")
    assert no_area.code == 2 and "has no polygons but LineString" in no_area.err
    with pytest.warns(RoadsegWarning):
        write_layer(layer(LINE), tmp_path / "p.gpkg")
    mixed = call(capsys, "score-graph", tmp_path / "p.gpkg", tmp_path / "p.gpkg", "--aoi", half)
    assert mixed.code == 2 and "the roads have pixel coordinates" in mixed.err


def test_the_same_streets_drawn_by_two_parties(real_data):
    """OSM against SpaceNet: near in place, and OSM has fewer of the service roads."""
    folder = real_data / "vegas" / "vectors"
    name = "AOI_2_Vegas_img998.geojson"
    there = score_graph(folder / "extra_spacenetroads" / name, folder / "extra_osm" / name, buffer=5)
    back = score_graph(folder / "extra_osm" / name, folder / "extra_spacenetroads" / name, buffer=5)
    assert there["apls"] == back["apls"] and there["relaxed_f1"] == back["relaxed_f1"]
    assert there["relaxed_precision"] == back["relaxed_recall"] > 0.95
    assert 0.55 < there["relaxed_recall"] < 0.75 and 0.5 < there["apls"] < 0.8


def test_a_layer_of_the_wrong_kind_is_no_traceback(tmp_path, capsys):
    (tmp_path / "points.geojson").write_text(
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, '
        '"geometry": {"type": "Point", "coordinates": [1, 2]}}]}'
    )
    write_layer(layer(LINE, crs=UTM), tmp_path / "a.gpkg")
    answer = call(capsys, "score-graph", tmp_path / "a.gpkg", tmp_path / "points.geojson")
    assert answer.code == 2 and "has no lines but Point" in answer.err and "Traceback" not in answer.err
    with pytest.raises(DataError, match="does not exist"):
        score_graph(tmp_path / "a.gpkg", tmp_path / "none.gpkg")


def test_a_country_against_a_town_is_measured_in_the_town(tmp_path):
    """The zone of the country's middle has lengths that are 5.6 % too long in the town."""
    town = RoadLayer((Road(np.array([[-74.0, 40.70], [-74.0, 40.71]]), {}),), "EPSG:4326")
    far = Road(np.array([[-123.0, 35.0], [-122.99, 35.0]]), {})
    country = RoadLayer((*town.roads, far), "EPSG:4326")
    there, back = score_graph(country, town), score_graph(town, country)
    assert there["crs"] == back["crs"] == "EPSG:32618"
    assert there["proposed"]["km"] == back["truth"]["km"] == pytest.approx(1.1105, rel=1e-3)
    assert there["apls_proposed_to_truth"] == pytest.approx(1)
    box = {"type": "Polygon", "coordinates": [[[-124, 34], [-122, 34], [-122, 36], [-124, 36], [-124, 34]]]}
    (tmp_path / "aoi.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, "geometry": box}]})
    )
    west = score_graph(country, country, aoi=tmp_path / "aoi.geojson")
    assert west["crs"] == "EPSG:32610" and west["truth"]["roads"] == 1


def test_layers_are_chosen_by_name(tmp_path, capsys):
    from roadseg.roads.network_files import write_network

    write_network(layer(LINE, crs=UTM), tmp_path / "a.gpkg")
    words = ("score-graph", tmp_path / "a.gpkg", tmp_path / "a.gpkg")
    assert call(capsys, *words, "--truth-layer", "edges", "--proposed-layer", "edges").code == 0
    for option in ("--truth-layer", "--proposed-layer"):
        answer = call(capsys, *words, option, "streets")
        assert answer.code == 2 and "has no layer 'streets'" in answer.err
