"""Where roads are read: rectangles in other CRS, across the 180th meridian, and only what is near of a large file."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine
from rasterio.warp import transform

import roadseg
from roadseg.errors import DataError, RoadsegWarning
from roadseg.imagery.regions import Region
from roadseg.imagery.vector_files import read_features
from roadseg.roads.layers import Road, RoadLayer, read_layer, reproject, write_layer

FIJI = "EPSG:32760"
FORMATS = (".gpkg", ".geojson", ".fgb", ".shp")


def holds(boxes, x, y):
    return any(left <= x <= right and bottom <= y <= top for left, bottom, right, top in boxes)


def image(path: Path, crs: str, left: float, top: float, pixel: float, size: tuple[int, int] = (60, 80)) -> Path:
    """A GeoTIFF of noise."""
    pixels = np.random.default_rng(0).integers(1, 255, (3, *size)).astype(np.uint8)
    place = {"crs": crs, "transform": Affine(pixel, 0, left, 0, -pixel, top)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", height=size[0], width=size[1], count=3, dtype="uint8", **place
    ) as out:
        out.write(pixels)
    return path


# --- rectangles ------------------------------------------------------------------------------------------------------


@given(
    st.floats(-179.9, 179.9), st.floats(-79, 79), st.floats(0.001, 1), st.floats(0, 1), st.floats(0, 1),
    st.sampled_from(["EPSG:4326", "EPSG:3857", "EPSG:4269"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_place_in_the_region_is_in_its_boxes_elsewhere(west, south, size, right, up, crs):
    east = west + size
    x, y = west + right * size, south + up * size
    (moved_x,), (moved_y,) = transform("EPSG:4326", crs, [x], [y])
    slack = 1e-6 if crs != "EPSG:3857" else 0.1
    assume(np.isfinite([moved_x, moved_y]).all())
    boxes = Region(((west, south, east, south + size),), "EPSG:4326").wider(1e-6).boxes_in(crs)
    assert holds(boxes, moved_x, moved_y) or holds(boxes, moved_x + slack, moved_y) or abs(x) > 180 - 1e-6


def test_degrees_have_a_box_for_each_turn_and_cut_maps_one_for_each_side():
    (x, other), _ = transform("EPSG:4326", FIJI, [179.9, -179.9], [-17, -17])
    crossing = Region(((x, 8_118_000, other, 8_119_000),), FIJI)
    assert len(crossing.boxes_in("EPSG:4326")) == 3 and len(crossing.boxes_in("EPSG:3857")) == 2
    for longitude in (179.95, -179.95, 180.05, -180.05):
        assert holds(crossing.boxes_in("EPSG:4326"), longitude, -17.0)
    assert not holds(crossing.boxes_in("EPSG:4326"), 0.0, -17.0)
    assert crossing.boxes_in(FIJI) != () and Region(crossing.boxes).boxes_in("EPSG:4326") == crossing.boxes
    inland = Region(((500_000, 8_118_000, 501_000, 8_119_000),), FIJI)
    assert inland.boxes_in(FIJI) == inland.boxes and len(inland.boxes_in("EPSG:3857")) == 1


def test_what_has_no_place_in_a_crs_says_so_or_reads_all():
    nowhere = Region(((1e9, 1e9, 2e9, 2e9),), FIJI)
    with pytest.raises(DataError, match="no place there"):
        nowhere.boxes_in("EPSG:4326")
    assert nowhere.shape("EPSG:4326") is None and nowhere.shape(None) is None
    assert Region(((0, 0, 9, 9),)).shape(None).area > 81


# --- files -----------------------------------------------------------------------------------------------------------


def many(path: Path, n: int = 40) -> Path:
    """Short roads a kilometre apart, from west to east; no. k at x = 1000 k."""
    roads = [Road(np.array([[500_000 + 1000 * k, 5e6], [500_050 + 1000 * k, 5e6 + 50]]), {"k": k}) for k in range(n)]
    layer = RoadLayer(tuple(roads), "EPSG:32632")
    if path.suffix == ".shp":
        import shapely
        from pyogrio import raw

        shapes = np.array([shapely.to_wkb(shapely.LineString(road.line)) for road in roads], dtype=object)
        raw.write(path, shapes, [np.arange(n)], ["k"], geometry_type="LineString", crs=layer.crs)
    else:
        write_layer(layer, path)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_only_what_touches_the_region_is_read(tmp_path, suffix):
    path = many(tmp_path / f"r{suffix}")
    near = Region(((502_010, 5e6 - 10, 504_020, 5e6 + 20),), "EPSG:32632")
    assert sorted(road.properties["k"] for road in read_layer(path, bbox=near).roads) == [2, 3, 4]
    whole = read_features(path)
    part = read_features(path, regions=[near, Region(((520_000, 5e6, 520_001, 5e6 + 1),), "EPSG:32632")])
    assert len(part.geometries) == 4 and part.elsewhere == 36 and whole.elsewhere == 0
    assert part.bounds == pytest.approx(whole.bounds) and part.crs == whole.crs
    assert len(read_layer(path, bbox=Region(((0, 0, 1, 1),), "EPSG:4326")).roads) == 0
    if suffix != ".geojson":
        assert len(read_layer(path, bbox=(502_010, 5e6 - 10, 504_020, 5e6 + 20)).roads) == 3


def test_a_layer_without_lines_is_refused_even_where_nothing_is_near(tmp_path):
    import shapely

    from roadseg.imagery.vector_files import Features
    from roadseg.imagery.vector_writing import write_features

    write_features(tmp_path / "p.gpkg", {"p": Features([shapely.Point(5, 5)], [{}], FIJI)}, kind="Point")
    with pytest.raises(DataError, match="has no lines but Point: give a layer of lines"):
        read_layer(tmp_path / "p.gpkg", bbox=(100, 100, 200, 200))


def test_geojson_in_metres_is_refused_even_where_nothing_is_near(tmp_path):
    (tmp_path / "r.geojson").write_text(
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, "geometry": '
        '{"type": "LineString", "coordinates": [[500000, 5000000], [500100, 5000000]]}}]}'
    )
    with pytest.raises(DataError, match="no degrees"):
        read_layer(tmp_path / "r.geojson", bbox=(0, 0, 1, 1))


# --- images and lines ------------------------------------------------------------------------------------------------


def test_of_a_large_map_prepare_reads_what_is_near_its_images(tmp_path, monkeypatch):
    path = many(tmp_path / "country.gpkg")
    for k in (3, 30):
        image(tmp_path / "i" / f"{k}.tif", "EPSG:32632", 500_000 + 1000 * k - 10, 5e6 + 60, 1.0)
    image(tmp_path / "i" / "utm33.tif", "EPSG:32633", *_in(33, 507_990, 5e6 + 60), 1.0)
    seen = []
    from roadseg.imagery import vector_files

    read = vector_files._read
    monkeypatch.setattr(vector_files, "_read", lambda *args: seen.append(read(*args)) or seen[-1])
    made = roadseg.prepare(tmp_path / "i", path, tmp_path / "out", width=6)
    assert [len(one[2]) for one in seen] == [3]
    lines = made.about["lines"]
    assert (lines["lines"], lines["roads"], lines["outside"]) == (40, 3, 37)


def _in(zone: int, x: float, y: float) -> tuple[float, float]:
    (x,), (y,) = transform("EPSG:32632", f"EPSG:{32600 + zone}", [x], [y])
    return x, y


def test_where_no_line_is_near_the_message_says_where_they_are(tmp_path):
    path = many(tmp_path / "country.gpkg")
    image(tmp_path / "a.tif", "EPSG:32632", 700_000, 6e6, 1.0)
    with pytest.raises(DataError, match=r"span 500000..539050, 5e\+06..5.00005e\+06 in EPSG:32632"):
        roadseg.prepare(tmp_path / "a.tif", path, tmp_path / "out", width=6)


def across(crs: str, *, turn: float = 0.0) -> tuple[RoadLayer, tuple[float, float]]:
    """A road in Fiji from 20 m west of the 180th meridian to 20 m east, and one south of it; and where that is."""
    (x,), (y,) = transform("EPSG:4326", FIJI, [180.0], [-17.0])
    metres = [[(x - 20, y), (x, y)], [(x, y), (x + 20, y)], [(x + 5, y - 15), (x + 30, y - 15)]]
    layer = reproject(RoadLayer(tuple(Road(np.array(line)) for line in metres), FIJI), crs)
    if crs == FIJI:
        return layer, (x, y)
    roads = []
    for road in layer.roads:
        line = road.line.copy()
        if crs == "EPSG:4326" and turn:
            line[:, 0] %= turn
        else:  # as maps are cut: the end on the meridian has the sign of its road
            edge = 180.0 if crs == "EPSG:4326" else 20037508.342789244
            on = np.abs(np.abs(line[:, 0]) - edge) < 1e-9 * edge
            line[on, 0] = edge * np.sign(line[~on, 0].sum())
        roads.append(Road(line, road.properties))
    return RoadLayer(tuple(roads), crs), (x, y)


@pytest.mark.parametrize("picture", [FIJI, "EPSG:4326", "degrees to 360", "EPSG:3857"])
@pytest.mark.parametrize("lines", [FIJI, "EPSG:4326", "degrees to 360", "EPSG:3857"])
def test_an_image_on_the_180th_meridian_has_the_roads_of_both_sides(tmp_path, picture, lines):
    crs, turn = ("EPSG:4326", 360.0) if lines == "degrees to 360" else (lines, 0.0)
    layer, (x, y) = across(crs, turn=turn)
    write_layer(layer, tmp_path / "r.gpkg")
    if picture == FIJI:
        image(tmp_path / "a.tif", FIJI, x - 40, y + 30, 1.0)
    elif picture == "EPSG:3857":
        (_,), (north,) = transform("EPSG:4326", picture, [180.0], [-17.0])
        image(tmp_path / "a.tif", picture, 20037508.342789244 - 40 / 0.956, north + 30 / 0.956, 1 / 0.956)
    else:
        degree = 1 / 106_490  # of a metre to the east; the image is 1.04 m high a pixel
        west = 180 if picture == "degrees to 360" else -180
        image(tmp_path / "a.tif", "EPSG:4326", west - 40 * degree, -17 + 30 * degree, degree)
    roadseg.prepare(tmp_path / "a.tif", tmp_path / "r.gpkg", tmp_path / "out", width=6)
    with rasterio.open(tmp_path / "out" / "masks" / "a.tif") as source:
        mask = source.read(1) > 0
    rows, columns = np.nonzero(mask[:38])
    assert 26 <= rows.min() <= 27 and 32 <= rows.max() <= 33  # 6 m around the middle, half a metre more or less
    assert 16 <= columns.min() <= 18 and 61 <= columns.max() <= 63  # 40 m and round ends
    assert mask[30, 18:62].all()
    rows, columns = np.nonzero(mask[38:])
    assert 3 <= rows.min() <= 5 and 41 <= columns.min() <= 43 and 71 <= columns.max() <= 73


def test_a_road_drawn_across_the_meridian_in_one_stroke_is_found(tmp_path):
    (x,), (y,) = transform("EPSG:4326", FIJI, [180.0], [-17.0])
    line = np.array([[179.9998, -17.0], [-179.9998, -17.0]])
    write_layer(RoadLayer((Road(line),), "EPSG:4326"), tmp_path / "r.gpkg")
    image(tmp_path / "a.tif", FIJI, x - 40, y + 30, 1.0)
    roadseg.prepare(tmp_path / "a.tif", tmp_path / "r.gpkg", tmp_path / "out", width=6)
    with rasterio.open(tmp_path / "out" / "masks" / "a.tif") as source:
        assert source.read(1)[30, 20:60].all()


# --- comparing -------------------------------------------------------------------------------------------------------


def test_an_area_may_be_a_raster_and_bounds_what_is_read(tmp_path, monkeypatch):
    old, new = many(tmp_path / "old.gpkg"), many(tmp_path / "new.fgb", 10)
    area = image(tmp_path / "scene.tif", "EPSG:32632", 502_990, 5e6 + 60, 1.0, (80, 2200))
    seen = []
    from roadseg.imagery import vector_files

    read = vector_files._read
    monkeypatch.setattr(vector_files, "_read", lambda *args: seen.append(read(*args)) or seen[-1])
    change = roadseg.compare_networks(old, new, aoi=area)
    assert [len(one[2]) for one in seen] == [3, 3]
    assert change.summary["same_km"] == pytest.approx(3 * 0.0707, abs=1e-3) and change.summary["gone_km"] == 0
    scores = roadseg.score_graph(old, new, aoi=area)
    assert scores["truth"]["roads"] == 3 and scores["relaxed_f1"] == 1
    assert [len(one[2]) for one in seen] == [3, 3, 3, 3]
    assert roadseg.compare_networks(old, new).summary["gone_km"] == pytest.approx(30 * 0.0707, abs=1e-3)


def test_an_area_without_a_place_does_not_fit_roads_with_one(tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((50, 60), np.uint8)).save(tmp_path / "a.png")
    path = many(tmp_path / "r.gpkg")
    with pytest.raises(DataError, match="has pixel coordinates, the roads have a CRS"):
        roadseg.score_graph(path, path, aoi=tmp_path / "a.png")
    layer = RoadLayer((Road(np.array([[-20.0, 10], [30, 10]])),), None)
    with pytest.warns(RoadsegWarning, match="pixel coordinates"):
        write_layer(layer, tmp_path / "p.gpkg")
    assert roadseg.score_graph(tmp_path / "p.gpkg", layer, aoi=tmp_path / "a.png")["truth"]["px"] == 30
