"""Rasters resampled on the way in and results laid back: the same in any window, and nothing of what has no data."""

import pickle
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from roadseg.errors import ConfigError
from roadseg.imagery import scaled
from roadseg.imagery.resample import resample
from roadseg.imagery.scaled import ScaledSource, factor_for, lay_back, scaled_shape
from roadseg.imagery.sources import Picture, Placing
from roadseg.imagery.whole import HeldPicture

factors = st.one_of(st.sampled_from([0.125, 0.25, 1 / 3, 0.5, 1.0, 1.5, 2.0, 3.0]), st.floats(0.125, 4))
DTYPES = ("uint8", "int16", "uint16", "uint32", "float32", "float64")


def picture(height: int, width: int, bands: int, dtype: str, lacking: float, seed: int) -> Picture:
    """Noise; what has no data is NaN in floats, and the largest value else."""
    rng = np.random.default_rng(seed)
    values = rng.normal(100, 40, (height, width, bands)).clip(0, 255)
    pixels = (values if np.dtype(dtype).kind == "f" else np.rint(values)).astype(dtype)
    if not lacking:
        return Picture(pixels, None)
    valid = rng.random((height, width)) >= lacking
    fill = rng.choice([np.nan, np.inf, -np.inf, 1e30]) if pixels.dtype.kind == "f" else np.iinfo(dtype).max
    pixels[~valid] = fill
    return Picture(pixels, None if valid.all() else valid)


def cuts(length: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """A side cut into pieces."""
    inner = st.lists(st.integers(1, max(1, length - 1)), max_size=4).map(lambda found: sorted({0, *found, length}))
    return inner.map(lambda ends: [(a, b) for a, b in pairwise(ends) if b <= length])


def joined(source: ScaledSource, rows: list[tuple[int, int]], columns: list[tuple[int, int]]) -> Picture:
    parts = [[source.read(*r, *c) for c in columns] for r in rows]
    pixels = np.concatenate([np.concatenate([p.pixels for p in row], axis=1) for row in parts])
    masks = [[np.ones(p.pixels.shape[:2], bool) if p.valid is None else p.valid for p in row] for row in parts]
    return Picture(pixels, np.concatenate([np.concatenate(row, axis=1) for row in masks]))


@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60), st.integers(1, 5)),
    factor=factors,
    dtype=st.sampled_from(DTYPES),
    lacking=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_pixels_do_not_depend_on_the_window(
    shape: tuple[int, int, int], factor: float, dtype: str, lacking: float, seed: int, data: st.DataObject
) -> None:
    whole = HeldPicture(picture(*shape, dtype, lacking, seed))
    source = ScaledSource(whole, factor)
    assert (source.height, source.width) == scaled_shape(*shape[:2], factor)
    at_once = source.read(0, source.height)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaled, "CHUNK", data.draw(st.sampled_from([1, 50, 2**20])))
        patch.setattr(scaled, "AT_ONCE", data.draw(st.sampled_from([1, 300, 2**20])))
        parts = joined(source, data.draw(cuts(source.height)), data.draw(cuts(source.width)))
    assert at_once.pixels.dtype == parts.pixels.dtype == np.dtype(dtype)
    assert at_once.pixels.tobytes() == parts.pixels.tobytes()  # to the last bit
    valid = np.ones(at_once.pixels.shape[:2], bool) if at_once.valid is None else at_once.valid
    np.testing.assert_array_equal(valid, parts.valid)
    if at_once.pixels.dtype.kind == "f":
        assert np.isfinite(at_once.pixels).all() and np.abs(at_once.pixels).max() <= 255.01
    elif lacking:
        assert not (at_once.pixels > 255).any()


@given(
    shape=st.tuples(st.integers(2, 60), st.integers(2, 60), st.integers(1, 3)),
    factor=factors,
    seed=st.integers(0, 99),
)
def test_it_is_the_resampling_of_training(shape: tuple[int, int, int], factor: float, seed: int) -> None:
    whole = picture(*shape, "float32", 0, seed)
    source = ScaledSource(HeldPicture(whole), factor)
    if (source.height > shape[0]) != (source.width > shape[1]):
        return  # rounding enlarged one side only: OpenCV has another way there
    expected = resample(whole.pixels, source.height, source.width)
    np.testing.assert_allclose(source.read(0, source.height).pixels, expected, atol=2e-3)


def test_half_a_pixel_of_data_is_enough_and_nothing_else_gets_in() -> None:
    pixels = np.array([[[10], [250], [30], [250]], [[20], [250], [40], [250]]], np.uint8)
    valid = np.array([[1, 0, 1, 0], [1, 0, 0, 0]], bool)
    found = ScaledSource(HeldPicture(Picture(pixels, valid)), 0.5).read(0, 1)
    assert found.valid is not None
    assert found.valid.tolist() == [[True, False]] and found.pixels[..., 0].tolist() == [[15, 0]]


def test_a_factor_of_one_changes_nothing() -> None:
    whole = picture(30, 40, 3, "float32", 0.3, 1)
    found = ScaledSource(HeldPicture(whole), 1.0).read(3, 20, 5, 30)
    assert found.valid is not None and whole.valid is not None
    np.testing.assert_array_equal(found.valid, whole.valid[3:20, 5:30])
    np.testing.assert_array_equal(found.pixels[found.valid], whole.pixels[3:20, 5:30][found.valid])


def test_its_place_is_that_of_the_raster() -> None:
    placing = Placing((0.5, 0.0, 1000.0, 0.0, -0.5, 2000.0), "EPSG:32611")
    held = HeldPicture(picture(30, 40, 1, "uint8", 0, 1), placing=placing)
    held.resolution_m = 0.5
    source = ScaledSource(held, 0.5)
    assert source.placing.transform == (1.0, 0.0, 1000.0, 0.0, -1.0, 2000.0) and source.placing.crs == "EPSG:32611"
    assert source.resolution_m == 1.0
    assert pickle.loads(pickle.dumps(source)).height == 15
    with pytest.raises(ValueError, match="are not within"):
        source.read(0, 16)


# --- back ------------------------------------------------------------------------------------------------------------


@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    factor=factors,
    depth=st.sampled_from([(), (1,), (3,)]),
    dtype=st.sampled_from(["float32", "uint8", "uint16"]),
    data=st.data(),
)
def test_rows_are_laid_back_however_they_come(
    shape: tuple[int, int], factor: float, depth: tuple[int, ...], dtype: str, data: st.DataObject
) -> None:
    there = scaled_shape(*shape, factor)
    values = np.random.default_rng(0).random((*there, *depth)) * (1 if dtype == "float32" else 255)
    values = values.astype(dtype)

    def laid(pieces: list[tuple[int, int]]) -> NDArray[Any]:
        bands = ((a, values[a:b]) for a, b in pieces)
        found, expected = [], 0
        for y, rows in lay_back(bands, there, shape):
            assert y == expected and len(rows)
            expected += len(rows)
            found.append(rows)
        return np.concatenate(found)

    whole = laid([(0, there[0])])
    assert whole.shape == (*shape, *depth) and whole.dtype == np.dtype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaled, "CHUNK", data.draw(st.sampled_from([1, 300, 2**20])))
        assert laid(data.draw(cuts(there[0]))).tobytes() == whole.tobytes()
    assert whole.min() >= values.min() - 1e-6 and whole.max() <= values.max() + 1e-6


def test_little_is_held_while_rows_are_laid_back() -> None:
    given: list[int] = []

    def bands() -> Iterator[tuple[int, NDArray[Any]]]:
        for y in range(0, 200, 10):
            given.append(y)
            yield y, np.zeros((10, 30), np.uint8)

    for y, _ in lay_back(bands(), (200, 30), (400, 60)):
        assert given[-1] * 2 - 2 <= y + 20  # a band is laid back before the one after the next is asked for


def test_there_and_back_keeps_what_is_smooth_where_it_was() -> None:
    y, x = np.mgrid[:120, :160]
    smooth = np.stack([np.sin(y / 15), np.cos(x / 20), (x + y) / 280], axis=-1).astype(np.float32)
    for factor in (0.3, 0.5, 0.77, 1.4, 2.0):
        source = ScaledSource(HeldPicture(Picture(smooth, None)), factor)
        rows = [(0, source.read(0, source.height).pixels)]
        back = np.concatenate([part for _, part in lay_back(rows, (source.height, source.width), (120, 160))])
        inner = slice(4, -4), slice(4, -4)
        assert np.abs(back[inner] - smooth[inner]).max() < 0.02


def test_rows_that_are_missing_are_noticed() -> None:
    rows = np.zeros((5, 8), np.float32)
    with pytest.raises(ValueError, match="row 6 does not follow row 5"):
        list(lay_back([(0, rows), (6, rows)], (20, 8), (40, 16)))
    with pytest.raises(ValueError, match="expected 20 rows"):
        list(lay_back([(0, rows)], (20, 8), (40, 16)))


# --- ground resolution -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "model", "scale", "override", "expected"),
    [
        (0.3, 0.3, 1.0, None, 1.0),
        (0.25, 0.5, 1.0, None, 0.5),  # finer than in training: shrunk
        (1.0, 0.5, 1.0, None, 2.0),
        (0.31, 0.3, 1.0, None, 1.0),  # near enough
        (0.31, 0.3, 2.0, None, 2.0),
        (0.25, 0.5, 2.0, None, 1.0),  # the network saw 0.25 m
        (None, 0.5, 2.0, None, 2.0),  # not known: as in training
        (0.3, None, 1.0, None, 1.0),
        (None, 0.5, 1.0, 0.25, 0.5),
        (9.0, 0.5, 1.0, 0.25, 0.5),  # what is said counts, not the file
    ],
)
def test_the_factor_brings_a_raster_to_what_the_network_saw(
    own: float | None, model: float | None, scale: float, override: float | None, expected: float
) -> None:
    assert factor_for(own, model, scale, override) == pytest.approx(expected)


def test_absurd_resolutions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'a\.tif' has 10 m per pixel but the model learnt from 0\.5 m: more than 8"):
        factor_for(10, 0.5, name="a.tif")
    with pytest.raises(ConfigError, match="--resolution 0: expected metres per pixel"):
        factor_for(None, 0.5, override_m=0)
    with pytest.raises(ConfigError, match="the model does not know"):
        factor_for(0.5, None, override_m=0.5)
