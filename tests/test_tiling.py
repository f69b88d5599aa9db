"""The grid of windows."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.config import PredictConfig
from roadseg.errors import ConfigError, DataError
from roadseg.inference.tiling import Grid, reflect_index, rise


@given(n=st.integers(1, 9), reach=st.integers(0, 40))
def test_reflection_is_numpys_symmetric_padding(n, reach):
    axis = np.arange(n)
    assert (axis[reflect_index(np.arange(-reach, n + reach), n)] == np.pad(axis, reach, mode="symmetric")).all()


@pytest.mark.parametrize("overlap", [0, 1, 2, 16, 64])
def test_the_weights_of_a_seam_rise_from_almost_0_to_almost_1_and_are_their_own_mirror_image(overlap):
    weights = rise(overlap)
    assert weights.dtype == np.float32 and weights.shape == (overlap,)
    assert (weights > 0).all() and (weights < 1).all() and (np.diff(weights) > 0).all()
    np.testing.assert_allclose(weights + weights[::-1], 1, atol=1e-6)


@pytest.mark.parametrize(("size", "side", "start"), [(400, 416, -8), (608, 640, -16), (1, 32, -15), (624, 640, -8)])
def test_an_axis_that_fits_goes_through_in_one_piece(size, side, start):
    grid = Grid(size, size)
    for axis in (grid.down, grid.across):
        assert axis.starts == (start,) and axis.sizes == (side,)
        assert axis.own(0) == axis.covered(0) == (0, size) and axis.seam(0) == 0


GRIDS = {
    "n": st.integers(1, 3000),
    "window": st.integers(64, 700),
    "overlap": st.integers(0, 63),
    "multiple": st.sampled_from([1, 2, 16, 64, 256]),
}


@settings(deadline=None)
@given(**GRIDS)
def test_windows_cover_the_raster_at_a_stride_the_network_can_take(n, window, overlap, multiple):
    grid = Grid(n, n, window, overlap, multiple)
    axis = grid.down
    assert all(size % multiple == 0 and size <= max(window, 2 * multiple) for size in axis.sizes)
    assert grid.stride % multiple == 0 and 2 * grid.seam <= grid.largest
    assert all(b - a == grid.stride for a, b in pairwise(axis.starts))
    assert axis.starts[0] <= -grid.margin or len(axis) == 1
    owned = [axis.own(k) for k in range(len(axis))]
    assert owned[0][0] == 0 and owned[-1][1] == n
    assert all(b == c for (_, b), (c, _) in pairwise(owned))
    for k, (lo, hi) in enumerate(owned):
        assert axis.starts[k] <= lo < hi <= axis.starts[k] + axis.sizes[k]
        if k:  # the window before reaches to the end of the seam
            assert axis.starts[k - 1] + axis.sizes[k - 1] >= lo + axis.seam(k)


@settings(deadline=None)
@given(n=st.integers(1, 5000), more=st.integers(0, 3000), multiple=st.sampled_from([16, 32]))
def test_a_longer_raster_has_the_same_windows_but_for_the_last(n, more, multiple):
    short, long = Grid(n, 10, multiple=multiple).down, Grid(n + more, 10, multiple=multiple).down
    if len(short) > 1:
        assert long.starts[: len(short)] == short.starts
        assert long.sizes[: len(short) - 1] == short.sizes[:-1]


@pytest.mark.parametrize(("height", "width"), [(20_000, 20_000), (40_000, 30_000), (6_000, 6_000), (5_000, 5_000)])
def test_windows_of_the_default_settings_overlap_by_less_than_a_quarter(height, width):
    config = PredictConfig()
    grid = Grid(height, width, config.window, config.overlap, 32)
    assert grid.network_pixels < 1.25 * height * width


@settings(deadline=None)
@given(height=st.integers(1, 60_000), width=st.integers(1, 60_000))
def test_strips_are_even_shares_of_all_bands(height, width):
    grid = Grid(height, width)
    assert [band for strip in grid.strips for band in strip] == list(range(len(grid.down)))
    sizes = [len(strip) for strip in grid.strips]
    assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1
    assert max(sizes) == 1 or max(sizes) * grid.stride * width < 64e6


def test_impossible_grids_are_refused():
    with pytest.raises(DataError, match="0x5 pixels"):
        Grid(5, 0)
    with pytest.raises(ConfigError, match="overlap = 64"):
        Grid(5, 5, window=64, overlap=64)
