"""How masks are coded, and what they decode to."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from rasterio.transform import from_origin

from roadseg.errors import ConfigError, DataError
from roadseg.imagery.masks import IGNORED, MaskCoding, decode, find_coding, histogram, read_mask

SHAPE = (8, 8)


def mask_of(*values: float, dtype: str = "uint8") -> np.ndarray:
    """(8, 8) with each value in turn, the first most often."""
    return np.resize(np.asarray([values[0], *values], dtype), SHAPE)


def coding_of(*masks: np.ndarray, **options: object) -> MaskCoding:
    return find_coding({f"{i}.png": mask for i, mask in enumerate(masks)}, **options)  # type: ignore[arg-type]


# --- binary and soft -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("high", [1, 2, 128, 255])
def test_masks_of_0_and_one_other_value_are_binary(high: int) -> None:
    mask = mask_of(0, high)
    coding = coding_of(mask)
    assert coding.kind == "binary" and coding.classes == (0, 1)
    np.testing.assert_array_equal(decode(mask, coding), mask == high)
    assert decode(mask, coding).dtype == np.uint8
    assert coding.rule() == f"masks are 0/{high}: road is {high}"


def test_16_bit_and_real_masks_are_binary_too() -> None:
    for mask in (mask_of(0, 65535, dtype="uint16"), mask_of(0, 1, dtype="float32")):
        np.testing.assert_array_equal(decode(mask, coding_of(mask)), mask > 0)


def test_the_whole_set_decides_and_an_all_background_mask_follows() -> None:
    empty, full = np.zeros(SHAPE, np.uint8), np.full(SHAPE, 255, np.uint8)
    coding = coding_of(empty, full)
    assert decode(empty, coding).max() == 0 and decode(full, coding).min() == 1


def test_soft_masks_are_cut_at_127_of_255() -> None:
    mask = np.resize(np.arange(238, dtype=np.uint8), (20, 20))
    coding = coding_of(mask)
    assert coding.rule() == "masks are soft grey 0..237: road is > 127"
    np.testing.assert_array_equal(decode(mask, coding), mask > 127)


def test_soft_16_bit_and_soft_real_masks_are_cut_in_the_middle() -> None:
    deep = np.linspace(0, 65000, 400).astype(np.uint16).reshape(20, 20)
    np.testing.assert_array_equal(decode(deep, coding_of(deep)), deep > 32767)
    share = np.linspace(0, 0.97, 400, dtype=np.float32).reshape(20, 20)
    np.testing.assert_array_equal(decode(share, coding_of(share)), share > 0.5)


def test_inverted_masks_have_the_dark_side_as_class_1() -> None:
    mask = mask_of(0, 255)
    coding = coding_of(mask, invert=True)
    np.testing.assert_array_equal(decode(mask, coding), mask == 0)
    assert coding.rule("membrane") == "masks are 0/255: membrane is 0"
    soft = np.resize(np.arange(238, dtype=np.uint8), (20, 20))
    np.testing.assert_array_equal(decode(soft, coding_of(soft, invert=True)), soft <= 127)


# --- class index -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [(0, 1, 2, 3, 4, 5), (0, 1, 3), (1, 2, 3, 4, 6, 7), (0, 1, 2)])
def test_few_small_values_are_class_indices(values: tuple[int, ...]) -> None:
    mask = mask_of(*values)
    coding = coding_of(mask)
    assert coding.kind == "index" and coding.classes == tuple(range(max(values) + 1))
    np.testing.assert_array_equal(decode(mask, coding), mask)


def test_the_indices_of_all_files_count_and_named_classes_need_not_occur() -> None:
    assert coding_of(mask_of(0, 1), mask_of(0, 4, 2)).classes == (0, 1, 2, 3, 4)
    assert coding_of(mask_of(0, 1), names=("a", "b", "c", "d")).classes == (0, 1, 2, 3)
    assert coding_of(mask_of(0, 90), names=tuple("abcdefghij" * 10)).kind == "index"


@given(arrays(np.uint8, (6, 6), elements=st.integers(0, 5)))
def test_index_masks_decode_to_themselves(mask: np.ndarray) -> None:
    coding = find_coding({"all": np.arange(6, dtype=np.uint8).reshape(1, 6), "one": mask})
    np.testing.assert_array_equal(decode(mask, coding), mask)


@given(arrays(bool, (6, 6)), st.integers(1, 255), st.booleans())
def test_any_two_valued_mask_decodes_to_its_truth(truth: np.ndarray, high: int, invert: bool) -> None:
    both = np.array([[0, high]], np.uint8)
    coding = find_coding({"both": both, "one": truth.astype(np.uint8) * high}, invert)
    np.testing.assert_array_equal(decode(truth.astype(np.uint8) * high, coding), truth != invert)


@given(arrays(np.uint8, (9, 9)))
def test_decoding_a_histograms_values_is_decoding_the_mask(mask: np.ndarray) -> None:
    coding = MaskCoding("soft", 127, (0, 1))
    counts = histogram(mask)
    shares = sum(n for value, n in counts.items() if decode(np.asarray([[value]]), coding).item())
    assert shares == decode(mask, coding).sum() and sum(counts.values()) == mask.size


# --- files -----------------------------------------------------------------------------------------------------------


def palette_png(path: Path, indices: np.ndarray, colours: list[int]) -> Path:
    image = Image.fromarray(indices, "P")
    image.putpalette(colours)
    image.save(path)
    return path


def test_grey_stored_as_rgb_or_with_alpha_is_grey(tmp_path: Path) -> None:
    mask = mask_of(0, 255)
    Image.fromarray(np.dstack([mask] * 3)).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([mask, np.where(mask, 255, 0).astype(np.uint8)])).save(tmp_path / "la.png")
    Image.fromarray(np.dstack([mask] * 4)).save(tmp_path / "rgba.png")
    Image.fromarray(mask).convert("1").save(tmp_path / "1.png")
    for name in ("rgb", "la", "rgba", "1"):
        raw = read_mask(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(raw.values, mask)
        assert raw.valid is None


def test_a_palette_is_read_by_colour_or_by_index(tmp_path: Path) -> None:
    indices = mask_of(0, 1)
    raw = read_mask(palette_png(tmp_path / "p.png", indices, [255, 255, 255, 0, 0, 0]))
    np.testing.assert_array_equal(raw.read_as(indexed=True), indices)
    np.testing.assert_array_equal(raw.read_as(indexed=False), np.where(indices == 0, 255, 0))


def test_coloured_masks_are_refused_with_their_colours(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[0, 0] = (255, 0, 128)
    Image.fromarray(pixels).save(tmp_path / "c.png")
    with pytest.raises(DataError, match=r"c\.png' is coloured: \(0, 0, 0\), \(255, 0, 128\).*roadseg prepare"):
        read_mask(tmp_path / "c.png")


def test_a_mask_of_many_bands_is_refused(tmp_path: Path) -> None:
    grid = {"crs": "EPSG:32611", "transform": from_origin(0, 0, 1, 1)}
    with rasterio.open(tmp_path / "m.tif", "w", driver="GTiff", height=3, width=3, count=5, dtype="uint8", **grid) as t:
        t.write(np.zeros((5, 3, 3), np.uint8))
    with pytest.raises(DataError, match=r"m\.tif' has 5 bands"):
        read_mask(tmp_path / "m.tif")


@pytest.mark.parametrize("nodata", [0, 255])
def test_no_data_of_a_tiff_mask_counts_unless_it_is_the_background(tmp_path: Path, nodata: int) -> None:
    mask = np.array([[0, 1, 2], [2, 1, 255]], np.uint8)
    grid = {"crs": "EPSG:32611", "transform": from_origin(0, 0, 1, 1), "nodata": nodata}
    with rasterio.open(tmp_path / "m.tif", "w", driver="GTiff", height=2, width=3, count=1, dtype="uint8", **grid) as t:
        t.write(mask, 1)
    raw = read_mask(tmp_path / "m.tif")
    if nodata == 0:
        assert raw.valid is None
        np.testing.assert_array_equal(raw.values, mask)
    else:
        assert raw.valid is not None and raw.valid.tolist() == [[True] * 3, [True, True, False]]
        assert raw.values.max() == 2


# --- bad input -------------------------------------------------------------------------------------------------------


def test_a_set_without_any_road_is_refused() -> None:
    with pytest.raises(DataError, match="every mask is empty: all 2 hold the value 0 alone"):
        coding_of(mask_of(0), mask_of(0))
    with pytest.raises(DataError, match="every mask is full"):
        coding_of(mask_of(255))


def test_an_ignore_value_is_named_with_its_file() -> None:
    with pytest.raises(DataError, match=r"mask '1\.png' holds the value 255.*ignore"):
        coding_of(mask_of(0, 1), mask_of(0, 1, 255))
    with pytest.raises(DataError, match=r"mask '1\.png' holds the value 255"):
        coding_of(mask_of(0, 1, 2, 3), mask_of(0, 1, 255))


def test_two_codings_in_one_set_are_named() -> None:
    with pytest.raises(DataError, match=r"two ways: '1\.png' holds 0, 255 and '0\.png' holds 0, 1"):
        coding_of(mask_of(0, 1), mask_of(0, 255))


@pytest.mark.parametrize("values", [(17, 42, 200), (0, 20, 40, 60), (0, 127, 255), (100, 200), (0, 40_000, 50_000)])
def test_odd_values_are_named_with_their_file(values: tuple[int, ...]) -> None:
    with pytest.raises(DataError) as caught:
        coding_of(mask_of(*values, dtype="uint16"))
    assert "'0.png'" in str(caught.value) and all(str(v) in str(caught.value) for v in values if v)


def test_negative_values_are_no_classes() -> None:
    with pytest.raises(DataError, match="-1"):
        coding_of(mask_of(0, 1, -1, dtype="int16"))


def test_more_classes_than_names_is_refused() -> None:
    with pytest.raises(DataError, match=r"'0\.png' holds the values 3, 4: expected class indices 0\.\.2"):
        coding_of(mask_of(0, 1, 2, 3, 4), names=("a", "b", "c"))
    with pytest.raises(DataError, match="2 classes are named"):
        coding_of(mask_of(0, 1, 2), names=("a", "b"))


def test_class_indices_cannot_be_inverted_nor_jpeg() -> None:
    with pytest.raises(ConfigError, match=r"data\.invert"):
        coding_of(mask_of(0, 1, 2), invert=True)
    with pytest.raises(DataError, match="JPEG"):
        coding_of(mask_of(0, 1, 2), lossy=True)


def test_a_lossy_mask_of_few_values_is_soft() -> None:
    assert coding_of(mask_of(0, 1, 254, 255), lossy=True).kind == "soft"


# --- unlabelled pixels -----------------------------------------------------------------------------------------------


def ignoring(*masks: np.ndarray, ignore: int, **options: object) -> MaskCoding:
    return coding_of(*masks, ignore=ignore, **options)


@pytest.mark.parametrize(
    ("values", "ignore", "rule"),
    [
        ((0, 255, 128), 128, "masks are 0/255: road is 255; 128 is unlabelled"),
        ((0, 1, 255), 255, "masks are 0/1: road is 1; 255 is unlabelled"),
        ((0, 1, 2), 1, "masks are 0/2: road is 2; 1 is unlabelled"),
    ],
)
def test_an_unlabelled_value_beside_two_classes_is_no_class(values: tuple[int, ...], ignore: int, rule: str) -> None:
    mask = mask_of(*values)
    coding = ignoring(mask, ignore=ignore)
    assert coding.kind == "binary" and coding.classes == (0, 1) and coding.rule() == rule
    road = max(v for v in values if v != ignore)
    np.testing.assert_array_equal(decode(mask, coding), np.where(mask == ignore, IGNORED, mask == road))
    dark = ignoring(mask, ignore=ignore, invert=True)
    np.testing.assert_array_equal(decode(mask, dark), np.where(mask == ignore, IGNORED, mask != road))


def test_unlabelled_pixels_of_soft_masks_are_left_out() -> None:
    mask = np.resize(np.arange(238, dtype=np.uint8), (20, 20))
    found = decode(mask, ignoring(mask, ignore=9))
    np.testing.assert_array_equal(found, np.where(mask == 9, IGNORED, mask > 127))


def test_classes_above_an_unlabelled_index_move_down_so_that_no_output_is_wasted() -> None:
    mask = mask_of(0, 1, 2, 3, 4, 5, 6, 7)
    coding = ignoring(mask, ignore=0)
    assert coding.classes == (1, 2, 3, 4, 5, 6, 7)
    assert coding.rule() == "masks are class indices: classes 1..7 by value; 0 is unlabelled"
    np.testing.assert_array_equal(decode(mask, coding), np.where(mask == 0, IGNORED, mask - np.uint8(1)))
    inner = ignoring(mask, ignore=3)
    assert inner.classes == (0, 1, 2, 4, 5, 6, 7)
    np.testing.assert_array_equal(decode(mask, inner), np.where(mask == 3, IGNORED, mask - (mask > 3)))
    last = ignoring(mask, ignore=7)
    assert last.classes == (0, 1, 2, 3, 4, 5, 6)
    np.testing.assert_array_equal(decode(mask, last), np.where(mask == 7, IGNORED, mask))


def test_an_index_set_with_255_unlabelled_and_one_with_two_classes_left() -> None:
    mask = mask_of(0, 1, 2, 255)
    assert ignoring(mask, ignore=255, names=("a", "b", "c")).classes == (0, 1, 2)
    np.testing.assert_array_equal(decode(mask, ignoring(mask, ignore=255)), mask)
    two = mask_of(0, 1, 2)
    assert ignoring(two, ignore=0).classes == (1, 2)
    np.testing.assert_array_equal(decode(two, ignoring(two, ignore=0)), np.where(two == 0, IGNORED, two - np.uint8(1)))


@given(arrays(np.uint8, (6, 6), elements=st.integers(0, 5)), st.integers(-1, 6))
def test_decoded_positions_are_the_places_of_the_values(mask: np.ndarray, ignore: int) -> None:
    coding = find_coding({"all": np.arange(6, dtype=np.uint8).reshape(1, 6), "one": mask}, ignore=ignore)
    for value, position in zip(mask.ravel(), decode(mask, coding).ravel(), strict=True):
        assert position == (IGNORED if value == ignore else coding.classes.index(value))


def test_a_wholly_unlabelled_mask_beside_others_is_fine_and_a_set_of_them_is_not() -> None:
    nothing = mask_of(255)
    assert decode(nothing, ignoring(nothing, mask_of(0, 1), ignore=255)).min() == IGNORED
    with pytest.raises(DataError, match="every mask is unlabelled: all 2 hold nothing but 255"):
        ignoring(nothing, nothing, ignore=255)
    with pytest.raises(DataError, match=r"every mask is empty: .* the value 0 alone beside the ignored 255"):
        ignoring(nothing, mask_of(0, 255), ignore=255)
    with pytest.raises(DataError, match="holds the values 20, 40"):
        ignoring(nothing, mask_of(0, 20, 40), ignore=255)


def test_an_unlabelled_value_in_jpeg_masks_is_refused() -> None:
    with pytest.raises(DataError, match="ignored value in JPEG"):
        ignoring(mask_of(0, 128, 255), ignore=128, lossy=True)


def test_an_odd_value_that_may_be_unlabelled_is_said_how_to_leave_out() -> None:
    for masks, options in (
        ((mask_of(0, 1), mask_of(0, 1, 255)), {}),
        ((mask_of(0, 1, 2), mask_of(0, 1, 255)), {"names": ("a", "b", "c")}),
        ((mask_of(0, 1), mask_of(0, 1), mask_of(0, 1, 255)), {}),
    ):
        with pytest.raises(DataError, match=r"data\.ignore = 255"):
            coding_of(*masks, **options)
    with pytest.raises(DataError, match=r"data\.ignore = 128"):
        coding_of(mask_of(0, 255), mask_of(0, 255), mask_of(0, 255, 128))
    with pytest.raises(DataError, match=r"unlabelled pixels can be left out with data\.ignore"):
        coding_of(mask_of(0, 127, 255))
    with pytest.raises(DataError) as caught:  # two odd values are no one mark
        coding_of(mask_of(0, 1), mask_of(0, 1, 200, 255))
    assert "data.ignore" not in str(caught.value)


def test_256_classes_are_one_too_many() -> None:
    with pytest.raises(DataError, match="at most 255"):
        coding_of(np.arange(256, dtype=np.uint8).reshape(16, 16), names=tuple(map(str, range(256))))
