"""Reading images of any kind, and writing masks."""

import math
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

from roadseg.errors import DataError, ImageError
from roadseg.imagery.pixels import content_hash, to_bands, to_uint8
from roadseg.imagery.raster import ground_resolution, read_header, read_picture, write_mask

COLOURS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
UTM = {"crs": "EPSG:32611", "transform": from_origin(500_000, 4_000_000, 0.3, 0.3)}


def write_tiff(path: Path, pixels: np.ndarray, **profile: object) -> Path:
    """`pixels` (H, W, C)."""
    height, width, count = pixels.shape
    profile = {"crs": UTM["crs"], "transform": UTM["transform"], "photometric": "minisblack"} | profile
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=count, dtype=pixels.dtype, **profile
    ) as target:
        target.write(np.moveaxis(pixels, -1, 0))
    return path


def png_that_claims(path: Path, width: int, height: int) -> Path:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


# --- kinds -----------------------------------------------------------------------------------------------------------


def test_rgb_png_is_read_as_it_is(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, COLOURS)
    assert picture.valid is None and picture.pixels.flags.writeable


def test_alpha_leaves_the_pixels_and_says_where_data_is(tmp_path: Path) -> None:
    alpha = np.full((4, 6), 255, np.uint8)
    alpha[0], alpha[1] = 0, 3
    Image.fromarray(np.dstack([COLOURS, alpha])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([COLOURS[..., 0], alpha])).save(tmp_path / "la.png")
    for name, bands in (("rgba", 3), ("la", 1)):
        picture = read_picture(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(picture.pixels, COLOURS[..., :bands])
        np.testing.assert_array_equal(picture.valid, alpha > 0)
        assert read_header(tmp_path / f"{name}.png").bands == bands


def test_opaque_alpha_means_all_valid(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([COLOURS, np.full((4, 6), 255, np.uint8)])).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").valid is None


def test_palette_png_becomes_rgb_and_its_indices_are_at_hand(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "p.png")
    assert read_picture(tmp_path / "p.png").pixels.tolist() == [
        [[10, 20, 30], [40, 50, 60]],
        [[70, 80, 90], [40, 50, 60]],
    ]
    raw = read_picture(tmp_path / "p.png", expand_palette=False)
    assert raw.pixels[..., 0].tolist() == [[0, 1], [2, 1]]
    assert raw.palette is not None and raw.palette[1].tolist() == [40, 50, 60]
    assert read_header(tmp_path / "p.png").bands == 3


def test_a_transparent_palette_entry_is_no_data(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "p.png", transparency=2)
    picture = read_picture(tmp_path / "p.png")
    assert picture.pixels.shape == (2, 2, 3)
    assert picture.valid is not None and picture.valid.tolist() == [[True, True], [False, True]]


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_transparent_colour_is_no_data(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.array([[0, 255], [255, 255]], np.uint8)).convert(mode)
    image.save(tmp_path / "t.png", transparency=(0, 0, 0) if mode == "RGB" else 0)
    picture = read_picture(tmp_path / "t.png")
    assert picture.pixels[..., 0].tolist() == [[0, 255], [255, 255]]
    assert picture.valid is not None and picture.valid.tolist() == [[False, True], [True, True]]


def test_one_bit_images_are_0_and_255(tmp_path: Path) -> None:
    bits = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    Image.fromarray(bits * 255).convert("1").save(tmp_path / "a.png")
    write_tiff(tmp_path / "a.tif", bits[..., None], nbits=1)
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read_picture(tmp_path / name).pixels[..., 0], bits * 255)


def test_16_bit_grey_and_colour_keep_their_16_bits(tmp_path: Path) -> None:
    deep = np.arange(5 * 7 * 3, dtype=np.uint16).reshape(5, 7, 3) * 601
    cv2.imwrite(str(tmp_path / "rgb.png"), deep[..., ::-1])
    cv2.imwrite(str(tmp_path / "grey.png"), deep[..., 0])
    np.testing.assert_array_equal(read_picture(tmp_path / "rgb.png").pixels, deep)
    np.testing.assert_array_equal(read_picture(tmp_path / "grey.png").pixels, deep[..., :1])
    for name, bands in (("rgb", 3), ("grey", 1)):
        header = read_header(tmp_path / f"{name}.png")
        assert (header.height, header.width, header.bands, header.dtype) == (5, 7, bands, "uint16")


def test_16_bit_alpha_is_removed(tmp_path: Path) -> None:
    deep = np.full((4, 5, 4), 40_000, np.uint16)
    deep[0, :, 3] = 0
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    picture = read_picture(tmp_path / "a.png")
    assert picture.pixels.shape == (4, 5, 3) and picture.pixels.dtype == np.uint16
    assert picture.valid is not None and picture.valid.mean() == 0.75


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    Image.new("RGB", (16, 8), (200, 30, 30)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    pixels = read_picture(tmp_path / "a.jpg").pixels
    assert pixels.shape == (8, 16, 3)
    assert abs(pixels.astype(int) - [200, 30, 30]).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_does(tmp_path: Path, orientation: int) -> None:
    from PIL import ImageOps

    image = Image.fromarray(COLOURS)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as again:
        expected = np.asarray(ImageOps.exif_transpose(again))
    pixels = read_picture(tmp_path / "a.png").pixels
    np.testing.assert_array_equal(pixels, expected)
    header = read_header(tmp_path / "a.png")
    assert (header.height, header.width) == pixels.shape[:2]


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (5, 4), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    pixels = read_picture(tmp_path / "a.png").pixels
    assert pixels.shape == (4, 5, 3) and (pixels == [255, 0, 0]).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 3, 5])
def test_tiffs_of_any_dtype_and_any_bands_are_read(tmp_path: Path, dtype: str, bands: int) -> None:
    pixels = np.arange(9 * 7 * bands).reshape(9, 7, bands).astype(dtype)
    write_tiff(tmp_path / "a.tif", pixels)
    picture = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.pixels.dtype == dtype and picture.valid is None
    header = read_header(tmp_path / "a.tif")
    assert (header.height, header.width, header.bands, header.dtype) == (9, 7, bands, dtype)


def test_tiff_nodata_and_nan_are_no_data(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.int16).reshape(3, 4, 1)
    pixels[0, 0] = -999
    write_tiff(tmp_path / "n.tif", pixels, nodata=-999)
    valid = read_picture(tmp_path / "n.tif").valid
    assert valid is not None and valid.sum() == 11 and not valid[0, 0]
    real = pixels.astype(np.float32)
    real[1, 1] = np.nan
    write_tiff(tmp_path / "f.tif", real)
    valid = read_picture(tmp_path / "f.tif").valid
    assert valid is not None and valid.sum() == 11 and not valid[1, 1]


def test_tiff_alpha_and_tiff_palette(tmp_path: Path) -> None:
    rgba = np.dstack([COLOURS, np.full((4, 6), 255, np.uint8)])
    rgba[2, 3, 3] = 0
    write_tiff(tmp_path / "rgba.tif", rgba, photometric="rgb", alpha="yes")
    picture = read_picture(tmp_path / "rgba.tif")
    np.testing.assert_array_equal(picture.pixels, COLOURS)
    assert picture.valid is not None and picture.valid.sum() == 23
    indices = np.array([[0, 1], [1, 0]], np.uint8)
    with rasterio.open(
        tmp_path / "p.tif", "w", driver="GTiff", height=2, width=2, count=1, dtype="uint8", photometric="palette", **UTM
    ) as target:
        target.write(indices, 1)
        target.write_colormap(1, {0: (1, 2, 3, 255), 1: (4, 5, 6, 255)})
    assert read_picture(tmp_path / "p.tif").pixels[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert read_header(tmp_path / "p.tif").bands == 3
    raw = read_picture(tmp_path / "p.tif", expand_palette=False)
    np.testing.assert_array_equal(raw.pixels[..., 0], indices)


def test_the_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.tif")
    write_tiff(tmp_path / "b.tif", COLOURS).rename(tmp_path / "b.png")
    for name in ("a.tif", "b.png"):
        np.testing.assert_array_equal(read_picture(tmp_path / name).pixels, COLOURS)


# --- bad input -------------------------------------------------------------------------------------------------------


def fails(path: Path, *words: str) -> None:
    with pytest.raises(ImageError) as caught:
        read_picture(path)
    for word in (path.name, *words):
        assert word in str(caught.value)


def test_missing_empty_folder_and_text_files_say_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture at all, whatever the name says")
    (tmp_path / "text.tif").write_text("no picture at all, whatever the name says")
    (tmp_path / "folder.png").mkdir()
    fails(tmp_path / "gone.png", "does not exist")
    fails(tmp_path / "empty.png", "empty")
    fails(tmp_path / "text.png", "not an image", "PNG, JPEG or TIFF")
    fails(tmp_path / "text.tif", "not an image")
    fails(tmp_path / "folder.png", "folder")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9])
def test_truncated_files_are_named(tmp_path: Path, suffix: str, kept: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    path = tmp_path / f"cut{suffix}"
    if suffix == ".tif":
        write_tiff(path, noise, compress="deflate")
    else:
        Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    fails(path)


def test_truncated_16_bit_colour_png_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    cv2.imwrite(str(path), np.random.default_rng(1).integers(0, 65536, (64, 64, 3), np.uint16))
    path.write_bytes(path.read_bytes()[:9000])
    fails(path)


@given(place=st.integers(0, 2000), value=st.integers(0, 255), suffix=st.sampled_from([".png", ".jpg", ".tif"]))
def test_a_damaged_byte_gives_a_picture_or_an_image_error(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    noise = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)
    path.unlink(missing_ok=True)
    if suffix == ".tif":
        write_tiff(path, noise, compress="deflate")
    else:
        Image.fromarray(noise).save(path)
    data = bytearray(path.read_bytes())
    data[place % len(data)] = value
    path.write_bytes(bytes(data))
    try:
        read_picture(path)
    except ImageError as error:
        assert path.name in str(error)


def test_an_absurd_size_is_refused_and_a_large_one_is_not_a_bomb(tmp_path: Path) -> None:
    fails(png_that_claims(tmp_path / "absurd.png", 1_000_000, 1_000_000), "1000000x1000000")
    assert read_header(png_that_claims(tmp_path / "large.png", 40_000, 20_000)).width == 40_000


def test_complex_numbers_are_no_image(tmp_path: Path) -> None:
    write_tiff(tmp_path / "c.tif", np.ones((3, 3, 1), np.complex64))
    fails(tmp_path / "c.tif", "complex64")


def test_a_virtual_raster_under_a_tiff_name_is_not_followed(tmp_path: Path) -> None:
    write_tiff(tmp_path / "real.tif", COLOURS)
    (tmp_path / "v.tif").write_text(
        '<VRTDataset rasterXSize="6" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">real.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    fails(tmp_path / "v.tif", "not an image")


# --- pixels ----------------------------------------------------------------------------------------------------------


def test_grey_becomes_three_bands_and_colour_becomes_luma() -> None:
    path = Path("x.png")
    grey = COLOURS[..., :1]
    np.testing.assert_array_equal(to_bands(grey, 3, path), np.repeat(grey, 3, axis=-1))
    assert to_bands(COLOURS, 3, path) is COLOURS
    assert to_bands(
        np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8), 1, path
    ).ravel().tolist() == [76, 150, 29, 255]
    assert to_bands(np.full((1, 1, 3), 65535, np.uint16), 1, path).item() == 65535
    with pytest.raises(DataError, match=r"x\.png' has 4 bands, expected 3"):
        to_bands(np.zeros((2, 2, 4), np.uint8), 3, path)


def test_values_are_stretched_clipped_and_nan_is_0() -> None:
    values = np.array([np.nan, -np.inf, 0, 100, 200, 300, np.inf], np.float32).reshape(1, 7, 1)
    assert to_uint8(values, (100, 300)).ravel().tolist() == [0, 0, 0, 0, 128, 255, 255]
    assert to_uint8(np.array([[[0], [100], [200], [999]]], np.uint16), (100, 300)).ravel().tolist() == [0, 0, 128, 255]
    assert to_uint8(np.full((2, 2, 1), 7.0), (7, 7)).max() == 0
    assert to_uint8(COLOURS, None) is COLOURS
    with pytest.raises(DataError, match="value_range"):
        to_uint8(values, None)


@given(arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(2))), st.integers(0, 60_000))
def test_table_and_formula_stretch_alike(pixels: np.ndarray, low: int) -> None:
    value_range = (low, low + 4095)
    np.testing.assert_array_equal(to_uint8(pixels, value_range), to_uint8(pixels.astype(np.float64), value_range))


def test_the_content_hash_is_of_pixels_shape_and_dtype(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png", compress_level=1)
    write_tiff(tmp_path / "a.tif", COLOURS)
    one, other = (content_hash(read_picture(tmp_path / name).pixels) for name in ("a.png", "a.tif"))
    assert one == other and len(one) == 16 and int(one, 16) >= 0
    different = {
        one,
        content_hash(COLOURS.reshape(6, 4, 3)),
        content_hash(COLOURS.view(np.int8)),
        content_hash(COLOURS + 1),
    }
    assert len(different) == 4
    swapped = np.asfortranarray(COLOURS.astype(">u2"))
    assert content_hash(swapped) == content_hash(COLOURS.astype(np.uint16))


# --- writing ---------------------------------------------------------------------------------------------------------

MASK = (np.arange(40 * 50).reshape(40, 50) % 3 == 0).astype(np.uint8) * 255


def test_a_png_mask_comes_back_and_a_jpg_name_becomes_png(tmp_path: Path) -> None:
    assert write_mask(tmp_path / "out" / "a.jpg", MASK) == tmp_path / "out" / "a.png"
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.mode == "L" and image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), MASK)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.png"]


def test_a_tiff_mask_has_the_grid_of_its_image_and_no_data_where_it_has_none(tmp_path: Path) -> None:
    like = write_tiff(tmp_path / "image.tif", np.ones((40, 50, 3), np.uint8))
    valid = np.ones((40, 50), bool)
    valid[:5] = False
    write_mask(tmp_path / "m.tif", MASK, like, valid=valid)
    with rasterio.open(tmp_path / "m.tif") as source:
        assert source.crs.to_epsg() == 32611
        assert source.transform == UTM["transform"]
        assert source.compression.name == "deflate" and source.profile["tiled"]
        np.testing.assert_array_equal(source.read(1), MASK)
        np.testing.assert_array_equal(source.dataset_mask() > 0, valid)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image.tif", "m.tif"]
    read = read_picture(tmp_path / "m.tif")
    np.testing.assert_array_equal(read.valid, valid)


def test_a_tiff_of_class_indices_can_say_no_data_by_value(tmp_path: Path) -> None:
    valid = np.ones((40, 50), bool)
    valid[0] = False
    write_mask(tmp_path / "m.tif", MASK % 7, valid=valid, nodata=255)
    with pytest.warns(NotGeoreferencedWarning), rasterio.open(tmp_path / "m.tif") as source:
        assert source.nodata == 255 and (source.read(1)[0] == 255).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (300, 20)])
def test_tiny_and_narrow_masks_are_written(tmp_path: Path, shape: tuple[int, int]) -> None:
    mask = np.full(shape, 255, np.uint8)
    for name in ("m.tif", "m.png"):
        np.testing.assert_array_equal(read_picture(write_mask(tmp_path / name, mask)).pixels[..., 0], mask)


def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path: Path) -> None:
    like = write_tiff(tmp_path / "image.tif", np.ones((4, 5, 1), np.uint8))
    with pytest.raises(DataError, match="50x40 but the image is 5x4"):
        write_mask(tmp_path / "m.tif", MASK, like)
    assert not (tmp_path / "m.tif").exists()


def test_ground_resolution_is_in_metres_whatever_the_crs(tmp_path: Path) -> None:
    pixels = np.ones((10, 10, 1), np.uint8)
    assert ground_resolution(write_tiff(tmp_path / "utm.tif", pixels)) == pytest.approx(0.3)
    feet = write_tiff(tmp_path / "feet.tif", pixels, crs="EPSG:2263", transform=from_origin(1e6, 2e5, 1, 1))
    assert ground_resolution(feet) == pytest.approx(0.3048, rel=1e-3)
    degrees = write_tiff(tmp_path / "deg.tif", pixels, crs="EPSG:4326", transform=from_origin(7, 60, 1e-5, 1e-5))
    assert ground_resolution(degrees) == pytest.approx(1.113 * 0.5**0.5, rel=1e-2)
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    assert ground_resolution(tmp_path / "a.png") is None


def test_web_mercator_is_brought_to_the_ground(tmp_path: Path) -> None:
    pixels = np.ones((10, 10, 1), np.uint8)
    for latitude, y in ((60.0, 8_399_737.9), (36.0, 4_300_621.4)):
        tiff = write_tiff(tmp_path / "a.tif", pixels, crs="EPSG:3857", transform=from_origin(1e6, y, 1, 1))
        assert ground_resolution(tiff) == pytest.approx(math.cos(math.radians(latitude)), rel=3e-3)
    there = write_tiff(tmp_path / "a.tif", pixels, crs="EPSG:3857", transform=from_origin(1e6, 8_399_737.9, 1, 1))
    assert ground_resolution(there) == pytest.approx(0.501, abs=1e-3)
    pole = write_tiff(tmp_path / "b.tif", pixels, crs="EPSG:4326", transform=from_origin(7, 90, 1e-5, 1e-5))
    assert 0 < (ground_resolution(pole) or 0) < 0.1
    polar = write_tiff(tmp_path / "c.tif", pixels, crs="EPSG:3413", transform=from_origin(-5, 5, 1, 1))
    assert ground_resolution(polar) == pytest.approx(1, abs=0.05)


# --- real images -----------------------------------------------------------------------------------------------------


def test_real_georeferenced_images(real_data: Path) -> None:
    folder = real_data / "vegas" / "images"
    rgba = read_picture(folder / "RGB-PanSharpen_AOI_2_Vegas_img0.tif")
    assert rgba.pixels.shape == (1300, 1300, 3) and rgba.pixels.dtype == np.uint8
    assert read_picture(folder / "road_mask_input.tif").pixels.dtype == np.uint16
    assert ground_resolution(folder / "vegas_img0_utm11n.tif") == pytest.approx(0.3)
