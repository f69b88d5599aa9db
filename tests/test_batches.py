"""Training batches: reproducible from anywhere, fair to every image, made ahead in order."""

import threading
import time

import msgspec
import numpy as np
import pytest
from battery import only

from roadseg.config import read_config
from roadseg.errors import ConfigError
from roadseg.imagery.dataset import Sample
from roadseg.imagery.masks import IGNORED
from roadseg.imagery.store import PixelStore
from roadseg.learning.batches import TrainingBatches, prefetch, rescale


def sample(value: int, height: int = 64, width: int = 64, bands: int = 3) -> Sample:
    """An image of one value that is its own mask."""
    image = np.full((height, width, bands), value, np.uint8)
    return Sample(f"s{value}", image, image[..., 0] % 2, None, f"{value:016x}")


def noisy(seed: int, height: int = 80, width: int = 100, bands: int = 3) -> Sample:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, bands)).astype(np.uint8)
    return Sample(f"n{seed}", image, rng.integers(0, 2, (height, width)).astype(np.uint8), None, f"{seed:016x}")


def config(**train):
    return read_config({"train": {"crop": 32, "batch": 4, **train}})


PLAIN = {"perturb": {"enabled": False}}


def plain(**train):
    return read_config({"train": {"crop": 32, "batch": 4, **train}, **PLAIN})


def test_a_batch_has_the_shapes_a_network_takes():
    images, truth = TrainingBatches([noisy(0), noisy(1, bands=3)], config())(0)
    assert images.shape == (4, 32, 32, 3) and truth.shape == (4, 32, 32, 1)
    assert images.dtype == truth.dtype == np.uint8
    assert set(np.unique(truth)) <= {0, 1}


def test_a_batch_depends_on_seed_and_step_alone():
    samples = [noisy(k) for k in range(3)]
    forward, backward = TrainingBatches(samples, config(seed=5)), TrainingBatches(samples, config(seed=5))
    first = [forward(step) for step in range(6)]
    for step in reversed(range(6)):
        images, truth = backward(step)
        np.testing.assert_array_equal(images, first[step][0])
        np.testing.assert_array_equal(truth, first[step][1])
    other = TrainingBatches(samples, config(seed=6))
    assert not np.array_equal(other(0)[0], first[0][0])
    assert not np.array_equal(first[0][0], first[1][0])


def test_every_crop_is_perturbed_anew():
    batches = TrainingBatches([noisy(0)], config())
    crops = [batches.crop(p)[0].tobytes() for p in range(40)]
    assert len(set(crops)) == 40


def test_a_batch_is_the_same_from_any_thread():
    batches = TrainingBatches([noisy(k) for k in range(3)], config())
    alone = [batches(step) for step in range(12)]
    for expected, (images, truth) in zip(alone, prefetch(batches, 0, 12, ahead=6, workers=4), strict=True):
        np.testing.assert_array_equal(images, expected[0])
        np.testing.assert_array_equal(truth, expected[1])


def test_the_order_of_a_round_is_drawn_once_and_depends_on_seed_and_round_alone():
    batches = TrainingBatches([sample(v, 32, 32) for v in range(1, 8)], plain(seed=3))
    drawn = np.random.default_rng([3, 1, 2]).permutation(7) + 1
    assert shown(batches, range(14, 21)) == drawn.tolist()
    assert batches.order(2) is batches.order(2)


def shown(batches: TrainingBatches, positions: range) -> list[int]:
    return [int(batches.crop(p)[0][0, 0, 0]) for p in positions]


def test_every_image_comes_once_a_round():
    batches = TrainingBatches([sample(v, 32, 32) for v in range(1, 8)], plain())
    rounds = [shown(batches, range(7 * k, 7 * k + 7)) for k in range(4)]
    assert all(sorted(r) == list(range(1, 8)) for r in rounds)
    assert len({tuple(r) for r in rounds}) == 4  # in a new order each time


def test_larger_images_come_as_often_as_their_area_asks():
    batches = TrainingBatches([sample(1, 32, 32), sample(2, 64, 64), sample(3, 96, 64), sample(4, 5, 5)], plain())
    found = np.bincount(shown(batches, range(12)), minlength=5)
    assert found.tolist() == [0, 1, 4, 6, 1]
    assert np.bincount(shown(batches, range(12, 24)), minlength=5).tolist() == found.tolist()


def sampled(samples: list[Sample], factors: dict[str, float]) -> TrainingBatches:
    return TrainingBatches(
        samples, read_config({"train": {"crop": 32, "batch": 4}, **PLAIN, "data": {"sampling": factors}})
    )


def test_images_come_as_often_as_their_names_ask():
    samples = [sample(1, 32, 32), sample(2, 64, 64), sample(3, 32, 32)]
    batches = sampled(samples, {"^s1$": 6, "s[12]": 0.5})
    found = np.bincount(shown(batches, range(len(batches.round))), minlength=4)
    assert found[1] == 3 * found[3] and found[2] == 2 * found[3]
    plainly = TrainingBatches(samples, plain())
    assert batches.steps_per_epoch == plainly.steps_per_epoch  # an epoch is about the pixels there are, all the same


def test_factors_that_are_all_one_change_no_share():
    samples = [sample(1, 32, 32), sample(2, 64, 64)]
    batches = sampled(samples, {"s": 1})
    found = np.bincount(shown(batches, range(len(batches.round))), minlength=3)
    assert found[2] == 4 * found[1]


@pytest.mark.parametrize(("pattern", "told"), [("(s", "no regular expression"), ("^x", "fits no training image")])
def test_a_pattern_that_cannot_be_meant_is_told(pattern, told):
    with pytest.raises(ConfigError, match=told):
        sampled([sample(1, 32, 32)], {pattern: 2})


def test_an_epoch_shows_about_as_many_pixels_as_there_are():
    assert TrainingBatches([sample(1, 64, 64)] * 8, config()).steps_per_epoch == 8
    assert TrainingBatches([sample(1, 8, 8)], config()).steps_per_epoch == 1
    assert TrainingBatches([sample(1, 64, 64)] * 3, config(batch=8)).steps_per_epoch == 2


def test_class_masks_get_no_new_classes():
    rng = np.random.default_rng(0)
    mask = (rng.integers(0, 2, (80, 80)) * 5).astype(np.uint8)
    image = rng.integers(0, 256, (80, 80, 3)).astype(np.uint8)
    for scale in (1.0, 0.6, 1.7):
        settings = read_config({"train": {"crop": 32, "batch": 4}, "data": {"scale": scale}})
        batches = TrainingBatches([Sample("a", image, mask, None, "0")], settings, classes=6)
        assert set(np.unique(batches(0)[1])) == {0, 5}


@pytest.mark.parametrize("bands", [1, 3, 4, 5, 7])
@pytest.mark.parametrize("scale", [0.37, 0.5, 1.0, 1.6])
def test_rescaling_takes_any_number_of_bands(bands, scale):
    one = noisy(0, 61, 83, bands)
    image, mask = rescale(one, scale)
    assert image.shape == (round(61 * scale), round(83 * scale), bands) and mask.shape == image.shape[:2]
    assert image.dtype == mask.dtype == np.uint8
    for band in range(bands):
        alone, _ = rescale(Sample("x", one.image[..., band : band + 1], one.mask, None, ""), scale)
        np.testing.assert_array_equal(alone[..., 0], image[..., band])


def test_rescaling_never_makes_an_image_vanish():
    image, mask = rescale(noisy(0, 1, 3), 0.01)
    assert image.shape == (1, 1, 3) and mask.shape == (1, 1)


def test_rescaling_keeps_image_and_mask_together():
    mask = np.zeros((60, 60), np.uint8)
    mask[20:40, 10:50] = 1
    one = Sample("a", mask[..., None] * np.uint8(255), mask, None, "")
    for scale in (0.25, 0.5, 2.0, 3.0):
        image, small = rescale(one, scale)
        sure = np.abs(image[..., 0] - 127.5) > 100
        np.testing.assert_array_equal((image[..., 0] > 127)[sure], (small == 1)[sure])
        assert abs(small.mean() - mask.mean()) < 0.05


# === Parts of other images ===


def mixed(**train):
    return msgspec.structs.replace(config(**train), perturb=only("cutmix"))


def values(batches: TrainingBatches, positions: range) -> list[tuple[int, int]]:
    """The crop's own value, and that of the other image in it."""
    found = []
    for position in positions:
        counts = np.bincount(batches.crop(position).image[..., 0].ravel())
        own = int(counts.argmax())
        other = [int(v) for v in np.flatnonzero(counts) if v != own]
        found.append((own, other[0] if other else own))
    return found


def test_the_other_crop_is_of_another_image_as_likely_as_its_area():
    samples = [sample(1, 32, 32), sample(2, 64, 64), sample(3, 32, 96)]  # 1, 4 and 3 crops a round
    found = values(TrainingBatches(samples, mixed()), range(400))
    plain_order = shown(TrainingBatches(samples, plain()), range(400))
    assert [own for own, _ in found] == plain_order  # as without mixing
    others = [other for own, other in found if own == 2]
    assert set(others) == {1, 3} and 0.6 < np.mean(np.array(others) == 3) < 0.9
    assert all(own != other for own, other in found)
    assert all(set(pair) == {5} for pair in values(TrainingBatches([sample(5)], mixed()), range(5)))


def test_mixed_batches_depend_on_seed_and_step_alone():
    settings = read_config(
        {
            "train": {"crop": 32, "batch": 4},
            "perturb": {
                "preset": "strong",
                **{name: {"probability": 0.7} for name in ("cutmix", "copy_paste", "jpeg", "erasing")},
            },
        }
    )
    samples = [noisy(k) for k in range(3)]
    forward, backward = (TrainingBatches(samples, settings, weigh=weigh) for _ in range(2))
    first = list(prefetch(forward, 0, 6, ahead=4, workers=3))
    for step in reversed(range(6)):
        for one, other in zip(backward(step), first[step], strict=True):
            np.testing.assert_array_equal(one, other)


# === Weights and gaps ===


def weigh(mask: np.ndarray) -> np.ndarray:
    return 1 + 3 * mask.astype(np.float32)


def test_pixel_weights_go_with_the_mask_and_are_made_once_an_image():
    asked = []

    def counted(mask: np.ndarray) -> np.ndarray:
        asked.append(mask.shape)
        return weigh(mask)

    batches = TrainingBatches([noisy(0), noisy(1, 50, 50)], plain(), weigh=counted)
    for step in range(3):
        images, truth, weights = batches(step)
        assert weights.shape == (4, 32, 32) and weights.dtype == np.float32
        np.testing.assert_array_equal(weights, 1 + 3 * truth[..., 0])
        np.testing.assert_array_equal(images, TrainingBatches([noisy(0), noisy(1, 50, 50)], plain())(step)[0])
    assert asked == [(80, 100), (50, 50)]


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_what_is_made_of_the_images_goes_to_the_store(scale, tmp_path):
    settings = read_config({"train": {"crop": 32, "batch": 4}, "data": {"scale": scale}})
    samples = [noisy(0), gappy(1), noisy(2)]
    store = PixelStore(0, tmp_path)
    stored = TrainingBatches(samples, settings, store=store, weigh=weigh)
    pixels = [round(80 * scale) * round(100 * scale)] * 3
    images = 0 if scale == 1 else 4 * sum(pixels)
    assert store.mapped == images + (pixels[1] if scale == 1 else 0) + 2 * sum(pixels)
    for one, other in zip(stored(3), TrainingBatches(samples, settings, weigh=weigh)(3), strict=True):
        np.testing.assert_array_equal(one, other)


def gappy(seed: int) -> Sample:
    """A sample without data on its right."""
    one = noisy(seed)
    valid = np.ones(one.mask.shape, bool)
    valid[:, 60:] = False
    return Sample(one.stem, one.image, one.mask, valid, one.hash)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5])
def test_what_has_no_data_is_unlabelled_in_the_crops(scale, classes):
    one = gappy(0)
    _, mask = rescale(one, scale)
    side = mask.shape[1]
    assert (mask[:, round(0.61 * side) :] == IGNORED).all() and set(np.unique(mask[:, : round(0.59 * side)])) == {0, 1}
    assert (one.mask <= 1).all()
    settings = read_config({"train": {"crop": 32, "batch": 8}, "data": {"scale": scale}})
    truth = TrainingBatches([one], settings, classes)(0)[1]
    assert set(np.unique(truth)) == {0, 1, IGNORED}
    assert 0.1 < (truth == IGNORED).mean() < 0.7
    full = Sample("a", one.image, one.mask, np.ones(one.mask.shape, bool), "0")
    assert rescale(full, 1.0)[1] is full.mask


# === Made ahead ===


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("roadseg-batches")]


def assert_threads_end() -> None:
    for _ in range(100):
        if not threads():
            return
        time.sleep(0.02)
    raise AssertionError(f"still running: {threads()}")


def test_what_is_made_ahead_keeps_its_order():
    def make(step: int) -> int:
        time.sleep(0.002 * (step % 3))  # later ones are ready earlier
        return step

    assert list(prefetch(make, 3, 40, ahead=5, workers=3)) == list(range(3, 40))
    assert list(prefetch(make, 0, 2, ahead=5)) == [0, 1]
    assert list(prefetch(make, 4, 4)) == []
    assert_threads_end()


def test_no_more_is_made_ahead_than_asked_for():
    made: list[int] = []
    stream = prefetch(made.append, 0, 100, ahead=3)
    for _ in range(5):
        next(stream)
    time.sleep(0.05)
    assert len(made) <= 5 + 3
    stream.close()
    assert_threads_end()


def test_an_error_comes_out_in_its_turn_and_ends_the_threads():
    def make(step: int) -> int:
        if step == 4:
            raise ValueError("broken image")
        return step

    stream = prefetch(make, 0, 100)
    assert [next(stream) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="broken image"):
        next(stream)
    assert_threads_end()


def test_what_is_no_longer_wanted_is_not_made():
    made: list[int] = []

    def make(step: int) -> int:
        made.append(step)
        time.sleep(0.02)
        return step

    stream = prefetch(make, 0, 1000, ahead=40, workers=1)
    next(stream)
    stream.close()
    assert_threads_end()
    assert len(made) < 10


def test_leaving_early_ends_the_threads():
    for step in prefetch(lambda k: k, 0, 1000):
        if step == 3:
            break
    assert_threads_end()
