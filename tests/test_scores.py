"""Scores of masks: counted by hand, pooled over images, patches by the contest's rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.roads.patches import patch_labels
from roadseg.scores import Scores, score_image

PIXEL_KEYS = ("pixel_accuracy", "pixel_iou", "pixel_f1", "pixel_precision", "pixel_recall")


def masks(seed: int, classes: int = 2, shape: tuple[int, int] = (40, 33)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(0, classes, (2, *shape)).astype(np.uint8))


def test_scores_counted_by_hand():
    truth = np.array([[1, 1, 1, 0, 0, 0, 0, 0]], np.uint8)
    found = np.array([[1, 1, 0, 1, 0, 0, 0, 0]], np.uint8)
    scores = score_image(truth, found).to_dict()
    assert scores["pixel_accuracy"] == pytest.approx(6 / 8)
    assert scores["pixel_precision"] == pytest.approx(2 / 3)
    assert scores["pixel_recall"] == pytest.approx(2 / 3)
    assert scores["pixel_f1"] == pytest.approx(4 / 6)
    assert scores["pixel_iou"] == pytest.approx(2 / 4)
    assert scores["n_images"] == 1


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 40), width=st.integers(1, 40), share=st.floats(0, 1))
def test_binary_scores_are_their_definitions(seed, height, width, share):
    truth, found = (np.random.default_rng(seed).random((2, height, width)) < share).astype(np.uint8)
    scores = score_image(truth, found).to_dict()
    tp, fp = int((truth & found).sum()), int((found & ~truth & 1).sum())
    fn = int((truth & ~found & 1).sum())
    assert scores["pixel_accuracy"] == pytest.approx((truth == found).mean())
    if tp + fp + fn == 0:
        assert all(scores[key] == 1 for key in PIXEL_KEYS)
        return
    assert scores["pixel_iou"] == pytest.approx(tp / (tp + fp + fn))
    assert scores["pixel_f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert scores["pixel_precision"] == pytest.approx(tp / (tp + fp) if tp + fp else 0)
    assert scores["pixel_recall"] == pytest.approx(tp / (tp + fn) if tp + fn else 0)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 60), width=st.integers(1, 60), bound=st.floats(0, 0.9))
def test_patch_scores_are_those_of_the_patch_labels(seed, height, width, bound):
    truth, found = (np.random.default_rng(seed).random((2, height, width)) < 0.3).astype(np.uint8)
    scores = score_image(truth, found, patch_threshold=bound).to_dict()
    a, b = patch_labels(truth, bound), patch_labels(found, bound)
    assert scores["patch_accuracy"] == pytest.approx((a == b).mean())
    assert scores["all_background_patch_accuracy"] == pytest.approx((~a).mean())
    either = a.sum() + b.sum()
    assert scores["patch_f1"] == pytest.approx(2 * (a & b).sum() / either if either else 1)


def test_pixels_are_pooled_over_images_not_averaged():
    small = score_image(np.ones((1, 1), np.uint8), np.zeros((1, 1), np.uint8))
    large = score_image(np.ones((10, 10), np.uint8), np.ones((10, 10), np.uint8))
    pooled = Scores.pool([small, large]).to_dict()
    assert pooled["pixel_recall"] == pytest.approx(100 / 101)
    assert pooled["n_images"] == 2
    assert (small + large).to_dict() == pooled


@pytest.mark.parametrize("classes", [2, 5])
def test_pooling_is_scoring_all_pixels_at_once(classes):
    pairs = [masks(seed, classes, (32, 48)) for seed in range(4)]
    pooled = Scores.pool((score_image(t, f, classes) for t, f in pairs), classes).to_dict()
    whole = score_image(*(np.concatenate([p[k] for p in pairs]) for k in (0, 1)), classes).to_dict()
    assert {**pooled, "n_images": 0} == {**whole, "n_images": 0}


def test_nothing_pooled_is_no_image():
    scores = Scores.pool([]).to_dict()
    assert scores["n_images"] == 0 and scores["pixel_f1"] == 1


def test_several_classes_give_means_over_those_that_occur():
    truth = np.array([[0, 0, 1, 1, 2, 2]], np.uint8)
    found = np.array([[0, 1, 1, 1, 0, 0]], np.uint8)  # class 2 is never found, class 3 does not occur
    scores = score_image(truth, found, 4)
    assert scores.class_iou() == [pytest.approx(1 / 4), pytest.approx(2 / 3), 0, None]
    found_all = scores.to_dict()
    assert found_all["pixel_accuracy"] == pytest.approx(3 / 6)
    assert found_all["pixel_iou"] == pytest.approx((1 / 4 + 2 / 3 + 0) / 3)
    assert found_all["pixel_precision"] == pytest.approx((1 / 3 + 2 / 3 + 0) / 3)
    assert found_all["pixel_recall"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found_all["patch_accuracy"] is found_all["patch_f1"] is found_all["all_background_patch_accuracy"] is None


def test_pixels_without_data_are_left_out():
    truth, found = masks(3)
    valid = np.random.default_rng(0).random(truth.shape) < 0.5
    scores = score_image(truth, np.where(valid, truth, 1 - truth).astype(np.uint8), valid=valid).to_dict()
    assert all(scores[key] == 1 for key in PIXEL_KEYS)
    marked = np.where(valid, truth, np.uint8(255))  # "no data" as class position 255 is not counted either
    assert score_image(marked, found, valid=valid).pixels.sum() == valid.sum()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 40), width=st.integers(1, 40), classes=st.sampled_from([2, 4]))
def test_what_is_found_at_unlabelled_pixels_changes_no_score(seed, height, width, classes):
    rng = np.random.default_rng(seed)
    truth, found, other = rng.integers(0, classes, (3, height, width)).astype(np.uint8)
    unknown = rng.random(truth.shape) < rng.random()
    marked = np.where(unknown, np.uint8(255), truth)
    scores = score_image(marked, found, classes)
    changed = score_image(marked, np.where(unknown, other, found), classes)
    by_valid = score_image(truth, found, classes, valid=~unknown)
    for same in (changed, by_valid):
        np.testing.assert_array_equal(scores.pixels, same.pixels)
        np.testing.assert_array_equal(scores.patches, same.patches)
    assert scores.pixels.sum() == (~unknown).sum()


def test_a_patch_is_scored_by_its_labelled_pixels_and_not_without_any():
    truth = np.full((16, 40), 255, np.uint8)  # two whole patches and half a one
    truth[0, :4] = [1, 0, 0, 0]  # a quarter: background
    truth[0, 32:35] = [1, 0, 0]  # a third: road
    found = np.ones((16, 40), np.uint8)
    found[0, 1:4] = 0
    scores = score_image(truth, found)
    assert scores.patches.tolist() == [[1, 0], [0, 1]]
    assert scores.pixels.tolist() == [[3, 2], [0, 2]]
    nothing = score_image(np.full_like(truth, 255), found)
    assert nothing.pixels.sum() == nothing.patches.sum() == 0 and nothing.to_dict()["pixel_f1"] == 1


def test_counts_do_not_overflow():
    truth = np.full((3000, 3000), 200, np.uint8)
    assert score_image(truth, truth, 201).pixels[200, 200] == 9_000_000


def test_the_keys_are_the_contracts():
    expected = {*PIXEL_KEYS, "patch_accuracy", "patch_f1", "all_background_patch_accuracy", "n_images"}
    assert set(score_image(*masks(0)).to_dict()) == expected
