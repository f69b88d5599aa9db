"""Two states of a network: parts that are new, gone or the same."""

import json

import numpy as np
import pytest
from helpers import call
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.errors import ConfigError, OutputError, RoadsegWarning
from roadseg.roads.change import compare_networks
from roadseg.roads.layers import Road, RoadLayer, length_m, read_layer, reproject, write_layer
from roadseg.roads.network_files import write_network

UTM = "EPSG:32611"
ORIGIN = np.array([664_000.0, 4_012_000.0])
STREET = [(0, 0), (200, 0)]


def layer(*lines, crs=UTM, **properties):
    return RoadLayer(tuple(Road(np.array(points, float) + ORIGIN, properties) for points in lines), crs)


def states(change):
    """(status, length in metres) of each part, sorted."""
    return sorted((road.properties["status"], round(road.properties["length_m"])) for road in change.layer.roads)


def test_an_unchanged_network_is_the_same_within_the_buffer():
    change = compare_networks(layer(STREET), layer([(0, 4), (200, 4)]))
    assert states(change) == [("same", 200)]
    assert change.layer.roads[0].line[:, 1] == pytest.approx([ORIGIN[1] + 4] * 2)  # drawn as the new network has it
    assert states(compare_networks(layer(STREET), layer([(0, 4), (200, 4)]), buffer=3)) == [("gone", 200), ("new", 200)]


def test_roads_are_cut_where_they_leave_the_buffer():
    change = compare_networks(layer(STREET), layer([(100, 0), (300, 0)]))
    assert states(change) == [("gone", 95), ("new", 95), ("same", 105)]
    assert change.summary["new_km"] == pytest.approx(0.095, abs=0.001)
    assert change.summary["old_km"] == pytest.approx(0.2)
    assert change.summary["missing_in_old"] == pytest.approx(95 / 200, abs=0.005)


def test_a_side_street_is_new_from_the_junction_on():
    change = compare_networks(layer(STREET), layer(STREET, [(100, 0), (100, 80)]))
    assert states(change) == [("new", 80), ("same", 200)]
    fine = compare_networks(layer(STREET), layer(STREET, [(100, 0), (100, 80)]), min_length=0)
    assert states(fine) == [("new", 75), ("same", 5), ("same", 200)]


def test_a_wobble_out_of_the_buffer_does_not_cut_a_road():
    wobble = [(0, 0), (95, 0), (100, 8), (105, 0), (200, 0)]
    assert [status for status, _ in states(compare_networks(layer(STREET), layer(wobble)))] == ["same"]
    fine = compare_networks(layer(STREET), layer(wobble), min_length=0)
    assert [status for status, _ in states(fine)] == ["new", "same", "same"]


def test_a_road_shorter_than_the_minimum_keeps_its_state():
    change = compare_networks(layer(STREET), layer(STREET, [(100, 50), (110, 50)]))
    assert states(change) == [("new", 10), ("same", 200)]


def test_empty_networks():
    assert states(compare_networks(layer(), layer(STREET))) == [("new", 200)]
    assert states(compare_networks(layer(STREET), layer())) == [("gone", 200)]
    change = compare_networks(layer(), layer())
    assert states(change) == [] and change.summary["missing_in_old"] is None


lines = st.lists(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=4, unique=True), max_size=5
).map(lambda found: [np.array(points, float) * 30 for points in found])


@given(lines, lines, st.sampled_from([0, 20, 60]))
@settings(max_examples=40, deadline=None)
def test_no_length_is_lost_and_swapping_swaps_new_and_gone(old, new, shortest):
    there = compare_networks(layer(*old), layer(*new), min_length=shortest)
    back = compare_networks(layer(*new), layer(*old), min_length=shortest)
    drawn = sum(r.properties["length_m"] for r in there.layer.roads if r.properties["status"] != "gone")
    assert drawn == pytest.approx(sum(length_m(layer(*new))), abs=1e-6)
    assert there.summary["gone_km"] == pytest.approx(back.summary["new_km"])
    assert there.summary["new_parts"] == back.summary["gone_parts"]
    for road in there.layer.roads:
        assert length_m(RoadLayer((road,), UTM))[0] == pytest.approx(road.properties["length_m"])


def test_the_command_writes_the_parts_and_says_what_is_missing(tmp_path, capsys):
    write_layer(reproject(layer(STREET, name="A"), "EPSG:4326"), tmp_path / "osm.geojson")
    write_layer(layer(STREET, [(100, 0), (100, 80)], width_m=7.5), tmp_path / "roads.gpkg")
    words = ("compare-network", tmp_path / "osm.geojson", tmp_path / "roads.gpkg", "--out", tmp_path / "changes.gpkg")
    answer = call(capsys, *words)
    assert answer.code == 0, answer.err
    assert "new:" in answer.out and "0.080 km" in answer.out and "28.6% of" in answer.out
    back = read_layer(tmp_path / "changes.gpkg")
    assert back.crs == UTM and sorted(r.properties["status"] for r in back.roads) == ["new", "same"]
    assert {r.properties["width_m"] for r in back.roads} == {7.5}
    found = json.loads(call(capsys, *words, "--json", "--min-length", 0, "--buffer", 10).out)
    assert found["new_km"] == pytest.approx(0.07, abs=1e-3) and found["buffer_m"] == 10
    assert found["out"] == str(tmp_path / "changes.gpkg")


def test_only_the_area_is_compared(tmp_path):
    from test_apls import area

    half = area(tmp_path / "half.geojson", (-10, -10), (100, -10), (100, 10), (-10, 10))
    change = compare_networks(layer(), layer(STREET), aoi=half)
    assert states(change) == [("new", 100)]


def test_pixels_are_compared_with_pixels(tmp_path):
    flat = RoadLayer((Road(np.array([[0.0, 0], [50, 0]]), {}),), None)
    with pytest.warns(RoadsegWarning, match="pixel coordinates"):
        change = compare_networks(RoadLayer((), None), flat, tmp_path / "a.geojson")
    assert change.summary["unit"] == "px" and change.summary["new_px"] == pytest.approx(50)


def test_wrong_options_are_refused_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match="vector files are"):
        compare_networks(tmp_path / "none.gpkg", tmp_path / "none.gpkg", tmp_path / "out.txt")
    with pytest.raises(ConfigError, match="min_length = -1"):
        compare_networks(layer(), layer(), min_length=-1)
    with pytest.raises(ConfigError, match="buffer = 0"):
        compare_networks(layer(), layer(), buffer=0)


def test_an_input_is_never_replaced(tmp_path):
    from test_apls import area

    write_layer(layer(STREET), tmp_path / "osm.gpkg")
    write_layer(layer(STREET), tmp_path / "roads.gpkg")
    aoi = area(tmp_path / "aoi.gpkg", (-10, -10), (100, -10), (100, 10), (-10, 10))
    (tmp_path / "link.gpkg").symlink_to(tmp_path / "osm.gpkg")
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("osm.gpkg", "roads.gpkg", "aoi.gpkg", "link.gpkg", f"../{tmp_path.name}/osm.gpkg"):
        with pytest.raises(OutputError, match="it is the input"):
            compare_networks(tmp_path / "osm.gpkg", tmp_path / "roads.gpkg", tmp_path / name, aoi=aoi)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_a_layer_of_a_file_is_chosen_by_name(tmp_path, capsys):
    write_network(layer(STREET), tmp_path / "old.gpkg")
    write_network(layer(STREET), tmp_path / "new.gpkg")
    words = ("compare-network", tmp_path / "old.gpkg", tmp_path / "new.gpkg", "--out", tmp_path / "changes.gpkg")
    assert call(capsys, *words, "--old-layer", "edges", "--new-layer", "edges").code == 0
    for option in ("--old-layer", "--new-layer"):
        answer = call(capsys, *words, option, "streets")
        assert answer.code == 2 and "has no layer 'streets'" in answer.err


def test_a_road_that_crosses_itself_inside_the_area_stays_one(tmp_path):
    from test_apls import area

    whole = area(tmp_path / "whole.geojson", (-500, -500), (500, -500), (500, 500), (-500, 500))
    bow = [(0, 0), (200, 0), (200, 100), (100, -100)]
    assert len(compare_networks(layer(), layer(bow), aoi=whole).layer.roads) == 1
