"""Large rasters as blocks: the grid, the places, equality with files cut from them, no data, bands, and bad pairs."""

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from helpers import call, tiny, tiny_config, train
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine, from_origin

from roadseg.config import DataConfig
from roadseg.errors import ConfigError, DataError, ImageError
from roadseg.evaluation import evaluate
from roadseg.imagery.blocks import Block, blocks_of, is_large, square_of, squares_for
from roadseg.imagery.dataset import Dataset, open_dataset
from roadseg.imagery.described import IGNORED
from roadseg.imagery.splits import groups_of, split_dataset
from roadseg.imagery.store import PixelStore
from roadseg.learning.batches import TrainingBatches
from roadseg.learning.plan import class_shares, pixel_statistics
from roadseg.learning.runs import RunFolder, read_info
from roadseg.studies.out_of_fold import write_map

Capture = pytest.CaptureFixture[str]

SIDE = 32  # px: a raster of more than 128 x 128 is large
SMALL = DataConfig(block=SIDE)
CORNER = (500_000.0, 4_000_000.0)
STEP = 0.5  # m
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}


def grid(top: float = 0, left: float = 0, step: float = STEP) -> Affine:
    """Of a raster whose corner lies at a row and a column of the image's grid."""
    return from_origin(CORNER[0] + left * STEP, CORNER[1] - top * STEP, step, step)


def write(
    path: Path, pixels: np.ndarray, transform: Affine | None = None, crs: str | None = "EPSG:32633", **profile: Any
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    stack = pixels[..., None] if pixels.ndim == 2 else pixels
    height, width, count = stack.shape
    place = {"crs": crs, "transform": transform or grid()} if crs else {}
    shape = {"height": height, "width": width, "count": count, "dtype": stack.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **shape, **place, **profile) as target:
            target.write(np.moveaxis(stack, -1, 0))
    return path


def picture(height: int, width: int, bands: int = 3, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Noise from 1 on, so that 0 can be no data."""
    high = 256 if dtype == "uint8" else 4000
    return np.random.default_rng(seed).integers(1, high, (height, width, bands)).astype(dtype)


def stripes(height: int, width: int) -> np.ndarray:
    """Roads of 5 px every 21 px across and every 34 down: in every block."""
    y, x = np.arange(height)[:, None], np.arange(width)
    return np.asarray(((x % 21 < 5) | (y % 34 < 5)) * 255, np.uint8)


def made(
    root: Path, height: int = 150, width: int = 200, profile: dict[str, Any] | None = None, **options: Any
) -> Path:
    """One large raster 'a' and its mask: 4 rows and 6 columns of blocks."""
    write(root / "images" / "a.tif", picture(height, width, **options), **(profile or {}))
    write(root / "masks" / "a.tif", stripes(height, width))
    return root


def cut(root: Path, out: Path, side: int = SIDE) -> Path:
    """The same as files: every block of raster 'a'."""
    with rasterio.open(root / "images" / "a.tif") as image, rasterio.open(root / "masks" / "a.tif") as mask:
        pixels, labels, nodata = image.read(), mask.read(), (image.nodata, mask.nodata)
    for block in blocks_of(*pixels.shape[1:], side):
        top, bottom, left, right = block.window
        for kind, array, none in (("images", pixels, nodata[0]), ("masks", labels, nodata[1])):
            part = np.moveaxis(array[:, top:bottom, left:right], 0, -1)
            write(out / kind / f"a{block.ending}.tif", part, grid(top, left), nodata=none)
    return out


def sample_of(dataset: Dataset, stem: str) -> Any:
    return dataset.read([pair.stem for pair in dataset.pairs].index(stem))


# --- the grid --------------------------------------------------------------------------------------------------------


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(32, 1500))
def test_blocks_cover_a_raster_once_and_are_named_as_they_lie(height: int, width: int, side: int) -> None:
    blocks = blocks_of(height, width, side)
    assert sum(b.height * b.width for b in blocks) == height * width
    assert all(0 < b.height < 2 * side and 0 < b.width < 2 * side for b in blocks) or min(height, width) < side
    assert all(b.top == b.row * side and b.left == b.column * side for b in blocks)
    assert len({b.ending for b in blocks}) == len(blocks)
    assert [b.ending for b in blocks] == sorted(b.ending for b in blocks)
    assert (blocks[0].ending == "") == (len(blocks) == 1)


def test_a_block_has_its_row_and_column_in_its_name() -> None:
    assert blocks_of(2000, 3100, 1024)[2].ending == "_b00_02" and blocks_of(10, 10, 32)[0].ending == ""
    assert blocks_of(32, 32 * 120, 32)[7].ending == "_b000_007"


def test_what_holds_no_more_than_16_blocks_is_no_large_raster() -> None:
    assert not is_large(4096, 4096, 1024) and is_large(4096, 4097, 1024) and is_large(900, 20_000, 1024)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 6))
def test_squares_hold_their_blocks_and_the_last_takes_the_rest(rows: int, columns: int, side: int) -> None:
    blocks = blocks_of(rows * SIDE, columns * SIDE, SIDE)
    squares: dict[tuple[int, int], list[Block]] = {}
    for block in blocks:
        squares.setdefault(square_of(block, side), []).append(block)
    assert len(squares) == max(1, rows // side) * max(1, columns // side)
    for (i, j), own in squares.items():
        assert min(b.row for b in own) == i * side and min(b.column for b in own) == j * side


def test_squares_are_as_large_as_twenty_of_them_may_be() -> None:
    def found(rows: int, columns: int, rasters: int = 1) -> int:
        return squares_for([blocks_of(rows * SIDE, columns * SIDE, SIDE)] * rasters)

    assert found(20, 16) == 4 and found(12, 12) == 2 and found(5, 7) == 1 and found(3, 2) == 1
    assert found(8, 8, 5) == 4


# --- the same as files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"bands": 1}, {"bands": 4, "dtype": "uint16"}, {"dtype": "float32"}],
    ids=["colour", "grey", "16-bit of four bands", "float"],
)
@pytest.mark.parametrize("profile", [{}, TILED], ids=["striped", "tiled"])
def test_blocks_are_what_files_cut_from_the_raster_would_be(
    tmp_path: Path, options: dict[str, Any], profile: dict[str, Any]
) -> None:
    root = made(tmp_path / "large", profile=profile, **options)
    large = open_dataset(root, SMALL)
    files = open_dataset(cut(root, tmp_path / "cut"), SMALL)
    assert [p.stem for p in large.pairs] == [p.stem for p in files.pairs] and len(large) == 24
    for name in ("sizes", "hashes", "mask_hashes", "class_shares", "coding", "bands", "dtype", "ground_resolution_m"):
        assert getattr(large, name) == getattr(files, name), name
    if large.value_range is not None:
        assert large.value_range == pytest.approx(files.value_range)
        files = open_dataset(tmp_path / "cut", DataConfig(block=SIDE, value_range=list(large.value_range)))
    for ours, theirs in zip(large.read_all(range(24)), files.read_all(range(24)), strict=True):
        assert ours.hash == theirs.hash and (ours.valid is None) == (theirs.valid is None)
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_array_equal(ours.mask, theirs.mask)


def test_a_raster_that_is_not_large_is_one_sample_as_ever(tmp_path: Path) -> None:
    dataset = open_dataset(made(tmp_path), DataConfig(block=64))
    assert [p.stem for p in dataset.pairs] == ["a"] and dataset.rasters == () and dataset.pairs[0].block is None


def test_virtual_rasters_and_masks_of_another_kind_are_read(tmp_path: Path) -> None:
    root = made(tmp_path / "large")
    want = open_dataset(root, SMALL)
    vrt = tmp_path / "vrt"
    (vrt / "images").mkdir(parents=True)
    (vrt / "masks").mkdir()
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{k}"><SimpleSource><SourceFilename relativeToVRT="1">'
        f"../../large/images/a.tif</SourceFilename><SourceBand>{k}</SourceBand></SimpleSource></VRTRasterBand>"
        for k in (1, 2, 3)
    )
    numbers = f"{CORNER[0]}, {STEP}, 0, {CORNER[1]}, 0, {-STEP}"
    text = (
        f'<VRTDataset rasterXSize="200" rasterYSize="150"><SRS>EPSG:32633</SRS><GeoTransform>{numbers}</GeoTransform>'
    )
    (vrt / "images" / "a.vrt").write_text(f"{text}{bands}</VRTDataset>")
    Image.fromarray(stripes(150, 200)).save(vrt / "masks" / "a.png")
    found = open_dataset(vrt, SMALL)
    assert found.hashes == want.hashes and found.mask_hashes == want.mask_hashes
    np.testing.assert_array_equal(found.read(5).image, want.read(5).image)


def test_palette_masks_are_read_by_index_block_by_block(tmp_path: Path) -> None:
    root = made(tmp_path)
    classes = (stripes(150, 200) // 255 + (np.arange(200) > 100)).astype(np.uint8)
    with rasterio.open(
        root / "masks" / "a.tif", "w", driver="GTiff", height=150, width=200, count=1, dtype="uint8",
        crs="EPSG:32633", transform=grid(),
    ) as target:  # fmt: skip
        target.write(classes, 1)
        target.write_colormap(1, {0: (0, 0, 0), 1: (200, 10, 10), 2: (10, 200, 10)})
    dataset = open_dataset(root, SMALL)
    assert dataset.coding.indexed and len(dataset.classes) == 3
    np.testing.assert_array_equal(sample_of(dataset, "a_b01_05").mask, classes[32:64, 160:])


def test_samples_on_a_map_are_the_samples_in_memory(tmp_path: Path) -> None:
    dataset = open_dataset(made(tmp_path / "set"), SMALL)
    mapped = dataset.read_all(range(24), PixelStore(0, tmp_path / "state"))
    for one, other in zip(mapped, dataset.read_all(range(24)), strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.mask, other.mask)


# --- no data, no labels ----------------------------------------------------------------------------------------------


def with_holes(root: Path, how: str, dtype: str = "uint8") -> tuple[Path, np.ndarray]:
    """A raster without data in its lower left part, and where it has data."""
    pixels, valid = picture(150, 200, dtype=dtype), np.ones((150, 200), bool)
    valid[40:, :90] = False
    profile: dict[str, Any] = {}
    if how == "alpha":
        pixels = np.concatenate([pixels, valid[..., None].astype(np.uint8) * 255], axis=-1)
        profile = {"photometric": "RGB", "alpha": "YES"}
    elif how == "nodata":
        pixels[~valid] = 0
        profile = {"nodata": 0}
    elif how == "nan":
        pixels[~valid] = np.nan
    path = write(root / "images" / "a.tif", pixels, **profile)
    if how == "mask":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as target:
            target.write_mask(valid)
    write(root / "masks" / "a.tif", stripes(150, 200))
    return root, valid


@pytest.mark.parametrize(
    ("how", "dtype"),
    [("alpha", "uint8"), ("nodata", "uint8"), ("nodata", "uint16"), ("mask", "uint8"), ("nan", "float32")],
)
def test_what_has_no_data_is_not_learnt_from_nor_counted(tmp_path: Path, how: str, dtype: str) -> None:
    root, valid = with_holes(tmp_path, how, dtype)
    dataset = open_dataset(root, SMALL)
    inside = {
        f"a{b.ending}" for b in blocks_of(150, 200, SIDE) if valid[slice(*b.window[:2]), slice(*b.window[2:])].any()
    }
    assert {p.stem for p in dataset.pairs} == inside and len(inside) < 24
    (raster,) = dataset.rasters
    assert raster.kept == len(inside) and f"{24 - len(inside)} without a label or without data" in dataset.summary()
    samples = dataset.read_all(range(len(dataset)))
    truth = stripes(150, 200)[valid] > 0
    assert dataset.class_shares == pytest.approx((1 - truth.mean(), truth.mean()))
    assert class_shares(samples, 2) == pytest.approx(list(dataset.class_shares))
    for sample, pair in zip(samples, dataset.pairs, strict=True):
        assert pair.block is not None
        top, bottom, left, right = pair.block.window
        np.testing.assert_array_equal(sample.mask == IGNORED, ~valid[top:bottom, left:right])
    known = np.concatenate([s.image[s.mask != IGNORED] for s in samples]).astype(np.float64)
    np.testing.assert_allclose(pixel_statistics(samples), [known.mean(0), known.std(0)], rtol=1e-9)


def test_the_value_range_is_that_of_valid_pixels(tmp_path: Path) -> None:
    pixels = np.full((150, 200, 2), 65535, np.uint16)
    pixels[:, :40] = picture(150, 40, 2, "uint16") % 1000 + 1000
    write(tmp_path / "images" / "a.tif", pixels, nodata=65535)
    write(tmp_path / "masks" / "a.tif", stripes(150, 200))
    low, high = open_dataset(tmp_path, SMALL).value_range or (0, 0)
    assert 1000 <= low < 1020 and 1980 < high < 2000
    assert open_dataset(tmp_path, DataConfig(block=SIDE, value_range=[900, 2100])).value_range == (900, 2100)


def test_labels_of_a_part_leave_the_rest_unlabelled(tmp_path: Path) -> None:
    root = made(tmp_path / "set")
    whole = open_dataset(root, SMALL)
    theirs = sample_of(whole, "a_b01_02")
    truth = stripes(150, 200)
    write(root / "masks" / "a.tif", truth[40:100, 70:130], grid(40, 70))
    part = open_dataset(root, SMALL)
    assert {p.stem for p in part.pairs} == {f"a_b0{i}_0{j}" for i in (1, 2, 3) for j in (2, 3, 4)}
    ours = sample_of(part, "a_b01_02")
    assert ours.hash == theirs.hash
    np.testing.assert_array_equal(ours.image, theirs.image)
    np.testing.assert_array_equal(ours.mask[8:, 6:], theirs.mask[8:, 6:])
    assert (ours.mask[:8] == IGNORED).all() and (ours.mask[:, :6] == IGNORED).all()
    labelled = truth[40:100, 70:130] > 0
    assert part.class_shares[1] == pytest.approx(labelled.mean())
    # Labels of more than the image
    write(root / "masks" / "a.tif", np.pad(truth, ((10, 7), (3, 0))), grid(-10, -3))
    more = open_dataset(root, SMALL)
    np.testing.assert_array_equal(sample_of(more, "a_b01_02").mask, theirs.mask)
    assert more.hashes == whole.hashes


def test_blocks_that_hold_the_unlabelled_value_alone_are_left_out(tmp_path: Path) -> None:
    root = made(tmp_path)
    mask = stripes(150, 200)
    mask[:, 64:] = 128
    write(root / "masks" / "a.tif", mask)
    dataset = open_dataset(root, DataConfig(block=SIDE, ignore=128))
    assert {p.stem[-2:] for p in dataset.pairs} == {"00", "01"} and dataset.coding.ignore == 128
    # "No data" of the labels does the same; 0 as "no data" is background by mistake.
    write(root / "masks" / "a.tif", mask, nodata=128)
    assert {p.stem[-2:] for p in open_dataset(root, SMALL).pairs} == {"00", "01"}
    write(root / "masks" / "a.tif", stripes(150, 200), nodata=0)
    assert open_dataset(root, SMALL).unlabelled == 0


def test_crops_of_a_block_keep_what_has_no_data_unlabelled(tmp_path: Path) -> None:
    root, _ = with_holes(tmp_path, "nodata")
    dataset = open_dataset(root, SMALL)
    stem = next(p.stem for p in dataset.pairs if p.stem == "a_b01_02")  # columns 64..95: no data up to 89, from row 40
    sample = sample_of(dataset, stem)
    config = tiny_config("perturb=strong", "perturb.cutmix.probability=0.5", "perturb.copy_paste.probability=0.5")
    batches = TrainingBatches([sample], config)
    for step in range(8):
        images, truth = batches(step)
        black = (images == 0).all(-1)
        assert set(np.unique(truth)) <= {0, 1, IGNORED}
        assert 0.2 < (truth == IGNORED).mean() < 0.95 and black.any()


# --- bands -----------------------------------------------------------------------------------------------------------


def test_chosen_bands_are_read_in_their_order_and_hashes_are_of_all(tmp_path: Path) -> None:
    root = made(tmp_path / "large", bands=4, dtype="uint16")
    pixels = picture(150, 200, 4, "uint16")
    plain = open_dataset(root, SMALL)
    config = DataConfig(block=SIDE, select=[4, 2], value_range=[0, 4080])
    chosen = open_dataset(root, config)
    assert (chosen.bands, chosen.select) == (2, (4, 2)) and "of the files: 4, 2" in chosen.summary()
    assert chosen.hashes == plain.hashes
    want = np.rint(pixels[32:64, 64:96][..., [3, 1]] / 16).astype(np.uint8)
    np.testing.assert_array_equal(sample_of(chosen, "a_b01_02").image, want)
    files = open_dataset(cut(root, tmp_path / "cut"), config)
    assert files.hashes == plain.hashes
    np.testing.assert_array_equal(sample_of(files, "a_b01_02").image, want)
    found = open_dataset(root, DataConfig(block=SIDE, select=[3])).value_range
    assert found == pytest.approx(tuple(np.percentile(pixels[..., 2], [0.5, 99.5])), abs=5)


def test_a_band_that_is_not_there_is_named(tmp_path: Path) -> None:
    for block in (SIDE, 1024):  # read by blocks and whole
        with pytest.raises(DataError, match=r"a\.tif' has no band 4"):
            open_dataset(made(tmp_path / str(block)), DataConfig(block=block, select=[4, 1]))
    with pytest.raises(ConfigError, match=r"data\.bands = 3, but data.select names 2"):
        open_dataset(tmp_path / str(SIDE), DataConfig(bands=3, select=[2, 1]))


# --- splits by space -------------------------------------------------------------------------------------------------


def places_of(dataset: Dataset) -> dict[str, str | None]:
    return {p.stem: p.place.name if p.place else None for p in dataset.pairs}


def test_a_split_divides_squares_of_blocks(tmp_path: Path) -> None:
    root = made(tmp_path, 10 * SIDE, 8 * SIDE)
    dataset = open_dataset(root, SMALL)
    places = places_of(dataset)
    assert len(set(places.values())) == 20 and places["a_b03_05"] == places["a_b02_04"] == "a_s01_02"
    assert "a split divides 20 places (squares of 2 x 2 blocks)" in dataset.summary()
    splits = [split_dataset(dataset.pairs, fold=(k, 5)) for k in range(5)]
    assert sorted(i for s in splits for i in s.val) == list(range(80))
    for split in (*splits, split_dataset(dataset.pairs, val=0.2), split_dataset(dataset.pairs)):
        sides = [{places[dataset.pairs[k].stem] for k in part} for part in (split.train, split.val)]
        assert not sides[0] & sides[1] and "whole groups by squares of 2 x 2 blocks" in split.rule
    assert splits == [split_dataset(open_dataset(root, SMALL).pairs, fold=(k, 5)) for k in range(5)]
    assert len(set(groups_of(dataset.pairs).values())) == 20
    alone = split_dataset(dataset.pairs, fold=(0, 5), group=".+")
    assert len(alone.val) == 16 and len({places[dataset.pairs[k].stem] for k in alone.val}) > 4


def test_squares_can_be_asked_for_and_the_folder_can_say_groups(tmp_path: Path) -> None:
    root = made(tmp_path, 10 * SIDE, 8 * SIDE)
    five = open_dataset(root, DataConfig(block=SIDE, squares=5))
    assert len(set(places_of(five).values())) == 2
    one = open_dataset(root, DataConfig(block=SIDE, squares=1))
    assert set(places_of(one).values()) == {None}
    assert "groups" not in split_dataset(one.pairs, fold=(0, 5)).rule
    (root / "dataset.toml").write_text("group = '^a_b(\\d\\d)_'\n")
    rows = open_dataset(root, SMALL)
    assert rows.group == r"^a_b(\d\d)_" and len(set(places_of(rows).values())) == 10
    assert "(dataset.toml)" in split_dataset(rows.pairs, fold=(0, 5)).rule


def test_of_many_rasters_each_is_a_place_and_folds_are_those_of_whole_images(tmp_path: Path) -> None:
    for k in range(10):
        write(tmp_path / "images" / f"r{k}.tif", picture(150, 130, 1, seed=k))
        write(tmp_path / "masks" / f"r{k}.tif", stripes(150, 130))
    blocks, whole = open_dataset(tmp_path, SMALL), open_dataset(tmp_path, DataConfig(block=64))
    for k in range(5):
        ours, theirs = split_dataset(blocks.pairs, fold=(k, 5)), split_dataset(whole.pairs, fold=(k, 5))
        assert {blocks.pairs[i].stem[:2] for i in ours.val} == {whole.pairs[i].stem for i in theirs.val}
    assert "whole groups by raster" in split_dataset(blocks.pairs).rule


def test_the_name_of_a_raster_names_all_of_its_blocks(tmp_path: Path) -> None:
    root = made(tmp_path / "set")
    write(root / "images" / "b.tif", picture(60, 60))
    write(root / "masks" / "b.tif", stripes(60, 60))
    dataset = open_dataset(root, SMALL)
    assert len(dataset) == 25 and dataset.pairs[24].stem == "b"
    names = tmp_path / "names.txt"
    names.write_text("a.tif\n")
    assert len(split_dataset(dataset.pairs, names=names).val) == 24
    names.write_text("a_b01_02\nb\n")
    assert len(split_dataset(dataset.pairs, names=names).val) == 2


# --- bad pairs -------------------------------------------------------------------------------------------------------

Spoil = Callable[[Path, Path], object]


def truncated(image: Path, mask: Path) -> None:
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])


def truncated_tiles(image: Path, mask: Path) -> None:
    write(image, picture(150, 200), **TILED)
    truncated(image, mask)


def coloured(image: Path, mask: Path) -> None:
    write(mask, picture(150, 200))


BAD: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "another size": (
        lambda image, mask: write(mask, stripes(150, 190), crs=None),
        ("a.tif' is 190x150", "200x150", "does not say where it lies", "georeference both"),
    ),
    "another CRS": (
        lambda image, mask: write(mask, stripes(150, 200), crs="EPSG:32632"),
        ("EPSG:32632", "EPSG:32633", "roadseg prepare", "gdalwarp"),
    ),
    "other pixels": (
        lambda image, mask: write(mask, stripes(75, 100), grid(step=1.0)),
        ("1 x 1", "0.5 x 0.5", "roadseg prepare"),
    ),
    "between the pixels": (
        lambda image, mask: write(mask, stripes(100, 100), grid(10.5, 20.25)),
        ("0.25 and 0.50 px beside", "roadseg prepare"),
    ),
    "elsewhere": (
        lambda image, mask: write(mask, stripes(150, 200), grid(400, 0)),
        ("lies elsewhere", "row 400, column 0"),
    ),
    "no labels": (
        lambda image, mask: write(mask, np.full((150, 200), 9, np.uint8), nodata=9),
        ("no label where the image has data",),
    ),
    "truncated in the middle": (truncated, ("a.tif' is truncated or damaged",)),
    "truncated between its tiles": (truncated_tiles, ("a.tif' is truncated or damaged",)),
    "coloured": (coloured, ("is coloured", "roadseg prepare")),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_raster_is_named_with_what_to_do_and_can_be_left_out(tmp_path: Path, name: str) -> None:
    spoil, parts = BAD[name]
    root = made(tmp_path)
    spoil(root / "images" / "a.tif", root / "masks" / "a.tif")
    with pytest.raises(DataError) as caught:
        open_dataset(root, SMALL)
    assert all(part in str(caught.value) for part in parts), caught.value
    write(root / "images" / "b.tif", picture(60, 60))
    write(root / "masks" / "b.tif", stripes(60, 60))
    with pytest.warns(UserWarning, match="left out"):
        assert [p.stem for p in open_dataset(root, SMALL, skip_bad=True).pairs] == ["b"]


def test_a_shift_below_a_pixel_between_equal_sizes_is_a_convention(tmp_path: Path) -> None:
    root = made(tmp_path)
    want = open_dataset(root, SMALL)
    write(root / "masks" / "a.tif", stripes(150, 200), grid(0.5, 0.5))
    assert open_dataset(root, SMALL).mask_hashes == want.mask_hashes


def test_a_raster_that_changes_after_opening_is_named(tmp_path: Path) -> None:
    root = made(tmp_path)
    dataset = open_dataset(root, SMALL)
    write(root / "images" / "a.tif", picture(60, 60))
    write(root / "masks" / "a.tif", stripes(60, 60))
    with pytest.raises(DataError, match=r"a\.tif' is smaller than when"):
        dataset.read(20)
    (root / "images" / "a.tif").unlink()
    with pytest.raises(ImageError, match=r"a\.tif"):
        dataset.read(0)


# --- from the folder to the model ------------------------------------------------------------------------------------


def test_near_infrared_pairs_of_16_bits_train_resume_evaluate_and_predict(tmp_path: Path, capsys: Capture) -> None:
    root = tmp_path / "set"
    pixels = picture(200, 300, 4, "uint16")
    truth = stripes(200, 300)
    pixels[truth > 0] += 3000
    pixels[144:, :100] = 0
    write(root / "images" / "ortho.tif", pixels, nodata=0, **TILED)
    write(root / "masks" / "ortho.tif", truth)
    with rasterio.open(root / "images" / "ortho.tif") as source:
        assert ColorInterp.alpha not in source.colorinterp
    settings = tiny("data.block=48", "data.select=[4, 3, 2]", "train.crop=32")
    told = call(capsys, "train", root, "--out", tmp_path / "run", "--dry-run", *settings)
    assert told.code == 0 and "large raster 'ortho', read as 22 blocks of 48 px" in told.out
    assert not (tmp_path / "run").exists()
    train(capsys, root, tmp_path / "run", "--fold", "0/4", *settings)
    run = RunFolder.open(tmp_path / "run")
    info = read_info(run.model)
    assert (info.bands, info.select, info.block) == (3, (4, 3, 2), 48) and info.value_range is not None
    held_out = len(run.read_json("split.json")["val"])
    assert 5 <= held_out <= 6 and len(run.read_json("metrics.json")["images"]) == held_out
    scored = evaluate(tmp_path / "run", root)
    assert scored["n_trained_on"] == 22 - held_out and len(scored["images"]) == held_out
    assert scored["pixel_f1"] == pytest.approx(run.read_json("metrics.json")["pixel_f1"], abs=1e-4)
    (run.path / "metrics.json").unlink()
    train(capsys, root, tmp_path / "run", "--resume")
    image = root / "images" / "ortho.tif"
    told = call(capsys, "predict", tmp_path / "run", image, "--out", tmp_path / "out", "--engine", "keras")
    assert told.code == 0, told.err
    with rasterio.open(tmp_path / "out" / "ortho.tif") as found:
        assert found.shape == (200, 300) and found.crs == "EPSG:32633"
        np.testing.assert_array_equal(found.dataset_mask() == 0, (pixels[..., 1:] == 0).all(-1))


def test_the_map_of_a_block_lies_where_the_block_does(tmp_path: Path) -> None:
    dataset = open_dataset(made(tmp_path / "set"), SMALL)
    (pair,) = (pair for pair in dataset.pairs if pair.stem == "a_b01_02")
    write_map(tmp_path / "map.tif", np.zeros((32, 32, 1), np.uint16), pair)
    with rasterio.open(tmp_path / "map.tif") as found:
        assert found.crs == "EPSG:32633" and found.transform.almost_equals(grid(32, 64))


def test_a_model_of_before_reads_all_bands(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "old.keras", "w") as archive:
        stored = {"version": 1, "classes": ["background", "road"], "bands": 4, "value_range": [0, 4000]}
        archive.writestr("metadata.json", json.dumps({"roadseg": stored}))
    info = read_info(tmp_path / "old.keras")
    assert (info.select, info.block, info.value_range) == (None, 1024, (0, 4000))


def test_inspect_shows_a_raster_by_its_blocks(tmp_path: Path, capsys: Capture) -> None:
    root, _ = with_holes(tmp_path / "set", "nodata")
    setting = ("--set", f"data.block={SIDE}")
    answer = call(capsys, "inspect", root, *setting, "--out", tmp_path / "page.png")
    assert answer.code == 0, answer.err
    assert "a: 200x150, 20 blocks in 4 rows and 6 columns, 4 left out" in answer.out
    plain = np.asarray(Image.open(tmp_path / "page.png"))
    assert plain.ndim == 3 and plain.shape[0] > 600
    found = json.loads(call(capsys, "inspect", root, *setting, "--json").out)
    (raster,) = found["rasters"]
    assert raster["grid"] == [4, 6] and raster["blocks"] == 20 and raster["size"] == "200x150"
    assert raster["class_shares"]["road"] == pytest.approx(found["class_shares"]["road"], abs=1e-5)
    assert set(found["per_image"]) >= {"a_b00_00", "a_b03_05"}
    assert found["values"][0]["min"] == 1  # 0 is no data
