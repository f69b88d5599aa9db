"""The grid of windows and the blending."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.errors import ConfigError, DataError, ModelError
from roadseg.inference.tiling import Grid, predict_bands, reflect_index, taper


def identity(batch):
    """The image as its own probability."""
    return batch.astype(np.float32) / 255


def from_the_middle(batch):
    """Depends on where in the window a pixel lies, as border effects do: 0 at the centre, 1 at the corners."""
    n, h, w, _ = batch.shape
    y, x = np.mgrid[:h, :w]
    far = np.maximum(abs(y - (h - 1) / 2) / (h / 2), abs(x - (w - 1) / 2) / (w / 2))
    return np.broadcast_to(far[None, :, :, None], (n, h, w, 1)).astype(np.float32)


def context(batch):
    """Mixes each pixel with its neighbours, with zeros beyond the window as a convolution has."""
    x = batch.astype(np.float32) / 255
    padded = np.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0)))
    return (padded[:, 6:, 3:-3] + 2 * padded[:, 3:-3, 6:] + padded[:, :-6, :-6] + x) / 5


def predict(image, grid, run=identity, batch=4):
    bands = list(predict_bands(lambda y0, y1: image[y0:y1], grid, run, batch))
    position = 0
    for y, rows in bands:
        assert y == position
        position += len(rows)
    assert position == grid.height
    return np.concatenate([rows for _, rows in bands])


def noise(height, width, bands=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)


@given(n=st.integers(1, 9), reach=st.integers(0, 40))
def test_reflection_is_numpys_symmetric_padding(n, reach):
    axis = np.arange(n)
    assert (axis[reflect_index(np.arange(-reach, n + reach), n)] == np.pad(axis, reach, mode="symmetric")).all()


def test_taper_is_never_zero_and_neighbours_sum_to_one():
    weights = taper(64, 16)
    assert weights.min() > 0 and weights.max() == 1
    np.testing.assert_allclose(weights[:16] + weights[-16:], 1)
    assert taper(64, 50).min() > 0
    assert (taper(8, 0) == 1).all()


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    window=st.sampled_from([64, 96]),
    overlap=st.integers(0, 63),
    multiple=st.sampled_from([1, 8, 16, 32]),
    bands=st.sampled_from([1, 3]),
    batch=st.integers(1, 5),
)
def test_an_identity_model_gives_the_image_back_at_any_size(height, width, window, overlap, multiple, bands, batch):
    image = noise(height, width, bands)
    found = predict(image, Grid(height, width, window, overlap, multiple), batch=batch)
    assert found.dtype == np.float32 and found.shape == image.shape
    np.testing.assert_allclose(found, image / 255.0, atol=1e-6)
    assert (np.rint(found * 255) == image).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5000), (5000, 1), (3, 700)])
def test_thin_rasters_work(height, width):
    image = noise(height, width)
    found = predict(image, Grid(height, width))
    assert (np.rint(found * 255) == image).all()


@pytest.mark.parametrize(("size", "side", "start"), [(400, 416, -8), (608, 640, -16), (1, 32, -15), (624, 640, -8)])
def test_an_axis_that_fits_goes_through_in_one_piece(size, side, start):
    grid = Grid(size, size)
    assert grid.shape == (side, side)
    assert grid.rows == grid.cols == (start,)


@settings(deadline=None)
@given(
    n=st.integers(1, 2000),
    window=st.integers(64, 700),
    overlap=st.integers(0, 63),
    multiple=st.sampled_from([1, 2, 16, 64, 256]),
)
def test_windows_cover_the_raster_at_a_stride_the_network_can_take(n, window, overlap, multiple):
    grid = Grid(n, n, window, overlap, multiple)
    side = grid.shape[0]
    assert side % multiple == 0
    assert side <= max(window, 2 * multiple)
    assert grid.stride % multiple == 0
    assert all(b - a == grid.stride for a, b in zip(grid.rows, grid.rows[1:], strict=False))
    assert grid.rows[0] <= -grid.margin and grid.rows[-1] < n <= grid.rows[-1] + side
    weights, _ = grid.weights()
    total = np.zeros(n)
    for start, row in zip(grid.rows, weights, strict=True):
        inside = np.arange(start, start + side)
        keep = (inside >= 0) & (inside < n)
        total[inside[keep]] += row[keep]
        assert (row[keep] > 0).all() and (row[~keep] == 0).all()
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_what_a_window_says_at_its_rim_hardly_counts_and_leaves_no_step():
    grid = Grid(400, 400, 128, 64, 16)
    found = predict(np.zeros((400, 400, 1), np.uint8), grid, from_the_middle)[..., 0]
    plain = predict(np.zeros((400, 400, 1), np.uint8), Grid(400, 400, 128, 0, 16), from_the_middle)[..., 0]
    inner = slice(60, 340)  # one window lies over the raster's border: nothing to blend with
    assert found[inner, inner].max() < 0.75 < plain[inner, inner].max()
    step = np.abs(np.diff(found[inner, inner], axis=0)).max()
    assert step < 0.03  # the model's own slope is 1/64


def test_a_pixel_far_from_the_border_does_not_depend_on_how_far_the_raster_goes_on():
    image = noise(500, 500, seed=1)
    small = predict(image[:300, :330], Grid(300, 330, 96, 32, 16), context)
    large = predict(image, Grid(500, 500, 96, 32, 16), context)
    assert (small[: 300 - 96, : 330 - 96] == large[: 300 - 96, : 330 - 96]).all()


def test_context_reaches_over_the_seams():
    image = noise(260, 300, seed=2)
    whole = context(image[None])[0]
    found = predict(image, Grid(260, 300, 96, 32, 16), context)
    # only the outermost pixels of a window lack context, and the taper gives them next to no weight
    np.testing.assert_allclose(found[3:-3, 3:-3], whole[3:-3, 3:-3], atol=0.06)
    assert np.abs(found - whole)[3:-3, 3:-3].mean() < 1e-3


def test_rows_are_read_within_the_raster_from_top_to_bottom_and_soon_forgotten():
    image = noise(1000, 120)
    asked = []

    def read(y0, y1):
        asked.append((y0, y1))
        return image[y0:y1]

    grid = Grid(1000, 120, 128, 32, 16)
    bands = predict_bands(read, grid, identity, 8)
    next(bands)
    assert len(asked) == 1  # nothing is read ahead of what is asked for
    list(bands)
    assert all(0 <= y0 < y1 <= 1000 and y1 - y0 <= 128 for y0, y1 in asked)
    assert asked == sorted(asked) and len(asked) == len(grid.rows)


def peak(height):
    """Bytes allocated while a raster made row by row is predicted and thrown away."""
    row = noise(1, 512, 3)

    def read(y0, y1):
        return np.broadcast_to(row, (y1 - y0, 512, 3))

    def run(batch):
        return batch[..., :1] / np.float32(255)

    tracemalloc.start()
    for _ in predict_bands(read, Grid(height, 512, 256, 64, 16), run, 2):
        pass
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_memory_does_not_grow_with_the_height():
    short, tall = peak(1000), peak(10000)
    assert tall < short * 1.1 + 300_000  # the grid itself: 20 bytes a row


def test_batches_are_even_and_no_larger_than_asked():
    seen = []

    def run(batch):
        seen.append(len(batch))
        return identity(batch)

    grid = Grid(60, 64 * 9 - 20, 64, 0, 16)
    assert len(grid.cols) == 9
    predict(noise(60, 64 * 9 - 20), grid, run, batch=4)
    assert set(seen) == {3}


def test_several_classes_stay_a_distribution():
    def run(batch):
        x = batch.astype(np.float32) / 255
        return np.concatenate([x / 2, 1 - x, x / 2], axis=-1)

    found = predict(noise(200, 150), Grid(200, 150, 64, 16, 16), run)
    assert found.shape == (200, 150, 3)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)


def test_a_model_that_classifies_whole_windows_is_refused():
    with pytest.raises(ModelError, match="does not segment"):
        predict(noise(50, 50), Grid(50, 50), lambda batch: np.zeros((len(batch), 2), np.float32))


def test_impossible_grids_are_refused():
    with pytest.raises(DataError, match="0x5 pixels"):
        Grid(5, 0)
    with pytest.raises(ConfigError, match="overlap = 64"):
        Grid(5, 5, window=64, overlap=64)
