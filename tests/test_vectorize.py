"""`roadseg vectorize`: files in, one vector file out."""

import json

import numpy as np
import pytest
from helpers import call
from PIL import Image

from roadseg.errors import ConfigError, RoadsegWarning
from roadseg.roads.layers import read_layer
from roadseg.roads.made import made_network
from roadseg.roads.vectorize import vectorize


def geotiff(path, pixels, crs="EPSG:32611", corner=(664_000.0, 4_012_000.0)):
    import rasterio

    transform = rasterio.Affine(0.3, 0, corner[0], 0, -0.3, corner[1])
    shape = {"height": pixels.shape[0], "width": pixels.shape[1], "count": 1, "dtype": pixels.dtype}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **shape) as target:
        target.write(pixels, 1)
    return path


@pytest.fixture
def pixels():
    return made_network(4, seed=1, spacing=90).mask()


@pytest.mark.parametrize(("name", "crs"), [("a.gpkg", 32611), ("a.fgb", 32611), ("a.geojson", 4326)])
def test_a_geotiff_becomes_a_file_in_its_crs(tmp_path, capsys, pixels, name, crs):
    mask, out = geotiff(tmp_path / "mask.tif", pixels), tmp_path / name
    told = call(capsys, "vectorize", mask, "--out", out, "--json")
    assert told.code == 0 and told.err == ""
    layer, about = read_layer(out), json.loads(told.out)
    assert layer.crs == f"EPSG:{crs}" and about["crs"] == "EPSG:32611"
    assert len(layer.roads) == about["roads"] > 10
    assert sum(road.properties["length_m"] for road in layer.roads) == pytest.approx(about["length"])
    assert {"width_m", "bridged_m", "degree_start", "degree_end"} <= set(layer.roads[0].properties)


def test_a_plain_image_gives_pixels_and_says_so(tmp_path, capsys, pixels):
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    told = call(capsys, "vectorize", tmp_path / "mask.png", "--out", tmp_path / "a.gpkg")
    assert told.code == 0 and "pixel coordinates" in told.out and "pixel coordinates" in told.err
    assert read_layer(tmp_path / "a.gpkg").crs is None


def test_a_plain_mask_takes_its_place_from_its_image(tmp_path, capsys, pixels):
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    image = geotiff(tmp_path / "image.tif", pixels)
    told = call(capsys, "vectorize", tmp_path / "mask.png", "--like", image, "--out", tmp_path / "a.gpkg")
    assert told.code == 0, told.err
    borrowed, own = read_layer(tmp_path / "a.gpkg"), vectorize(image).layer
    assert [r.line.tolist() for r in borrowed.roads] == [r.line.tolist() for r in own.roads]


def test_several_rasters_become_one_layer_with_their_names(tmp_path, capsys, pixels):
    geotiff(tmp_path / "west.tif", pixels)
    geotiff(tmp_path / "east.tif", pixels, corner=(665_000.0, 4_012_000.0))
    told = call(capsys, "vectorize", tmp_path / "west.tif", tmp_path / "east.tif", "--out", tmp_path / "a.gpkg")
    assert told.code == 0, told.err
    layer = read_layer(tmp_path / "a.gpkg")
    for name, low in (("west.tif", 664_000), ("east.tif", 665_000)):
        x = np.concatenate([road.line[:, 0] for road in layer.roads if road.properties["source"] == name])
        assert low <= x.min() and x.max() < low + 1000


def test_a_folder_of_predictions_gives_its_probabilities(tmp_path, pixels):
    geotiff(tmp_path / "a.tif", pixels)
    geotiff(tmp_path / "a_prob.tif", np.maximum(pixels, 20) // 2 * np.uint8(1) + np.uint8(60))
    geotiff(tmp_path / "b.tif", pixels)
    assert [path.name for path in vectorize(tmp_path).sources] == ["a_prob.tif", "b.tif"]


def test_the_network_has_the_nodes_and_edges_of_the_lines(tmp_path, capsys, pixels):
    import networkx as nx

    from roadseg.imagery.vector_files import read_features

    mask, out, net = geotiff(tmp_path / "mask.tif", pixels), tmp_path / "a.gpkg", tmp_path / "net.gpkg"
    told = call(capsys, "vectorize", mask, "--out", out, "--network", net, "--json")
    assert told.code == 0, told.err
    about, roads = json.loads(told.out), read_layer(out)
    nodes, edges = (read_features(net, layer=name) for name in ("nodes", "edges"))
    assert about["network"] == str(net) and nodes.crs == edges.crs == "EPSG:32611"
    assert sum(one["length"] for one in edges.properties) == pytest.approx(about["length"])
    assert sum(one["length_m"] for one in edges.properties) == pytest.approx(about["length"])
    assert [one["degree"] for one in nodes.properties].count(1) == about["dead_ends"]
    assert {"u", "v", "width_m", "length_m"} <= set(edges.properties[0]) and len(edges.geometries) >= len(roads.roads)

    told = call(capsys, "vectorize", mask, "--network", tmp_path / "net.graphml")
    assert told.code == 0 and told.out.rstrip().endswith("net.graphml")
    graph = nx.read_graphml(tmp_path / "net.graphml", node_type=int, force_multigraph=True)
    assert type(graph) is nx.MultiGraph and graph.graph["crs"] == "EPSG:32611"
    assert len(graph) == len(nodes.geometries)
    assert sum(length for *_, length in graph.edges(data="length")) == pytest.approx(about["length"])


def test_the_network_of_a_plain_image_is_in_pixels(tmp_path, capsys, pixels):
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    told = call(capsys, "vectorize", tmp_path / "mask.png", "--network", tmp_path / "net.gpkg")
    assert told.code == 0 and "pixel coordinates" in told.out and "pixel coordinates" in told.err
    layer = read_layer(tmp_path / "net.gpkg", layer="edges")
    assert layer.crs is None and all("length_px" in road.properties for road in layer.roads)


def test_polygons(tmp_path, capsys, pixels):
    import shapely

    from roadseg.imagery.vector_files import read_features

    mask, out = geotiff(tmp_path / "mask.tif", pixels), tmp_path / "a.gpkg"
    told = call(capsys, "vectorize", mask, "--out", out, "--as", "polygons", "--json")
    assert told.code == 0, told.err
    found, about = read_features(out), json.loads(told.out)
    assert found.crs == "EPSG:32611" and len(found.geometries) == about["polygons"]
    assert all(shapely.is_valid(found.geometries))
    assert about["area"] == pytest.approx(np.count_nonzero(pixels) * 0.09, rel=0.05)


def test_uncertainty_becomes_an_attribute(tmp_path, capsys, pixels):
    mask = geotiff(tmp_path / "mask.tif", pixels)
    unsure = geotiff(tmp_path / "unsure.tif", np.full(pixels.shape, 51, np.uint8))
    told = call(capsys, "vectorize", mask, "--out", tmp_path / "a.gpkg", "--uncertainty", unsure)
    assert told.code == 0, told.err
    assert {round(r.properties["uncertainty"], 3) for r in read_layer(tmp_path / "a.gpkg").roads} == {0.2}


def test_an_empty_mask_is_an_empty_layer_and_a_warning(tmp_path, capsys):
    mask = geotiff(tmp_path / "mask.tif", np.zeros((40, 40), np.uint8))
    told = call(capsys, "vectorize", mask, "--out", tmp_path / "a.gpkg")
    assert told.code == 0 and "no road pixel" in told.err and "0 roads" in told.out
    assert (tmp_path / "a.gpkg").is_file()


def test_bad_input_is_one_message_and_code_2(tmp_path, capsys, pixels):
    mask = geotiff(tmp_path / "mask.tif", pixels)
    other = geotiff(tmp_path / "other.tif", pixels, crs="EPSG:32612")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)).save(tmp_path / "colour.png")
    (tmp_path / "broken.tif").write_bytes(mask.read_bytes()[:300])
    out = tmp_path / "a.gpkg"
    for words, says in (
        ([mask, "--out", tmp_path / "a.txt"], ".gpkg"),
        ([mask, other, "--out", out], "EPSG:32612"),
        ([tmp_path / "colour.png", "--out", out], "3 bands"),
        ([tmp_path / "no.tif", "--out", out], "does not exist"),
        ([tmp_path / "broken.tif", "--out", out], "damaged"),
        ([mask, "--out", out, "--threshold", "1.5"], "threshold"),
        ([mask, other, "--out", out, "--like", mask], "one raster"),
        ([mask, "--out", out, "--as", "polygons", "--min-length", "5"], "are for lines"),
        ([mask, "--out", out, "--as", "polygons", "--network", tmp_path / "n.gpkg"], "are for lines"),
        ([mask, "--out", out, "--network", tmp_path / "n.geojson"], ".gpkg or .graphml"),
        ([mask, "--out", out, "--network", out], "give two files"),
        ([mask, "--out", out, "--network", mask / "n.gpkg"], "is a file, not a folder"),
        ([mask], "--out FILE.gpkg, --network FILE.graphml, or both"),
    ):
        told = call(capsys, "vectorize", *words)
        assert told.code == 2 and says in told.err and "Traceback" not in told.err, words
        assert not out.exists()


def test_python_gives_the_layer_without_a_file(tmp_path, pixels):
    made = vectorize(geotiff(tmp_path / "mask.tif", pixels))
    assert made.path is None and made.about()["roads"] == len(made.layer.roads)
    with pytest.raises(ConfigError, match="expected lines or polygons"):
        vectorize(tmp_path / "mask.tif", form="points")
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    with pytest.warns(RoadsegWarning, match="pixel coordinates"):
        vectorize(tmp_path / "mask.png", tmp_path / "a.geojson")
