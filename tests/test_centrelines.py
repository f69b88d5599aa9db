"""Masks and probabilities to lines: what is found, cleaned, bridged and measured, and that tiles change nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.errors import ConfigError, DataError, ImageError, RoadsegWarning
from roadseg.roads.bands import Raster, counts, level_of, open_raster, survey
from roadseg.roads.centrelines import TraceOptions, trace, trace_file, trace_raster
from roadseg.roads.layers import Road, RoadLayer
from roadseg.roads.made import burn, made_network
from roadseg.roads.network_scores import score_graph

PLAIN = TraceOptions(bridge=0.0, prune=0.0, merge=0.0, hole=0.0, speck=0.0)


def drawn(*lines: list[tuple[float, float]], width: int = 9, shape: tuple[int, int] = (200, 300)) -> np.ndarray:
    """A mask with lines of (x, y)."""
    roads = tuple(Road(np.array(line, float), {"width_px": width}) for line in lines)
    return burn(RoadLayer(roads, None), *shape)


def total(layer: RoadLayer) -> float:
    return sum(road.properties["length_px"] for road in layer.roads)


def degrees(layer: RoadLayer) -> list[int]:
    return sorted(road.properties[f"degree_{end}"] for road in layer.roads for end in ("start", "end"))


def farthest(layer: RoadLayer, line: list[tuple[float, float]]) -> float:
    """px from the layer's vertices to the line."""
    import shapely

    truth = shapely.LineString(line)
    return max(truth.distance(shapely.Point(*point)) for road in layer.roads for point in road.line)


# --- lines -----------------------------------------------------------------------------------------------------------


def test_a_straight_road_is_one_line_in_its_middle():
    line = [(40, 100), (260, 120)]
    (road,) = trace(drawn(line)).roads
    assert farthest(RoadLayer((road,), None), line) < 1.25
    assert road.properties["length_px"] == pytest.approx(math.dist(*line), abs=6)
    assert road.properties["width_px"] == pytest.approx(9, abs=0.7)
    assert set(road.properties) == {"length_px", "width_px", "bridged_px", "degree_start", "degree_end"}


@pytest.mark.parametrize("width", [1, 2, 5, 14, 25])
def test_the_width_is_the_roads(width):
    mask = np.zeros((120, 300), np.uint8)
    mask[40 : 40 + width, :] = 255
    (road,) = trace(mask).roads
    assert road.properties["width_px"] == pytest.approx(width, abs=0.51)
    assert road.line[:, 1] == pytest.approx(np.full(len(road.line), 40 + width / 2), abs=0.51)


def test_a_road_that_leaves_the_raster_ends_at_its_border():
    (road,) = trace(drawn([(-20, 60), (320, 140)], width=12)).roads
    assert sorted(road.line[[0, -1], 0]) == pytest.approx([0, 300], abs=1e-6)
    slope = 80 / 340
    for x, y in road.line:
        assert y == pytest.approx(60 + (x + 20) * slope, abs=1)


def test_square_ends_do_not_bend_into_a_corner():
    mask = np.zeros((120, 300), np.uint8)
    mask[50:65, 40:240] = 255
    (road,) = trace(mask).roads
    assert road.line[:, 1] == pytest.approx(np.full(len(road.line), 57.5), abs=0.8)
    assert road.properties["length_px"] > 185


def test_a_crossing_is_one_junction_of_four():
    layer = trace(drawn([(30, 40), (270, 160)], [(40, 170), (250, 30)], width=12))
    assert degrees(layer) == [1, 1, 1, 1, 4, 4, 4, 4]
    split = trace(drawn([(30, 40), (270, 160)], [(40, 170), (250, 30)], width=12), options=TraceOptions(merge=0))
    assert len(split.roads) >= len(layer.roads)


def test_a_ring_without_junctions_is_one_closed_line():
    turns = np.linspace(0, 2 * math.pi, 60)
    layer = trace(drawn([(150 + 60 * math.cos(t), 100 + 60 * math.sin(t)) for t in turns]))
    (road,) = layer.roads
    assert np.array_equal(road.line[0], road.line[-1])
    assert road.properties["length_px"] == pytest.approx(2 * math.pi * 60, rel=0.03)


def test_spurs_go_and_side_roads_stay():
    bumpy = drawn([(30, 100), (270, 100)], [(150, 100), (150, 108)], [(90, 100), (90, 40)], width=11)
    layer = trace(bumpy)
    assert degrees(layer) == [1, 1, 1, 3, 3, 3]
    assert len(trace(drawn([(30, 100), (270, 100)], [(150, 100), (150, 109)], width=9)).roads) == 1


def test_a_side_road_that_the_border_cuts_short_stays():
    mask = drawn([(-20, 100), (320, 100)], [(260, 100), (260, 220)], width=31)
    assert degrees(trace(mask)) == [1, 1, 1, 3, 3, 3]
    mask = drawn([(-20, 100), (320, 100)], [(150, 100), (150, 220)], width=31, shape=(145, 300))
    layer = trace(mask)
    assert degrees(layer) == [1, 1, 1, 3, 3, 3]
    assert max(road.line[:, 1].max() for road in layer.roads) == pytest.approx(145)


def test_specks_are_dropped_and_holes_filled_by_the_roads_width():
    mask = drawn([(20, 100), (280, 100)], width=13)
    clean = trace(mask)
    mask[98:103, 120:126] = 0  # a car
    mask[30:36, 40:46] = 255  # a speck
    assert len(trace(mask).roads) == 1
    assert total(trace(mask)) == pytest.approx(total(clean), abs=1)
    assert len(trace(mask, options=PLAIN).roads) > 2


def test_short_pieces_are_dropped_on_demand():
    mask = drawn([(20, 50), (280, 50)], [(20, 150), (90, 150)])
    assert len(trace(mask).roads) == 2
    (road,) = trace(mask, options=TraceOptions(min_length=100)).roads
    assert road.properties["length_px"] > 200


def test_tolerance_bounds_the_simplification():
    curve = [(x, 100 + 50 * math.sin(x / 40)) for x in range(20, 280, 4)]
    dense = trace(drawn(curve), options=TraceOptions(tolerance=0))
    default, rough = trace(drawn(curve)), trace(drawn(curve), options=TraceOptions(tolerance=8))
    counts = [len(layer.roads[0].line) for layer in (dense, default, rough)]
    assert counts[0] > 100 > counts[1] > counts[2]
    assert farthest(default, curve) < 2


# --- pixels that are no squares --------------------------------------------------------------------------------------

DEGREE = 1e-5  # of a pixel: 1.114 m from north to south, at 60 degrees north 0.558 m from west to east
NORTH = (DEGREE, 0.0, 25.0, 0.0, -DEGREE, 60.0)


def in_degrees(mask: np.ndarray, **options: float) -> RoadLayer:
    return trace(mask, NORTH, "EPSG:4326", TraceOptions(**options))


def across(layer: RoadLayer) -> list[bool]:
    """Of each road whether it runs from west to east."""
    return [bool(np.ptp(road.line[:, 0]) > np.ptp(road.line[:, 1])) for road in layer.roads]


def test_the_shortest_length_is_metres_on_the_ground_in_any_direction():
    mask = drawn([(20, 40), (120, 40)], [(200, 50), (200, 150)], width=7)  # 100 px each: 56 m and 111 m
    lengths = [round(road.properties["length_m"]) for road in in_degrees(mask).roads]
    assert sorted(lengths) == pytest.approx([56, 111], abs=5)
    assert across(in_degrees(mask, min_length=48)) == [True, False]
    assert across(in_degrees(mask, min_length=70)) == [False]
    assert across(in_degrees(mask, min_length=95)) == [False]
    assert across(in_degrees(mask, min_length=125)) == []


def test_dead_ends_are_measured_so_too():
    east = drawn([(150, 10), (150, 190)], [(150, 100), (220, 100)], width=5)  # a side road of 70 px and 39 m
    north = drawn([(10, 100), (290, 100)], [(150, 100), (150, 30)], width=5)  # 70 px and 78 m
    assert [len(in_degrees(mask, min_length=30).roads) for mask in (east, north)] == [3, 3]
    assert [len(in_degrees(mask, min_length=55).roads) for mask in (east, north)] == [1, 3]


def test_the_longest_gap_is_metres_on_the_ground_in_any_direction():
    east, south = [[(10, 20), (150, 20)], [(190, 20), (290, 20)]], [[(60, 110), (60, 170)], [(60, 210), (60, 290)]]
    mask = drawn(*east, *south, width=5, shape=(300, 300))
    for bridge, found in ((15.0, set()), (30.0, {True}), (40.0, {True}), (52.0, {True, False})):  # gaps: 20 m and 39 m
        layer = in_degrees(mask, bridge=bridge)
        bridged = {w for w, road in zip(across(layer), layer.roads, strict=True) if road.properties["bridged_m"] > 0}
        assert bridged == found, bridge
    lengths = {w: r.properties["bridged_m"] for w, r in zip(across(layer), layer.roads, strict=True)}
    assert lengths == {True: pytest.approx(20, abs=3), False: pytest.approx(40, abs=4)}


def test_what_points_at_it_on_the_ground_is_bridged():
    """Pixels of 1 x 4 m: what is 35 degrees off on the ground is 70 off in pixels, and was never tried."""
    a, b = np.array([20.0, 60.0]), np.array([140.0, 60.0])
    c = b + np.array([24 * math.cos(math.radians(20)), 24 * math.sin(math.radians(20)) / 4])
    mask = drawn([tuple(a), tuple(b)], [tuple(c), tuple(c + (c - b) * 4)], width=3)
    flat = trace(mask, (1.0, 0, 500_000, 0, -4.0, 5e6), "EPSG:32632", TraceOptions(bridge=40.0))
    assert len(flat.roads) == 1 and flat.roads[0].properties["bridged_m"] == pytest.approx(24, abs=6)


@given(st.floats(0.1, 3.0), st.floats(0, 360))
@settings(max_examples=20, deadline=None)
def test_square_pixels_of_any_size_and_turn_give_the_same_roads(pixel, turn):
    mask = drawn([(20, 40), (120, 90)], [(150, 105), (280, 170)], [(60, 60), (60, 190)], width=7)
    c, s = pixel * math.cos(math.radians(turn)), pixel * math.sin(math.radians(turn))
    turned = trace(mask, (c, s, 500_000, s, -c, 5e6), "EPSG:32632")
    plain = trace(mask)
    for one, other in zip(turned.roads, plain.roads, strict=True):
        assert one.properties["length_m"] == pytest.approx(other.properties["length_px"] * pixel)
        assert one.properties["bridged_m"] == pytest.approx(other.properties["bridged_px"] * pixel)


# --- gaps ------------------------------------------------------------------------------------------------------------


def test_a_gap_between_ends_that_point_at_each_other_is_bridged():
    mask = drawn([(20, 80), (280, 110)])
    mask[:, 140:151] = 0
    (road,) = trace(mask).roads
    assert 10 < road.properties["bridged_px"] < 22
    assert len(trace(mask, options=TraceOptions(bridge=0)).roads) == 2
    assert len(trace(mask, options=TraceOptions(bridge=5)).roads) == 2
    mask[:, 140:165] = 0
    assert len(trace(mask).roads) == 2, "a mask alone does not vouch for a gap that long"
    assert len(trace(mask, options=TraceOptions(bridge=30)).roads) == 1


def test_ends_that_look_past_each_other_are_not_bridged():
    mask = drawn([(20, 60), (130, 60)], [(150, 100), (280, 100)])
    assert len(trace(mask, options=TraceOptions(bridge=60)).roads) == 2


def test_a_side_road_that_stops_short_is_led_to_the_road():
    mask = drawn([(20, 60), (280, 60)], [(150, 60), (150, 180)])
    mask[66:74] = 0
    layer = trace(mask)
    assert degrees(layer) == [1, 1, 1, 3, 3, 3]
    assert sum(road.properties["bridged_px"] for road in layer.roads) > 5


@pytest.mark.parametrize("slant", [0, 7])
def test_a_street_hidden_on_both_sides_of_another_meets_it(slant):
    mask = drawn([(150, 10), (150, 190)])
    mask[91:110] = 0  # shadows
    mask = np.maximum(mask, drawn([(20, 100 - slant), (280, 100 + slant)]))
    layer = trace(mask)
    assert degrees(layer) == [1, 1, 1, 1, 4, 4, 4, 4]
    assert sum(road.properties["bridged_px"] for road in layer.roads) > 8


def test_bridges_do_not_cross_each_other_without_a_junction():
    mask = drawn([(150, 10), (150, 190)], [(20, 100), (280, 100)])
    mask[85:116, 135:166] = 0  # a shadow on a crossing
    assert degrees(trace(mask, options=TraceOptions(bridge=40))) == [1, 1, 1, 1, 4, 4, 4, 4]


def test_probability_on_the_way_decides_over_long_gaps():
    gap = np.s_[:, 130:165]
    probability = drawn([(20, 100), (280, 100)])
    probability[100, 20] = 250  # not a mask: more than one value
    nothing, something = probability.copy(), probability.copy()
    nothing[gap] = 0
    something[gap] = np.where(probability[gap] > 0, 60, 0)
    assert len(trace(nothing, options=TraceOptions(bridge=60)).roads) == 2
    assert len(trace(something, options=TraceOptions(bridge=60)).roads) == 1


# --- probabilities ---------------------------------------------------------------------------------------------------


def test_hysteresis_keeps_weak_roads_that_hang_on_strong_ones():
    raster = drawn([(20, 50), (280, 50)]) // 255 * np.uint8(100)
    raster[:, :150][raster[:, :150] > 0] = 240
    raster = np.maximum(raster, drawn([(20, 150), (280, 150)]) // 255 * np.uint8(100))
    (road,) = trace(raster).roads
    assert np.ptp(road.line[:, 0]) > 250 and road.line[0, 1] < 60
    (half,) = trace(raster, options=TraceOptions(low=0.5)).roads
    assert np.ptp(half.line[:, 0]) < 140
    assert road.properties["probability"] == pytest.approx((240 + 100) / 2 / 255, abs=0.03)


@pytest.mark.parametrize(("shoulder", "below"), [(4, True), (10, True), (11, False), (40, True)])
def test_a_strong_road_with_a_weak_shoulder_stays_and_keeps_its_width(shoulder, below):
    raster = np.zeros((200, 300), np.float32)
    raster[97:104, 20:280] = 0.9
    raster[(slice(104, 104 + shoulder) if below else slice(97 - shoulder, 97)), 20:280] = 0.4
    (road,) = trace(raster).roads
    assert road.properties["length_px"] > 230
    assert road.properties["width_px"] == pytest.approx(7, abs=0.7)
    whole = trace_raster(Raster(raster), tile=10_000)
    assert same(whole, trace_raster(Raster(raster), tile=53, halo=112, band=31))


def test_a_weak_road_beside_a_strong_one_is_not_strong():
    raster = np.zeros((200, 300), np.float32)
    raster[90:97, 20:280] = 0.9
    raster[98:105, 20:280] = 0.4  # a pixel between them
    (road,) = trace(raster).roads
    assert road.line[:, 1].max() < 97


def test_one_faint_probability_is_no_mask():
    strip = np.zeros((60, 90), np.float32)
    strip[20:30] = 0.003
    with pytest.warns(RoadsegWarning, match="no road pixel .its largest value is 1 of 255"):
        assert trace(strip).roads == ()
    with pytest.warns(RoadsegWarning, match="largest value is 3 of 255.*class indices"):
        assert trace((strip > 0) * np.uint8(3)).roads == ()
    (road,) = trace((strip > 0) * np.float32(0.9)).roads
    assert road.properties["probability"] == pytest.approx(0.9, abs=2e-3)
    (road,) = trace((strip > 0).astype(np.float64)).roads
    assert "probability" not in road.properties
    assert len(trace((strip > 0) * np.uint8(1), options=TraceOptions(threshold=0.9)).roads) == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_just_the_threshold_is_not_road_and_the_next_number_is(dtype):
    half = np.full((40, 50), 0.5, dtype)
    half[0, 0] = 0
    with pytest.warns(RoadsegWarning, match="no road pixel"):
        assert trace(half, options=TraceOptions(low=0.5)).roads == ()
    strip = np.zeros((60, 90), dtype)
    strip[20:30] = np.nextafter(dtype(0.5), dtype(1))
    assert len(trace(strip, options=TraceOptions(low=0.5)).roads) == 1


def test_numbers_a_rounding_error_outside_are_clipped():
    mask = (drawn([(20, 50), (280, 50)]) > 0).astype(np.float32)
    off = np.where(mask > 0, np.float32(1.0000001), np.float32(-1e-7))
    assert same(trace(off), trace(mask))
    with pytest.raises(DataError, match=r"from 0 to 1\.01"):
        trace(mask * 1.01)


def test_real_probabilities_are_8_bit_ones():
    raster = drawn([(20, 50), (280, 90)])
    raster[40:100, 100:150] = raster[40:100, 100:150] // 255 * np.uint8(200)
    one, two = trace(raster), trace(raster.astype(np.float32) / 255)
    assert [r.line.tolist() for r in one.roads] == [r.line.tolist() for r in two.roads]


def test_a_second_raster_gives_the_uncertainty():
    mask = drawn([(20, 50), (280, 50)], [(20, 150), (280, 150)])
    unsure = np.zeros(mask.shape, np.uint8)
    unsure[100:] = 51
    layer = trace(mask, uncertainty=unsure)
    assert sorted(road.properties["uncertainty"] for road in layer.roads) == pytest.approx([0, 0.2], abs=1e-3)
    with pytest.raises(DataError, match="is 300x100 but the raster is 300x200"):
        trace(mask, uncertainty=unsure[:100])


@given(st.floats(0, 0.999))
def test_road_is_above_the_threshold(threshold):
    level = level_of(threshold)
    assert level / 255 > threshold - 1e-9
    assert (level - 1) / 255 <= threshold + 1e-9


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (False, True)])
def test_masks_of_any_values_give_the_same(values):
    mask = drawn([(20, 50), (280, 90)]) > 0
    layer = trace(np.where(mask, *values[::-1]).astype(bool if values[1] is True else np.uint8))
    assert [r.line.tolist() for r in layer.roads] == [r.line.tolist() for r in trace(mask).roads]
    assert "probability" not in layer.roads[0].properties


# --- places ----------------------------------------------------------------------------------------------------------


def test_a_rotated_grid_places_the_lines():
    angle, pixel = math.radians(30), 0.5
    c, s = pixel * math.cos(angle), pixel * math.sin(angle)
    transform = (c, s, 600_000.0, s, -c, 4_000_000.0)
    line = [(40, 100), (260, 100)]
    (road,) = trace(drawn(line), transform, "EPSG:32611").roads
    assert road.properties["length_m"] == pytest.approx(110, abs=3)
    assert road.properties["width_m"] == pytest.approx(4.5, abs=0.4)
    x, y = np.array(line, float).T
    ends = np.column_stack([c * x + s * y + 600_000, s * x - c * y + 4_000_000])
    found = road.line[[0, -1]] if np.hypot(*(road.line[0] - ends[0])) < 5 else road.line[[-1, 0]]
    assert np.hypot(*(found - ends).T).max() < 2


@pytest.mark.parametrize("upright", [False, True])
def test_degrees_are_measured_in_metres(upright):
    """A pixel in degrees is 0.81 times as wide as high at 36 degrees north: lengths and widths must know."""
    pixel = 2.7e-6
    line = [(150, 20), (150, 180)] if upright else [(20, 100), (280, 100)]
    transform = (pixel, 0, -115.17, 0, -pixel, 36.24)
    (road,) = trace(drawn(line, width=15), transform, "EPSG:4326").roads
    wide, high = pixel * 111_320 * math.cos(math.radians(36.24)), pixel * 110_960
    length, width = (160 * high, 15 * wide) if upright else (260 * wide, 15 * high)
    assert road.properties["length_m"] == pytest.approx(length, rel=0.05)
    assert road.properties["width_m"] == pytest.approx(width, rel=0.06)


def test_a_transform_needs_a_crs():
    with pytest.raises(DataError, match="transform together with the CRS"):
        trace(drawn([(20, 50), (280, 50)]), (1, 0, 0, 0, -1, 0))


# --- tiles and bands -------------------------------------------------------------------------------------------------


def same(one: RoadLayer, two: RoadLayer) -> bool:
    return [r.line.tolist() for r in one.roads] == [r.line.tolist() for r in two.roads] and [
        r.properties for r in one.roads
    ] == [r.properties for r in two.roads]


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.integers(30, 300), st.integers(1, 250), st.booleans())
def test_tiles_and_bands_of_any_size_give_the_roads_of_one_piece(seed, tile, band, soft):
    rng = np.random.default_rng(seed)
    raster = made_network(3, seed=seed, spacing=90, widths=(4, 7, 10)).mask()
    if soft:
        blocks = np.kron(rng.integers(60, 256, (46, 46)), np.ones((8, 8)))[: raster.shape[0], : raster.shape[1]]
        raster = np.where(raster > 0, blocks, rng.integers(0, 40, raster.shape)).astype(np.uint8)
    else:
        raster[rng.random(raster.shape) < 0.01] = 255
        raster[rng.random(raster.shape) < 0.01] = 0
    whole = trace_raster(Raster(raster), tile=10_000)
    assert whole.roads
    assert same(whole, trace_raster(Raster(raster), tile=tile, halo=112, band=band))


def test_a_file_read_in_windows_gives_the_roads_of_the_array(tmp_path):
    import rasterio

    pixels = made_network(3, seed=5, spacing=90).mask()
    transform = rasterio.Affine(0.3, 0, 6e5, 0, -0.3, 4e6)
    shape = {"height": pixels.shape[0], "width": pixels.shape[1], "count": 1, "dtype": "uint8"}
    path = tmp_path / "mask.tif"
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32611", transform=transform, **shape) as target:
        target.write(pixels, 1)
        valid = np.ones(pixels.shape, bool)
        valid[:, 200:260] = False
        target.write_mask(valid)
    layer = trace_file(path)
    assert layer.crs == "EPSG:32611"
    assert same(layer, trace(pixels, transform, "EPSG:32611", valid=valid))
    with open_raster(path) as raster:
        assert same(layer, trace_raster(raster, tile=128, band=50))
    columns = np.concatenate([(road.line[:, 0] - 6e5) / 0.3 for road in trace_file(path, PLAIN).roads])
    assert not ((columns > 206) & (columns < 254)).any(), "no data is road"


def test_counting_takes_little_memory():
    import tracemalloc

    raster = Raster(np.eye(3000, 4000, dtype=np.uint8))
    tracemalloc.start()
    seen = survey(raster, 0.5, 0.3, band=3000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen.road == 3000 and peak < 7 * 12_000_000


def test_counts_in_pieces_are_those_of_the_whole(monkeypatch):
    monkeypatch.setattr("roadseg.roads.bands.CHUNK", 7)
    rng = np.random.default_rng(0)
    labels, weights = rng.integers(0, 5, (9, 11)), rng.integers(0, 256, (9, 11)).astype(np.uint8)
    assert counts(labels, 6).tolist() == np.bincount(labels.ravel(), minlength=6).tolist()
    assert counts(labels, 6, weights).tolist() == np.bincount(labels.ravel(), weights.ravel(), 6).tolist()


# --- made networks, real ones ----------------------------------------------------------------------------------------


def test_a_made_network_is_traced_back():
    network = made_network(8, seed=3)
    scores = score_graph(network.layer, trace(network.mask()), buffer=2.0, snap=4.0)
    assert scores["apls"] >= 0.95 and scores["relaxed_f1"] >= 0.97
    assert abs(scores["proposed"]["junctions"] - scores["truth"]["junctions"]) <= 2


def test_the_lines_of_a_real_mask_are_those_it_was_drawn_from(real_data):
    folder = real_data / "vegas"
    mask, image = folder / "masks/vegas_img0_utm11n_lanes3.5m.png", folder / "images/vegas_img0_utm11n.tif"
    if not mask.is_file():
        pytest.skip("no vegas/ here")
    layer = trace_file(mask, like=image)
    scores = score_graph(folder / "vectors/spacenet_roads_img0.geojson", layer)
    assert scores["relaxed_f1"] >= 0.97 and scores["apls"] >= 0.9


# --- bad input -------------------------------------------------------------------------------------------------------


def test_an_empty_mask_and_one_of_road_alone_are_empty_layers_with_a_warning():
    with pytest.warns(RoadsegWarning, match="no road pixel .all of it is 0"):
        assert trace(np.zeros((50, 60), np.uint8)).roads == ()
    with pytest.warns(RoadsegWarning, match="largest value is 5 of 255.*class indices"):
        assert trace(np.arange(6, dtype=np.uint8).reshape(2, 3)).roads == ()
    with pytest.warns(RoadsegWarning, match="every pixel .* is road"):
        assert trace(np.full((50, 60), 255, np.uint8)).roads == ()
    inverted = 255 - drawn([(20, 50), (280, 50)])
    with pytest.warns(RoadsegWarning, match="inverted"):
        trace(inverted)


@pytest.mark.parametrize(
    ("raster", "says"),
    [
        (np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8), "3 bands.*expected one band"),
        (np.zeros((20, 20), np.uint16), "uint16 pixels"),
        (np.full((20, 20), 3.0), "0 to 1"),
        (np.zeros((0, 20), np.uint8), "no pixels"),
    ],
)
def test_what_is_no_mask_is_refused(raster, says):
    with pytest.raises(DataError, match=says):
        trace(raster)


def with_palette(path, indices, colours):
    """A PNG or TIFF of one band with a colour table."""
    from PIL import Image

    image = Image.fromarray(indices, "P")
    image.putpalette([part for colour in colours for part in colour])
    image.save(path)
    return path


@pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
def test_a_mask_with_a_palette_is_read_by_its_indices(tmp_path, name):
    mask = drawn([(20, 50), (280, 50)]) // 255
    colours = [(0, 0, 0), (255, 0, 0), (0, 0, 255)]
    assert same(trace_file(with_palette(tmp_path / name, mask, colours)), trace(mask))
    greys = [(0, 0, 0), (255, 255, 255)]
    assert same(trace_file(with_palette(tmp_path / name, mask, greys)), trace(mask))
    with pytest.raises(DataError, match=r"palette of colours and uses its indices 0, 2: .*make one of the class"):
        trace_file(with_palette(tmp_path / name, mask * np.uint8(2), colours))


@pytest.mark.parametrize("option", [{"threshold": 1.0}, {"low": -0.1}, {"tolerance": -1}, {"bridge": math.inf}])
def test_options_that_make_no_sense_are_refused(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        trace(np.zeros((5, 5), np.uint8), options=TraceOptions(**option))


def test_a_missing_file_and_a_wrong_like_are_refused(tmp_path):
    from PIL import Image

    with pytest.raises(ImageError, match="does not exist"):
        trace_file(tmp_path / "no.tif")
    for name, size in (("mask.png", (30, 20)), ("like.png", (30, 20)), ("small.png", (10, 10))):
        Image.new("L", size).save(tmp_path / name)
    with pytest.raises(DataError, match="no GeoTIFF"):
        trace_file(tmp_path / "mask.png", like=tmp_path / "like.png")
    with pytest.raises(DataError, match="10x10 but the mask is 30x20"):
        trace_file(tmp_path / "mask.png", like=tmp_path / "small.png")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
@pytest.mark.filterwarnings("ignore::roadseg.errors.RoadsegWarning")
def test_noise_of_any_size_gives_lines_inside_of_the_raster(height, width, seed, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    for options in (TraceOptions(), PLAIN):
        for road in trace(mask, options=options).roads:
            assert len(road.line) >= 2 and np.isfinite(road.line).all()
            assert (road.line >= 0).all() and (road.line <= [width, height]).all()
            assert road.properties["length_px"] > 0
