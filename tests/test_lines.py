"""Lines as labels: what attributes say, how wide roads become, and which pixels they cover."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine

from roadseg.errors import ConfigError
from roadseg.preparation.burning import Burnt, Grid
from roadseg.preparation.tags import is_true, number, tags_of, width_in_metres
from roadseg.preparation.widths import CLASSES, Widths, read_widths

UTM = CRS.from_epsg(32632)
CORNER = np.array([500_000.0, 5_400_000.0])
HERE = Affine(0.5, 0, 500_000, 0, -0.5, 5_400_000)


# --- what attributes say ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "metres"),
    [("7.5", 7.5), ("7,5", 7.5), ("7.5 m", 7.5), ("7.5m", 7.5), ("24 ft", 7.3152), ("24'", 7.3152), ("16'3\"", 4.953),
     ("~6", 6.0), ("5;7", 7.0), (".5", 0.5), ("350 cm", 3.5), ("wide", None), ("", None), ("-3", None), ("3 yd", None),
     ("5;wide", None), ("1e3", None)],
)  # fmt: skip
def test_widths_are_read_as_people_write_them(text: str, metres: float | None) -> None:
    assert width_in_metres(text) == (None if metres is None else pytest.approx(metres))


@given(st.text(max_size=12))
def test_no_text_breaks_the_reading_of_numbers(text: str) -> None:
    for read in (width_in_metres, number):
        found = read(text)
        assert found is None or np.isfinite(found)
    is_true(text)
    tags_of({"other_tags": text, "tags": text, "width": text})


def test_tags_are_found_in_columns_hstore_and_json() -> None:
    hstore = '"lanes"=>"2","name"=>"A \\"B\\" street","empty"=>NULL'
    assert tags_of({"highway": "service", "other_tags": hstore}) == {
        "highway": "service", "lanes": "2", "name": 'A "B" street',
    }  # fmt: skip
    assert tags_of({"tags": '{"highway": "primary", "lanes": 3}'}) == {"highway": "primary", "lanes": "3"}
    assert tags_of({"highway": "service", "tags": '{"highway": "primary"}'})["highway"] == "service"
    assert tags_of({"lane_numbe": "2", "fclass": "track"}) == {"lane_number": "2", "highway": "track"}
    assert tags_of({"lane_numbe": "2", "lane_number": "3"}) == {"lane_number": "3"}
    assert tags_of({"lanes": "None", "width": float("nan"), "name": None, "z": " "}) == {}
    assert tags_of({"lanes": 2.0}) == {"lanes": "2"}


@pytest.mark.parametrize(("text", "found"), [("yes", True), ("T", True), ("culvert", True), ("1", True), ("no", False),
                                            ("F", False), ("0", False), (None, False)])  # fmt: skip
def test_a_tunnel_is_anything_but_no(text: str | None, found: bool) -> None:
    assert is_true(text) is found


# --- how wide --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "width", "by"),
    [
        ({"highway": "residential"}, 7.0, "class"),
        ({"fclass": "service", "tunnel": "F"}, 3.5, "class"),
        ({"highway": "residential", "lanes": "4"}, 14.0, "lanes x 3.5 m"),
        ({"highway": "residential", "lanes": "4", "width": "9 m"}, 9.0, "width"),
        ({"highway": "residential", "lanes": "many", "width": "wide"}, 7.0, "class"),
        ({"highway": "residential", "width": "5000"}, 7.0, "class"),
        ({"highway": "residential", "lanes": "900"}, 7.0, "class"),
        ({"highway": "primary", "other_tags": '"lanes"=>"3"'}, 10.5, "lanes x 3.5 m"),
        ({"highway": "['residential', 'motorway']"}, 10.5, "class"),
        ({"highway": "residential", "bridge": "yes"}, 7.0, "class"),
        ({"lane_number": "2", "road_type": "6"}, 7.0, "lane_number x 3.5 m"),
        ({"lane_numbe": 3, "bridge_typ": "1"}, 10.5, "lane_number x 3.5 m"),
        ({"road_type": "7"}, 3.5, "class"),
        ({"width_m": 6.25, "lanes": 2}, 6.25, "width_m"),
        ({"highway": "path"}, None, "highway=path"),
        ({"highway": "path", "width": "3"}, None, "highway=path"),
        ({"highway": "stopline"}, None, "highway=stopline"),
        ({"highway": "residential", "tunnel": "yes"}, None, "tunnel"),
        ({"highway": "service", "area": "yes"}, None, "the outline of an area (area=yes)"),
        ({"waterway": "river", "width": "30"}, None, "another thing than a road (OpenStreetMap)"),
        ({"name": "High Street"}, None, "nothing says how wide"),
        ({}, None, "nothing says how wide"),
    ],
)
def test_the_table_takes_the_first_that_says_something(
    properties: dict[str, Any], width: float | None, by: str
) -> None:
    found = Widths().of(properties)
    assert found.by == by
    assert found.width == (None if width is None else pytest.approx(width))


def test_one_width_for_all_still_leaves_out_what_is_no_road() -> None:
    rule = Widths(constant=5)
    assert rule.of({}).width == rule.of({"highway": "motorway", "width": "30"}).width == 5
    assert rule.of({"highway": "steps"}).width is None
    assert rule.of({"highway": "primary", "tunnel": "yes"}).width is None
    assert Widths(constant=5, keep_tunnels=True).of({"highway": "primary", "tunnel": "yes"}).width == 5


@pytest.mark.parametrize(
    "properties",
    [{"other_tags": '"power"=>"line"'}, {"other_tags": '"route"=>"ferry"'}, {"man_made": "pipeline"},
     {"aeroway": "runway"}, {"landuse": "forest"}, {"leisure": "track"}, {"building": "yes"}, {"amenity": "parking"},
     {"waterway": "river"}],
)  # fmt: skip
def test_other_things_of_openstreetmap_are_no_roads(properties: dict[str, str]) -> None:
    found = Widths(constant=7).of(properties)
    assert found.width is None and found.by == "another thing than a road (OpenStreetMap)"
    assert Widths(constant=7).of({"highway": "residential", **properties}).width == 7


def test_a_route_may_be_the_number_of_a_road() -> None:
    assert Widths(constant=7).of({"route": "SR 95"}).width == 7


def test_where_lines_have_a_highway_those_without_are_no_roads() -> None:
    rule = Widths(constant=7)
    assert rule.of({"name": "A"}).width == 7
    assert rule.of({"name": "A"}, classed=True).by == "no highway, where other lines have one"
    for properties in ({"highway": "service"}, {"road_type": "5"}, {"lanes": "2"}, {"width_m": 6.0}):
        assert rule.of(properties, classed=True).width == 7
    assert Widths(tables={"kind": {"alley": 3.0}}).of({"kind": "alley"}, classed=True).width == 3


def test_a_column_holds_widths_and_a_constant_fills_its_gaps() -> None:
    assert Widths(column="b").of({"b": 4.5, "width": "9"}).width == 4.5
    assert Widths(column="b").of({"b": "12 ft"}).width == pytest.approx(3.6576)
    assert Widths(column="b").of({"b": None}).by == "no usable width in 'b'"
    assert Widths(column="b", constant=3).of({"b": "?"}).width == 3


def test_a_table_of_ones_own_wins_over_what_is_built_in(tmp_path: Path) -> None:
    path = tmp_path / "w.toml"
    path.write_text(
        "lane = 3\ndefault = 6\n[highway]\nresidential = 9\npath = 2\nservice = 0\n[kind]\nalley = 2.5\nfence = false\n"
    )
    rule = read_widths(path)
    assert rule.of({"highway": "residential"}).width == 9
    assert rule.of({"highway": "residential", "lanes": "2"}).width == 6
    assert rule.of({"highway": "path"}).width == 2
    assert rule.of({"highway": "service", "width": "4"}).width is None
    assert rule.of({"highway": "primary"}).width == CLASSES["primary"]
    assert rule.of({"kind": "alley"}).width == 2.5 and rule.of({"kind": "fence"}).width is None
    assert rule.of({"kind": "lane"}).by == "default" and rule.of({}).width == 6


@pytest.mark.parametrize(
    ("text", "part"),
    [("[highway]\nservice = -1\n", "highway.service = -1"), ("[highway]\nservice = 'x'\n", "highway.service = 'x'"),
     ("lane = 0\n", "lane = 0"), ("lanes = 3\n", "unknown key 'lanes'"), ("x", "not TOML"),
     ("[highway]\nservice = 4000\n", "4000"), ("default = true\n", "True")],
)  # fmt: skip
def test_a_wrong_table_is_named(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "w.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"w\.toml") as caught:
        read_widths(path)
    assert part in str(caught.value)


# --- which pixels ----------------------------------------------------------------------------------------------------


def burn(lines: list[np.ndarray], widths: list[float], grid: Grid) -> np.ndarray:
    return Burnt.of(lines, widths, grid).part(0, 0, grid.height, grid.width)


def distances(line: np.ndarray, grid: Grid) -> np.ndarray:
    """(H, W) distance of pixel centres to a line, in units of the grid's CRS; by every segment."""
    rows, columns = np.mgrid[: grid.height, : grid.width]
    points = grid.to_ground(np.column_stack([columns.ravel() + 0.5, rows.ravel() + 0.5]))
    best = np.full(len(points), np.inf)
    for a, b in pairwise(line):
        along = b - a
        t = np.clip((points - a) @ along / max(float(along @ along), 1e-12), 0, 1)
        best = np.minimum(best, np.hypot(*(points - a - t[:, None] * along).T))
    return best.reshape(grid.height, grid.width)


vertices = st.lists(st.tuples(st.floats(-10, 40), st.floats(-10, 35)), min_size=2, max_size=5)


@settings(max_examples=60, deadline=None)
@given(vertices, st.floats(0.5, 12), st.floats(-40, 40), st.floats(0.4, 1.2))
@example([(0.0, 0.0), (30.0, 25.0), (0.0, 25.0), (30.0, 0.0)], 3.0, 0.0, 1.0)  # crosses itself
def test_a_pixel_is_road_when_its_centre_is_within_half_the_width(
    points: list[tuple[float, float]], width: float, angle: float, stretch: float
) -> None:
    turned = HERE @ Affine.rotation(angle) @ Affine.scale(1.0, stretch)
    grid = Grid(40, 50, UTM, turned)
    line = np.array(points) + CORNER - [0, 20]
    assume(float(np.ptp(line, axis=0).max()) > 0)
    apart = distances(line, grid) * 1.0004  # UTM's scale on its central meridian is 0.9996
    found = burn([line], [width], grid)
    sure = np.abs(apart - width / 2) > 0.005 * width
    np.testing.assert_array_equal(found[sure] > 0, (apart <= width / 2)[sure])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_parts_are_what_the_whole_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = Grid(60, 70, UTM, HERE)
    lines = [rng.uniform(-5, 40, (3, 2)) + CORNER - [0, 30] for _ in range(5)]
    burnt = Burnt.of(lines, rng.uniform(1, 8, 5).tolist(), grid)
    whole = burnt.part(0, 0, 60, 70)
    top, left = int(rng.integers(0, 40)), int(rng.integers(0, 40))
    np.testing.assert_array_equal(burnt.part(top, left, 20, 25), whole[top : top + 20, left : left + 25])


@pytest.mark.parametrize("latitude", [0.0, 48.0, -36.2, 67.0])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "ESRI:102645"])  # degrees, Mercator, feet (California)
def test_widths_are_metres_on_the_ground_in_any_crs(latitude: float, crs: str) -> None:
    from rasterio.warp import transform

    if crs.startswith("ESRI"):
        latitude = 34.0
    x, y = (v[0] for v in transform("EPSG:4326", crs, [-118.0], [latitude]))
    system = CRS.from_user_input(crs)
    unit = 1 / 111_320 if system.is_geographic else 1.0
    grid = Grid(200, 200, system, Affine(unit, 0, x - 100 * unit, 0, -unit, y + 100 * unit))
    lines = {
        "across": np.array([[x - 200 * unit, y], [x + 200 * unit, y]]),
        "along": np.array([[x, y - 200 * unit], [x, y + 200 * unit]]),
    }
    sizes = []
    for name, line in lines.items():
        found = burn([line], [20.0], grid)
        pixels = int(found[:, 100].sum() if name == "across" else found[100].sum())
        middle = [[x, y], [x, y + unit]] if name == "across" else [[x, y], [x + unit, y]]
        a, b = zip(*transform(crs, "EPSG:4326", *zip(*middle, strict=True)), strict=True)
        pixel = np.radians(1) * 6_371_000 * np.hypot((b[0] - a[0]) * np.cos(np.radians(latitude)), b[1] - a[1])
        sizes.append(pixel)
        assert pixels * pixel == pytest.approx(20, abs=1.5 * pixel)
    lengths = Burnt.of(list(lines.values()), [5, 5], grid).metres
    np.testing.assert_allclose(lengths, 200 * np.array(sizes[::-1]), rtol=0.01)  # along a road: the other direction


def test_roads_outside_are_not_drawn_and_lengths_end_at_the_border() -> None:
    grid = Grid(40, 100, UTM, HERE)  # 50 m x 20 m
    inside = np.array([[499_990, 5_399_990], [500_060, 5_399_990]], float)
    beside = np.array([[499_990, 5_400_001], [500_060, 5_400_001]], float)  # its edge is in the image
    away = inside + np.array([0, 500])
    burnt = Burnt.of([away, inside, beside], [4, 4, 4], grid)
    assert burnt.index == [1, 2]
    assert burnt.metres[0] == pytest.approx(50, rel=1e-3) and burnt.metres[1] == 0
    found = burnt.part(0, 0, 40, 100)
    assert found[16:24].all() and found[:2].all() and not found[3:15].any() and not found[25:].any()
    assert not Burnt.of([away], [4], grid).part(0, 0, 40, 100).any()
    assert not Burnt.of([], [], grid).part(0, 0, 40, 100).any()
