"""Coloured maps to classes: palettes as words and files, tolerances, soft edges, and text mended."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw, ImageFont

from roadseg.errors import ConfigError
from roadseg.imagery.masks import IGNORED
from roadseg.preparation.coloured import match, mend
from roadseg.preparation.palette import PRESETS, Palette, read_palette

LAND, WHITE, ORANGE, WATER = (232, 229, 222), (255, 255, 255), (250, 158, 37), (177, 208, 254)
FINER = 8  # drawn so many times larger: the share of the small pixels in a pixel is the truth


def street_map(seed: int, size: int = 160, ground: tuple[int, int, int] = LAND) -> tuple[np.ndarray, np.ndarray]:
    """A map tile (size, size, 3) uint8 of white and orange streets with soft edges, and the truth (size, size) bool."""
    rng = np.random.default_rng(seed)
    share = np.zeros((size, size), np.float32)
    tile = np.empty((size, size, 3), np.float32)
    tile[:] = ground
    for number in range(4):
        fine = np.zeros((size * FINER, size * FINER), np.uint8)
        ends = rng.uniform(0, size, (2, 2))
        ends[:, number % 2] = -10, size + 10
        points = np.rint(ends * FINER).astype(int)
        cv2.line(fine, points[0].tolist(), points[1].tolist(), 255, int(rng.uniform(8, 16) * FINER))
        part = cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        tile += part[..., None] * (np.array(ORANGE if number == 3 else WHITE, np.float32) - tile)
        share = np.maximum(share, part)
    return np.rint(tile).astype(np.uint8), share > 0.5


def with_names(tile: np.ndarray, truth: np.ndarray, seed: int, ink: tuple[int, int, int]) -> np.ndarray:
    """Street names across the roads."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(tile)
    draw = ImageDraw.Draw(image)
    rows, columns = np.nonzero(cv2.erode(truth.astype(np.uint8), np.ones((7, 7), np.uint8)))
    for k in rng.choice(len(rows), 6):
        draw.text((int(columns[k]), int(rows[k])), "W 23rd St", fill=ink, font=ImageFont.load_default(9), anchor="mm")
    return np.asarray(image)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.count_nonzero(one & other) / max(1, np.count_nonzero(one | other)))


# --- words and files -------------------------------------------------------------------------------------------------


def test_words_name_classes_in_their_order_after_the_background():
    palette = read_palette(["road=#ffffff~12, #F8D56C~40", "water=#b1d0fe", "ignore=#000"])
    assert palette.classes == ("background", "road", "water")
    assert palette.rest == 0 and palette.ignores
    assert [str(c) for c in palette.of(1)] == ["#ffffff~12", "#f8d56c~40"]
    assert [str(c) for c in palette.of(2)] == ["#b1d0fe~8"] and [str(c) for c in palette.of(IGNORED)] == ["#000000~8"]
    assert not read_palette(["road=#fff"]).ignores


def test_the_class_of_the_rest_comes_first_and_may_be_ignored():
    assert read_palette(["road=#fff", "land=rest,#e8e5de"]).classes == ("land", "road")
    palette = read_palette(["road=#fff", "water=#00f", "ignore=rest"])
    assert palette.classes == ("road", "water") and palette.rest == IGNORED and palette.ignores


def test_a_palette_said_in_words_is_the_same_palette():
    for words in (["road=#fff~12", "land=rest"], ["a=#123456~3,#abc", "b=#00f", "ignore=#000~1,rest"]):
        palette = read_palette(words)
        again = read_palette(palette.words())
        assert (again.classes, again.rest, set(again.colours)) == (palette.classes, palette.rest, set(palette.colours))


def test_a_file_says_the_same_as_words(tmp_path: Path):
    path = tmp_path / "palette.toml"
    path.write_text(
        'tolerance = 5\nignore = "#000000"\nrest = "land"\n[classes]\n'
        'road = ["#ffffff~12", [248, 213, 108]]\nwater = {colour = "#b1d0fe", tolerance = 20}\nland = []\n'
    )
    words = ["land=rest", "road=#ffffff~12,#f8d56c~5", "water=#b1d0fe~20", "ignore=#000~5"]
    assert set(read_palette([path]).colours) == set(read_palette(words).colours)
    assert read_palette([path]).classes == read_palette(words).classes


def test_a_preset_takes_more_colours():
    palette = read_palette(["road=#010203~1"], "web-map")
    assert len(palette.of(1)) == len(PRESETS["web-map"]["road"]) + 1
    assert read_palette(["web-map"]) == read_palette(preset="web-map")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["road=#ffff"], ["#ffff", "road", "#ffffff~12"]),
        (["road=white"], ["white", "road"]),
        (["road=#ffffff~300"], ["~300", "0..255"]),
        (["road=#ffffff~-1"], ["~-1"]),
        (["road="], ["''", "road"]),
        (["=#ffffff"], ["no name"]),
        (["road=#fff", "house=#ffffff"], ["#ffffff", "road", "house", "one"]),
        (["road=#fff", "ignore=#fff"], ["#fff", "road", "ignore"]),
        (["a=rest", "b=rest,#fff"], ["a and b", "rest"]),
        (["background=#fff"], ["one class"]),
        (["road=#fff", "ignore=rest"], ["one class"]),
        (["colours"], ["colours", "preset", "TOML"]),
    ],
)
def test_wrong_words_are_named(words: list[str], parts: list[str]):
    with pytest.raises(ConfigError) as caught:
        read_palette(words)
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("classes = [", ["not TOML"]),
        ("road = ['#fff']", ["unknown key 'road'", "[classes]"]),
        ("tolerance = 5", ["no table [classes]"]),
        ("[classes]\nroad = ['#ggg']", ["road", "'#ggg'"]),
        ("[classes]\nroad = [[255, 255]]", ["road", "[255, 255]"]),
        ("[classes]\nroad = [[255, 255, 256]]", ["road", "256"]),
        ("[classes]\nroad = {color = '#fff'}", ["road", "color"]),
        ("[classes]\nroad = {colour = '#fff', tolerance = 1.5}", ["road", "tolerance", "1.5"]),
        ("tolerance = 256\n[classes]\nroad = '#fff'", ["tolerance = 256"]),
        ("rest = 1\n[classes]\nroad = '#fff'", ["rest = 1"]),
        ("ignore = '#000'\n[classes]\nroad = '#fff'\nignore = '#111'", ["ignore", "twice"]),
        ("[classes]", ["empty"]),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, parts: list[str]):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_palette([path])
    wanted = parts if parts == ["empty"] else [*parts, "wrong.toml"]
    assert all(part in str(caught.value) for part in wanted), caught.value


def test_an_unknown_preset_is_named():
    with pytest.raises(ConfigError, match="web-map"):
        read_palette(preset="osm")


# --- matching --------------------------------------------------------------------------------------------------------


@given(
    arrays(np.uint8, (5, 6, 3)),
    st.tuples(*[st.integers(0, 255)] * 3),
    st.integers(0, 255),
)
def test_a_pixel_fits_exactly_when_no_channel_is_further_away_than_the_tolerance(
    pixels: np.ndarray, rgb: tuple[int, int, int], tolerance: int
):
    palette = read_palette(["road=#{:02x}{:02x}{:02x}~{}".format(*rgb, tolerance)])
    found = match(pixels, palette, edges=False)
    expected = (np.abs(pixels.astype(int) - rgb) <= tolerance).all(axis=-1)
    np.testing.assert_array_equal(found.positions == 1, expected)
    np.testing.assert_array_equal(found.listed, expected)
    assert found.hits == {1: int(expected.sum())}


@given(
    arrays(np.uint8, (4, 5, 3)), st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=2, max_size=4, unique=True)
)
def test_more_tolerance_never_loses_a_listed_pixel_and_doubt_is_counted(
    pixels: np.ndarray, colours: list[tuple[int, int, int]]
):
    def palette(tolerance: int) -> Palette:
        return read_palette([f"c{k}=#{r:02x}{g:02x}{b:02x}~{tolerance}" for k, (r, g, b) in enumerate(colours)])

    narrow, wide = (match(pixels, palette(t), edges=False) for t in (10, 60))
    assert not (narrow.listed & ~wide.listed).any()
    for (one, other), n in wide.doubtful.items():
        both = [(np.abs(pixels.astype(int) - colours[p - 1]) <= 60).all(axis=-1) for p in (one, other)]
        assert n == np.count_nonzero(both[0] & both[1]) > 0


def test_of_two_colours_that_fit_the_nearer_in_tolerance_wins():
    pixels = np.array([[(100, 100, 100), (108, 108, 108), (116, 116, 116)]], np.uint8)
    found = match(pixels, read_palette(["a=#646464~20", "b=#747474~20"]), edges=False)
    assert found.positions.tolist()[0][::2] == [1, 2]
    assert found.doubtful == {(1, 2): 3}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([LAND, WATER, (203, 223, 172)]))
def test_soft_edges_go_to_the_larger_part(seed: int, ground: tuple[int, int, int]):
    tile, truth = street_map(seed, ground=ground)
    palette = read_palette(preset="web-map")
    found = match(tile, palette).positions == 1
    bare = match(tile, palette, edges=False).positions == 1
    assert iou(found, truth) > max(0.93, iou(bare, truth) - 0.01)
    assert abs(np.count_nonzero(found) / np.count_nonzero(truth) - 1) < 0.06  # neither wider nor narrower


def test_blends_between_two_classes_become_no_third_one():
    pixels = np.empty((40, 40, 3), np.uint8)
    pixels[:, :20], pixels[:, 20], pixels[:, 21:] = (255, 0, 0), (128, 0, 128), (0, 0, 255)
    found = match(pixels, read_palette(["a=#f00", "b=#00f"]))
    assert set(np.unique(found.positions)) == {1, 2}
    found = match(pixels, read_palette(["a=#f00", "b=#00f"]), edges=False)
    assert set(np.unique(found.positions)) == {0, 1, 2}


# --- mending ---------------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(90, 90, 90), (160, 160, 170), (40, 20, 20)]))
def test_names_over_roads_are_mended(seed: int, ink: tuple[int, int, int]):
    tile, truth = street_map(seed)
    named = with_names(tile, truth, seed, ink)
    palette = read_palette(preset="web-map")
    found = match(named, palette)
    torn, whole = found.positions == 1, mend(found, palette, 5) == 1
    assert iou(whole, truth) > 0.93
    lost_before, lost = (np.count_nonzero(truth & ~mask) for mask in (torn, whole))
    assert lost <= 0.5 * lost_before or lost < 0.01 * np.count_nonzero(truth)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000))
def test_mending_leaves_clean_maps_nearly_alone(seed: int):
    tile, _ = street_map(seed)
    palette = read_palette(preset="web-map")
    found = match(tile, palette)
    assert iou(mend(found, palette, 5) == 1, found.positions == 1) > 0.95
    np.testing.assert_array_equal(mend(found, palette, 0), found.positions)


@pytest.mark.parametrize("gap", [2, 3, 4])
def test_a_strip_between_two_carriageways_stays(gap: int):
    tile = np.empty((120, 80, 3), np.uint8)
    tile[:] = LAND
    tile[:, 20:30] = tile[:, 30 + gap : 40 + gap] = WHITE
    palette = read_palette(preset="web-map")
    assert not mend(match(tile, palette), palette, 5)[:, 30 : 30 + gap].any()


def test_patches_that_barely_fit_go_and_what_is_drawn_small_stays():
    tile = np.empty((60, 80, 3), np.uint8)
    tile[:] = LAND
    tile[5:14, 30:39] = (246, 246, 245)  # a roof, nearly white
    tile[20:23, 60:63] = tile[:3, :3] = tile[40:50, :] = WHITE
    palette = read_palette(["road=#ffffff~12"])
    found = match(tile, palette)
    assert (found.positions[5:14, 30:39] == 1).all()
    mask = mend(found, palette, 5)
    assert not mask[3:16, 28:41].any()
    assert mask[20:23, 60:63].all() and mask[:3, :3].all() and mask[40:50].all()


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, (12, 14), elements=st.integers(0, 3)), st.integers(1, 6))
def test_mending_changes_nothing_that_has_just_the_colour_of_a_class(classes: np.ndarray, size: int):
    colours = np.array([(10, 200, 30), (255, 0, 0), (0, 0, 255), (255, 255, 0)], np.uint8)
    palette = read_palette(["a=#ff0000~9", "b=#0000ff~0", "ignore=#ffff00~9"])
    found = match(colours[classes], palette, edges=False)
    mended = mend(found, palette, size)
    np.testing.assert_array_equal(mended[found.listed], found.positions[found.listed])
    assert set(np.unique(mended)) <= {0, 1, 2, IGNORED}
