"""Pixel weights in the gaps between objects: by hand, and against all distances computed one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.learning.boundary import boundary_weights


def objects(mask):
    """Coordinates (n, 2) of the pixels of each object, by walking from neighbour to neighbour."""
    left = {(y, x): int(mask[y, x]) for y, x in zip(*np.nonzero((mask != 0) & (mask != 255)), strict=True)}
    found = []
    while left:
        start, value = next(iter(left.items()))
        todo, here = [start], []
        del left[start]
        while todo:
            y, x = todo.pop()
            here.append((y, x))
            for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if left.get(near) == value:
                    del left[near]
                    todo.append(near)
        found.append(np.array(here, float))
    return found


def slowly(mask, boundary, sigma):
    found = objects(mask)
    if len(found) < 2:
        return np.ones(mask.shape)
    places = np.argwhere(np.ones(mask.shape, bool)).astype(float)
    distances = np.stack([np.sqrt(((places[:, None] - one[None]) ** 2).sum(-1)).min(1) for one in found])
    d1, d2 = np.sort(distances, axis=0)[:2]
    return (1 + boundary * np.exp(-((d1 + d2) ** 2) / (2 * sigma**2))).reshape(mask.shape)


def test_two_pixels_by_hand():
    mask = np.array([[1, 0, 0, 0, 1]], np.uint8)
    found = boundary_weights(mask, boundary=10, sigma=5)
    assert found.dtype == np.float32
    # Between them d1 + d2 is 4 everywhere, on them 0 + 4
    np.testing.assert_allclose(found, np.full((1, 5), 1 + 10 * np.exp(-16 / 50)), rtol=1e-5)
    wide = boundary_weights(np.array([[0, 1, 0, 1]], np.uint8), 10, 5)
    np.testing.assert_allclose(wide[0, 0], 1 + 10 * np.exp(-((1 + 3) ** 2) / 50), rtol=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    share=st.floats(0.01, 0.6),
    classes=st.integers(2, 4),
    sigma=st.floats(0.4, 8),
    boundary=st.floats(0, 30),
)
def test_weights_are_those_of_all_distances(seed, shape, share, classes, sigma, boundary):
    rng = np.random.default_rng(seed)
    mask = (rng.integers(1, classes, shape) * (rng.random(shape) < share)).astype(np.uint8)
    mask[rng.random(shape) < 0.1] = 255
    found = boundary_weights(mask, boundary, sigma)
    assert found.shape == shape and found.dtype == np.float32
    np.testing.assert_allclose(found, slowly(mask, boundary, sigma), rtol=1e-4, atol=1.1e-3)


@pytest.mark.parametrize("mask", [np.zeros((7, 9)), np.ones((7, 9)), np.full((7, 9), 255), np.eye(7, 9) * 0 + 3])
def test_one_object_or_none_weighs_nothing(mask):
    np.testing.assert_array_equal(boundary_weights(mask.astype(np.uint8)), np.ones((7, 9), np.float32))


def test_unlabelled_pixels_are_no_object_and_part_none():
    mask = np.zeros((9, 9), np.uint8)
    mask[:, 4] = 1
    mask[:, 6:] = 255
    assert (boundary_weights(mask) == 1).all()


def test_cells_that_a_slanting_line_parts_are_two_and_their_gap_counts_most():
    mask = np.ones((40, 40), np.uint8)
    mask[np.arange(40), np.arange(40)] = 0
    found = boundary_weights(mask, 10, 3)
    gap = found[np.arange(10, 30), np.arange(10, 30)]
    assert gap.min() > 8 and found[5, 35] < 1.001


def test_each_class_but_the_background_has_objects():
    mask = np.zeros((20, 20), np.uint8)
    mask[:, 5:10] = 1
    mask[:, 10:15] = 2
    found = boundary_weights(mask, 10, 2)
    assert found[10, 9] > 9 and found[10, 10] > 9  # they touch: 0 + 1
    assert found[10, 1] < 1.001


def test_many_objects_on_a_large_mask_cost_their_neighbourhoods_alone():
    """Each object far from the others weighs nothing, near a twin it does; whatever the size of the mask."""
    mask = np.zeros((600, 700), np.uint8)
    mask[::60, ::70] = 1
    mask[0, 4] = 1
    found = boundary_weights(mask, 10, 5)
    assert found[0, 2] == pytest.approx(1 + 10 * np.exp(-16 / 50), rel=1e-5)
    assert found[300, 350] == 1
    assert found.max() == found[:20, :20].max()
