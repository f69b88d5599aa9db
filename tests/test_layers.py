"""Road layers: what comes back from vector files, what is refused, and how long a road is."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.errors import ConfigError, DataError, OutputError, RoadsegWarning
from roadseg.roads.layers import Road, RoadLayer, joined, length_m, metric_crs, read_layer, reproject, write_layer

UTM = "EPSG:32611"
FORMATS = (".gpkg", ".geojson", ".fgb")


def road(*points, **properties):
    return Road(np.array(points, float), properties)


def utm(*roads):
    """Roads given in metres from a place in Las Vegas."""
    return RoadLayer(tuple(Road(r.line + np.array([664_000, 4_012_000]), r.properties) for r in roads), UTM)


def geojson(path: Path, *geometries, properties=None, **more) -> Path:
    features = [{"type": "Feature", "properties": properties or {}, "geometry": g} for g in geometries]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **more}))
    return path


def line(*points):
    return {"type": "LineString", "coordinates": [list(p) for p in points]}


# --- round trips -----------------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs", "Cc"]), max_size=8)
values = st.fixed_dictionaries(
    {"n": st.integers(-(2**40), 2**40), "share": st.floats(-1e6, 1e6), "name": texts, "paved": st.booleans()}
)
coordinates = st.tuples(st.floats(-5000, 5000), st.floats(-5000, 5000)).map(lambda p: tuple(round(v, 2) for v in p))
lines = st.lists(coordinates, min_size=2, max_size=5, unique=True)


@pytest.mark.parametrize("suffix", FORMATS)
@given(roads=st.lists(st.tuples(lines, values), max_size=4))
@settings(max_examples=12, deadline=None)
def test_lines_and_attributes_come_back_from_a_file(tmp_path_factory, suffix, roads):
    path = tmp_path_factory.mktemp("layer") / f"roads{suffix}"
    layer = utm(*(road(*points, **found) for points, found in roads))
    write_layer(layer, path)
    back = read_layer(path)
    assert back.crs == ("EPSG:4326" if suffix == ".geojson" else UTM)
    back = reproject(back, UTM)

    def key(item):
        return [*np.round(item.line, 1).ravel()]

    assert len(back.roads) == len(layer.roads)  # a FlatGeobuf sorts them by place
    for one, other in zip(sorted(back.roads, key=key), sorted(layer.roads, key=key), strict=True):
        np.testing.assert_allclose(one.line, other.line, atol=2e-3)
    found = sorted((str(r.properties["n"]), r.properties["name"], r.properties["paved"]) for r in back.roads)
    assert found == sorted((str(r["n"]), r["name"], r["paved"]) for _, r in roads)


@pytest.mark.parametrize("suffix", FORMATS)
def test_pixel_coordinates_come_back_as_such_and_are_said(tmp_path, suffix):
    layer = RoadLayer((road((0, 0), (10.5, 700)),), None)
    with pytest.warns(RoadsegWarning, match="pixel coordinates"):
        write_layer(layer, tmp_path / f"a{suffix}")
    back = read_layer(tmp_path / f"a{suffix}")
    assert back.crs is None
    np.testing.assert_array_equal(back.roads[0].line, layer.roads[0].line)
    assert length_m(back) == pytest.approx([np.hypot(10.5, 700)])


def test_kinds_of_values_and_missing_ones_survive(tmp_path):
    first = road((0, 0), (1, 1), lanes=2, width_m=np.float32(3.5), name="A", bridge=True, tags={"a": 1})
    write_layer(utm(first, road((0, 0), (2, 2), fid=7, Name="B", probability=float("nan"))), tmp_path / "a.gpkg")
    one, other = (r.properties for r in read_layer(tmp_path / "a.gpkg").roads)
    assert one == {
        "lanes": 2, "width_m": 3.5, "name": "A", "bridge": True, "tags": '{"a": 1}', "source_fid": None,
        "Name_2": None, "probability": None,
    }  # fmt: skip
    assert isinstance(one["lanes"], int)
    assert other["lanes"] is None and other["source_fid"] == 7 and other["Name_2"] == "B"


def test_parts_of_a_multi_line_become_roads_and_heights_go(tmp_path):
    both = {"type": "MultiLineString", "coordinates": [[[0, 0, 9], [1, 0, 9]], [[0, 1, 9], [1, 1, 9]]]}
    layer = read_layer(geojson(tmp_path / "a.geojson", both, properties={"name": "A"}))
    assert [r.line.tolist() for r in layer.roads] == [[[0, 0], [1, 0]], [[0, 1], [1, 1]]]
    assert [r.properties["name"] for r in layer.roads] == ["A", "A"]


def test_a_layer_without_roads_is_a_layer(tmp_path):
    assert read_layer(geojson(tmp_path / "a.geojson")) == RoadLayer((), "EPSG:4326")


# --- what is refused -------------------------------------------------------------------------------------------------


def test_points_and_polygons_are_refused(tmp_path):
    point = {"type": "Point", "coordinates": [1, 2]}
    area = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    for geometry, name in ((point, "Point"), (area, "Polygon")):
        with pytest.raises(DataError, match=f"has no lines but {name}: give a layer of lines"):
            read_layer(geojson(tmp_path / "a.geojson", geometry))
    with pytest.warns(RoadsegWarning, match="2 features of .* are not lines but Point, Polygon: left out"):
        assert len(read_layer(geojson(tmp_path / "b.geojson", point, area, line((0, 0), (1, 1)))).roads) == 1


def test_features_without_a_place_are_left_out_and_said(tmp_path):
    with pytest.warns(RoadsegWarning, match="1 features of .* have no geometry"):
        assert len(read_layer(geojson(tmp_path / "a.geojson", None, line((0, 0), (1, 1)))).roads) == 1
    with pytest.warns(RoadsegWarning, match="1 lines of .* have no length"):
        assert len(read_layer(geojson(tmp_path / "b.geojson", line((3, 3), (3, 3)), line((0, 0), (1, 1)))).roads) == 1


def no_crs(path: Path, driver: str) -> Path:
    import pyogrio.raw
    import shapely

    blobs = np.array([shapely.to_wkb(shapely.LineString([(0, 0), (500, 500)]))], dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pyogrio.raw.write(path, blobs, [], [], layer="roads", driver=driver, geometry_type="LineString", crs=None)
    return path


@pytest.mark.parametrize(("name", "driver"), [("a.gpkg", "GPKG"), ("a.fgb", "FlatGeobuf"), ("a.shp", "ESRI Shapefile")])
def test_a_file_that_says_no_crs_is_refused_unless_it_is_in_pixels(tmp_path, name, driver):
    path = no_crs(tmp_path / name, driver)
    with pytest.raises(DataError, match="does not say its CRS"):
        read_layer(path)
    assert read_layer(path, pixels=True).crs is None


def test_a_geojson_whose_coordinates_are_no_degrees_is_refused(tmp_path):
    path = geojson(tmp_path / "a.geojson", line((664000, 4012000), (664100, 4012000)))
    with pytest.raises(DataError, match="are no degrees"):
        read_layer(path)
    named = geojson(
        tmp_path / "b.geojson", line((664000, 4012000), (664100, 4012000)),
        crs={"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32611"}},
    )  # fmt: skip
    assert read_layer(named).crs == UTM


def test_an_unknown_layer_names_those_there_are(tmp_path):
    from roadseg.roads.network_files import write_network

    write_network(utm(road((0, 0), (50, 0))), tmp_path / "a.gpkg")
    with pytest.raises(DataError, match="has no layer 'streets': its layers are 'edges', 'nodes'"):
        read_layer(tmp_path / "a.gpkg", layer="streets")
    with pytest.raises(DataError, match=r"layer 'nodes' .* has no lines but Point"):
        read_layer(tmp_path / "a.gpkg", layer="nodes")
    assert len(read_layer(tmp_path / "a.gpkg").roads) == 1  # the only one with lines


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.geojson", b"", "is empty"),
        ("a.gpkg", b"", "is empty"),
        ("a.gpkg", b"{}", "is not a GPKG file"),
        ("a.geojson", b"<OGRVRTDataSource/>", "is not a GeoJSON file"),
        ("a.geojson", b'{"type": "FeatureCol', "cannot be read"),
        ("a.gpkg", b"SQLite format 3\0" + bytes(200), "cannot be read"),
        ("a.kml", b"<kml/>", "expected .gpkg, .geojson"),
        ("a.geojson", None, "does not exist"),
    ],
)
def test_what_is_no_vector_file_is_refused_by_name(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_layer(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_a_folder_is_no_vector_file(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        read_layer(tmp_path)


def test_only_known_formats_are_written_and_a_failure_leaves_the_old_file(tmp_path):
    layer = utm(road((0, 0), (50, 0)))
    with pytest.raises(ConfigError, match=r"vector files are \.gpkg, \.geojson, \.fgb"):
        write_layer(layer, tmp_path / "a.shp")
    write_layer(layer, tmp_path / "a.geojson")
    before = (tmp_path / "a.geojson").read_bytes()
    with pytest.raises(DataError, match="cannot reproject from EPSG:32611 to EPSG:4326"):
        write_layer(RoadLayer((road((1e12, 1e12), (2e12, 0)),), UTM), tmp_path / "a.geojson")
    assert (tmp_path / "a.geojson").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.geojson"]
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_layer(layer, tmp_path / "file" / "a.gpkg")


def test_text_in_another_encoding_than_a_shapefile_names_is_read(tmp_path):
    from pyogrio import raw

    blobs = np.array([shapely.to_wkb(shapely.LineString([(0, 0), (500, 500)]))], dtype=object)
    raw.write(
        tmp_path / "a.shp", blobs, [np.array(["Münster"], dtype=object)], ["name"], layer="a",
        driver="ESRI Shapefile", geometry_type="LineString", crs=UTM, encoding="ISO-8859-1",
    )  # fmt: skip
    (tmp_path / "a.cpg").write_text("UTF-8")
    with pytest.warns(RoadsegWarning, match="read as ISO-8859-1"):
        (found,) = read_layer(tmp_path / "a.shp").roads
    assert found.properties["name"] == "Münster"


def test_text_that_is_none_is_refused(tmp_path):
    write_layer(utm(road((0, 0), (50, 0), name="Muenster")), tmp_path / "a.fgb")
    content = (tmp_path / "a.fgb").read_bytes()
    (tmp_path / "a.fgb").write_bytes(content.replace(b"Muenster", b"M\xfcnster "))
    with pytest.raises(DataError, match="is not UTF-8"):
        read_layer(tmp_path / "a.fgb")
    for properties in ({"name": "\ud800"}, {"\ud800": "name"}):
        with pytest.raises(OutputError, match="what is no text"):
            write_layer(utm(road((0, 0), (50, 0), **properties)), tmp_path / "b.gpkg")


def test_of_several_layers_the_usual_one_is_read(tmp_path):
    from roadseg.imagery.vector_files import Features
    from roadseg.imagery.vector_writing import write_features

    def features(*ends):
        return Features([shapely.LineString([(0, 0), end]) for end in ends], [{}] * len(ends), UTM)

    osm = {"lines": features((50, 0)), "multilinestrings": features((9, 0), (0, 9))}
    write_features(tmp_path / "osm.gpkg", osm, kind="LineString")
    assert len(read_layer(tmp_path / "osm.gpkg").roads) == 1
    write_features(tmp_path / "all.gpkg", osm | {"roads": features((1, 0), (2, 0), (3, 0))}, kind="LineString")
    assert len(read_layer(tmp_path / "all.gpkg").roads) == 3


# --- measuring -------------------------------------------------------------------------------------------------------


def test_lengths_are_metres_whatever_the_crs():
    layer = utm(road((0, 0), (300, 400)), road((0, 0), (0, 100), (50, 100)))
    for crs in (UTM, "EPSG:4326", "EPSG:3857", "EPSG:2264"):  # metres; degrees; Web Mercator; feet
        assert length_m(reproject(layer, crs)) == pytest.approx([500, 150], rel=1e-4), crs


def test_the_crs_to_measure_in_is_the_own_one_or_utm():
    layer = utm(road((0, 0), (300, 400)))
    assert metric_crs(layer) == UTM
    for crs in ("EPSG:4326", "EPSG:3857", "EPSG:2264"):
        assert metric_crs(reproject(layer, crs)) == UTM
    assert metric_crs(reproject(layer, "EPSG:32612")) == "EPSG:32612"  # the next zone: metres still
    south = RoadLayer((road((18.4, -33.9), (18.5, -33.8)),), "EPSG:4326")
    assert metric_crs(south) == "EPSG:32734"
    assert metric_crs(RoadLayer((), "EPSG:4326")) == "EPSG:4326"
    with pytest.raises(DataError, match="pixel coordinates have no metres"):
        metric_crs(RoadLayer((road((0, 0), (1, 1)),), None))


@given(lines, st.sampled_from(["EPSG:4326", "EPSG:3857", "EPSG:32612"]))
@settings(max_examples=25, deadline=None)
def test_there_and_back_again_is_the_same_place(points, crs):
    layer = utm(road(*points, name="A"))
    back = reproject(reproject(layer, crs), UTM)
    np.testing.assert_allclose(back.roads[0].line, layer.roads[0].line, atol=1e-5)
    assert back.roads[0].properties == {"name": "A"}


def test_what_cannot_be_reprojected_says_so():
    with pytest.raises(DataError, match="pixel coordinates cannot be reprojected"):
        reproject(RoadLayer((road((0, 0), (1, 1)),), None), UTM)
    with pytest.raises(DataError, match="unknown CRS 'EPSG:1'"):
        reproject(utm(road((0, 0), (1, 1))), "EPSG:1")


def test_layers_are_joined_in_one_crs_only():
    layer = utm(road((0, 0), (1, 1)))
    assert len(joined([layer, layer]).roads) == 2
    with pytest.raises(DataError, match="2 coordinate reference systems"):
        joined([layer, reproject(layer, "EPSG:4326")])


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".geojson"])
def test_a_file_that_did_not_reach_the_disk_whole_is_no_file(tmp_path, monkeypatch, suffix):
    from pyogrio import raw

    path, layer = tmp_path / f"a{suffix}", utm(*(road((k, 0), (k, 9), name=f"street {k}" * 20) for k in range(200)))
    write_layer(layer, path)
    before = path.read_bytes()
    written = raw.write

    def cut(place, *args, **options):  # as GDAL leaves it where the disk fills up while it closes the file
        written(place, *args, **options)
        whole = Path(place).read_bytes()
        Path(place).write_bytes(whole[: len(whole) * 9 // 10])

    monkeypatch.setattr(raw, "write", cut)
    with pytest.raises(OutputError, match="not all of its 200 features reached the disk"):
        write_layer(layer, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
