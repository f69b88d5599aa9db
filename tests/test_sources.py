"""Rasters of any kind, read a window at a time: any window is a part of the whole; and every way to be damaged."""

import pickle
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.shutil
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFile
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.transform import Affine, from_origin

from roadseg.errors import DataError, ImageError, RoadsegWarning
from roadseg.imagery import opening
from roadseg.imagery.formats import raster_options
from roadseg.imagery.gdal_file import GdalFile
from roadseg.imagery.opening import open_source
from roadseg.imagery.raster import read_header, read_picture
from roadseg.imagery.sources import Picture, Source, surely_empty, warn_place
from roadseg.imagery.value_range import find_range, prepared
from roadseg.imagery.whole import HeldPicture, WholePicture

UTM: dict[str, Any] = {"crs": "EPSG:32611", "transform": from_origin(500_000, 4_000_000, 0.3, 0.3)}


def noise(height: int, width: int, bands: int, dtype: Any = np.uint8, seed: int = 0) -> NDArray[Any]:
    """(height, width, bands) of a dtype, over all of its values."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 1000, (height, width, bands)).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, (height, width, bands), dtype, endpoint=True)


def write_tiff(path: Path, pixels: NDArray[Any], mask: NDArray[Any] | None = None, **profile: Any) -> Path:
    """`pixels` (H, W, C)."""
    height, width, count = pixels.shape
    alpha = profile.pop("alpha_band", None)
    said = {"photometric": "minisblack"} | UTM | profile
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore")
        with rasterio.open(
            path, "w", driver="GTiff", height=height, width=width, count=count, dtype=pixels.dtype, **said
        ) as target:
            target.write(np.moveaxis(pixels, -1, 0))
            if alpha:
                kinds = list(target.colorinterp)
                kinds[alpha - 1] = ColorInterp.alpha
                target.colorinterp = kinds
            if mask is not None:
                target.write_mask(mask)
    return path


def same(found: Picture, expected: Picture, top: int, bottom: int, left: int, right: int) -> None:
    """A window is the same part of the whole."""
    pixels, valid = expected.pixels[top:bottom, left:right], expected.valid
    assert found.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(found.pixels, pixels)
    valid = np.ones(pixels.shape[:2], bool) if valid is None else valid[top:bottom, left:right]
    assert found.valid is None or not found.valid.all() or not found.valid.size
    np.testing.assert_array_equal(np.ones(valid.shape, bool) if found.valid is None else found.valid, valid)


def windows(height: int, width: int) -> st.SearchStrategy[tuple[int, int, int, int]]:
    """(top, bottom, left, right) within a raster, empty ones too."""
    sides = [st.tuples(st.integers(0, n), st.integers(0, n)).map(sorted) for n in (height, width)]
    return st.tuples(*sides).map(lambda pair: (*pair[0], *pair[1]))


# --- any window is a part of the whole -------------------------------------------------------------------------------

H, W = 40, 53


GAPPY = ("alpha", "alpha and nodata", "mask", "nodata", "16-bit nodata", "negative nodata", "real nodata", "not finite",
         "nan is nodata", "palette with nodata")  # fmt: skip


def gaps(seed: int) -> NDArray[np.uint8]:
    return (np.random.default_rng(seed).random((H, W)) > 0.3).astype(np.uint8) * np.uint8(255)


def _kinds(folder: Path) -> Iterator[tuple[str, Path]]:
    for dtype in ("uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"):
        yield dtype, write_tiff(folder / f"{dtype}.tif", noise(H, W, 3, dtype))
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    yield "tiles", write_tiff(folder / "t.tif", noise(H, W, 5, np.uint16), compress="deflate", predictor=2, **tiles)
    yield "big", write_tiff(folder / "b.tif", noise(H, W, 3), BIGTIFF="YES", interleave="band")
    rgba = noise(H, W, 4)
    rgba[..., 3] = gaps(1)
    yield "alpha", write_tiff(folder / "a.tif", rgba, photometric="RGB", alpha="yes")
    yield "alpha and nodata", write_tiff(folder / "an.tif", rgba, photometric="RGB", alpha="yes", nodata=0)
    yield "mask", write_tiff(folder / "m.tif", noise(H, W, 3), gaps(2))
    few = noise(H, W, 3) % 4
    yield "nodata", write_tiff(folder / "n.tif", few, nodata=0)
    yield "16-bit nodata", write_tiff(folder / "n16.tif", few.astype(np.uint16) * 20_000, nodata=40_000)
    yield "negative nodata", write_tiff(folder / "n-.tif", few.astype(np.int16) - 2, nodata=-2)
    yield "nodata beyond", write_tiff(folder / "n+.tif", few, nodata=9)
    yield "real nodata", write_tiff(folder / "nf.tif", few.astype(np.float32) / 3, nodata=0)
    holes = noise(H, W, 2, "float32")
    holes[5:9, 7:20, 0], holes[30, 4, 1], holes[31, 5, 1], holes[:, 50] = np.nan, np.inf, -np.inf, -9999
    yield "not finite", write_tiff(folder / "f.tif", holes, nodata=-9999)
    yield "nan is nodata", write_tiff(folder / "nan.tif", holes, nodata=np.nan)
    yield "bits", write_tiff(folder / "bits.tif", noise(H, W, 1) % 2, nbits=1)
    indices = noise(H, W, 1) % 5
    palette = write_tiff(folder / "p.tif", indices)
    with rasterio.open(palette, "r+") as target:
        target.write_colormap(1, {k: (k * 50, 255 - k, 3 * k, 255) for k in range(5)})
    yield "palette", palette
    other = write_tiff(folder / "pn.tif", indices, nodata=3)
    with rasterio.open(other, "r+") as target:
        target.write_colormap(1, {k: (k * 50, 255 - k, 3 * k, 255) for k in range(5)})
    yield "palette with nodata", other
    with rasterio.open(folder / "t.tif") as source:
        rasterio.shutil.copy(source, folder / "c.tif", driver="COG", blocksize=128)
    yield "cog", folder / "c.tif"
    for suffix in ("png", "jpg"):
        for bands, pixels in ((3, noise(H, W, 3)), (1, noise(H, W, 1)[..., 0])):
            Image.fromarray(pixels).save(folder / f"{bands}.{suffix}", subsampling=0)
            yield f"{suffix} of {bands}", folder / f"{bands}.{suffix}"
    Image.fromarray(rgba).save(folder / "rgba.png")
    yield "png with alpha", folder / "rgba.png"
    Image.fromarray(rgba[..., 2:]).save(folder / "la.png")
    yield "grey png with alpha", folder / "la.png"
    Image.fromarray(noise(H, W, 1, np.uint16)[..., 0]).save(folder / "deep.png")
    yield "deep grey png", folder / "deep.png"


@pytest.fixture(scope="module")
def rasters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return dict(_kinds(tmp_path_factory.mktemp("rasters")))


@given(data=st.data())
def test_any_window_is_a_part_of_the_whole(rasters: dict[str, Path], data: st.DataObject) -> None:
    path = rasters[data.draw(st.sampled_from(sorted(rasters)))]
    whole = read_picture(path)
    with open_source(path) as source:
        assert (source.height, source.width, source.bands) == whole.pixels.shape
        assert source.dtype == whole.pixels.dtype and source.name == str(path)
        for window in data.draw(st.lists(windows(H, W), min_size=1, max_size=3)):
            same(source.read(*window), whole, *window)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NodataShadowWarning")
def test_what_is_valid_is_what_gdal_says_and_finite(rasters: dict[str, Path]) -> None:
    for name, path in rasters.items():
        if path.suffix != ".tif":
            continue
        with rasterio.open(path) as file, open_source(path) as source:
            picture = source.read(0, H)
            expected = file.dataset_mask() > 0
            if source.dtype.kind == "f":
                expected &= np.isfinite(picture.pixels).all(axis=-1)
        found = np.ones((H, W), bool) if picture.valid is None else picture.valid
        np.testing.assert_array_equal(found, expected, err_msg=name)
        assert expected.all() == (name not in GAPPY), name


@given(data=st.data())
def test_large_pngs_are_read_by_rows_to_the_same_pixels(rasters: dict[str, Path], data: st.DataObject) -> None:
    pictures = sorted(name for name, path in rasters.items() if path.suffix == ".png")
    path = rasters[data.draw(st.sampled_from(pictures))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "LARGE", 0)
        source = open_source(path)
    assert isinstance(source, GdalFile)
    whole = read_picture(path)
    with source:
        assert (source.height, source.width, source.bands) == whole.pixels.shape and source.dtype == whole.pixels.dtype
        for window in data.draw(st.lists(windows(H, W), min_size=1, max_size=3)):
            same(source.read(*window), whole, *window)


@pytest.mark.parametrize("name", ["jpg of 1", "jpg of 3"])
def test_large_jpegs_are_read_by_rows_by_another_decoder(
    rasters: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "LARGE", 0)
    whole = read_picture(rasters[name]).pixels.astype(int)
    with open_source(rasters[name]) as source:
        assert isinstance(source, GdalFile) and source.resolution_m is None
        rows = np.concatenate([source.read(top, min(top + 7, H)).pixels for top in range(0, H, 7)])
        assert np.abs(rows - whole).max() <= 1  # rounding, of colours stored in full


@given(data=st.data())
def test_chosen_bands_are_those_of_the_whole_in_their_order(rasters: dict[str, Path], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["uint16", "tiles", "alpha", "mask", "palette", "png of 3", "png with alpha"]))
    whole = read_picture(rasters[name])
    count = whole.pixels.shape[2]
    bands = data.draw(st.lists(st.integers(1, count), min_size=1, max_size=4))
    window = data.draw(windows(H, W))
    with open_source(rasters[name], bands=bands) as source:
        assert source.bands == len(bands)
        chosen = Picture(whole.pixels[..., [n - 1 for n in bands]], whole.valid)
        same(source.read(*window), chosen, *window)


def test_what_is_chosen_says_what_is_valid(tmp_path: Path) -> None:
    pixels = noise(H, W, 3, "float32")
    pixels[3, 4, 0] = np.nan
    path = write_tiff(tmp_path / "a.tif", pixels)
    with open_source(path, bands=[2, 3]) as source:
        assert source.read(0, H).valid is None
    with open_source(path, bands=[1]) as source:
        valid = source.read(0, H).valid
        assert valid is not None and not valid[3, 4] and valid.sum() == H * W - 1


def test_an_alpha_band_that_is_asked_for_is_a_band(tmp_path: Path) -> None:
    """Near infrared that a file calls alpha is common."""
    pixels = noise(H, W, 4)
    path = write_tiff(tmp_path / "a.tif", pixels, photometric="RGB", alpha="yes")
    with open_source(path, bands=[4, 1]) as source:
        picture = source.read(0, H)
        np.testing.assert_array_equal(picture.pixels, pixels[..., [3, 0]])
        assert picture.valid is None


def test_nodata_counts_where_all_chosen_bands_have_it(tmp_path: Path) -> None:
    pixels = np.full((H, W, 3), 9, np.uint8)
    pixels[0, 0], pixels[1, 1, :2], pixels[2, 2, 2] = 0, 0, 0
    path = write_tiff(tmp_path / "a.tif", pixels, nodata=0)
    for bands, lacking in ((None, {(0, 0)}), ([1, 2], {(0, 0), (1, 1)}), ([3], {(0, 0), (2, 2)})):
        with open_source(path, bands=bands) as source:
            valid = source.read(0, H).valid
            assert valid is not None and set(zip(*np.nonzero(~valid), strict=True)) == lacking


def test_palette_indices_are_at_hand(rasters: dict[str, Path], tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "p.png")
    for path in (rasters["palette"], tmp_path / "p.png"):
        whole = read_picture(path, expand_palette=False)
        with open_source(path, expand_palette=False) as source:
            assert source.bands == 1
            picture = source.read(0, source.height)
            np.testing.assert_array_equal(picture.pixels, whole.pixels)
            np.testing.assert_array_equal(picture.palette, whole.palette)


@pytest.mark.parametrize("number", range(5))
def test_pictures_that_rows_cannot_give_are_decoded_whole(tmp_path: Path, number: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(opening, "LARGE", 0)
    image, exif = Image.fromarray(noise(H, W, 3)), Image.Exif()
    exif[0x0112] = 6
    saved: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("turned.jpg", image, {"exif": exif}),
        ("turned.png", image, {"exif": exif}),
        ("progressive.jpg", image, {"progressive": True}),
        ("clear.png", image, {"transparency": tuple(np.asarray(image)[2, 3].tolist())}),
        ("bits.png", image.convert("1"), {}),
    ]
    name, image, options = saved[number]
    image.save(tmp_path / name, **options)
    with open_source(tmp_path / name) as source:
        assert isinstance(source, WholePicture)
        whole = read_picture(tmp_path / name)
        assert (source.height, source.width, source.bands) == whole.pixels.shape
        same(source.read(3, 30, 5, 31), whole, 3, 30, 5, 31)


def test_jpeg_2000_and_erdas_are_read(tmp_path: Path) -> None:
    pixels = noise(H, W, 3, np.uint16)
    path = write_tiff(tmp_path / "a.tif", pixels)
    with rasterio.open(path) as source:
        rasterio.shutil.copy(source, tmp_path / "a.jp2", driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
        rasterio.shutil.copy(source, tmp_path / "a.img", driver="HFA")
    for name in ("a.jp2", "a.img"):
        with open_source(tmp_path / name) as source:
            np.testing.assert_array_equal(source.read(3, 20, 4, 30).pixels, pixels[3:20, 4:30])
            assert source.resolution_m == pytest.approx(0.3)


# --- opening, closing, copying ---------------------------------------------------------------------------------------


def test_a_source_opens_again_and_travels_to_another_process(rasters: dict[str, Path]) -> None:
    for name in ("tiles", "png of 3"):
        with open_source(rasters[name], bands=[2, 1]) as source:
            first = source.read(0, H)
            copied = pickle.dumps(source)
            assert len(copied) < 2000  # what was asked for, not what was read
            other = pickle.loads(copied)
            np.testing.assert_array_equal(other.read(0, H).pixels, first.pixels)
        np.testing.assert_array_equal(source.read(0, H).pixels, first.pixels)
        source.__exit__()


def test_files_are_closed(rasters: dict[str, Path]) -> None:
    def open_files() -> set[str]:
        return {str(p.resolve()) for p in Path("/proc/self/fd").iterdir() if p.exists()}

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc here")
    path = str(rasters["tiles"])
    with open_source(path) as source:
        assert path not in open_files()
        source.read(0, 3)
        assert path in open_files()
    assert path not in open_files()


def test_threads_have_sources_of_their_own(rasters: dict[str, Path]) -> None:
    whole = read_picture(rasters["tiles"])

    def read(source: Source, top: int) -> Picture:
        with source:
            return source.read(top, top + 5)

    with ThreadPoolExecutor(8) as pool:  # opened here, read there
        found = list(pool.map(read, [open_source(rasters["tiles"]) for _ in range(30)], range(30)))
    for top, picture in enumerate(found):
        same(picture, whole, top, top + 5, 0, W)


def test_a_png_is_not_decoded_for_what_it_says_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(noise(H, W, 3)).save(tmp_path / "a.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    assert read_header(tmp_path / "a.png").width == open_source(tmp_path / "a.png").width == W


def test_gdals_cache_is_bounded_and_is_one() -> None:
    with raster_options():
        assert 2**26 <= rasterio.env.getenv()["GDAL_CACHEMAX"] <= 2**29  # bytes: 256 were none


def test_a_window_beyond_the_raster_is_refused(rasters: dict[str, Path]) -> None:
    for name in ("tiles", "png of 3"):
        with open_source(rasters[name]) as source:
            for window in ((0, H + 1), (-1, 3), (5, 4), (0, 1, 0, W + 1), (0, 1, -1, 2)):
                with pytest.raises(ValueError, match="are not within"):
                    source.read(*window)


def test_a_picture_in_memory_is_a_source() -> None:
    pixels = noise(H, W, 2)
    with HeldPicture(Picture(pixels, None)) as source:
        part = source.read(2, 9, 3, 8)
        np.testing.assert_array_equal(part.pixels, pixels[2:9, 3:8])
        part.pixels[:] = 0
        np.testing.assert_array_equal(source.read(0, H).pixels, pixels)


# --- places ----------------------------------------------------------------------------------------------------------


def test_a_source_says_where_it_lies(tmp_path: Path) -> None:
    rotated = Affine(0.4, 0.3, 500_000, 0.3, -0.4, 4_000_000)
    with open_source(write_tiff(tmp_path / "r.tif", noise(H, W, 1), transform=rotated)) as source:
        assert source.placing.transform == pytest.approx(tuple(rotated)[:6])
        assert source.placing.crs is not None and "UTM zone 11N" in source.placing.crs
        assert source.resolution_m == pytest.approx(0.5)
    degrees = from_origin(-115, 36, 1e-5, 1e-5)
    with open_source(write_tiff(tmp_path / "d.tif", noise(H, W, 1), crs="EPSG:4326", transform=degrees)) as source:
        assert source.resolution_m == pytest.approx(1.0, abs=0.02)  # 1.11 m to the north, 0.90 to the east
        with pytest.warns(RoadsegWarning, match=r"in degrees.*taken to be as large as at its centre, 1 m a side"):
            warn_place(source)
    points = [GroundControlPoint(r, c, -115 + c / 1e4, 36 - r / 1e4) for r, c in ((0, 0), (0, W), (H, 0), (H, W))]
    plain = write_tiff(tmp_path / "g.tif", noise(H, W, 1), crs=None, transform=Affine.identity())
    with open_source(plain) as source, pytest.warns(RoadsegWarning, match="no CRS: .* nothing made of it will"):
        assert source.placing.transform is None and source.placing.crs is None and source.resolution_m is None
        warn_place(source)
    with warnings.catch_warnings(), rasterio.open(plain, "r+") as target:
        warnings.simplefilter("ignore")
        target.gcps = (points, "EPSG:4326")
    with open_source(plain) as source, pytest.warns(RoadsegWarning, match="no CRS: .* control points alone"):
        assert len(source.placing.points[0]) == 4
        warn_place(source)
    warn_place(HeldPicture(Picture(noise(H, W, 1), None), "a.png"))  # silent, as is
    with open_source(write_tiff(tmp_path / "u.tif", noise(H, W, 1))) as source:
        warn_place(source)
        assert not surely_empty(source, 0, H)


# --- bad files -------------------------------------------------------------------------------------------------------


def test_a_truncated_file_is_named_with_its_rows(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", noise(400, 300, 3), compress="deflate", blockysize=16)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with open_source(path) as source:
        assert source.read(0, 16).pixels.any()
        with pytest.raises(ImageError, match=r"a\.tif' is truncated or damaged at rows 384 to 399 \(.*export it again"):
            source.read(384, 400)
        assert source.read(0, 16).pixels.any()  # what is there can still be read


def test_a_truncated_large_png_is_named_with_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "LARGE", 0)
    for suffix in ("png", "jpg"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(noise(400, 300, 3)).save(path)
        path.write_bytes(path.read_bytes()[:30_000])
        with open_source(path) as source, pytest.raises(ImageError, match=r"damaged at rows 390 to 399"):
            source.read(390, 400)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"", "empty"), (b"no image", "not an image"), (b"II*\0" + b"x" * 99, "damaged")],
)
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_no_image(tmp_path: Path, content: bytes | None, message: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=message):
        open_source(path)


def test_a_folder_and_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder"):
        open_source(tmp_path)
    with pytest.raises(DataError, match="no image is given"):
        open_source([])


def test_a_missing_band_is_listed_with_those_that_are_there(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", noise(H, W, 4), photometric="RGB", alpha="yes")
    with rasterio.open(path, "r+") as target:
        target.set_band_description(1, "B04")
    expected = r"no band 5, 0: choose of its 4 \(1 B04, 2 green, 3 blue, 4 alpha\), counted from 1"
    with pytest.raises(DataError, match=expected):
        open_source(path, bands=[5, 1, 0])
    with pytest.raises(DataError, match="none is asked for"):
        open_source(path, bands=[])
    Image.fromarray(noise(H, W, 3)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="no band 4"):
        open_source(tmp_path / "a.png", bands=[4])


def test_complex_pixels_are_refused(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", np.ones((H, W, 1), np.complex64))
    with pytest.raises(ImageError, match="complex64 pixels"):
        open_source(path)


# --- virtual rasters -------------------------------------------------------------------------------------------------

BAND = '<VRTRasterBand dataType="Byte" band="1"{more}>{inside}</VRTRasterBand>'
SIMPLE = '<SimpleSource><SourceFilename relativeToVRT="1">{}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'


def vrt(path: Path, inside: str, more: str = "", rest: str = "") -> Path:
    body = BAND.format(more=more, inside=inside) + rest
    path.write_text(f'<VRTDataset rasterXSize="{W}" rasterYSize="{H}">{body}</VRTDataset>')
    return path


def test_a_virtual_raster_of_local_files_is_read(tmp_path: Path) -> None:
    pixels = noise(H, W, 1)
    write_tiff(tmp_path / "real.tif", pixels)
    note = '<Metadata><MDI key="source">https://example.org/terms</MDI></Metadata>'
    vrt(tmp_path / "a.vrt", SIMPLE.format("real.tif"), rest=note)
    vrt(tmp_path / "b.vrt", SIMPLE.format("a.vrt"))
    for name in ("a.vrt", "b.vrt"):
        with open_source(tmp_path / name) as source:
            np.testing.assert_array_equal(source.read(3, 20, 4, 30).pixels, pixels[3:20, 4:30])


@pytest.mark.parametrize(
    ("inside", "more", "rest", "message"),
    [
        (SIMPLE.format("/vsicurl/http://localhost/a.tif"), "", "", "only files on this machine"),
        (SIMPLE.format("http://localhost/a.tif"), "", "", "only files on this machine"),
        (SIMPLE.format("&lt;VRTDataset/&gt;"), "", "", "only files on this machine"),
        (SIMPLE.format("WMS:localhost"), "", "", "a special name of GDAL's"),
        (SIMPLE.format("gone.tif"), "", "", r"points to '.*gone\.tif', a file that does not exist"),
        (SIMPLE.format("secret.txt"), "", "", "no image that is followed"),
        (SIMPLE.format("a.vrt"), "", "", "8 deep and more: does one hold itself"),
        (SIMPLE.format("real.tif"), ' subClass="VRTRawRasterBand"', "", "bytes of any file"),
        ("<PixelFunctionLanguage>Python</PixelFunctionLanguage>", "", "", "runs code"),
        ("", "", '<Metadata domain="GEOLOCATION"><MDI key="X_DATASET">/vsis3/a</MDI></Metadata>', "only files on"),
        ("<x", "", "", "damaged"),
        ("&a;", "", "", "damaged"),
    ],
)  # fmt: skip
def test_a_virtual_raster_is_not_followed_elsewhere(
    tmp_path: Path, inside: str, more: str, rest: str, message: str
) -> None:
    write_tiff(tmp_path / "real.tif", noise(H, W, 1))
    (tmp_path / "secret.txt").write_text("root:x:0:0")
    with pytest.raises(ImageError, match=message) as caught:
        open_source(vrt(tmp_path / "a.vrt", inside, more, rest))
    assert "a.vrt" in str(caught.value)


def test_a_virtual_raster_that_defines_entities_is_refused(tmp_path: Path) -> None:
    path = vrt(tmp_path / "a.vrt", "")
    path.write_text('<VRTDataset><!DOCTYPE x [<!ENTITY a "b">]></VRTDataset>')
    with pytest.raises(ImageError, match="entities"):
        open_source(path)


# --- values ----------------------------------------------------------------------------------------------------------


def test_a_range_is_found_without_what_has_no_data(tmp_path: Path) -> None:
    pixels = np.linspace(100, 1100, H * W).reshape(H, W, 1).astype(np.float32)
    pixels[:10] = -9999
    pixels[10, :5] = np.nan
    with open_source(write_tiff(tmp_path / "a.tif", pixels, nodata=-9999)) as source:
        low, high = find_range(source)
    kept = pixels[pixels > 0]
    assert (low, high) == pytest.approx(tuple(np.percentile(kept, (0.5, 99.5))))


def test_the_range_of_a_large_raster_is_found_in_windows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.normal(3000, 500, (2600, 2400, 1)).astype(np.uint16)
    path = write_tiff(tmp_path / "a.tif", pixels, tiled=True, blockxsize=256, blockysize=256)

    class Counted(GdalFile):
        read_pixels = 0

        def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> Picture:
            picture = super().read(top, bottom, left, right)
            self.read_pixels += picture.pixels.size
            return picture

    with Counted(path, "GTiff") as source:
        low, high = find_range(source)
        assert source.read_pixels <= 2**20
    expected = np.percentile(pixels, (0.5, 99.5))
    assert abs(low - expected[0]) < 20 and abs(high - expected[1]) < 20


def test_data_that_no_window_meets_is_found(tmp_path: Path) -> None:
    pixels = np.zeros((2100, 2100, 1), np.uint16)
    pixels[70:90, 70:90] = 500
    with open_source(write_tiff(tmp_path / "a.tif", pixels, nodata=0, compress="deflate")) as source:
        assert find_range(source)[0] == 500
    with open_source(write_tiff(tmp_path / "b.tif", pixels * 0, nodata=0, compress="deflate")) as source:
        assert find_range(source) == (0.0, 1.0)


def test_a_prepared_raster_is_what_the_network_takes(tmp_path: Path) -> None:
    pixels = np.array([[[100, 200, 300], [0, 1000, 5000]]], np.uint16)
    source = open_source(write_tiff(tmp_path / "a.tif", pixels))
    with prepared(source, 3, (0, 1000)) as ready:
        found, valid = ready.read(0, 1)
        assert found.tolist() == [[[26, 51, 76], [0, 255, 255]]] and found.dtype == np.uint8 and valid is None
    with prepared(source, 1, (0, 1000)) as ready:
        assert ready.read(0, 1)[0].shape == (1, 2, 1) and (ready.height, ready.width, ready.bands) == (1, 2, 1)


def test_what_does_not_fit_the_network_is_said_before_anything_is_read(tmp_path: Path) -> None:
    class Unread(HeldPicture):
        def read(self, *_: Any) -> Picture:
            raise AssertionError("read")

    def held(pixels: NDArray[Any]) -> Source:
        return Unread(Picture(pixels, None), "x.tif")

    with pytest.raises(DataError, match=r"image 'x\.tif' has 5 bands, expected 3"):
        prepared(held(noise(4, 4, 5)), 3, None)
    with pytest.raises(DataError, match=r"image 'x\.tif' has uint16 pixels, expected uint8"):
        prepared(held(noise(4, 4, 3, np.uint16)), 3, None)
    with pytest.raises(DataError, match=r"image 'x\.tif' has 8-bit pixels, expected values 0\.\.4095"):
        prepared(held(noise(4, 4, 3)), 3, (0, 4095))
