"""Windows joined to finished rows."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.errors import ModelError
from roadseg.inference.blending import Blender, RowReader, join
from roadseg.inference.tiling import Grid


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


def noise(height, width, bands=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)


def predict(image, grid, run=identity, batch=4, valid=None, **more):
    def read(top, bottom):
        return image[top:bottom], None if valid is None else valid[top:bottom]

    outputs = run(image[None, :16, :16]).shape[-1]
    reader, blender = RowReader(read, grid), Blender(grid, run, outputs, batch, **more)
    found = np.full((*image.shape[:2], outputs), np.nan, np.float32)
    for band in range(len(grid.down)):
        lo, hi = grid.down.own(band)
        for piece in blender.pieces(reader.row(band)):
            h, w = piece.values.shape[:2]
            assert lo <= piece.top and piece.top + h <= hi
            place = found[piece.top : piece.top + h, piece.left : piece.left + w]
            assert np.isnan(place).all()  # each pixel is finished once
            place[...] = piece.values
    return found


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    window=st.sampled_from([64, 96, 288]),
    overlap=st.integers(0, 63),
    multiple=st.sampled_from([1, 8, 16, 32]),
    bands=st.sampled_from([1, 3]),
    batch=st.integers(1, 5),
    fill=st.booleans(),
)
def test_an_identity_model_gives_the_image_back_at_any_size(
    height, width, window, overlap, multiple, bands, batch, fill
):
    image = noise(height, width, bands)
    found = predict(image, Grid(height, width, window, overlap, multiple), batch=batch, fill=fill)
    assert found.dtype == np.float32 and found.max() <= 1
    np.testing.assert_allclose(found, image / 255.0, atol=1e-6)
    assert (np.rint(found * 255) == image).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5000), (5000, 1), (3, 700)])
def test_thin_rasters_work(height, width):
    image = noise(height, width)
    assert (np.rint(predict(image, Grid(height, width)) * 255) == image).all()


def test_what_a_window_says_at_its_rim_hardly_counts_and_leaves_no_step():
    blank = np.zeros((400, 400, 1), np.uint8)
    found = predict(blank, Grid(400, 400, 128, 64, 16), from_the_middle)[..., 0]
    plain = predict(blank, Grid(400, 400, 128, 0, 16), from_the_middle)[..., 0]
    inner = slice(60, 300)  # one window lies over the raster's border: nothing to blend with
    assert found[inner, inner].max() < 0.75 < plain[inner, inner].max()
    step = np.abs(np.diff(found[inner, inner], axis=0)).max()
    assert step < 0.03  # the model's own slope is 1/64


def test_a_pixel_far_from_the_border_does_not_depend_on_how_far_the_raster_goes_on():
    image = noise(500, 500, seed=1)
    small = predict(image[:300, :330], Grid(300, 330, 96, 32, 16), context)
    large = predict(image, Grid(500, 500, 96, 32, 16), context)
    assert (small[: 300 - 96, : 330 - 96] == large[: 300 - 96, : 330 - 96]).all()


def test_a_crop_at_a_multiple_of_the_stride_is_predicted_as_the_whole_is():
    image, grid = noise(700, 700, seed=2), Grid(700, 700, 96, 32, 16)
    large = predict(image, grid, context)
    y, x = 2 * grid.stride, 3 * grid.stride
    crop = predict(image[y : y + 300, x : x + 280], Grid(300, 280, 96, 32, 16), context)
    np.testing.assert_array_equal(crop[32:260, 32:240], large[y + 32 : y + 260, x + 32 : x + 240])


def test_context_reaches_over_the_seams():
    image = noise(260, 300, seed=2)
    whole = context(image[None])[0]
    found = predict(image, Grid(260, 300, 96, 32, 16), context)
    # only the outermost pixels of a window lack context, and the taper gives them next to no weight
    np.testing.assert_allclose(found[3:-3, 3:-3], whole[3:-3, 3:-3], atol=0.06)
    assert np.abs(found - whole)[3:-3, 3:-3].mean() < 1e-3


def test_each_row_is_read_once_from_top_to_bottom_and_soon_forgotten():
    image, asked = noise(1000, 120), []

    def read(top, bottom):
        asked.append((top, bottom))
        return image[top:bottom], None

    grid = Grid(1000, 120, 128, 32, 16)
    reader = RowReader(read, grid)
    for band in range(len(grid.down)):
        reader.row(band)
        assert len(asked) == band + 1  # nothing is read ahead of what is asked for
    assert asked[0] == (0, 120) and asked[-1][1] == 1000
    assert all(b == c for (_, b), (c, _) in pairwise(asked[:-1]))


def peak(height):
    """Bytes allocated while a raster made row by row is predicted and thrown away."""
    row = noise(1, 512, 3)
    grid = Grid(height, 512, 256, 64, 16)
    reader = RowReader(lambda top, bottom: (np.broadcast_to(row, (bottom - top, 512, 3)), None), grid)
    blender = Blender(grid, lambda batch: batch[..., :1] / np.float32(255), 1, 2)
    tracemalloc.start()
    for band in range(len(grid.down)):
        for _ in blender.pieces(reader.row(band)):
            pass
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_memory_does_not_grow_with_the_height():
    short, tall = peak(1000), peak(10000)
    assert tall < short * 1.05 + 100_000  # the grid itself


def sizes_of_calls(grid, batch, **more):
    seen = []

    def run(windows):
        seen.append(len(windows))
        return identity(windows)

    predict(noise(grid.height, grid.width), grid, run, batch, **more)
    return seen[1:]  # the first one asks for the number of outputs


def test_batches_are_even_and_no_larger_than_asked():
    grid = Grid(40, 64 * 9 - 20, 64, 0, 16)
    assert len(grid.across) == 9
    assert set(sizes_of_calls(grid, 4)) == {3}


def test_an_engine_that_compiles_for_each_number_of_windows_gets_few_of_them():
    grid = Grid(40, 64 * 10 - 20, 64, 0, 16)
    assert sizes_of_calls(grid, 4) == [4, 4, 2]
    assert sizes_of_calls(grid, 4, fill=True) == [4, 4, 4]


def test_windows_without_data_are_not_computed_and_the_others_do_not_care():
    image, valid = noise(500, 600, seed=4), np.zeros((500, 600), bool)
    valid[300:330, 90:500] = valid[10:12, 590] = True
    grid = Grid(500, 600, 96, 32, 16)
    seen = []

    def run(batch):
        seen.append(len(batch))
        return context(batch)

    found = predict(image, grid, run, valid=valid)
    windows = len(grid.down) * len(grid.across)
    assert 1 <= sum(seen) - 1 < windows / 2
    expected = predict(image, grid, context)
    np.testing.assert_array_equal(found[valid], expected[valid])


def test_a_raster_without_data_asks_the_network_nothing():
    grid = Grid(200, 200, 64, 16, 16)
    reader = RowReader(lambda top, bottom: (noise(bottom - top, 200), np.zeros((bottom - top, 200), bool)), grid)
    blender = Blender(grid, identity, 1, 2)
    assert not [piece for band in range(len(grid.down)) for piece in blender.pieces(reader.row(band))]
    assert blender.network_pixels == 0


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(100, 500),
    overlap=st.sampled_from([0, 16, 32]),
    outputs=st.sampled_from([1, 3]),
    cut=st.data(),
)
def test_rows_that_are_computed_apart_join_to_the_same_bits(height, overlap, outputs, cut):
    image = noise(height, 150, 3, seed=height)
    grid = Grid(height, 150, 64, overlap, 16)

    def run(batch):
        return np.sqrt(context(batch)[..., :outputs])

    expected = predict(image, grid, run)
    start = cut.draw(st.integers(0, len(grid.down) - 1))
    reader = RowReader(lambda top, bottom: (image[top:bottom], None), grid)
    above, below = Blender(grid, run, outputs, 2), Blender(grid, run, outputs, 2)
    found = np.full((height, 150, outputs), np.nan, np.float32)
    for band in range(len(grid.down)):
        blender = above if band < start else below
        for piece in blender.pieces(reader.row(band)):
            h, w = piece.values.shape[:2]
            found[piece.top : piece.top + h, piece.left : piece.left + w] = piece.values
        if band == start and band:
            lo, rows = grid.down.own(band)[0], grid.down.seam(band)
            found[lo : lo + rows] = join(above.tail[:rows], below.head[:rows])
    np.testing.assert_array_equal(found, expected)


def test_several_classes_stay_a_distribution():
    def run(batch):
        x = batch.astype(np.float32) / 255
        return np.concatenate([x / 2, 1 - x, x / 2], axis=-1)

    found = predict(noise(200, 150), Grid(200, 150, 64, 16, 16), run)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)


def test_an_answer_that_is_not_to_be_written_to_stays_as_it_is():
    kept = np.full((1, 64, 64, 1), 0.5, np.float32)
    grid = Grid(150, 40, 64, 16, 16)

    def run(batch):
        return np.broadcast_to(kept, (len(batch), *batch.shape[1:3], 1)) if batch.shape[1] == 64 else identity(batch)

    predict(noise(150, 40), grid, run)
    assert (kept == 0.5).all()


def test_a_model_that_classifies_whole_windows_is_refused():
    reader = RowReader(lambda top, bottom: (noise(bottom - top, 50), None), Grid(50, 50))
    blender = Blender(Grid(50, 50), lambda batch: np.zeros((len(batch), 2), np.float32), 1, 2)
    with pytest.raises(ModelError, match="does not segment"):
        list(blender.pieces(reader.row(0)))
