"""Every loss through one battery, against NumPy; known answers by hand; and what the configuration makes of them."""

import keras
import numpy as np
import pytest
from battery import gradient, run_loss_test
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from roadseg.config import LossConfig
from roadseg.errors import ConfigError
from roadseg.learning.loss_names import LOSSES as NAMES
from roadseg.learning.loss_names import check_loss, parse_loss
from roadseg.learning.losses import (
    BoundaryCrossentropy,
    Crossentropy,
    Focal,
    Lovasz,
    PatchRule,
    SoftDice,
    Sum,
    Tversky,
    build_loss,
    pixel_weights,
    weighted_shares,
)
from roadseg.roads.patches import patch_labels

WEIGHTS = [1.0, 4.0, 0.5]


def cost_of(loss, truth, p, weights=None):
    return float(ops.convert_to_numpy(loss(truth, p, sample_weight=weights)))


# === The same by NumPy; truth (N, H, W) holds class positions, or 255 where there is none ===


def of_truth(truth, p):
    """(n,) class positions of the labelled pixels, and the probability of each one's own class."""
    known = truth != 255
    own, q = truth[known].astype(int), p[known].astype(np.float64)
    if q.shape[-1] == 1:
        return own, np.where(own == 1, q[:, 0], 1 - q[:, 0])
    return own, q[np.arange(len(own)), own]


def crossentropy(truth, p, weights=None, gamma=0.0):
    own, q = of_truth(truth, p)
    pixel = -np.log(np.clip(q, 1e-7, 1)) * (1 - q) ** gamma
    return float(np.mean(pixel if weights is None else pixel * np.asarray(weights)[own]))


def channels(truth, p):
    """0/1 truth and probability of each class that has a channel, of the labelled pixels."""
    known = truth != 255
    for channel, c in enumerate([1] if p.shape[-1] == 1 else range(p.shape[-1])):
        yield (truth[known] == c).astype(float), p[known][:, channel].astype(float)


def dice(truth, p, smooth=1.0):
    return float(
        np.mean([1 - (2 * (t * q).sum() + smooth) / (t.sum() + q.sum() + smooth) for t, q in channels(truth, p)])
    )


def tversky(truth, p, alpha=0.3, beta=0.7, smooth=1.0):
    costs = []
    for t, q in channels(truth, p):
        hit, wrong, missed = (t * q).sum(), ((1 - t) * q).sum(), (t * (1 - q)).sum()
        costs.append(1 - (hit + smooth) / (hit + alpha * wrong + beta * missed + smooth))
    return float(np.mean(costs))


def jaccard_extension(t, error):
    """The Lovasz extension of S -> |S| / |truth or S|, S the pixels that are wrong (Berman et al. 2018)."""
    order = np.argsort(-error)
    total, before, wrong, road = 0.0, 0.0, set(), set(np.flatnonzero(t).tolist())
    for i in order.tolist():
        wrong.add(i)
        now = len(wrong) / len(wrong | road)
        total += error[i] * (now - before)
        before = now
    return total


def lovasz(truth, p):
    images = []
    for image, q in zip(truth, p, strict=True):
        if (image != 255).any():
            several = p.shape[-1] > 1
            costs = [jaccard_extension(t, np.abs(t - c)) for t, c in channels(image, q) if t.any() or not several]
            images.append(np.mean(costs))
    return float(np.mean(images))


def patches(truth, p, size=4, threshold=0.25, slope=60.0):
    costs = []
    for image, q in zip(truth, p[..., 0].astype(float), strict=True):
        for y in range(0, image.shape[0], size):
            for x in range(0, image.shape[1], size):
                t, found = image[y : y + size, x : x + size], q[y : y + size, x : x + size]
                known = t != 255
                if known.any():
                    z = slope * (found[known].mean() - threshold)
                    road = (t[known] == 1).mean() > threshold
                    costs.append(np.logaddexp(0, -z if road else z))
    return float(np.mean(costs))


LOSSES = {
    "crossentropy": (lambda k: Crossentropy(), lambda k: crossentropy),
    "weighted crossentropy": (
        lambda k: Crossentropy(WEIGHTS[:k]),
        lambda k: lambda t, p: crossentropy(t, p, WEIGHTS[:k]),
    ),
    "boundary crossentropy": (lambda k: BoundaryCrossentropy(7.0, 3.0), lambda k: crossentropy),
    "focal": (lambda k: Focal(), lambda k: lambda t, p: crossentropy(t, p, gamma=2)),
    "focal, root": (
        lambda k: Focal(0.5, WEIGHTS[:k]),
        lambda k: lambda t, p: crossentropy(t, p, WEIGHTS[:k], gamma=0.5),
    ),
    "soft dice": (lambda k: SoftDice(), lambda k: dice),
    "soft dice, other smoothing": (lambda k: SoftDice(smooth=20.0), lambda k: lambda t, p: dice(t, p, 20.0)),
    "tversky": (lambda k: Tversky(), lambda k: tversky),
    "tversky, precise": (lambda k: Tversky(0.9, 0.2, 3.0), lambda k: lambda t, p: tversky(t, p, 0.9, 0.2, 3.0)),
    "lovasz": (lambda k: Lovasz(), lambda k: lovasz),
    "sum": (
        lambda k: Sum([Crossentropy(), Sum([SoftDice(), Lovasz()], [0.5, 2])], [1, 0.7]),
        lambda k: lambda t, p: crossentropy(t, p) + 0.7 * (0.5 * dice(t, p) + 2 * lovasz(t, p)),
    ),
}


@pytest.mark.battery
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_passes_the_battery(name, classes):
    loss, reference = LOSSES[name]
    run_loss_test(loss(classes), reference(classes), classes)


@pytest.mark.battery
def test_the_patch_loss_passes_the_battery():
    run_loss_test(PatchRule(4, slope=60.0), patches, 2, block=4)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", LOSSES)
@settings(deadline=None, max_examples=12)
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


# === Cross-entropies and focal ===


def test_a_missed_road_pixel_counts_its_weight():
    road, found = np.ones((1, 4, 4, 1), np.uint8), np.full((1, 4, 4, 1), 0.3, np.float32)
    plain, heavy = Crossentropy(), Crossentropy([1, 4])
    assert cost_of(heavy, road, found) == pytest.approx(4 * cost_of(plain, road, found), rel=1e-6)
    background = np.zeros_like(road)
    assert cost_of(heavy, background, found) == pytest.approx(cost_of(plain, background, found))


def test_the_focal_loss_by_hand():
    """One road pixel found with 0.9, one background pixel with 0.4 for its own class."""
    truth, p = np.array([[[[1], [0]]]], np.uint8), np.array([[[[0.9], [0.6]]]], np.float32)
    expected = (-np.log(0.9) * 0.1**2 - np.log(0.4) * 0.6**2) / 2
    assert cost_of(Focal(), truth, p) == pytest.approx(expected, rel=1e-5)
    assert cost_of(Focal(0), truth, p) == pytest.approx(cost_of(Crossentropy(), truth, p), rel=1e-6)
    weighted = (-3 * np.log(0.9) * 0.1**2 - np.log(0.4) * 0.6**2) / 2
    assert cost_of(Focal(2, [1, 3]), truth, p) == pytest.approx(weighted, rel=1e-5)


@pytest.mark.battery
def test_label_smoothing_by_hand():
    truth, p = np.array([[[[1]]]], np.uint8), np.array([[[[0.8]]]], np.float32)
    expected = -(0.95 * np.log(0.8) + 0.05 * np.log(0.2))
    assert cost_of(Crossentropy(label_smoothing=0.1), truth, p) == pytest.approx(expected, rel=1e-5)
    three = np.array([[[[0.1, 0.7, 0.2]]]], np.float32)
    spread = 0.3 / 3
    expected = -((0.7 + spread) * np.log(0.7) + spread * np.log(0.1) + spread * np.log(0.2))
    assert cost_of(Crossentropy(label_smoothing=0.3), truth, three) == pytest.approx(expected, rel=1e-5)
    heavy = Crossentropy([1, 5, 1], label_smoothing=0.3)  # the weight is the pixel's, by its own class
    assert cost_of(heavy, truth, three) == pytest.approx(5 * expected, rel=1e-5)
    beside = np.concatenate([truth, np.full_like(truth, 255)], axis=2)
    twice = np.concatenate([three, three], axis=2)
    assert cost_of(heavy, beside, twice) == pytest.approx(5 * expected, rel=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(heavy))
    assert again.get_config() == heavy.get_config()


@pytest.mark.battery
def test_pixel_weights_multiply_the_boundary_loss_and_nothing_beside_it():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (2, 6, 8, 1)).astype(np.uint8)
    truth[0, :2] = 255
    p = rng.uniform(0.1, 0.9, truth.shape).astype(np.float32)
    weights = rng.uniform(1, 11, (2, 6, 8)).astype(np.float32)
    known = truth[..., 0] != 255
    pixel = -np.log(of_truth(truth[..., 0], p)[1])
    boundary = cost_of(BoundaryCrossentropy(), truth, p, weights)
    assert boundary == pytest.approx(np.mean(pixel * weights[known]), rel=1e-5)
    beside = Sum([BoundaryCrossentropy(), Crossentropy(), SoftDice()], [1, 2, 0.5])
    plain = 2 * cost_of(Crossentropy(), truth, p) + 0.5 * cost_of(SoftDice(), truth, p)
    assert cost_of(beside, truth, p, weights) == pytest.approx(boundary + plain, rel=1e-5)
    assert cost_of(Sum([Crossentropy()], [2]), truth, p, weights) == pytest.approx(2 * boundary, rel=1e-5)


# === Regions ===


@pytest.mark.battery
def test_an_empty_truth_found_empty_costs_nothing():
    truth, nothing = np.zeros((2, 16, 16, 1), np.uint8), np.zeros((2, 16, 16, 1), np.float32)
    for loss in (SoftDice(), Tversky(), Lovasz(), Focal(), Crossentropy()):
        assert cost_of(loss, truth, nothing) == pytest.approx(0, abs=1e-6)
    assert cost_of(SoftDice(), truth, nothing + 0.5) > 0.9
    assert cost_of(Lovasz(), truth, nothing + 0.5) == pytest.approx(0.5)


def test_dice_is_pooled_over_the_batch():
    rng = np.random.default_rng(0)
    truth = np.stack([np.zeros((8, 8, 1)), rng.integers(0, 2, (8, 8, 1))]).astype(np.uint8)
    p = np.concatenate([np.zeros((1, 8, 8, 1)), rng.uniform(0, 1, (1, 8, 8, 1))]).astype(np.float32)
    assert float(SoftDice()(truth, p)) == pytest.approx(float(SoftDice()(truth[1:], p[1:])), abs=1e-6)


def test_tversky_with_equal_halves_is_dice_and_with_ones_is_intersection_over_union():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, (2, 8, 8, 1)).astype(np.uint8)
    p = rng.dirichlet(np.ones(3), (2, 8, 8)).astype(np.float32)
    assert cost_of(Tversky(0.5, 0.5, 1.5), truth, p) == pytest.approx(cost_of(SoftDice(3.0), truth, p), rel=1e-5)
    hard = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (2, 8, 8))]
    ious = [
        ((truth[..., 0] == c) & (hard[..., c] == 1)).sum() / ((truth[..., 0] == c) | (hard[..., c] == 1)).sum()
        for c in range(3)
    ]
    assert cost_of(Tversky(1, 1, 1e-6), truth, hard) == pytest.approx(1 - np.mean(ious), rel=1e-4)


def test_a_miss_costs_more_than_a_false_alarm_when_tversky_says_so():
    truth = np.array([[[[1], [1], [0], [0]]]], np.uint8)
    missed = np.array([[[[1], [0], [0], [0]]]], np.float32)
    alarm = np.array([[[[1], [1], [1], [0]]]], np.float32)
    assert cost_of(Tversky(0.3, 0.7, 1.0), truth, missed) == pytest.approx(1 - 2 / 2.7)
    assert cost_of(Tversky(0.3, 0.7, 1.0), truth, alarm) == pytest.approx(1 - 3 / 3.3)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1), found=st.floats(0, 1))
def test_lovasz_of_certain_predictions_is_one_minus_intersection_over_union(seed, share, found):
    rng = np.random.default_rng(seed)
    truth = (rng.random((2, 5, 6)) < share).astype(np.uint8)
    q = (rng.random((2, 5, 6)) < found).astype(np.uint8)
    both, either = (truth & q).sum((1, 2)), (truth | q).sum((1, 2))
    expected = np.mean([1 - b / e if e else 0 for b, e in zip(both, either, strict=True)])
    assert cost_of(Lovasz(), truth[..., None], q[..., None].astype(np.float32)) == pytest.approx(expected, abs=1e-6)


def test_lovasz_of_several_classes_by_hand():
    """Classes 0 and 1 occur; class 2 is found and does not, and so counts only by what it takes from the others."""
    truth = np.array([[[[0], [0], [1], [1]]]], np.uint8)
    found = np.eye(3, dtype=np.float32)[[[[0, 1, 1, 2]]]]
    assert cost_of(Lovasz(), truth, found) == pytest.approx(((1 - 1 / 2) + (1 - 1 / 3)) / 2)


# === Patches ===


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), bound=st.sampled_from([0.1, 0.25, 0.5]), size=st.sampled_from([8, 16, 10]))
def test_a_very_steep_patch_loss_decides_by_the_contests_rule(seed, bound, size):
    """Of masks, an image that is not a multiple of the patch: no patch near the threshold, no cost but of errors."""
    rng = np.random.default_rng(seed)
    truth, found = (
        np.kron(rng.integers(0, 2, (5, 6)), np.ones((8, 8), int))[:37, :43].astype(np.uint8) for _ in range(2)
    )
    slope = 1e6
    loss = PatchRule(size, bound, slope)
    wrong = patch_labels(truth, bound, size) != patch_labels(found, bound, size)
    for mask in (truth, found):  # itself: no error, however near the threshold a road patch is
        own = cost_of(loss, mask[None, ..., None], mask[None, ..., None].astype(np.float32))
        assert own <= np.log(2) + 1e-6
    cost = cost_of(loss, truth[None, ..., None], found[None, ..., None].astype(np.float32))
    assert (cost > 1) == wrong.any()


def test_the_patch_loss_by_hand():
    """Three pixels of four labelled, one of them road: a third is above a quarter, and the mean found is 0.2."""
    truth = np.array([[[[1], [0]], [[0], [255]]]], np.uint8)
    p = np.array([[[[0.3], [0.2]], [[0.1], [0.9]]]], np.float32)
    expected = np.log1p(np.exp(-20 * (0.2 - 0.25)))
    assert cost_of(PatchRule(2), truth, p) == pytest.approx(expected, rel=1e-5)
    beside = np.concatenate([truth, np.full_like(truth, 255)], axis=2)
    twice = np.concatenate([p, p], axis=2)
    assert cost_of(PatchRule(2), beside, twice) == pytest.approx(expected, rel=1e-5)
    quarter = np.array([[[[1], [0]], [[0], [0]]]], np.uint8)  # not above: background
    assert cost_of(PatchRule(2), quarter, p) == pytest.approx(np.log1p(np.exp(20 * (0.375 - 0.25))), rel=1e-5)


def test_the_patch_loss_is_not_for_several_classes():
    with pytest.raises(ConfigError, match="two classes, here are 3"):
        PatchRule()(np.zeros((1, 16, 16, 1)), np.zeros((1, 16, 16, 3)))
    for name in ("patch", "bce + 0.5 * patch"):
        with pytest.raises(ConfigError, match="patch is for two classes, here are 3"):
            build_loss(LossConfig(name=name), [0.5, 0.3, 0.2])


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="sizes that are not known are TensorFlow's")
def test_losses_of_images_whose_size_is_not_known():
    import tensorflow as tf

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (2, 20, 37, 1)).astype(np.uint8)
    p = rng.uniform(0.1, 0.9, truth.shape).astype(np.float32)
    for loss in (PatchRule(), Lovasz(), Crossentropy(), SoftDice()):
        shapes = (tf.TensorSpec((None, None, None, 1), kind) for kind in ("uint8", "float32"))
        traced = tf.function(lambda y, q, loss=loss: loss(y, q), input_signature=tuple(shapes))
        assert float(traced(truth, p)) == pytest.approx(cost_of(loss, truth, p), rel=1e-6)


# === Sums, and what the configuration makes ===


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("bce", [(1, "bce")]),
        ("0.5*patch", [(0.5, "patch")]),
        (" bce+ .5 *dice +2e-1*patch ", [(1, "bce"), (0.5, "dice"), (0.2, "patch")]),
        ("1e+1*bce+1e+0*dice", [(10, "bce"), (1, "dice")]),
        ("weighted_bce + bce_dice", [(1, "weighted_bce"), (1, "bce_dice")]),
    ],
)
def test_a_sum_is_read(text, terms):
    assert list(parse_loss(text)) == terms


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bce + dise", "no loss is called 'dise': did you mean 'dice'"),
        ("BCE", "did you mean 'bce'"),
        ("0.5 * lovász", "no loss is called 'lovász': did you mean 'lovasz'"),
        ("zzz", "known: bce, weighted_bce, focal"),
        ("", "expected a loss or a sum"),
        ("bce +", "expected a loss or a sum"),
        ("bce dice", "expected a loss or a sum"),
        ("bce - dice", "expected a loss or a sum"),
        ("dice * 0.5", "expected a loss or a sum"),
        ("0 * dice", "weight 0 of dice"),
        ("1e999*dice", "weight 1e999 of dice"),
    ],
)
def test_what_is_no_loss_is_refused_with_the_known_ones(text, words):
    for check in (
        parse_loss,
        lambda name: check_loss(LossConfig(name=name)),
        lambda n: pixel_weights(LossConfig(name=n)),
    ):
        with pytest.raises(ConfigError, match=words):
            check(text)


def test_every_named_loss_is_built_and_takes_binary_truth():
    truth = np.random.default_rng(0).integers(0, 2, (1, 16, 16, 1)).astype(np.uint8)
    p = np.full(truth.shape, 0.4, np.float32)
    for name in NAMES:
        loss = build_loss(LossConfig(name=name), [0.8, 0.2])
        assert np.isfinite(cost_of(loss, truth, p)), name
        assert name == "bce" or type(loss) is not Crossentropy or loss.weights, name


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (LossConfig(), Crossentropy),
        (LossConfig(name="weighted_bce"), Crossentropy),
        (LossConfig(name="dice"), SoftDice),
        (LossConfig(name="bce_dice"), Sum),
        (LossConfig(name="focal"), Focal),
        (LossConfig(name="tversky"), Tversky),
        (LossConfig(name="lovasz"), Lovasz),
        (LossConfig(name="boundary_bce"), BoundaryCrossentropy),
        (LossConfig(name="0.5 * dice"), Sum),
    ],
)
def test_the_configuration_names_the_loss(config, kind):
    assert type(build_loss(config, [0.8, 0.2])) is kind
    assert type(build_loss(config, [0.5, 0.3, 0.2])) is kind


def test_the_options_come_from_the_configuration():
    config = LossConfig(
        name="focal + tversky + boundary_bce + patch + bce_dice",
        focal_gamma=1.5,
        tversky_alpha=0.1,
        tversky_beta=0.8,
        boundary_weight=4,
        boundary_sigma=3,
        patch_size=8,
        patch_threshold=0.3,
        patch_slope=9,
        dice_share=0.25,
        label_smoothing=0.1,
        class_weights=[1, 3],
    )
    focal, tv, boundary, patch, pair = build_loss(config, [0.5, 0.5]).terms
    assert (focal.gamma, focal.weights) == (1.5, [1, 3])
    assert (tv.alpha, tv.beta) == (0.1, 0.8)
    assert (boundary.boundary, boundary.sigma) == (4, 3)
    assert (boundary.weights, boundary.label_smoothing) == ([1, 3], 0.1)
    assert (patch.size, patch.threshold, patch.slope) == (8, 0.3, 9)
    assert pair.weights == [1, 0.25] and pair.terms[0].weights == [1, 3]


def weights(shares, road_weight="auto", name="weighted_bce", class_weights="none"):
    return build_loss(LossConfig(name=name, road_weight=road_weight, class_weights=class_weights), shares).weights


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


@pytest.mark.parametrize("name", ["bce", "focal", "boundary_bce", "weighted_bce"])
def test_class_weights_are_a_list_or_balanced_or_none(name):
    assert weights([0.8, 0.2], name=name, class_weights="balanced") == pytest.approx([1, 4])
    assert weights([0.6, 0.2, 0.2], name=name, class_weights=[1, 2, 3]) == [1, 2, 3]
    if name != "weighted_bce":
        assert weights([0.8, 0.2], name=name) is weights([0.8, 0.2], name=name, class_weights="auto") is None
    with pytest.raises(ConfigError, match="has 3 weights, here are 2 classes"):
        weights([0.8, 0.2], name=name, class_weights=[1, 2, 3])


def test_a_loss_is_checked_before_the_classes_are_known():
    check_loss(LossConfig(name="bce + patch", class_weights=[1, 2, 3]))
    with pytest.raises(ConfigError, match="tversky_alpha"):
        check_loss(LossConfig(name="tversky", tversky_alpha=0, tversky_beta=0))
    with pytest.raises(ConfigError, match="boundary_weight = 100000: at most 10000"):
        check_loss(LossConfig(name="boundary_bce", boundary_weight=1e5))


def test_pixel_weights_are_made_for_the_boundary_loss_alone():
    for name in ("bce", "bce + 0.5 * dice", "patch"):
        assert pixel_weights(LossConfig(name=name)) is None
        assert getattr(build_loss(LossConfig(name=name), [0.5, 0.5]), "weigh", None) is None
    mask = np.zeros((9, 30), np.uint8)
    mask[:, :4] = mask[:, 8:12] = 1
    for name in ("boundary_bce", "dice + 2 * boundary_bce"):
        config = LossConfig(name=name, boundary_weight=3, boundary_sigma=2)
        made = pixel_weights(config)(mask)
        assert made.dtype == np.float32 and made.max() > 1.1
        np.testing.assert_array_equal(made, build_loss(config, [0.5, 0.5]).weigh(mask))


@pytest.mark.battery
def test_training_with_a_sum_and_pixel_weights_learns():
    truth = np.zeros((2, 8, 8, 1), np.uint8)
    truth[:, :, 4:] = 1
    truth[:, 0] = 255
    pixels = (truth == 1).astype(np.float32) * 2 - 1
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 1, activation="sigmoid")])
    loss = build_loss(LossConfig(name="boundary_bce + 0.5 * dice", class_weights=[1, 2]), [0.5, 0.5])
    model.compile(keras.optimizers.Adam(0.3), loss, jit_compile=False)
    made = np.stack([loss.weigh(t[..., 0]) for t in truth])
    costs = [float(model.train_on_batch(pixels, truth, sample_weight=made)) for _ in range(25)]
    assert costs[-1] < 0.3 * costs[0]
    found = np.asarray(model.predict_on_batch(pixels))
    np.testing.assert_array_equal((found > 0.5)[:, 1:], (truth == 1)[:, 1:])


def test_training_with_each_loss_separates_two_values():
    truth = np.zeros((1, 16, 16, 1), np.uint8)
    truth[:, :, 8:] = 1
    pixels = truth.astype(np.float32) * 2 - 1
    for name in NAMES:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Conv2D(1, 1, activation="sigmoid")])
        loss = build_loss(LossConfig(name=name, patch_size=8), [0.5, 0.5])
        model.compile(keras.optimizers.Adam(0.3), loss, jit_compile=False)
        for _ in range(25):
            model.train_on_batch(pixels, truth)
        found = np.asarray(model.predict_on_batch(pixels))
        ahead = found[truth == 1].min() - found[truth == 0].max()
        assert ahead > (0.1 if name == "patch" else 0.5), name  # a patch is road from a quarter


def test_one_unlabelled_image_beside_another_changes_nothing():
    """The gradient of a batch is that of its labelled part: losses are means over what counts."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, (1, 16, 16, 1)).astype(np.uint8)
    p = rng.uniform(0.1, 0.9, (1, 16, 16, 1)).astype(np.float32)
    more = np.concatenate([truth, np.full_like(truth, 255)])
    both = np.concatenate([p, p])
    for loss in (Crossentropy(), Focal(), SoftDice(), Tversky(), Lovasz(), PatchRule(8)):
        alone = gradient(lambda z, loss=loss: loss(ops.convert_to_tensor(truth), z), p)
        beside = gradient(lambda z, loss=loss: loss(ops.convert_to_tensor(more), z), both)
        np.testing.assert_allclose(beside[:1], alone, rtol=1e-5, atol=1e-9)
        assert not beside[1].any()
        assert cost_of(loss, more, both) == pytest.approx(cost_of(loss, truth, p), rel=1e-6)


def test_the_answer_to_begin_with_counts_the_classes_by_their_weights():
    shares = [0.8, 0.2]
    assert weighted_shares(LossConfig(class_weights="none"), shares) == pytest.approx(shares)
    assert weighted_shares(LossConfig(name="weighted_bce"), shares) == pytest.approx([0.5, 0.5])
    assert weighted_shares(LossConfig(name="weighted_bce", road_weight=2.0), shares) == pytest.approx([2 / 3, 1 / 3])
    several = weighted_shares(LossConfig(class_weights="balanced"), [0.7, 0.2, 0.1])
    assert several == pytest.approx([1 / 3] * 3)
    assert weighted_shares(LossConfig(class_weights=[1.0, 2.0, 4.0]), [0.5, 0.25, 0.25]) == pytest.approx(
        [0.25, 0.25, 0.5]
    )
