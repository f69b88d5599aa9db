"""Raw images and raw labels to a dataset folder: what is written, what is dropped, what is refused."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from helpers import blobs, call, files_in, toml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import roadseg
from roadseg.config import read_config
from roadseg.errors import ConfigError, DataError, OutputError, RoadsegWarning
from roadseg.imagery.dataset import open_dataset
from roadseg.imagery.raster import read_picture
from roadseg.preparation import prepare as module
from roadseg.preparation.cutting import Resize, resize_labels, tiles
from roadseg.preparation.pairing import pair_up

Capture = pytest.CaptureFixture[str]
LAND, WHITE = (232, 229, 222), (255, 255, 255)


def save(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def raw(root: Path, n: int = 4, size: tuple[int, int] = (60, 80)) -> Path:
    """Raw images, coloured maps of a street each, and grey masks of the same."""
    rng = np.random.default_rng(3)
    for k in range(n):
        mask = np.zeros(size, np.uint8)
        mask[10 + 5 * k : 20 + 5 * k] = 255
        image = rng.integers(0, 60, (*size, 3), np.uint8) + (mask // 2)[..., None]
        save(root / "sat" / f"city_{k}.jpg", image.astype(np.uint8), quality=95)
        save(root / "map" / f"city_{k}.png", np.where(mask[..., None] > 0, WHITE, LAND).astype(np.uint8))
        save(root / "grey" / f"city_{k}.png", mask)
    return root


def tree(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_in(folder)}


def mask_of(folder: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(folder / "masks" / f"{name}.png"))


# --- what is written -------------------------------------------------------------------------------------------------


def test_coloured_maps_become_masks_and_images_are_copied(tmp_path: Path, capsys: Capture) -> None:
    root = raw(tmp_path / "raw")
    answer = call(capsys, "prepare", root / "sat", root / "map", tmp_path / "out", "--preset", "web-map")
    assert answer.code == 0, answer.err
    assert "4 pairs found (paired by name)" in answer.out and "prepare.png" in answer.out
    out = tmp_path / "out"
    names = [f"city_{k}" for k in range(4)]
    expected = {f"images/{n}.jpg" for n in names} | {f"masks/{n}.png" for n in names}
    assert files_in(out) == expected | {"dataset.toml", "prepare.json", "prepare.png"}
    for name in names:
        assert (out / "images" / f"{name}.jpg").read_bytes() == (root / "sat" / f"{name}.jpg").read_bytes()
        np.testing.assert_array_equal(mask_of(out, name), np.asarray(Image.open(root / "grey" / f"{name}.png")))
    assert toml(out / "dataset.toml")["classes"] == ["background", "road"]
    opened = open_dataset(out)
    assert len(opened) == 4 and opened.classes == ("background", "road")
    about = json.loads((out / "prepare.json").read_text())
    assert about["found"] == 4 and about["dropped"] == about["skipped"] == []
    assert about["class_shares"]["road"] == pytest.approx(opened.class_shares[1], abs=1e-6)
    assert Image.open(out / "prepare.png").size[0] > 600


@pytest.mark.parametrize("kind", ["sat + map", "sat + grey"])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    root = raw(tmp_path / "raw")
    images, labels = (root / part for part in kind.split(" + "))
    options: dict[str, Any] = {"preset": "web-map"} if "map" in kind else {}
    for out in ("one", "two"):
        roadseg.prepare(images, labels, tmp_path / out, tile=32, overlap=8, resize="0.75", **options)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_soft_masks_are_cut_at_the_rule_of_the_set_or_at_a_threshold(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(3):
        save(tmp_path / "i" / f"{k}.png", rng.integers(0, 256, (20, 30, 3), np.uint8))
        save(tmp_path / "m" / f"{k}.png", rng.integers(0, 238, (20, 30), np.uint8))
    roadseg.prepare(tmp_path / "i", tmp_path / "m", tmp_path / "a")
    roadseg.prepare(tmp_path / "i", tmp_path / "m", tmp_path / "b", threshold=200)
    roadseg.prepare(tmp_path / "i", tmp_path / "m", tmp_path / "c", invert=True)
    soft = np.asarray(Image.open(tmp_path / "m" / "1.png"))
    np.testing.assert_array_equal(mask_of(tmp_path / "a", "1"), np.where(soft > 127, 255, 0))
    np.testing.assert_array_equal(mask_of(tmp_path / "b", "1"), np.where(soft > 200, 255, 0))
    np.testing.assert_array_equal(mask_of(tmp_path / "c", "1"), np.where(soft > 127, 0, 255))


def test_class_indices_keep_their_numbers_and_get_their_names(tmp_path: Path) -> None:
    data = blobs(tmp_path / "data", 3, classes=4)
    names = ["ground", "house", "tree", "road"]
    roadseg.prepare(data / "images", data / "masks", tmp_path / "out", classes=names)
    for path in (data / "masks").iterdir():
        np.testing.assert_array_equal(mask_of(tmp_path / "out", path.stem), np.asarray(Image.open(path)))
    assert open_dataset(tmp_path / "out").classes == tuple(names)


@pytest.mark.parametrize(("value", "road"), [(7, 255), (128, 255), (0, 2)])
def test_an_ignored_value_becomes_255(tmp_path: Path, value: int, road: int) -> None:
    ground = 1 if value == 0 else 0
    rng = np.random.default_rng(0)
    for k in range(2):
        mask = np.full((30, 30), ground, np.uint8)
        mask[5:12], mask[20:, :10] = road, value
        save(tmp_path / "i" / f"{k}.png", rng.integers(0, 256, (30, 30, 3), np.uint8))
        save(tmp_path / "m" / f"{k}.png", mask)
    result = roadseg.prepare(tmp_path / "i", tmp_path / "m", tmp_path / "out", ignore=value)
    written = mask_of(tmp_path / "out", "0")
    assert (written[20:, :10] == 255).all() and (written[5:12] == 1).all() and (written[:5] == 0).all()
    assert toml(tmp_path / "out" / "dataset.toml")["ignore"] == 255
    assert result.about["unlabelled"] == pytest.approx(100 / 900, abs=1e-6)
    opened = open_dataset(tmp_path / "out")
    assert len(opened.classes) == 2 and opened.class_shares[1] == pytest.approx(210 / 800)


def test_several_colours_and_what_is_ignored(tmp_path: Path) -> None:
    label = np.zeros((40, 40, 3), np.uint8)
    label[:20], label[20:, :20], label[20:, 20:] = (255, 0, 0), (0, 0, 255), (0, 0, 0)
    for k in range(2):
        save(tmp_path / "i" / f"{k}.png", np.full((40, 40, 3), k, np.uint8))
        save(tmp_path / "m" / f"{k}.png", label)
    (tmp_path / "p.toml").write_text('ignore = "#000"\nrest = "ground"\n[classes]\nhouse = "#f00"\nwater = "#00f"\n')
    roadseg.prepare(tmp_path / "i", tmp_path / "m", tmp_path / "out", colors=tmp_path / "p.toml")
    found = mask_of(tmp_path / "out", "0")
    assert found[5, 5] == 1 and found[30, 5] == 2 and found[30, 30] == 255
    opened = open_dataset(tmp_path / "out")
    assert opened.classes == ("ground", "house", "water")
    assert opened.read(0).mask[30, 30] == 255


def test_a_transparent_layer_is_background_where_nothing_is_drawn(tmp_path: Path) -> None:
    label = np.zeros((30, 30, 4), np.uint8)
    label[..., :3] = 255
    label[8:20, :, 3] = 255
    save(tmp_path / "i" / "a.png", np.zeros((30, 30, 3), np.uint8))
    save(tmp_path / "m" / "a.png", label)
    roadseg.prepare(tmp_path / "i", tmp_path / "m", tmp_path / "out", colors="road=#fff")
    found = mask_of(tmp_path / "out", "a")
    assert found[8:20].all() and not found[:8].any() and not found[20:].any()


# --- tiles and sizes -------------------------------------------------------------------------------------------------


@given(st.integers(16, 90), st.integers(16, 90), st.integers(16, 40), st.data())
def test_tiles_cover_the_image_and_stay_in_it(height: int, width: int, side: int, data: st.DataObject) -> None:
    side = min(side, height, width)
    overlap = data.draw(st.integers(0, side - 1))
    covered = np.zeros((height, width), int)
    found = list(tiles(height, width, side, overlap))
    for tile in found:
        assert tile.of(covered).shape == (side, side)
        covered[tile.top : tile.top + side, tile.left : tile.left + side] += 1
    assert covered.min() >= 1
    endings = [tile.ending for tile in found]
    assert endings == sorted(set(endings))
    tops = sorted({tile.top for tile in found})
    assert all(b - a <= side - overlap for a, b in pairwise(tops))


@given(arrays(np.uint8, (9, 13), elements=st.sampled_from([0, 1, 4, 255])), st.integers(1, 30), st.integers(1, 30))
def test_resized_labels_hold_no_new_class(mask: np.ndarray, height: int, width: int) -> None:
    found = resize_labels(mask, height, width)
    assert found.shape == (height, width) and found.dtype == np.uint8
    assert set(np.unique(found)) <= set(np.unique(mask))


@given(arrays(np.uint8, (5, 6), elements=st.sampled_from([0, 2, 255])), st.integers(2, 4))
def test_resizing_up_and_back_gives_the_same_labels(mask: np.ndarray, factor: int) -> None:
    large = mask.repeat(factor, 0).repeat(factor, 1)
    np.testing.assert_array_equal(resize_labels(large, *mask.shape), mask)


def test_tiles_are_parts_of_the_image_and_of_the_mask(tmp_path: Path) -> None:
    root = raw(tmp_path / "raw", 2)
    result = roadseg.prepare(root / "sat", root / "grey", tmp_path / "out", tile=32, overlap=8)
    pixels = read_picture(root / "sat" / "city_1.jpg").pixels
    mask = np.asarray(Image.open(root / "grey" / "city_1.png"))
    names = [item["name"] for item in result.about["pairs"] if item["name"].startswith("city_1")]
    assert names == [f"city_1_r{r:02d}_c{c:02d}" for r in (0, 24, 28) for c in (0, 24, 48)]
    for name in names:
        top, left = int(name[-6:-4]), int(name[-2:])
        part = read_picture(tmp_path / "out" / "images" / f"{name}.png").pixels
        np.testing.assert_array_equal(part, pixels[top : top + 32, left : left + 32])
        np.testing.assert_array_equal(mask_of(tmp_path / "out", name), mask[top : top + 32, left : left + 32])


@pytest.mark.parametrize(
    ("shape", "dtype", "suffix"),
    [((64, 70), "uint16", ".png"), ((64, 70, 3), "uint16", ".png"), ((64, 70, 5), "uint8", ".tif"),
     ((64, 70, 3), "uint8", ".tif"), ((64, 70, 2), "float32", ".tif"), ((64, 70, 1), "int32", ".tif")],
)  # fmt: skip
def test_tiles_keep_bit_depth_and_bands(tmp_path: Path, shape: tuple[int, ...], dtype: str, suffix: str) -> None:
    import cv2

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256 if dtype == "uint8" else 50_000, shape).astype(dtype)
    (tmp_path / "i").mkdir()
    path = tmp_path / "i" / f"a{suffix}"
    if suffix == ".png":
        path.write_bytes(cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[..., ::-1])[1].tobytes())
    else:
        form = {"height": 64, "width": 70, "count": shape[2], "dtype": dtype}
        with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32632",
                           transform=rasterio.Affine(0.5, 0, 1000, 0, -0.5, 2000), **form) as target:  # fmt: skip
            target.write(np.moveaxis(pixels, -1, 0))
    save(tmp_path / "m" / "a.png", np.tri(64, 70, dtype=np.uint8) * 255)
    roadseg.prepare(tmp_path / "i", tmp_path / "m", tmp_path / "out", tile=32)
    part = tmp_path / "out" / "images" / f"a_r32_c38{suffix}"
    found = read_picture(part).pixels
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, (pixels if pixels.ndim == 3 else pixels[..., None])[32:64, 38:70])
    if suffix == ".tif":
        with rasterio.open(part) as target:
            assert target.crs.to_epsg() == 32632
            assert target.transform.c == 1000 + 38 * 0.5 and target.transform.f == 2000 - 32 * 0.5
        assert toml(tmp_path / "out" / "dataset.toml")["ground_resolution_m"] == pytest.approx(0.5)


def test_resized_geotiffs_say_their_new_resolution_and_their_lack_of_data(tmp_path: Path) -> None:
    pixels = np.full((3, 60, 60), 100, np.uint8)
    pixels[:, :30, :20] = 0
    (tmp_path / "i").mkdir()
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(0.5, 0, 0, 0, -0.5, 0), "nodata": 0}
    with rasterio.open(tmp_path / "i" / "a.tif", "w", driver="GTiff", height=60, width=60, count=3,
                       dtype="uint8", **place) as target:  # fmt: skip
        target.write(pixels)
    save(tmp_path / "m" / "a.png", np.tri(60, 60, dtype=np.uint8) * 255)
    roadseg.prepare(tmp_path / "i", tmp_path / "m", tmp_path / "out", resize="50%")
    found = read_picture(tmp_path / "out" / "images" / "a.tif")
    assert found.pixels.shape == (30, 30, 3)
    assert found.valid is not None and not found.valid[:15, :10].any() and found.valid[16:].all()
    assert toml(tmp_path / "out" / "dataset.toml")["ground_resolution_m"] == pytest.approx(1.0)


def test_transparency_of_a_png_stays_in_its_tiles(tmp_path: Path) -> None:
    pixels = np.full((40, 40, 4), 200, np.uint8)
    pixels[:20, :, 3] = 0
    save(tmp_path / "i" / "a.png", pixels)
    save(tmp_path / "m" / "a.png", np.tri(40, 40, dtype=np.uint8) * 255)
    result = roadseg.prepare(tmp_path / "i", tmp_path / "m", tmp_path / "out", tile=20, overlap=10)
    found = read_picture(tmp_path / "out" / "images" / "a_r10_c00.png")
    assert found.valid is not None and not found.valid[:10].any() and found.valid[10:].all()
    why = {item["name"]: item["why"] for item in result.about["dropped"]}
    assert set(why) == {"a_r00_c00", "a_r00_c10", "a_r00_c20"} and "no data" in why["a_r00_c00"]


def test_near_empty_tiles_are_dropped_and_named(tmp_path: Path, capsys: Capture) -> None:
    root = raw(tmp_path / "raw", 2)
    words = ["prepare", root / "sat", root / "grey", tmp_path / "out", "--tile", "20", "--min-share", "0.1"]
    answer = call(capsys, *words)
    assert answer.code == 0 and "dropped: " in answer.out and "less than 0.1" in answer.out
    about = json.loads((tmp_path / "out" / "prepare.json").read_text())
    assert about["dropped"] and all(item["share"] >= 0.1 for item in about["pairs"])
    for item in about["pairs"]:
        assert (np.asarray(Image.open(tmp_path / "out" / item["mask"])) > 0).mean() >= 0.1
    assert len(about["dropped"]) + len(about["pairs"]) == 2 * 3 * 4
    words[3] = tmp_path / "none"
    answer = call(capsys, *words[:-1], "0.99")
    assert answer.code == 2 and "nothing is left" in answer.err and not (tmp_path / "none").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"raw", "out"}


@pytest.mark.parametrize("text", ["0.5", "50%", "40x30"])
def test_sizes_may_be_said_in_three_ways(text: str) -> None:
    assert Resize.parse(text).of(60, 80) == (30, 40)


# --- who belongs to whom ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "labels", "rule"),
    [
        (["a.jpg", "b.png"], ["b.png", "a.tif"], None),
        (["sat_001.png", "sat_002.png"], ["map_002.png", "map_001.png"], None),
        (["1_sat.jpg", "12_sat.jpg"], ["1_mask.png", "12_mask.png"], None),
        (["x1_a.png", "x2_a.png"], ["x1_gt_v2.png", "x2_gt_v2.png"], "{name}_a = {name}_gt_v2"),
        (["img7.png", "img12.png"], ["m_007.png", "m_012.png"], "img{number} = m_{number}"),
        (["t-5-s.png", "t-6-s.png"], ["5.png", "6.png"], r"t-(\d+)-\w = (\d+)"),
    ],
)
def test_names_find_each_other(tmp_path: Path, images: list[str], labels: list[str], rule: str | None) -> None:
    for folder, names in (("i", images), ("l", labels)):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    found = pair_up(tmp_path / "i", tmp_path / "l", rule)
    assert len(found.pairs) == 2 and not found.problems

    def number(path: Path) -> str:
        return "".join(c for c in path.stem.replace("v2", "") if c.isalnum() and not c.isalpha()).lstrip("0")

    for pair in found.pairs:
        assert number(pair.image) == number(pair.mask)


def test_one_folder_may_hold_both(tmp_path: Path) -> None:
    for name in ("1_sat.jpg", "1_mask.png", "2_sat.jpg", "2_mask.png", "notes.png"):
        (tmp_path / name).touch()
    found = pair_up(tmp_path, tmp_path, "{name}_sat = {name}_mask")
    assert [p.stem for p in found.pairs] == ["1", "2"]
    assert len(found.problems) == 1 and "notes.png" in found.problems[0]
    with pytest.raises(ConfigError, match="--pair"):
        pair_up(tmp_path, tmp_path)


def test_two_files_are_a_pair(tmp_path: Path) -> None:
    root = raw(tmp_path, 1)
    result = roadseg.prepare(root / "sat" / "city_0.jpg", root / "grey" / "city_0.png", tmp_path / "out")
    assert [item["name"] for item in result.about["pairs"]] == ["city_0"]


@pytest.mark.parametrize(
    ("rule", "part"),
    [
        ("{name}_sat", "IMAGE = LABEL"),
        ("{name} = {name} = {name}", "IMAGE = LABEL"),
        ("sat = {name}", "0 groups"),
        ("(a)(b) = {name}", "2 groups"),
        ("(a = {name}", "no regular expression"),
        ("{name}_{name} = {name}", "more than one"),
    ],
)
def test_a_wrong_rule_is_named(tmp_path: Path, rule: str, part: str) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(ConfigError, match="--pair") as caught:
        pair_up(tmp_path, tmp_path, rule)
    assert part in str(caught.value)


def test_two_images_of_one_name_are_a_problem(tmp_path: Path) -> None:
    for name in ("i/a.png", "i/a.jpg", "i/b.png", "l/a.png", "l/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = pair_up(tmp_path / "i", tmp_path / "l")
    assert [p.stem for p in found.pairs] == ["b"] and "2 images are called 'a'" in found.problems[0]


# --- bad input -------------------------------------------------------------------------------------------------------


def lone_image(root: Path) -> None:
    (root / "map" / "city_1.png").unlink()


def lone_label(root: Path) -> None:
    (root / "sat" / "city_1.jpg").unlink()


def other_size(root: Path) -> None:
    save(root / "map" / "city_1.png", np.zeros((9, 8, 3), np.uint8))


def broken_image(root: Path) -> None:
    path = root / "sat" / "city_1.jpg"
    path.write_bytes(path.read_bytes()[:300])


def broken_label(root: Path) -> None:
    (root / "map" / "city_1.png").write_bytes(b"text")


def empty_label(root: Path) -> None:
    (root / "map" / "city_1.png").write_bytes(b"")


def other_names(root: Path) -> None:
    for k, path in enumerate(sorted((root / "map").iterdir())):
        path.rename(path.with_name(f"{'xyzw'[k]}.png"))


def no_labels(root: Path) -> None:
    for path in (root / "map").iterdir():
        path.unlink()


MAP = ["--preset", "web-map"]
BAD: list[tuple[Callable[[Path], None] | None, str, list[str], list[str]]] = [
    (lone_image, "map", MAP, ["1 problem", "city_1.jpg' has no label", "--skip-bad"]),
    (lone_label, "map", MAP, ["city_1.png' has no image"]),
    (other_size, "map", MAP, ["city_1.png' is 8x9 but its image is 80x60"]),
    (broken_image, "map", MAP, ["city_1.jpg", "truncated or damaged"]),
    (broken_label, "map", MAP, ["map/city_1.png", "not an image"]),
    (empty_label, "map", MAP, ["map/city_1.png", "empty"]),
    (other_names, "map", MAP, ["no image has a label", "city_0.jpg", "x.png", "--pair"]),
    (no_labels, "map", MAP, ["map", "no image"]),
    (None, "map", [], ["is coloured", "--preset web-map", "--colors"]),
    (None, "map", ["--colors", "road=#ff00ff"], ["no pixel", "#ff00ff", "#e8e5de", "%", "#ffffff"]),
    (None, "map", ["--colors", "road=#ffffff~60", "--colors", "land=#e8e5de~60"],
     ["both road and land", "#ffffff~60", "#e8e5de~60", "33 apart", "at most 16"]),
    (None, "map", ["--colors", "road=#fff", "--colors", "land=#fff"], ["#fff", "road", "land"]),
    (None, "map", ["--colors", "nowhere.toml"], ["nowhere.toml"]),
    (None, "map", ["--preset", "osm"], ["--preset osm", "web-map"]),
    (None, "map", [*MAP, "--ignore", "3"], ["--ignore", "ignore=#000000"]),
    (None, "map", [*MAP, "--invert"], ["--invert"]),
    (None, "map", [*MAP, "--threshold", "3"], ["--threshold"]),
    (None, "map", [*MAP, "--classes", "a,b"], ["--classes"]),
    (None, "map", [*MAP, "--tile", "61"], ["80x60, smaller than --tile 61", "4 problems"]),
    (None, "map", [*MAP, "--tile", "60", "--resize", "0.5"], ["40x30 when resized, smaller than --tile 60"]),
    (None, "map", [*MAP, "--tile", "8"], ["--tile 8", "16"]),
    (None, "map", [*MAP, "--tile", "32", "--overlap", "32"], ["--overlap 32", "--tile 32"]),
    (None, "map", [*MAP, "--overlap", "8"], ["--overlap 8", "--tile"]),
    (None, "map", [*MAP, "--resize", "512"], ["--resize 512", "512x512"]),
    (None, "map", [*MAP, "--resize", "half"], ["--resize half"]),
    (None, "map", [*MAP, "--min-share", "2"], ["--min-share 2"]),
    (None, "map", [*MAP, "--mend", "-1"], ["--mend -1"]),
    (None, "map", [*MAP, "--pair", "x"], ["--pair 'x'"]),
    (None, "map", [*MAP, "--resolution", "0"], ["--resolution 0"]),
    (None, "grey", ["--ignore", "255"], ["--ignore 255", "also a class"]),
    (None, "grey", ["--ignore", "0"], ["--ignore 0", "also a class"]),
    (None, "grey", ["--ignore", "1", "--classes", "land,road,house"], ["--ignore 1", "class 'road'"]),
    (None, "grey", ["--ignore", "999"], ["--ignore 999"]),
    (None, "grey", ["--threshold", "255"], ["--threshold 255", "0..255"]),
    (None, "grey", ["--classes", "road"], ["--classes road", "two names"]),
    (None, "grey", ["--classes", "road,road"], ["'road' twice"]),
    (None, "grey", ["--classes", "a,b,c", "--threshold", "3"], ["255"]),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "labels", "words", "parts"), BAD)
def test_bad_input_is_refused_with_one_message(
    tmp_path: Path,
    capsys: Capture,
    spoil: Callable[[Path], None] | None,
    labels: str,
    words: list[str],
    parts: list[str],
) -> None:
    root = raw(tmp_path / "raw")
    if spoil is not None:
        spoil(root)
    before = files_in(tmp_path)
    answer = call(capsys, "prepare", root / "sat", root / labels, tmp_path / "out", *words)
    assert answer.code == 2, answer
    assert answer.err.count("roadseg prepare: ") == 1 and "Traceback" not in answer.err
    for part in parts:
        assert part in answer.err, answer.err
    assert files_in(tmp_path) == before and {p.name for p in tmp_path.iterdir()} == {"raw"}


def test_a_wrong_palette_file_is_refused(tmp_path: Path, capsys: Capture) -> None:
    root = raw(tmp_path / "raw", 1)
    palette = tmp_path / "p.toml"
    palette.write_text("[classes]\nroad = ['#12']\n")
    answer = call(capsys, "prepare", root / "sat", root / "map", tmp_path / "out", "--colors", palette)
    assert answer.code == 2 and "p.toml" in answer.err and "'#12'" in answer.err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["raw/sat/out", "raw/sat", "raw/map/deep/out", "raw"])
def test_out_must_not_lie_in_the_input_nor_hold_it(tmp_path: Path, capsys: Capture, place: str) -> None:
    root = raw(tmp_path / "raw", 1)
    before = files_in(tmp_path)
    answer = call(capsys, "prepare", root / "sat", root / "map", tmp_path / place, *MAP, "--overwrite")
    assert answer.code == 2 and "OUT" in answer.err and files_in(tmp_path) == before


def test_bad_files_can_be_left_out(tmp_path: Path, capsys: Capture) -> None:
    root = raw(tmp_path / "raw", 5)
    other_size(root)
    (root / "map" / "city_2.png").unlink()
    (root / "sat" / "city_3.jpg").write_bytes(b"")
    answer = call(capsys, "prepare", root / "sat", root / "map", tmp_path / "out", *MAP, "--skip-bad")
    assert answer.code == 0 and answer.err.count("warning: left out") == 3
    about = json.loads((tmp_path / "out" / "prepare.json").read_text())
    assert len(about["skipped"]) == 3 and [item["name"] for item in about["pairs"]] == ["city_0", "city_4"]


def test_a_class_that_is_nowhere_is_told(tmp_path: Path) -> None:
    root = raw(tmp_path / "raw", 1)
    with pytest.warns(RoadsegWarning, match="class water"):
        roadseg.prepare(root / "sat", root / "map", tmp_path / "out", colors=["road=#fff", "water=#00f"])


# --- the folder ------------------------------------------------------------------------------------------------------


def test_only_a_prepared_dataset_is_overwritten_and_only_when_asked(tmp_path: Path) -> None:
    root = raw(tmp_path / "raw", 2)
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="not made by prepare"):
        roadseg.prepare(root / "sat", root / "grey", out, overwrite=True)
    (out / "thesis.txt").unlink()
    roadseg.prepare(root / "sat", root / "grey", out)  # an empty folder is as good as none
    before = tree(out)
    with pytest.raises(OutputError, match="--overwrite"):
        roadseg.prepare(root / "sat", root / "grey", out, invert=True)
    assert tree(out) == before
    roadseg.prepare(root / "sat", root / "grey", out, invert=True, overwrite=True)
    assert mask_of(out, "city_0")[0, 0] == 255
    (out / "masks" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"masks/mine\.txt"):
        roadseg.prepare(root / "sat", root / "grey", out, overwrite=True)
    assert {p.name for p in tmp_path.iterdir()} == {"raw", "out"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), OSError(28, "No space left on device")])
def test_interrupted_it_leaves_nothing_or_the_old_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    root = raw(tmp_path / "raw", 3)
    out = tmp_path / "out"
    calls = 0
    original = module.write_labels

    def stop(*args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error
        original(*args)

    monkeypatch.setattr(module, "write_labels", stop)
    with pytest.raises((type(error), OutputError)):
        roadseg.prepare(root / "sat", root / "grey", out)
    assert {p.name for p in tmp_path.iterdir()} == {"raw"}
    calls = 10
    roadseg.prepare(root / "sat", root / "grey", out)
    before, calls = tree(out), 0
    with pytest.raises((type(error), OutputError)):
        roadseg.prepare(root / "sat", root / "grey", out, invert=True, overwrite=True)
    assert tree(out) == before and {p.name for p in tmp_path.iterdir()} == {"raw", "out"}


def test_a_dry_run_says_the_same_and_writes_nothing(tmp_path: Path, capsys: Capture) -> None:
    root = raw(tmp_path / "raw", 2)
    words = ["prepare", root / "sat", root / "map", tmp_path / "out", *MAP, "--tile", "20", "--min-share", "0.2"]
    said = json.loads(call(capsys, *words, "--dry-run", "--json").out)
    assert not (tmp_path / "out").exists()
    answer = call(capsys, *words)
    assert answer.code == 0
    assert said == json.loads((tmp_path / "out" / "prepare.json").read_text())
    answer = call(capsys, *words[:3], tmp_path / "other", *MAP, "--dry-run")
    assert "nothing was written" in answer.out and not (tmp_path / "other").exists()


def test_shifted_labels_are_told(tmp_path: Path) -> None:
    from roadseg.imagery.scenes import make_scene

    for k in range(8):
        image, mask = make_scene(k, 200)
        save(tmp_path / "i" / f"{k}.png", image[10:-10, 10:-10])
        save(tmp_path / "m" / f"{k}.png", mask[16:-4, 3:-17])  # 7 px to the right, 6 px up
    with pytest.warns(RoadsegWarning, match=r"[678] px to the right and [567] px up"):
        result = roadseg.prepare(tmp_path / "i", tmp_path / "m", tmp_path / "out")
    assert result.about["label_shift_px"]["dx"] == result.shift.dx > 0 > result.shift.dy


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 4), st.integers(0, 3))
def test_memory_is_one_pair_at_a_time(n: int, skip: int) -> None:
    """The pairs are read one after the other: each is done before the next is begun."""
    import tempfile

    done: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        root = raw(Path(folder), n, (24, 90))
        roadseg.prepare(root / "sat", root / "grey", root / "out", progress=lambda k, total, name: done.append(k))
    assert done == list(range(1, n + 1))


# --- real images -----------------------------------------------------------------------------------------------------


def test_real_map_tiles(tmp_path: Path, real_data: Path) -> None:
    source = real_data / "map_tiles"
    if not source.is_dir():
        pytest.skip("no map_tiles in the folder of real images")
    names = sorted(p.stem for p in (source / "images").iterdir())[:6]
    for name in names:
        for kind in ("images", "raw_labels"):
            (path,) = (source / kind).glob(f"{name}.*")
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / kind / path.name).symlink_to(path)
    roadseg.prepare(tmp_path / "images", tmp_path / "raw_labels", tmp_path / "out", preset="web-map")
    both = either = 0
    for name in names:
        found = mask_of(tmp_path / "out", name) > 0
        reference = np.asarray(Image.open(source / "reference_masks" / f"{name}.png").convert("L")) > 127
        both, either = both + int((found & reference).sum()), either + int((found | reference).sum())
    assert both / either > 0.8


def test_real_contest_masks(tmp_path: Path, real_data: Path) -> None:
    source = real_data / "cil" / "training"
    if not source.is_dir():
        pytest.skip("no cil in the folder of real images")
    result = roadseg.prepare(source / "images", source / "groundtruth", tmp_path / "out", dry_run=True)
    assert result.about["class_shares"]["road"] == pytest.approx(0.200, abs=0.002)
    assert not result.shift.suspicious
    config = read_config({}, ())
    assert config.data.ignore == -1


def test_options_of_the_command_reach_the_function(tmp_path: Path, capsys: Capture) -> None:
    data = blobs(tmp_path / "data", 2, classes=4)
    words = ["--classes", "a, b, c, d", "--resize", "24x32", "--resolution", "0.5", "--ignore", "9"]
    answer = call(capsys, "prepare", data / "images", data / "masks", tmp_path / "out", *words)
    assert answer.code == 0, answer.err
    assert {Image.open(p).size for p in (tmp_path / "out" / "masks").iterdir()} == {(24, 32)}
    assert toml(tmp_path / "out" / "dataset.toml")["classes"] == ["a", "b", "c", "d"]


def test_errors_of_the_function_are_those_of_the_package(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        roadseg.prepare(tmp_path / "a", tmp_path / "b", tmp_path / "c")
