"""Scoring a predictor on labelled images: unlabelled pixels, and the loss as it is in training."""

from types import SimpleNamespace

import numpy as np
import pytest

from roadseg.imagery.dataset import Sample
from roadseg.learning.losses import BoundaryCrossentropy, Crossentropy, SoftDice, Sum
from roadseg.learning.validation import picture_of, validate
from roadseg.reports.overlays import COLOURS, overlay_names


def sample_of(mask: np.ndarray) -> Sample:
    known = mask != 255
    image = np.full((*mask.shape, 3), 100, np.uint8)
    return Sample("one", image, mask, None if known.all() else known, "")


def answering(p: np.ndarray) -> SimpleNamespace:
    """A predictor that says `p` (H, W, K) of any image."""
    return SimpleNamespace(probabilities=lambda image: p.astype(np.float32))


def blocks(classes: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, classes, (6, 8))
    return coarse.repeat(4, axis=0).repeat(4, axis=1).astype(np.uint8)


@pytest.mark.parametrize("classes", [2, 3])
def test_what_is_predicted_at_unlabelled_pixels_changes_nothing(classes: int) -> None:
    rng = np.random.default_rng(1)
    truth = blocks(classes)
    unknown = rng.random(truth.shape) < 0.3
    mask = np.where(unknown, np.uint8(255), truth)
    p, q = (
        rng.uniform(0.1, 0.9, (2, *truth.shape, 1))
        if classes == 2
        else rng.dirichlet(np.ones(classes), (2, *truth.shape))
    )
    other = np.where(unknown[..., None], q, p)
    loss = Sum([BoundaryCrossentropy(), SoftDice()])
    (one,), (two,) = (validate(answering(x), [sample_of(mask)], classes, 0.5, 0.25, loss) for x in (p, other))
    assert one.loss == pytest.approx(two.loss, rel=1e-6) and np.isfinite(one.loss)
    np.testing.assert_array_equal(one.scores.pixels, two.scores.pixels)
    np.testing.assert_array_equal(one.scores.patches, two.scores.patches)
    assert one.scored.labelled == one.scores.pixels.sum() == (~unknown).sum()
    np.testing.assert_array_equal(picture_of(one), picture_of(two))


def test_the_loss_gets_the_pixel_weights_of_training() -> None:
    truth = np.zeros((12, 20), np.uint8)
    truth[:, 2:8] = truth[:, 10:16] = 1
    p = np.full((*truth.shape, 1), 0.3)
    plain, boundary = Crossentropy(), BoundaryCrossentropy(8.0, 2.0)
    weights = boundary.weigh(truth)
    assert weights.max() > 2
    costs = [
        next(validate(answering(p), [sample_of(truth)], 2, 0.5, 0.25, loss)).loss
        for loss in (plain, boundary, Sum([plain, boundary], [1, 0.5]))
    ]
    pixel = -np.log(np.where(truth == 1, 0.3, 0.7))
    assert costs[0] == pytest.approx(pixel.mean(), rel=1e-5)
    assert costs[1] == pytest.approx((pixel * weights).mean(), rel=1e-5)
    assert costs[2] == pytest.approx(costs[0] + 0.5 * costs[1], rel=1e-5)


def test_weights_that_are_known_are_not_computed_again() -> None:
    truth = np.zeros((12, 20), np.uint8)
    truth[:, 2:8] = truth[:, 10:16] = 1
    p, loss, asked = np.full((*truth.shape, 1), 0.3), BoundaryCrossentropy(8.0, 2.0), []
    weigh = loss.weigh
    loss.weigh = lambda mask: asked.append(mask) or weigh(mask)  # type: ignore[method-assign]
    (computed,) = validate(answering(p), [sample_of(truth)], 2, 0.5, 0.25, loss)
    known = {"one": weigh(truth).astype(np.float16)}
    (kept,) = validate(answering(p), [sample_of(truth)], 2, 0.5, 0.25, loss, known)
    assert len(asked) == 1 and kept.loss == pytest.approx(computed.loss, rel=1e-3)


def test_images_are_predicted_one_after_the_other() -> None:
    seen: list[int] = []

    def probabilities(image: np.ndarray) -> np.ndarray:
        seen.append(1)
        return np.full((*image.shape[:2], 1), 0.3, np.float32)

    samples = [sample_of(np.zeros((8, 8), np.uint8))] * 3
    results = validate(SimpleNamespace(probabilities=probabilities), samples, 2, 0.5, 0.25)
    next(results)
    assert len(seen) == 1 and len(list(results)) == 2


def test_no_picture_takes_the_place_of_another() -> None:
    assert overlay_names(["b", "a"]) == {"a": "a_overlay", "b": "b_overlay"}
    names = overlay_names(["a", "a_overlay", "a_overlay_2", "a_overlay_overlay"])
    assert names["a"] == "a_overlay_3" and names["a_overlay"] == "a_overlay_overlay_2"
    assert len({*names, *names.values()}) == 8


def test_an_image_without_a_label_costs_nothing() -> None:
    nothing = np.full((16, 16), 255, np.uint8)
    (result,) = validate(answering(np.full((16, 16, 1), 0.9)), [sample_of(nothing)], 2, 0.5, 0.25, Crossentropy())
    assert result.loss == 0 and result.scored.labelled == 0 and result.scores.pixels.sum() == 0


@pytest.mark.parametrize("classes", [2, 3])
def test_unlabelled_pixels_are_neither_right_nor_wrong_in_a_picture(classes: int) -> None:
    truth = blocks(classes)
    truth[:8] = 255
    p = np.full((*truth.shape, 1), 0.9) if classes == 2 else np.eye(classes)[np.zeros(truth.shape, int)]
    (result,) = validate(answering(p), [sample_of(truth)], classes, 0.5, 0.25)
    picture = picture_of(result)
    colours = np.array(list(COLOURS.values()))
    grey = picture.max(-1) == picture.min(-1)
    assert grey[:8].all() and not grey[8:].all() and len(colours)
    assert np.isnan(result.loss)
