"""Every loss through one battery, against NumPy; and what the configuration makes of them."""

import keras
import numpy as np
import pytest
from battery import run_loss_test
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from roadseg.config import LossConfig
from roadseg.learning.losses import Crossentropy, CrossentropyDice, SoftDice, WeightedCrossentropy, build_loss


def of_truth(truth, p):
    """(N, H, W) probability of the true class."""
    if p.shape[-1] == 1:
        return np.where(truth == 1, p[..., 0], 1 - p[..., 0]).astype(np.float64)
    return np.take_along_axis(p.astype(np.float64), truth[..., None].astype(int), -1)[..., 0]


def crossentropy(truth, p, weights=None):
    pixel = -np.log(np.clip(of_truth(truth, p), 1e-7, 1))
    return float(np.mean(pixel if weights is None else pixel * np.asarray(weights)[truth]))


def dice(truth, p, smooth=1.0):
    classes = [1] if p.shape[-1] == 1 else range(p.shape[-1])
    costs = []
    for channel, c in enumerate(classes):
        t, q = (truth == c).astype(float), p[..., channel].astype(float)
        costs.append(1 - (2 * (t * q).sum() + smooth) / (t.sum() + q.sum() + smooth))
    return float(np.mean(costs))


LOSSES = {
    "crossentropy": (lambda k: Crossentropy(), lambda k: crossentropy),
    "weighted crossentropy": (
        lambda k: WeightedCrossentropy([1.0, 4.0, 0.5][:k]),
        lambda k: lambda t, p: crossentropy(t, p, [1.0, 4.0, 0.5][:k]),
    ),
    "soft dice": (lambda k: SoftDice(), lambda k: dice),
    "soft dice, other smoothing": (lambda k: SoftDice(smooth=20.0), lambda k: lambda t, p: dice(t, p, 20.0)),
    "crossentropy and dice": (
        lambda k: CrossentropyDice(dice_share=0.7),
        lambda k: lambda t, p: crossentropy(t, p) + 0.7 * dice(t, p),
    ),
}


@pytest.mark.battery
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_passes_the_battery(name, classes):
    loss, reference = LOSSES[name]
    run_loss_test(loss(classes), reference(classes), classes)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", LOSSES)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), share=st.floats(0.05, 1.0))
def test_a_prediction_nearer_to_the_truth_costs_less(name, classes, seed, share):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, (1, 6, 7))
    hot = np.eye(classes)[truth][..., 1:] if classes == 2 else np.eye(classes)[truth]
    p = (
        rng.dirichlet(np.ones(classes), truth.shape)[..., 1:]
        if classes == 2
        else rng.dirichlet(np.ones(3), truth.shape)
    )
    nearer = p + share * (hot - p)
    loss = LOSSES[name][0](classes)
    far, near = (float(loss(truth[..., None], q.astype(np.float32))) for q in (p, nearer))
    assert near < far


@pytest.mark.battery
def test_an_empty_truth_found_empty_costs_nothing():
    truth, nothing = np.zeros((2, 16, 16, 1), np.uint8), np.zeros((2, 16, 16, 1), np.float32)
    for loss in (SoftDice(), CrossentropyDice(), Crossentropy()):
        assert float(ops.convert_to_numpy(loss(truth, nothing))) == pytest.approx(0, abs=1e-6)
    assert float(ops.convert_to_numpy(SoftDice()(truth, nothing + 0.5))) > 0.9


def test_dice_is_pooled_over_the_batch():
    rng = np.random.default_rng(0)
    truth = np.stack([np.zeros((8, 8, 1)), rng.integers(0, 2, (8, 8, 1))]).astype(np.uint8)
    p = np.concatenate([np.zeros((1, 8, 8, 1)), rng.uniform(0, 1, (1, 8, 8, 1))]).astype(np.float32)
    assert float(SoftDice()(truth, p)) == pytest.approx(float(SoftDice()(truth[1:], p[1:])), abs=1e-6)


def test_a_missed_road_pixel_counts_its_weight():
    road, found = np.ones((1, 4, 4, 1), np.uint8), np.full((1, 4, 4, 1), 0.3, np.float32)
    plain, heavy = (float(loss(road, found)) for loss in (Crossentropy(), WeightedCrossentropy([1, 4])))
    assert heavy == pytest.approx(4 * plain, rel=1e-6)
    background = np.zeros_like(road)
    assert float(WeightedCrossentropy([1, 4])(background, found)) == pytest.approx(
        float(Crossentropy()(background, found))
    )


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (LossConfig(), Crossentropy),
        (LossConfig(name="bce"), Crossentropy),
        (LossConfig(name="weighted_bce"), WeightedCrossentropy),
        (LossConfig(name="dice"), SoftDice),
        (LossConfig(name="bce_dice"), CrossentropyDice),
    ],
)
def test_the_configuration_names_the_loss(config, kind):
    assert type(build_loss(config, [0.8, 0.2])) is kind
    assert type(build_loss(config, [0.5, 0.3, 0.2])) is kind


def weights(shares, road_weight="auto"):
    return build_loss(LossConfig(name="weighted_bce", road_weight=road_weight), shares).weights


def test_automatic_weights_are_background_pixels_per_road_pixel():
    assert weights([0.8, 0.2]) == pytest.approx([1, 4])
    assert weights([0.25, 0.75]) == pytest.approx([1, 1 / 3])


def test_automatic_weights_of_several_classes_are_inverse_to_their_shares_with_mean_one():
    shares = [0.5, 0.3, 0.2]
    found = weights(shares)
    assert [w * s for w, s in zip(found, shares, strict=True)] == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("shares", [[1.0, 0.0], [0.0, 1.0], [0.999999, 1e-6], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
def test_automatic_weights_stay_positive_and_bounded_where_a_class_is_missing(shares):
    found = weights(shares)
    assert all(0 < w <= 1e4 for w in found)


def test_a_given_weight_is_the_roads():
    assert weights([0.8, 0.2], 7) == [1, 7]
    assert weights([0.6, 0.2, 0.2], 7.5) == [1, 7.5, 7.5]


def test_the_share_of_dice_comes_from_the_configuration():
    assert build_loss(LossConfig(name="bce_dice", dice_share=0.25), [0.5, 0.5]).dice_share == 0.25


def test_training_with_each_loss_separates_two_values():
    truth = np.zeros((1, 8, 8, 1), np.uint8)
    truth[:, :, 4:] = 1
    pixels = truth.astype(np.float32) * 2 - 1
    for name in LOSSES:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 1, activation="sigmoid")])
        model.compile(keras.optimizers.Adam(0.3), LOSSES[name][0](2), jit_compile=False)
        for _ in range(25):
            model.train_on_batch(pixels, truth)
        found = np.asarray(model.predict_on_batch(pixels))
        np.testing.assert_array_equal(found > 0.5, truth == 1, err_msg=name)
