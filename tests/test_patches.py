"""The patch rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from roadseg.errors import DataError
from roadseg.roads.patches import patch_labels, patch_means, unpatch

masks = nps.arrays(np.uint8, nps.array_shapes(min_dims=2, max_dims=2, max_side=50), elements=st.integers(0, 1))


@given(masks)
def test_patch_means_are_those_of_slices_also_at_the_border(mask: np.ndarray) -> None:
    means = patch_means(mask)
    assert means.shape == (-(-mask.shape[0] // 16), -(-mask.shape[1] // 16))
    for row, column in np.ndindex(means.shape):
        assert means[row, column] == mask[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16].mean()


@pytest.mark.parametrize(("height", "width", "road"), [(16, 16, 64), (4, 3, 3), (16, 5, 20)])
def test_a_patch_with_exactly_a_quarter_road_is_background_and_one_pixel_more_makes_it_road(
    height: int, width: int, road: int
) -> None:
    mask = np.zeros(height * width, np.uint8)
    mask[:road] = 1
    assert not patch_labels(mask.reshape(height, width)).any()
    mask[road] = 1
    assert patch_labels(mask.reshape(height, width)).all()


@given(nps.arrays(bool, nps.array_shapes(min_dims=2, max_dims=2, max_side=5)), st.integers(0, 15), st.integers(0, 15))
def test_patches_survive_becoming_a_mask_of_any_size(labels: np.ndarray, less_high: int, less_wide: int) -> None:
    height, width = labels.shape[0] * 16 - less_high, labels.shape[1] * 16 - less_wide
    mask = unpatch(labels, height, width)
    assert mask.shape == (height, width) and mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 255}
    assert np.array_equal(patch_labels(mask == 255), labels)


def test_labels_that_do_not_fit_the_mask_are_refused() -> None:
    with pytest.raises(DataError, match=r"33x16.*\(1, 3\)"):
        unpatch(np.zeros((1, 2), bool), 16, 33)


def test_a_mask_with_bands_is_refused() -> None:
    with pytest.raises(DataError, match=r"\(16, 16, 3\)"):
        patch_means(np.zeros((16, 16, 3)))
