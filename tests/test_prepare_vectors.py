"""Lines and GeoTIFFs to a dataset folder: what is burnt, cut, split by place, warned of and refused."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from helpers import call, files_in, toml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.transform import Affine
from rasterio.warp import transform

import roadseg
from roadseg.errors import ConfigError, DataError, RoadsegWarning
from roadseg.imagery.dataset import open_dataset
from roadseg.imagery.gdal_file import GdalFile
from roadseg.imagery.splits import split_dataset
from roadseg.preparation import windows
from roadseg.preparation.windows import blocks_for, check, group_of, opened, place_tiles, window
from roadseg.roads.layers import Road, RoadLayer, write_layer

Capture = pytest.CaptureFixture[str]
EAST, NORTH = 500_000.0, 5_400_000.0


def scene(path: Path, size: tuple[int, int] = (60, 80), *, crs: str | None = "EPSG:32632", pixel: float = 1.0,
          left: float = EAST, top: float = NORTH, seed: int = 0, **more: Any) -> Path:  # fmt: skip
    """A GeoTIFF of noise, its upper left corner at (left, top)."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    form = {"height": size[0], "width": size[1], "count": 3, "dtype": "uint8"} | more
    place = {"transform": Affine(pixel, 0, left, 0, -pixel, top)} | ({"crs": crs} if crs else {})
    with rasterio.open(path, "w", driver="GTiff", **form, **place) as target:
        target.write(rng.integers(1, 255, (form["count"], *size)).astype(form["dtype"]))
    return path


def row(y: float, length: float = 80.0, **properties: Any) -> Road:
    """A road from west to east, `y` metres below the corner of the scenes."""
    return Road(np.array([[EAST - 5, NORTH - y], [EAST + length + 5, NORTH - y]]), properties)


def lines(path: Path, *roads: Road, crs: str = "EPSG:32632") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_layer(RoadLayer(roads, crs), path)
    return path


def bare(path: Path, shape: Any, kind: str, crs: str | None = None, **columns: list[Any]) -> Path:
    """A vector file of one geometry, with what `write_layer` would not write."""
    import shapely
    from pyogrio import raw

    values = [np.array(v, dtype=object if isinstance(v[0], str) else None) for v in columns.values()]
    shapes, fields = np.array([shapely.to_wkb(shape)], object), np.array(list(columns), object)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'crs' was not provided")
        raw.write(path, shapes, field_data=values, fields=fields, geometry_type=kind, crs=crs)
    return path


def mask_of(folder: Path, name: str) -> np.ndarray:
    with rasterio.open(folder / "masks" / f"{name}.tif") as source:
        return np.asarray(source.read(1))


# --- what is burnt ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb"])
def test_lines_become_a_mask_on_the_grid_of_the_image(tmp_path: Path, capsys: Capture, suffix: str) -> None:
    image = scene(tmp_path / "a.tif")
    path = lines(tmp_path / f"roads{suffix}", row(20.5, highway="residential"), row(40.5, highway="service", lanes="2"),
                 row(50.5, highway="footway"), row(300, highway="primary"))  # fmt: skip
    answer = call(capsys, "prepare", image, path, tmp_path / "out")
    assert answer.code == 0, answer.err
    out = tmp_path / "out"
    assert files_in(out) == {"images/a.tif", "masks/a.tif", "dataset.toml", "prepare.json", "prepare.png"}
    expected = np.zeros((60, 80), np.uint8)
    expected[17:24] = expected[37:44] = 255
    np.testing.assert_array_equal(mask_of(out, "a"), expected)
    assert (out / "images" / "a.tif").read_bytes() == image.read_bytes()
    with rasterio.open(out / "masks" / "a.tif") as mask, rasterio.open(image) as source:
        assert mask.crs == source.crs and mask.transform == source.transform
    about = json.loads((out / "prepare.json").read_text())["lines"]
    assert about["roads"] == 2 and about["km"] == pytest.approx(0.16, abs=0.001) and about["outside"] == 1
    assert about["left_out"] == {"highway=footway": 1}
    assert {item["class"]: item["by"] for item in about["classes"]} == {
        "highway=residential": {"class": 1}, "highway=service": {"lanes x 3.5 m": 1},
    }  # fmt: skip
    for said in ("burnt: 2 roads, 0.16 km", "highway=service: 1 road, 0.08 km, 7 m wide (lanes x 3.5 m)",
                 "lines left out: 1, highway=footway", "outside of every image: 1"):  # fmt: skip
        assert said in answer.out
    assert toml(out / "dataset.toml")["ground_resolution_m"] == 1.0
    opened = roadseg.prepare(image, path, tmp_path / "again")
    assert (tmp_path / "again/masks/a.tif").read_bytes() == (out / "masks/a.tif").read_bytes() and opened.about["lines"]


def test_one_width_does_not_burn_what_else_a_map_has(tmp_path: Path) -> None:
    path = lines(tmp_path / "osm.gpkg", row(20.5, highway="residential"), row(40.5, other_tags='"power"=>"line"'),
                 row(50.5, name="a contour"))  # fmt: skip
    roadseg.prepare(scene(tmp_path / "a.tif"), path, tmp_path / "out", width=7)
    expected = np.zeros((60, 80), np.uint8)
    expected[17:24] = 255
    np.testing.assert_array_equal(mask_of(tmp_path / "out", "a"), expected)


def test_options_of_the_command_reach_the_function(tmp_path: Path, capsys: Capture) -> None:
    image = scene(tmp_path / "a.tif")
    path = lines(tmp_path / "r.gpkg", row(20.5, highway="residential", tunnel="yes", b=3.0))
    (tmp_path / "w.toml").write_text("[highway]\nresidential = 9\n")
    for number, (words, rows) in enumerate([
        (["--width", "5", "--keep-tunnels"], 5),
        (["--width-field", "b", "--keep-tunnels"], 3),
        (["--widths", tmp_path / "w.toml", "--keep-tunnels"], 9),
        (["--width", "5", "--keep-tunnels", "--lines-layer", "roads", "--lines-crs", "EPSG:32632"], 5),
    ]):  # fmt: skip
        answer = call(capsys, "prepare", image, path, tmp_path / str(number), *words)
        assert answer.code == 0, answer.err
        assert (mask_of(tmp_path / str(number), "a") > 0).any(axis=1).sum() == rows


def test_each_image_has_its_own_crs(tmp_path: Path) -> None:
    """One file in degrees; images in two zones of UTM and in Web Mercator: the road runs through the middle of each."""
    x, y = (v[0] for v in transform("EPSG:32632", "EPSG:4326", [EAST + 200_000], [NORTH]))
    road = Road(np.array([[x - 0.01, y], [x + 0.01, y]]), {"highway": "primary"})
    path = lines(tmp_path / "r.geojson", road, crs="EPSG:4326")
    for name, crs in (("a", "EPSG:32632"), ("b", "EPSG:32633"), ("c", "EPSG:3857")):
        e, n = (v[0] for v in transform("EPSG:4326", crs, [x], [y]))
        scene(tmp_path / "i" / f"{name}.tif", (80, 80), crs=crs, left=e - 40, top=n + 40)
    result = roadseg.prepare(tmp_path / "i", path, tmp_path / "out")
    assert result.about["pairing"] == "the lines of 'r.geojson' for each"
    for name in "abc":
        found = mask_of(tmp_path / "out", name) > 0
        wide = 10 if name == "c" else 7  # a metre of Web Mercator is 0.66 m on the ground here
        assert found[38:42, 38:42].all() and abs(int(found[:, 40].sum()) - wide) <= 1


def test_a_folder_of_vector_files_is_paired_as_masks_are(tmp_path: Path, capsys: Capture) -> None:
    for k in range(2):
        scene(tmp_path / "i" / f"img_{k}.tif", seed=k)
        lines(tmp_path / "v" / f"roads_{k}.geojson", row(20.5 + 20 * k, highway="service"))
    roadseg.prepare(tmp_path / "i", tmp_path / "v", tmp_path / "out")
    for k in range(2):
        assert np.flatnonzero(mask_of(tmp_path / "out", str(k)).any(axis=1)).mean() == 20 + 20 * k
    lines(tmp_path / "v" / "roads_7.geojson", row(20.5, highway="service"))
    answer = call(capsys, "prepare", tmp_path / "i", tmp_path / "v", tmp_path / "two")
    assert answer.code == 2 and "roads_7.geojson' has no image" in answer.err
    for path in (tmp_path / "v").iterdir():  # beside the images: still the labels
        path.rename(tmp_path / "i" / path.name.replace("roads", "img"))
    with pytest.warns(RoadsegWarning, match="left out"):
        roadseg.prepare(tmp_path / "i", tmp_path / "i", tmp_path / "three", skip_bad=True)
    assert {p.stem for p in (tmp_path / "three" / "masks").iterdir()} == {"img_0", "img_1"}


def test_an_image_without_roads_is_background_and_told(tmp_path: Path) -> None:
    scene(tmp_path / "i" / "a.tif")
    scene(tmp_path / "i" / "b.tif", left=EAST + 5000)
    path = lines(tmp_path / "r.gpkg", row(20.5, highway="service"))
    with pytest.warns(RoadsegWarning, match="an image has no road in the lines.*'b'"):
        result = roadseg.prepare(tmp_path / "i", path, tmp_path / "out")
    assert not mask_of(tmp_path / "out", "b").any() and mask_of(tmp_path / "out", "a").any()
    assert result.about["lines"]["images_without_roads"] == ["b"]


def test_roads_narrower_than_a_pixel_are_told(tmp_path: Path) -> None:
    scene(tmp_path / "a.tif", pixel=10.0, top=NORTH + 300)
    path = lines(tmp_path / "r.gpkg", row(5, 800, highway="service"), row(-100, 800, width="30", highway="primary"))
    with pytest.warns(RoadsegWarning, match=r"1 roads are narrower than a pixel \(10 m\)"):
        roadseg.prepare(tmp_path / "a.tif", path, tmp_path / "out")


def test_lines_can_be_resized_and_traced_layers_burnt(tmp_path: Path) -> None:
    image = scene(tmp_path / "a.tif")
    path = lines(tmp_path / "r.gpkg", row(20, width_m=8.0))
    roadseg.prepare(image, path, tmp_path / "out", resize="50%")
    found = mask_of(tmp_path / "out", "a") > 0
    assert found.shape == (30, 40) and found[8:12].all() and not found[:8].any() and not found[12:].any()


# --- bad input -------------------------------------------------------------------------------------------------------


def no_crs(root: Path) -> Path:
    import shapely

    return bare(
        root / "r.shp", shapely.LineString([(EAST, NORTH - 20), (EAST + 80, NORTH - 20)]), "LineString", lanes=[2]
    )


def points(root: Path) -> Path:
    import shapely

    return bare(root / "r.gpkg", shapely.Point(EAST, NORTH), "Point", "EPSG:32632", lanes=[2])


def elsewhere(root: Path) -> Path:
    return lines(root / "r.gpkg", row(5000, highway="service"))


def plain(root: Path) -> Path:
    return lines(root / "r.gpkg", row(20, name="High Street"))


def paths_only(root: Path) -> Path:
    return lines(root / "r.gpkg", row(20, highway="path"), row(30, highway="primary", tunnel="yes"))


def roads(root: Path) -> Path:
    return lines(root / "r.gpkg", row(20, highway="service"))


def broken(root: Path) -> Path:
    (root / "r.gpkg").write_bytes(b"text")
    return root / "r.gpkg"


def pixel_lines(root: Path) -> Path:
    with pytest.warns(RoadsegWarning, match="pixel coordinates"):
        write_layer(RoadLayer((Road(np.array([[0.0, 5], [50, 5]]), {"width_m": 3.0}),), None), root / "r.gpkg")
    return root / "r.gpkg"


BAD: list[tuple[Any, list[str], list[str]]] = [
    (no_crs, [], ["r.shp", "CRS", "--lines-crs EPSG:"]),
    (no_crs, ["--lines-crs", "EPSG:0"], ["--lines-crs EPSG:0"]),
    (points, [], ["Point", "lines"]),
    (elsewhere, [], ["no line lies in any", "span", "EPSG:32632", "--lines-crs"]),
    (elsewhere, ["--lines-crs", "EPSG:4326"], ["EPSG:4326"]),
    (plain, [], ["no line of", "nothing says how wide", "attributes are name", "--width M"]),
    (paths_only, [], ["highway=path (1)", "tunnel (1)"]),
    (roads, ["--width-field", "breite"], ["'breite'", "they have highway"]),
    (roads, ["--width", "0"], ["--width 0"]),
    (roads, ["--widths", "nowhere.toml"], ["nowhere.toml"]),
    (roads, ["--lines-layer", "streets"], ["no layer 'streets'", "'roads'"]),
    (roads, ["--preset", "web-map"], ["--preset is for labels that are pictures"]),
    (roads, ["--invert"], ["--invert"]),
    (roads, ["--pair", "{name} = {name}"], ["--pair", "one file for all"]),
    (roads, ["--blocks", "2"], ["--blocks 2", "--tile"]),
    (broken, [], ["r.gpkg", "not a GPKG file"]),
    (pixel_lines, [], ["pixel coordinates"]),
]


@pytest.mark.parametrize(("make", "words", "parts"), BAD)
def test_bad_input_is_refused_with_one_message(
    tmp_path: Path, capsys: Capture, make: Any, words: list[str], parts: list[str]
) -> None:
    for k in range(2):
        scene(tmp_path / "i" / f"{k}.tif", seed=k)
    path = make(tmp_path)
    before = files_in(tmp_path)
    answer = call(capsys, "prepare", tmp_path / "i", path, tmp_path / "out", *words)
    assert answer.code == 2, answer
    assert answer.err.count("roadseg prepare: ") == 1 and "Traceback" not in answer.err
    for part in parts:
        assert part in answer.err, answer.err
    assert answer.err.count("r.shp' does not say") <= 1  # once, not for each image
    assert files_in(tmp_path) == before


def test_a_file_without_crs_is_used_when_its_crs_is_said(tmp_path: Path) -> None:
    scene(tmp_path / "a.tif")
    roadseg.prepare(tmp_path / "a.tif", no_crs(tmp_path), tmp_path / "out", lines_crs="EPSG:32632")
    assert (mask_of(tmp_path / "out", "a") > 0).any(axis=1).sum() in (6, 7)  # its edges are on the centres of pixels


def test_images_that_are_nowhere_are_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "r.gpkg", row(20, highway="service"))
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "p.png")
    with pytest.raises(DataError, match=r"p\.png' is no GeoTIFF"):
        roadseg.prepare(tmp_path / "p.png", path, tmp_path / "out")
    scene(tmp_path / "n.tif", crs=None)
    with pytest.raises(DataError, match=r"n\.tif' has no coordinate reference system"):
        roadseg.prepare(tmp_path / "n.tif", path, tmp_path / "out")


def test_options_of_lines_are_for_lines(tmp_path: Path) -> None:
    for kind in ("i", "m"):
        (tmp_path / kind).mkdir()
        Image.fromarray(np.tri(40, dtype=np.uint8) * 255).save(tmp_path / kind / "a.png")
    with pytest.raises(ConfigError, match="--width is for labels that are vector lines"):
        roadseg.prepare(tmp_path / "i", tmp_path / "m", tmp_path / "out", width=4)
    lines(tmp_path / "m" / "r.gpkg", row(20, highway="service"))
    with pytest.raises(ConfigError, match="vector files and images"):
        roadseg.prepare(tmp_path / "i", tmp_path / "m", tmp_path / "out")


# --- windows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [{}, {"count": 4, "photometric": "RGB", "alpha": "yes"}, {"dtype": "uint16", "count": 5}, {"nodata": 7},
     {"dtype": "float32", "count": 1}, {"tiled": True, "blockxsize": 16, "blockysize": 16}],
)  # fmt: skip
def test_a_window_holds_what_the_whole_image_holds(tmp_path: Path, more: dict[str, Any]) -> None:
    path = scene(tmp_path / "a.tif", (50, 70), **more)
    with opened(path, False) as whole, opened(path, True) as source:
        check(source)
        assert (source.height, source.width) == (whole.height, whole.width)
        for tile in place_tiles(50, 70, 32, 8, 0):
            a, b = window(source, tile), window(whole, tile)
            assert a.pixels.dtype == b.pixels.dtype
            np.testing.assert_array_equal(a.pixels, b.pixels)
            assert (a.valid is None) == (b.valid is None)
            np.testing.assert_array_equal(a.valid, b.valid)


def test_a_scene_that_is_cut_is_never_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scene(tmp_path / "a.tif", (300, 200), tiled=True, blockxsize=64, blockysize=64)
    roads = lines(tmp_path / "r.gpkg", *[row(20 + 40 * k, 200, highway="service") for k in range(7)])
    roadseg.prepare(path, roads, tmp_path / "whole")
    monkeypatch.setattr(windows, "STRIP", 64 * 200)
    monkeypatch.setattr(windows, "ROWS", 64)
    monkeypatch.setattr(windows, "MIDDLE", 90)
    monkeypatch.setattr(windows, "read_picture", None)  # would be called, and fail
    asked: list[int] = []
    original = GdalFile.read

    def read(self: GdalFile, top: int, bottom: int, left: int = 0, right: int | None = None) -> Any:
        asked.append((bottom - top) * ((right or self.width) - left))
        return original(self, top, bottom, left, right)

    monkeypatch.setattr(GdalFile, "read", read)
    roadseg.prepare(path, roads, tmp_path / "out", tile=64, overlap=16, blocks=0)
    assert max(asked) <= 64 * 200 < 300 * 200
    truth = mask_of(tmp_path / "whole", "a")
    with rasterio.open(path) as source:
        pixels = source.read()
    tiles = sorted((tmp_path / "out" / "images").iterdir())
    assert len(tiles) == 6 * 4
    for tile in tiles:
        top, left = map(int, re.findall(r"_r(\d+)_c(\d+)", tile.stem)[0])
        with rasterio.open(tile) as part, rasterio.open(tmp_path / "out" / "masks" / tile.name) as mask:
            np.testing.assert_array_equal(part.read(), pixels[:, top : top + 64, left : left + 64])
            np.testing.assert_array_equal(mask.read(1), truth[top : top + 64, left : left + 64])
            assert part.transform == mask.transform == Affine(1, 0, EAST + left, 0, -1, NORTH - top)
            assert part.crs == mask.crs and part.crs.to_epsg() == 32632


def test_tiles_without_data_are_left_out(tmp_path: Path) -> None:
    for name, nodata in (("said", 0), ("unsaid", None)):
        path = scene(tmp_path / "i" / f"{name}.tif", (64, 128), **({} if nodata is None else {"nodata": nodata}))
        with rasterio.open(path, "r+") as target:
            target.write(np.zeros((3, 64, 64), np.uint8), window=rasterio.windows.Window(0, 0, 64, 64))
    roads = lines(tmp_path / "r.gpkg", row(20, 128, highway="service"))
    result = roadseg.prepare(tmp_path / "i", roads, tmp_path / "out", tile=64)
    assert {item["name"] for item in result.about["pairs"]} == {"said_r00_c64", "unsaid_r00_c64"}
    why = {item["name"]: item["why"] for item in result.about["dropped"]}
    assert "no data" in why["said_r00_c00"] and "0 everywhere" in why["unsaid_r00_c00"]


def test_a_scene_that_is_cut_short_is_named_before_anything_is_written(tmp_path: Path, capsys: Capture) -> None:
    path = scene(tmp_path / "a.tif", (300, 300))
    path.write_bytes(path.read_bytes()[:150_000])
    roads = lines(tmp_path / "r.gpkg", row(20, 300, highway="service"))
    answer = call(capsys, "prepare", path, roads, tmp_path / "out", "--tile", 64)
    assert answer.code == 2 and "a.tif' is truncated or damaged" in answer.err and not (tmp_path / "out").exists()


# --- places ----------------------------------------------------------------------------------------------------------


@given(st.integers(16, 200), st.integers(16, 200), st.integers(16, 40), st.integers(1, 4), st.data())
def test_blocks_cover_the_image_and_share_no_pixel(
    height: int, width: int, side: int, block: int, data: st.DataObject
) -> None:
    side = min(side, height, width)
    overlap = data.draw(st.integers(0, side - 1))
    owner = np.full((height, width), -1)
    names: dict[str, int] = {}
    for tile in place_tiles(height, width, side, overlap, block):
        number = names.setdefault(tile.ending.partition("_r")[0], len(names))
        area = owner[tile.top : tile.top + side, tile.left : tile.left + side]
        assert area.shape == (side, side) and set(np.unique(area)) <= {-1, number}
        area[:] = number
        assert [int(k) for k in re.findall(r"_[rc](\d+)", tile.ending)] == [tile.top, tile.left]
    assert owner.min() >= 0


def test_a_large_scene_gets_blocks_and_small_ones_do_not() -> None:
    assert blocks_for([(10_000, 10_000)], 512, 0) == 3
    assert blocks_for([(1318, 1076)], 256, 0) == 0
    assert blocks_for([(2560, 2048)], 256, 0) == 2
    assert blocks_for([(100_000, 100_000)], 256, 64) == 8


def test_places_are_named_once_there_are_two() -> None:
    assert group_of(["a_r0_c0", "a_r0_c9"], False) is None
    assert group_of(["a_r0_c0", "a_r0_c9", "b_r0_c0"], False) == (r"^(.+)_r\d+_c\d+$", 2)
    found = group_of(["a_b0_0_r0_c0", "a_b0_1_r0_c9"], True)
    assert found is not None and found[1] == 2


def test_tiles_of_one_place_stay_on_one_side_without_being_told(tmp_path: Path, capsys: Capture) -> None:
    path = scene(tmp_path / "a.tif", (160, 192))
    roads = lines(tmp_path / "r.gpkg", *[row(10 + 20 * k, 192, highway="service") for k in range(8)])
    answer = call(capsys, "prepare", path, roads, tmp_path / "out", "--tile", 16, "--overlap", 4)
    assert answer.code == 0 and "places: 30 blocks of 2 x 2 tiles" in answer.out, answer
    pairs = open_dataset(tmp_path / "out").pairs
    group = re.compile(toml(tmp_path / "out" / "dataset.toml")["group"])

    def place(k: int) -> str:
        match = group.search(pairs[k].stem)
        assert match is not None
        return match[1]

    for options in ({"fold": (0, 5)}, {"val": 0.2}, {}):
        split = split_dataset(pairs, **options)  # type: ignore[arg-type]
        assert not {place(k) for k in split.train} & {place(k) for k in split.val}
        assert "(dataset.toml)" in split.rule
    alone = split_dataset(pairs, fold=(0, 5), group=".+")
    assert {place(k) for k in alone.train} & {place(k) for k in alone.val}
    names = tmp_path / "names.txt"
    names.write_text(pairs[0].stem)
    assert split_dataset(pairs, names=names).val == (0,)


def test_tiles_of_many_images_stay_with_their_image(tmp_path: Path) -> None:
    for k in range(3):
        for kind in ("i", "m"):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(np.tri(40, 40, k, dtype=np.uint8) * 255).save(tmp_path / kind / f"p{k}.png")
    result = roadseg.prepare(tmp_path / "i", tmp_path / "m", tmp_path / "out", tile=20)
    assert result.about["places"] == 3 and "places: 3 images" in result.summary()
    pairs = open_dataset(tmp_path / "out").pairs
    assert {pairs[k].stem[:2] for k in split_dataset(pairs, fold=(0, 3)).val} in ({"p0"}, {"p1"}, {"p2"})
    (tmp_path / "out" / "dataset.toml").write_text('group = "("\n')
    with pytest.raises(ConfigError, match=r"group = '\('.*dataset\.toml"):
        open_dataset(tmp_path / "out")
    (tmp_path / "out" / "dataset.toml").write_text("group = 3\n")
    with pytest.raises(DataError, match="group = 3"):
        open_dataset(tmp_path / "out")


# --- labels beside the roads, real images ----------------------------------------------------------------------------


def test_lines_that_lie_beside_the_roads_are_told(tmp_path: Path) -> None:
    from roadseg.imagery.scenes import make_scene

    for k in range(8):
        image, mask = make_scene(k, 200)
        place = Affine(1, 0, EAST + 300 * k, 0, -1, NORTH)
        (tmp_path / "i").mkdir(exist_ok=True)
        with rasterio.open(tmp_path / "i" / f"{k}.tif", "w", driver="GTiff", height=200, width=200, count=3,
                           dtype="uint8", crs="EPSG:32632", transform=place) as target:  # fmt: skip
            target.write(np.moveaxis(np.asarray(image, np.uint8), -1, 0))
        np.save(tmp_path / f"{k}.npy", mask)
    from rasterio.features import shapes
    from shapely.geometry import shape

    rows: list[Road] = []
    for k in range(8):  # outlines of the true areas, moved to the right; their width fills most roads
        mask = (np.load(tmp_path / f"{k}.npy") > 0).astype(np.uint8)
        for area, value in shapes(mask, transform=Affine(1, 0, EAST + 300 * k + 7, 0, -1, NORTH)):
            if value:
                rows += [Road(np.array(ring.coords), {"width_m": 6.0}) for ring in [shape(area).exterior]]
    with pytest.warns(RoadsegWarning, match=r"[5-9] px to the right"):
        roadseg.prepare(tmp_path / "i", lines(tmp_path / "r.gpkg", *rows), tmp_path / "out")


def vegas(real_data: Path) -> Path:
    source = real_data / "vegas"
    if not source.is_dir():
        pytest.skip("no vegas in the folder of real images")
    return source


def test_real_lines_give_the_mask_that_came_with_them(tmp_path: Path, real_data: Path) -> None:
    source = vegas(real_data)
    image = source / "images" / "vegas_img0_utm11n.tif"
    result = roadseg.prepare(image, source / "vectors" / "spacenet_roads_img0.geojson", tmp_path / "out")
    found = mask_of(tmp_path / "out", image.stem) > 0
    truth = np.asarray(Image.open(source / "masks" / "vegas_img0_utm11n_lanes3.5m.png")) > 0
    # Theirs has flat ends and widths of whole pixels: a pixel along the edges, and what our round ends add.
    assert (found & truth).sum() / (found | truth).sum() > 0.92
    kernel = np.ones((3, 3), np.uint8)
    assert (cv2.erode(truth.astype(np.uint8), kernel).astype(bool) & ~found).sum() < 0.001 * truth.sum()
    assert (found & ~cv2.dilate(truth.astype(np.uint8), kernel).astype(bool)).sum() < 0.03 * truth.sum()
    about = result.about["lines"]
    assert about["roads"] == 38 and all("lane_number x 3.5 m" in item["by"] for item in about["classes"])
    assert not result.shift.suspicious


def test_real_lines_burn_on_an_image_in_degrees(tmp_path: Path, real_data: Path) -> None:
    source = vegas(real_data)
    image = source / "images" / "RGB-PanSharpen_AOI_2_Vegas_img0.tif"
    result = roadseg.prepare(
        image, source / "vectors" / "spacenet_roads_img0.geojson", tmp_path / "out", tile=325, blocks=2
    )
    shares = [item["share"] for item in result.about["pairs"]]
    assert len(shares) == 16 and result.about["places"] == 4 and 0.02 < np.mean(shares) < 0.2


def test_real_openstreetmap_files_are_read(tmp_path: Path, real_data: Path) -> None:
    for path in sorted((vegas(real_data) / "vectors" / "extra_osm").glob("*.geojson"))[:3]:
        content = json.loads(path.read_text())
        first = np.concatenate([np.array(f["geometry"]["coordinates"]) for f in content["features"]])
        left, top = float(first[:, 0].min()), float(first[:, 1].max())
        image = scene(tmp_path / f"{path.stem}.tif", (400, 400), crs="EPSG:4326", pixel=1e-5, left=left, top=top)
        about = roadseg.prepare(image, path, tmp_path / path.stem).about["lines"]
        highways = {f["properties"]["highway"] for f in content["features"]}
        assert about["roads"] > 0 and ("highway=stopline" in about["left_out"]) == ("stopline" in highways)
