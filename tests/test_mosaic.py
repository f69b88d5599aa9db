"""Several files as one raster: pasted as NumPy would, and refused where they do not fit together."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.transform import Affine

from roadseg.errors import DataError, ImageError, RoadsegWarning
from roadseg.imagery import mosaic
from roadseg.imagery.mosaic import Mosaic
from roadseg.imagery.opening import open_source
from roadseg.imagery.sources import surely_empty

EAST, NORTH, STEP = 500_000.0, 4_000_000.0, 0.25


def write(path: Path, pixels: NDArray[Any], top: float = 0, left: float = 0, **more: Any) -> Path:
    """`pixels` (H, W, C) with the upper left corner at this row and column of one grid."""
    step = more.pop("step", STEP)
    height, width, count = pixels.shape
    said = {"crs": "EPSG:32611", "transform": Affine(step, 0, EAST + left * STEP, 0, -step, NORTH - top * STEP)} | more
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=count, dtype=pixels.dtype, **said
    ) as target:
        target.write(np.moveaxis(pixels, -1, 0))
    return path


tiles = st.lists(
    st.tuples(st.integers(-30, 30), st.integers(-30, 30), st.integers(1, 25), st.integers(1, 25)),
    min_size=2,
    max_size=6,
)


@settings(max_examples=40)
@given(boxes=tiles, seed=st.integers(0, 99), data=st.data())
def test_a_mosaic_is_what_pasting_gives(
    tmp_path_factory: pytest.TempPathFactory, boxes: list[tuple[int, int, int, int]], seed: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("m")
    rng = np.random.default_rng(seed)
    top, left = min(b[0] for b in boxes), min(b[1] for b in boxes)
    height, width = max(b[0] + b[2] for b in boxes) - top, max(b[1] + b[3] for b in boxes) - left
    whole, valid = np.zeros((height, width, 2), np.uint16), np.zeros((height, width), bool)
    paths = []
    for number, (y, x, h, w) in enumerate(boxes):
        pixels = rng.integers(0, 4, (h, w, 2), np.uint16)
        paths.append(write(folder / f"{number}.tif", pixels, y, x, nodata=0))
        here = slice(y - top, y - top + h), slice(x - left, x - left + w)
        take = (pixels != 0).any(axis=-1) & ~valid[here]
        whole[here][take] = pixels[take]
        valid[here] |= take
    with pytest.MonkeyPatch.context() as patch, open_source(paths) as source:
        patch.setattr(mosaic, "OPEN", 2)
        assert (source.height, source.width, source.bands) == whole.shape and source.dtype == np.uint16
        y0, y1 = sorted(data.draw(st.tuples(st.integers(0, height), st.integers(0, height))))
        x0, x1 = sorted(data.draw(st.tuples(st.integers(0, width), st.integers(0, width))))
        for window in ((0, height, 0, width), (y0, y1, x0, x1)):
            here = slice(*window[:2]), slice(*window[2:])
            picture = source.read(*window)
            np.testing.assert_array_equal(picture.pixels, whole[here])
            found = np.ones(picture.pixels.shape[:2], bool) if picture.valid is None else picture.valid
            np.testing.assert_array_equal(found, valid[here])
            assert not (surely_empty(source, *window) and found.any())


def two(folder: Path, **second: Any) -> list[Path]:
    pixels = np.full((20, 30, 3), 7, np.uint8)
    return [write(folder / "a.tif", pixels), write(folder / "b.tif", pixels, **({"left": 30} | second))]


def test_a_mosaic_says_where_it_lies(tmp_path: Path) -> None:
    with open_source(two(tmp_path, top=-20, left=-30)) as source:
        assert (source.height, source.width) == (40, 60) and source.resolution_m == STEP
        assert source.placing.transform == (STEP, 0, EAST - 30 * STEP, 0, -STEP, NORTH + 20 * STEP)
        assert source.name == str(tmp_path / "a.tif")
        assert surely_empty(source, 0, 20, 30, 60) and not surely_empty(source, 0, 21, 30, 60)


def test_bands_are_chosen_of_every_file(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    paths = [write(tmp_path / "a.tif", pixels), write(tmp_path / "b.tif", pixels, left=2)]
    with open_source(paths, bands=[3, 1]) as source:
        np.testing.assert_array_equal(source.read(0, 2).pixels, np.tile(pixels[..., [2, 0]], (1, 2, 1)))


def test_rounding_in_a_place_is_no_other_grid(tmp_path: Path) -> None:
    with open_source(two(tmp_path, left=30.004)) as source:
        assert source.width == 60 and source.read(0, 20).valid is None


def test_many_files_do_not_stay_open_and_are_not_looked_at_again(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(mosaic, "OPEN", 3)
    paths = [
        write(tmp_path / f"{r}_{c}.tif", np.full((8, 8, 1), 10 * r + c, np.uint8), 8 * r, 8 * c)
        for r in range(3)
        for c in range(5)
    ]
    with open_source(paths) as source:
        assert isinstance(source, Mosaic)
        for top in range(0, 24, 6):
            source.read(top, top + 6)
            assert len(source._open) <= 3
        copied = pickle.dumps(source)
    for path in paths[1:]:
        path.unlink()
    other = pickle.loads(copied)
    assert other.read(0, 8, 0, 8).pixels.max() == 0 and other.height == 24
    with pytest.raises(ImageError, match=r"0_1\.tif' does not exist"):
        other.read(0, 8)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"crs": "EPSG:32612"}, r"b\.tif' is in EPSG:32612 but '.*a\.tif' in EPSG:32611: bring all to one CRS"),
        ({"crs": None}, "is in no CRS that it names but"),
        ({"left": 30.3}, r"b\.tif' does not lie on the pixel grid of '.*a\.tif': it is off by 0\.3 pixels"),
        ({"step": 0.3}, r"its pixels are 0\.3 wide, not 0\.25"),
        ({"transform": Affine(0.2, 0.15, EAST, 0.15, -0.2, NORTH)}, "it is off by"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path: Path, second: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(two(tmp_path, **second))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_files_of_other_pixels_or_without_a_place_are_named(tmp_path: Path) -> None:
    first = write(tmp_path / "a.tif", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match="bands 1 against 3"):
        open_source([first, write(tmp_path / "b.tif", np.zeros((4, 4, 1), np.uint8))])
    with pytest.raises(DataError, match="pixels of type uint16 against uint8"):
        open_source([first, write(tmp_path / "b.tif", np.zeros((4, 4, 3), np.uint16))])
    nowhere = write(tmp_path / "n.tif", np.zeros((4, 4, 3), np.uint8), crs=None, transform=Affine.identity())
    for paths in ([first, nowhere], [nowhere, first]):
        with pytest.raises(DataError, match=r"n\.tif' does not say where it lies"):
            open_source(paths)
    (tmp_path / "p.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"p\.png' is no GeoTIFF"):
        open_source([first, tmp_path / "p.png"])
    with pytest.raises(ImageError, match=r"gone\.tif' does not exist"):
        open_source([first, tmp_path / "gone.tif"])


def test_a_file_of_another_place_is_pointed_out(tmp_path: Path) -> None:
    with pytest.warns(RoadsegWarning, match=r"cover 0\.\d+ of the .* is '.*b\.tif' of another place"):
        open_source([*two(tmp_path, left=200_000), tmp_path / "a.tif"])
    with pytest.raises(DataError, match="of another place"):
        open_source(two(tmp_path, left=3e9))
