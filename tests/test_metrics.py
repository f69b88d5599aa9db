"""Every metric through one battery: it says what `roadseg.scores` says."""

import keras
import numpy as np
import pytest
from battery import run_metric_test
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.learning.metrics import (
    PatchAccuracy,
    PatchF1,
    PixelAccuracy,
    PixelF1,
    PixelIoU,
    PixelPrecision,
    PixelRecall,
)
from roadseg.roads.patches import patch_labels
from roadseg.scores import Scores, score_image

PIXELS = {
    PixelAccuracy: "pixel_accuracy",
    PixelIoU: "pixel_iou",
    PixelF1: "pixel_f1",
    PixelPrecision: "pixel_precision",
    PixelRecall: "pixel_recall",
}
PATCHES = {PatchAccuracy: "patch_accuracy", PatchF1: "patch_f1"}


@pytest.mark.battery
@pytest.mark.parametrize("kind", [*PIXELS, *PATCHES])
def test_a_binary_metric_passes_the_battery(kind):
    run_metric_test(kind, {**PIXELS, **PATCHES}[kind])


@pytest.mark.battery
@pytest.mark.parametrize("kind", PIXELS)
def test_a_metric_of_four_classes_passes_the_battery(kind):
    run_metric_test(kind, PIXELS[kind], classes=4)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.75])
@pytest.mark.parametrize("kind", [PixelF1, PixelPrecision, PatchF1])
def test_a_metric_with_another_threshold_passes_the_battery(kind, threshold):
    run_metric_test(kind, {**PIXELS, **PATCHES}[kind], threshold=threshold, seed=2)


def test_a_pixel_is_road_strictly_above_the_threshold():
    truth = np.ones((1, 16, 16, 1), np.uint8)
    for kind in (PixelRecall, PatchF1):
        metric = kind(threshold=0.5)
        metric.update_state(truth, np.full((1, 16, 16, 1), 0.5, np.float32))
        assert float(metric.result()) == 0
        metric.reset_state()
        metric.update_state(truth, np.full((1, 16, 16, 1), 0.5001, np.float32))
        assert float(metric.result()) == 1


@pytest.mark.battery
def test_a_patch_is_road_strictly_above_a_quarter():
    """64 of 256 pixels are a quarter and background, 65 are road, as in `roads.patches`."""
    mask = np.zeros((32, 48), np.uint8)
    for place, count in enumerate((0, 63, 64, 65, 128, 256)):
        row, column = 16 * (place // 3), 16 * (place % 3)
        mask[row : row + 16, column : column + 16].flat[:] = 0
        block = np.zeros(256, np.uint8)
        block[np.random.default_rng(place).permutation(256)[:count]] = 1
        mask[row : row + 16, column : column + 16] = block.reshape(16, 16)
    expected = patch_labels(mask)
    assert expected.tolist() == [[False, False, False], [True, True, True]]
    # Each patch as truth against everything found road: the row sums of the confusion matrix are the truth's labels
    metric = PatchAccuracy()
    metric.update_state(mask[None, ..., None], np.ones((1, 32, 48, 1), np.float32))
    assert float(metric.result()) == expected.mean()
    metric.reset_state()  # and as found
    metric.update_state(np.ones((1, 32, 48, 1), np.uint8), mask[None, ..., None].astype(np.float32))
    assert float(metric.result()) == expected.mean()


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), share=st.floats(0.2, 0.3), bound=st.sampled_from([0.1, 0.25, 0.5]))
def test_patch_metrics_are_the_contests_rule(seed, share, bound):
    rng = np.random.default_rng(seed)
    truth, found = (rng.random((2, 2, 32, 64)) < share).astype(np.uint8)
    metrics = [PatchAccuracy(patch_threshold=bound), PatchF1(patch_threshold=bound)]
    parts = [score_image(t, f, patch_threshold=bound) for t, f in zip(truth, found, strict=True)]
    expected = Scores.pool(parts).to_dict()
    for metric, name in zip(metrics, ("patch_accuracy", "patch_f1"), strict=True):
        metric.update_state(truth[..., None], found[..., None].astype(np.float32))
        assert float(metric.result()) == pytest.approx(expected[name], abs=1e-6)


def test_options_of_patch_metrics_come_back_from_their_configuration():
    metric = PatchF1(threshold=0.4, patch_threshold=0.5, patch=8, name="mine")
    again = PatchF1.from_config(metric.get_config())
    assert (again.threshold, again.patch_threshold, again.patch, again.name) == (0.4, 0.5, 8, "mine")
    truth = np.zeros((1, 8, 16, 1), np.uint8)
    truth[:, :, :8] = 1
    again.update_state(truth, truth.astype(np.float32))
    assert float(again.result()) == 1


@pytest.mark.parametrize("kind", [*PIXELS, *PATCHES])
def test_nothing_to_find_and_nothing_found_is_perfect_as_in_the_scores(kind):
    metric = kind()
    assert float(metric.result()) == 0  # nothing seen yet
    empty = np.zeros((1, 16, 16, 1), np.uint8)
    metric.update_state(empty, empty.astype(np.float32))
    expected = score_image(empty[0, ..., 0], empty[0, ..., 0]).to_dict()[{**PIXELS, **PATCHES}[kind]]
    assert float(metric.result()) == expected == 1


@pytest.mark.battery
@pytest.mark.parametrize("kind", [*PIXELS, *PATCHES])
def test_what_is_predicted_at_unlabelled_pixels_changes_no_metric(kind):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (2, 32, 40, 1)).astype(np.uint8)
    unknown = rng.random(truth.shape) < 0.5
    unknown[0, :16, :16] = True
    marked = np.where(unknown, np.uint8(255), truth)
    found = []
    for p in rng.uniform(0, 1, (3, *truth.shape)):
        metric = kind()
        metric.update_state(marked, np.where(unknown, p, 0.6 * truth + 0.3 * (truth == 0)).astype(np.float32))
        metric.update_state(np.full_like(truth, 255), p.astype(np.float32))
        found.append(float(metric.result()))
    assert len(set(found)) == 1 and np.isfinite(found[0])
    assert found[0] == 1 or kind in PATCHES


@pytest.mark.battery
def test_a_class_that_is_never_found_lowers_the_mean_precision():
    truth = np.array([[[0, 0, 1, 2]]], np.uint8)  # class 2 occurs and is not found; class 3 neither
    p = np.eye(4, dtype=np.float32)[[[[0, 0, 1, 1]]]]
    metric = PixelPrecision(classes=4)
    metric.update_state(truth[..., None], p)
    expected = score_image(truth[0], p.argmax(-1)[0].astype(np.uint8), 4).to_dict()["pixel_precision"]
    assert expected == pytest.approx((1 + 0.5 + 0) / 3)
    assert float(metric.result()) == pytest.approx(expected)


@pytest.mark.battery
def test_metrics_work_inside_fit():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (4, 16, 16, 2)).astype(np.float32)
    y = (x[..., :1] > 0).astype(np.uint8)
    inputs = keras.Input((16, 16, 2))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid")(inputs))
    model.compile("sgd", "binary_crossentropy", metrics=[PixelF1(name="f1"), PatchAccuracy(name="patches")])
    found = model.evaluate(x, y, batch_size=2, verbose=0, return_dict=True)
    p = np.asarray(model.predict_on_batch(x))
    expected = Scores.pool(
        score_image(t[..., 0], (q[..., 0] > 0.5).astype(np.uint8)) for t, q in zip(y, p, strict=True)
    ).to_dict()
    assert found["f1"] == pytest.approx(expected["pixel_f1"], abs=1e-4)
    assert found["patches"] == pytest.approx(expected["patch_accuracy"], abs=1e-4)


def test_counts_stay_whole_over_many_updates():
    metric = PixelIoU()
    truth = np.zeros((4, 256, 256, 1), np.uint8)
    truth[0, 0, :2] = 1
    found = np.zeros_like(truth, np.float32)
    found[0, 0, 0] = 1
    for _ in range(40):
        metric.update_state(truth, found)
    assert float(metric.result()) == 0.5
