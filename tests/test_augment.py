"""Every perturbation through one battery: image and mask move together, nothing comes from nowhere, the seed is all."""

import math

import msgspec
import numpy as np
import pytest
from battery import COLOURS, EFFECTS, GEOMETRIC, MIXING, NOTHING, blobs, only, run_perturbation_test
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.config import Chance, Effect, PerturbConfig, read_config
from roadseg.imagery.masks import IGNORED
from roadseg.learning.augment import Labelled, Perturbation
from roadseg.learning.colours import compress, perturb_colours
from roadseg.learning.geometry import coordinate_map, reflect, sample, sample_mask, sample_weights
from roadseg.learning.mixing import copy_paste, cutmix, erase
from roadseg.settings import PRESETS

SCALED = tuple(name for name in EFFECTS if isinstance(getattr(PerturbConfig(), name), Effect))
# Whose strength is that of the map and the colours alone
SMOOTH = tuple(name for name in SCALED if name not in ("jpeg", "erasing", "cutmix"))


def always(config: PerturbConfig) -> PerturbConfig:
    """Every effect of `config`, with certainty."""
    return msgspec.structs.replace(
        config, **{name: msgspec.structs.replace(getattr(config, name), probability=1.0) for name in EFFECTS}
    )


@pytest.mark.parametrize("name", EFFECTS)
def test_each_perturbation_alone_passes_the_battery(name):
    run_perturbation_test(only(name))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_passes_the_battery(preset):
    config = read_config({"perturb": preset}).perturb
    run_perturbation_test(config, seeds=range(6))
    if config.enabled:
        run_perturbation_test(always(config), seeds=range(4))


@pytest.mark.parametrize("name", SCALED)
def test_each_perturbation_at_four_times_its_strength_passes_the_battery(name):
    run_perturbation_test(only(name, strength=4), seeds=range(5))


@pytest.mark.parametrize("crop", [16, 50, 97])
def test_the_default_perturbations_together_pass_the_battery(crop):
    run_perturbation_test(PerturbConfig(), crop=crop, seeds=range(8))


def test_all_perturbations_with_certainty_pass_the_battery():
    run_perturbation_test(always(PerturbConfig()), seeds=range(8))
    run_perturbation_test(only(*EFFECTS, strength=3), seeds=range(8))


def test_no_perturbation_passes_the_battery():
    run_perturbation_test(NOTHING)
    run_perturbation_test(PerturbConfig(enabled=False))


# === Off ===


def numbered(height: int, width: int) -> np.ndarray:
    """An image whose pixels say where they are."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows % 256, columns % 256, rows // 256 + 16 * (columns // 256)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("config", [PerturbConfig(enabled=False), NOTHING], ids=["disabled", "probability 0"])
def test_without_perturbation_a_crop_is_a_piece_of_the_image(config):
    image = numbered(70, 600)
    mask = blobs(70, 600)
    lefts = set()
    for seed in range(60):
        pixels, truth = Perturbation(config, 64)(image, mask, np.random.default_rng(seed))
        top, left = int(pixels[0, 0, 0]), int(pixels[0, 0, 1]) + 256 * (int(pixels[0, 0, 2]) // 16)
        np.testing.assert_array_equal(pixels, image[top : top + 64, left : left + 64])
        np.testing.assert_array_equal(truth, mask[top : top + 64, left : left + 64])
        lefts.add(left)
    assert len(lefts) > 45 and min(lefts) < 60 and max(lefts) > 480


def test_probability_zero_is_off_to_the_byte():
    strong = msgspec.structs.replace(NOTHING, **{name: Effect(strength=9.0, probability=0.0) for name in SCALED})
    for shape in ((90, 80), (40, 100), (33, 20)):
        for seed in range(10):
            image, mask = numbered(*shape), blobs(*shape)
            first, *others = [
                Perturbation(c, 48)(image, mask, np.random.default_rng(seed))
                for c in (PerturbConfig(enabled=False), NOTHING, strong)
            ]
            for other in others:
                np.testing.assert_array_equal(other[0], first[0])
                np.testing.assert_array_equal(other[1], first[1])


def test_mirroring_alone_keeps_whole_pixels():
    image = numbered(60, 60)
    for seed in range(10):
        rng, same = np.random.default_rng(seed), np.random.default_rng(seed)
        mirrored = Perturbation(only("flip"), 48)(image, blobs(60, 60), rng)
        plain = Perturbation(NOTHING, 48)(image, blobs(60, 60), same)
        np.testing.assert_array_equal(mirrored[0], plain[0][:, ::-1])
        np.testing.assert_array_equal(mirrored[1], plain[1][:, ::-1])


def test_every_place_is_as_likely_as_any_other():
    image = numbered(20, 20)
    act = Perturbation(PerturbConfig(enabled=False), 16)
    found = [act(image, image[..., 0] * 0, np.random.default_rng(seed))[0][0, 0, :2] for seed in range(1000)]
    for axis in (0, 1):
        counts = np.bincount([int(f[axis]) for f in found], minlength=5)
        assert len(counts) == 5 and counts.min() > 150 and counts.max() < 250


@pytest.mark.parametrize("shape", [(30, 200), (64, 20), (7, 9), (1, 64)])
def test_an_image_smaller_than_the_crop_is_reflected_about_its_border_pixels(shape):
    image = numbered(*shape)
    pixels, _ = Perturbation(PerturbConfig(enabled=False), 64)(image, image[..., 0] * 0, np.random.default_rng(3))
    missing = [max(0, 64 - side) for side in shape]
    pad = [(m - m // 2, m // 2) for m in missing]
    wide = np.pad(image, [*pad, (0, 0)], mode="reflect")
    if shape[1] > 64:
        left = int(pixels[0, 0, 1])
        wide = wide[:, left : left + 64]
    np.testing.assert_array_equal(pixels, wide)


# === Chance and strength ===


@pytest.mark.parametrize("name", (*SCALED, "copy_paste"))
@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_an_effect_happens_as_often_as_it_should(name, probability):
    image, other = np.random.default_rng(1).integers(0, 256, (2, 48, 48, 3)).astype(np.uint8)
    act = Perturbation(only(name, strength=8, probability=probability), 48)
    source, second = Labelled(image, image[..., 0] * 0), Labelled(other, image[..., 0] // 255)
    happened = 0
    for seed in range(200):
        pixels, *_ = act.labelled(source, np.random.default_rng(seed), lambda _: second)
        happened += not np.array_equal(pixels, image)
    assert 200 * probability - 20 <= happened <= 200 * probability + 20


def strength_of(config: PerturbConfig, seed: int) -> float:
    """How far an image of the crop's size is changed: mean move in pixels plus mean change in value."""
    x, y = coordinate_map(config, (64, 64), 64, np.random.default_rng(seed))
    v, u = np.mgrid[:64, :64]
    inside = slice(20, 44), slice(20, 44)  # nothing is reflected here
    moved = float(np.mean(np.hypot(x - u, y - v)[inside]))
    image = np.random.default_rng(0).integers(80, 176, (64, 64, 3)).astype(np.uint8)
    painted = perturb_colours(image, config, np.random.default_rng(seed))
    return moved + float(np.mean(np.abs(painted.astype(float) - image)))


@pytest.mark.parametrize("name", SMOOTH)
def test_twice_the_strength_changes_more(name):
    weak, strong = ([strength_of(only(name, strength=s), seed) for seed in range(12)] for s in (0.3, 0.6))
    assert all(w <= s for w, s in zip(weak, strong, strict=True))
    assert 1.3 * np.mean(weak) < np.mean(strong)


@pytest.mark.parametrize("name", SCALED)
def test_strength_zero_changes_nothing(name):
    none = msgspec.structs.replace(NOTHING, **{name: Effect(strength=0.0, probability=1.0)})
    image, mask = numbered(70, 80), blobs(70, 80)
    for seed in range(3):
        found = Perturbation(none, 64)(image, mask, np.random.default_rng(seed))
        for changed, kept in zip(
            found, Perturbation(NOTHING, 64)(image, mask, np.random.default_rng(seed)), strict=True
        ):
            np.testing.assert_array_equal(changed, kept)


def angle_of(config: PerturbConfig, seed: int) -> float:
    x, y = coordinate_map(config, (1000, 1000), 32, np.random.default_rng(seed))
    return math.degrees(math.atan2(y[16, 20] - y[16, 16], x[16, 20] - x[16, 16]))


def test_rotation_reaches_every_angle():
    angles = [angle_of(only("rotation"), seed) for seed in range(1500)]
    counts, _ = np.histogram(angles, bins=36, range=(-180, 180))
    assert counts.min() > 15 and counts.sum() == 1500


def test_rotation_stays_within_its_strength():
    narrow = msgspec.structs.replace(NOTHING, rotation=Effect(strength=30.0))
    angles = [angle_of(narrow, seed) for seed in range(300)]
    assert -30 <= min(angles) < -27 and 27 < max(angles) <= 30


def test_scale_is_symmetric_in_its_logarithm():
    config = msgspec.structs.replace(NOTHING, scale=Effect(strength=0.5))
    factors = []
    for seed in range(300):
        x, _ = coordinate_map(config, (1000, 1000), 33, np.random.default_rng(seed))
        factors.append(math.log(x[0, 32] - x[0, 0]) - math.log(32))
    assert -0.5 <= min(factors) < -0.45 and 0.45 < max(factors) <= 0.5 and abs(np.mean(factors)) < 0.05


def test_translation_is_a_share_of_the_crop():
    config = msgspec.structs.replace(NOTHING, translation=Effect(strength=0.25))
    x, y = zip(
        *((m[20, 20] for m in coordinate_map(config, (41, 41), 41, np.random.default_rng(s))) for s in range(200)),
        strict=True,
    )
    for centres in (x, y):
        assert 20 - 10.25 <= min(centres) < 11 and 29 < max(centres) <= 20 + 10.25


def test_the_elastic_field_is_smooth_and_as_strong_as_said():
    config = msgspec.structs.replace(NOTHING, elastic=Effect(strength=4.0))
    moves = []
    for seed in range(40):
        x, _ = coordinate_map(config, (1024, 1024), 256, np.random.default_rng(seed))
        step = np.diff(x, axis=1)
        assert step.min() > 0.2 and step.max() < 1.8  # nothing folds over
        moves.append(np.std(x - np.arange(256)))
    assert 0.5 < np.mean(moves) < 4


def test_brightness_is_a_share_of_the_full_range():
    image = np.full((8, 8, 1), 128, np.uint8)
    config = msgspec.structs.replace(NOTHING, brightness=Effect(strength=0.2))
    values = [int(perturb_colours(image, config, np.random.default_rng(s))[0, 0, 0]) for s in range(300)]
    assert 128 - 51 <= min(values) < 82 and 174 < max(values) <= 128 + 51


def test_contrast_keeps_the_mean():
    image = np.random.default_rng(0).integers(100, 156, (32, 32, 3)).astype(np.uint8)
    config = msgspec.structs.replace(NOTHING, contrast=Effect(strength=0.8))
    for seed in range(20):
        found = perturb_colours(image, config, np.random.default_rng(seed))
        assert abs(found.mean() - image.mean()) < 0.5
    assert found.std() != image.std()


def test_hue_and_saturation_leave_grey_alone():
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=-1)
    for seed in range(20):
        found = perturb_colours(grey, only("hue", "saturation", strength=5), np.random.default_rng(seed))
        assert np.abs(found.astype(int) - grey).max() <= 1


def test_a_hue_of_120_degrees_turns_one_band_into_the_next():
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0] = 200
    config = msgspec.structs.replace(NOTHING, hue=Effect(strength=120.0))
    reached = {int(np.argmax(perturb_colours(image, config, np.random.default_rng(s))[0, 0])) for s in range(60)}
    assert reached == {0, 1, 2}


def test_saturation_keeps_the_luma():
    image = np.random.default_rng(0).integers(90, 166, (16, 16, 3)).astype(np.uint8)
    luma = np.array([0.299, 0.587, 0.114])
    for seed in range(10):
        found = perturb_colours(image, only("saturation", strength=3), np.random.default_rng(seed))
        assert np.abs((found - image.astype(float)) @ luma).max() < 1


@pytest.mark.parametrize("bands", [1, 2, 4, 6])
def test_hue_and_saturation_are_for_three_bands_only(bands):
    image = np.random.default_rng(0).integers(0, 256, (16, 16, bands)).astype(np.uint8)
    np.testing.assert_array_equal(perturb_colours(image, only("hue", "saturation"), np.random.default_rng(0)), image)


def test_blur_lowers_and_noise_raises_the_variance():
    image = np.random.default_rng(0).integers(60, 196, (64, 64, 6)).astype(np.uint8)
    blurred = perturb_colours(image, only("blur", strength=2), np.random.default_rng(0))
    noisy = perturb_colours(image, only("noise", strength=4), np.random.default_rng(1))
    assert blurred.std() < 0.8 * image.std() and abs(blurred.mean() - image.mean()) < 1
    assert noisy.std() > image.std() and abs(noisy.mean() - image.mean()) < 1


def test_bands_are_not_mixed_by_geometry():
    image = np.zeros((80, 80, 6), np.uint8)
    image[:] = [10, 40, 80, 120, 200, 250]
    pixels, _ = Perturbation(always(only(*GEOMETRIC)), 64)(image, image[..., 0] * 0, np.random.default_rng(0))
    assert (pixels == image[0, 0]).all()


# === Random numbers ===


@pytest.mark.parametrize("name", EFFECTS)
def test_changing_one_effect_leaves_the_others_draws_as_they_were(name):
    base = always(PerturbConfig())
    less = msgspec.structs.replace(base, **{name: getattr(NOTHING, name)})
    image = np.random.default_rng(0).integers(80, 176, (64, 64, 3)).astype(np.uint8)
    for seed in range(4):
        ends = []
        for config in (base, less):
            rng = np.random.default_rng(seed)
            coordinate_map(config, (64, 64), 64, rng)
            ends.append((rng.random(3), perturb_colours(image, msgspec.structs.replace(config, noise=Effect()), rng)))
        np.testing.assert_array_equal(ends[0][0], ends[1][0])
        if name in GEOMETRIC:
            np.testing.assert_array_equal(ends[0][1], ends[1][1])


# === Parts ===


@settings(deadline=None)
@given(size=st.integers(1, 40), values=st.lists(st.integers(-500, 500), min_size=1, max_size=20))
def test_reflect_goes_to_and_fro_without_doubling_the_border(size, values):
    found = reflect(np.array(values, np.float32), size)
    there_and_back = [*range(size), *range(size - 2, 0, -1)]
    assert found.tolist() == [there_and_back[v % len(there_and_back)] for v in values]


@settings(deadline=None, max_examples=50)
@given(value=st.floats(-1e6, 1e6, width=32), size=st.integers(1, 50000))
def test_reflect_stays_inside(value, size):
    found = reflect(np.array([value], np.float32), size)
    assert found.dtype == np.float32 and 0 <= found[0] <= size - 1


def test_sampling_at_whole_pixels_gives_them_back():
    rng = np.random.default_rng(0)
    for bands in (1, 3, 4, 5, 9):
        image = rng.integers(0, 256, (40, 50, bands)).astype(np.uint8)
        y, x = (a.astype(np.float32) for a in np.mgrid[3:20, 7:50])
        for discrete in (False, True):
            np.testing.assert_array_equal(sample(image, x, y, discrete=discrete), image[3:20, 7:50])
            np.testing.assert_array_equal(sample(image[..., 0], x, y, discrete=discrete), image[3:20, 7:50, 0])


def test_sampling_between_pixels_is_linear_or_nearest():
    image = np.array([[0, 100], [200, 100]], np.uint8)
    x, y = np.full((1, 1), 0.25, np.float32), np.full((1, 1), 0.5, np.float32)
    assert sample(image, x, y, discrete=False)[0, 0] == 100
    assert sample(image, x, np.zeros_like(y), discrete=False)[0, 0] == 25
    assert sample(image, x, y + np.float32(0.1), discrete=True)[0, 0] == 200


def test_images_wider_than_opencv_allows_are_sampled():
    image = np.zeros((20, 70000, 3), np.uint8)
    image[:, 60000:] = 200
    mask = (image[..., 0] > 0).astype(np.uint8)
    config = only(*GEOMETRIC)
    for seed in range(20):
        pixels, truth = Perturbation(config, 64)(image, mask, np.random.default_rng(seed))
        sure = np.abs(pixels[..., 0] - 100.0) > 20
        np.testing.assert_array_equal((pixels[..., 0] > 100)[sure], (truth == 1)[sure])


def test_a_crop_touches_its_own_window_alone():
    """An image of 100 gigapixels that is one byte in memory: all of it could not be held."""
    image = np.broadcast_to(np.uint8(7), (100_000, 1_000_000, 3))
    mask = np.broadcast_to(np.uint8(1), (100_000, 1_000_000))
    for classes in (2, 5):
        pixels, truth = Perturbation(only("rotation"), 32, discrete=classes > 2)(image, mask, np.random.default_rng(0))
        assert (pixels == 7).all() and (truth == 1).all()


def test_road_masks_are_cut_at_one_half_of_what_lies_between_pixels():
    mask = np.array([[0, 1], [0, 1]], np.uint8)
    x = np.array([[0.4, 0.6]], np.float32)
    np.testing.assert_array_equal(sample_mask(mask, x, x * 0, discrete=False), [[0, 1]])


def test_an_unlabelled_pixel_is_neither_road_nor_background():
    mask = np.array([[1, IGNORED, 0, IGNORED]], np.uint8)
    x = np.array([[0, 0.4, 0.6, 1, 1.4, 1.6, 2.4, 2.6, 3]], np.float32)
    for discrete in (False, True):
        found = sample_mask(mask, x, x * 0, discrete=discrete)
        np.testing.assert_array_equal(found, [[1, 1, 255, 255, 255, 0, 0, 255, 255]])


def test_pixel_weights_are_sampled_linearly_whatever_their_precision():
    weights = np.array([[1, 5], [1, 5]])
    x = np.array([[0, 0.25, 1]], np.float32)
    for kind in (np.float16, np.float32, np.float64):
        found = sample_weights(weights.astype(kind), x, x * 0 + np.float32(0.5))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, [[1, 2, 5]])


# === Saved, erased, mixed ===


def scene(seed: int = 0, side: int = 64, bands: int = 3) -> Labelled:
    """A smooth picture with a mask and weights that are not each other's."""
    rows, columns = np.mgrid[:side, :side]
    image = np.stack([(rows * (2 + k) + columns + 40 * seed) % 200 for k in range(bands)], axis=-1).astype(np.uint8)
    weights = np.random.default_rng(seed).uniform(1, 9, (side, side)).astype(np.float32)
    return Labelled(image, blobs(side, side, seed), weights)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 6])
def test_a_jpeg_of_lower_quality_is_further_from_the_picture(bands):
    image = scene(bands=bands).image
    change = {}
    for strength in (10, 60, 95):
        found = [compress(image, Effect(strength=strength), np.random.default_rng(s)) for s in range(8)]
        assert all(f.shape == image.shape and f.dtype == np.uint8 for f in found)
        change[strength] = np.mean([np.abs(f.astype(int) - image).mean() for f in found])
    assert 0 < change[10] < change[60] < change[95] < 40


def test_red_stays_red_in_a_jpeg():
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0], image[..., 1] = 200, 60
    found = compress(image, Effect(strength=30), np.random.default_rng(0))
    assert np.abs(found.astype(int) - image).max() <= 4


def test_an_erased_rectangle_is_noise_and_no_larger_than_asked():
    image = np.full((80, 100, 3), 7, np.uint8)
    shapes = []
    for seed in range(60):
        found = erase(image, Effect(strength=0.5), np.random.default_rng(seed))
        rows, columns = (np.flatnonzero((found != 7).any(axis=(axis, 2))) for axis in (1, 0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert 0 < height * width <= 0.25 * 80 * 100 * 1.1  # whole pixels
        if height * width > 200:
            assert 90 < found[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() < 165
        shapes.append((height / width, rows[0], columns[0]))
    assert min(s[0] for s in shapes) < 0.5 and max(s[0] for s in shapes) > 2
    assert len(set(shapes)) > 50
    assert (image == 7).all()


def test_cutmix_puts_a_rectangle_of_another_crop_in_its_place():
    crop, other = scene(0), scene(1)
    shares = []
    for seed in range(80):
        found = cutmix(crop, lambda _: other, Effect(strength=0.5), np.random.default_rng(seed))
        moved = (found.weights == other.weights) & (found.weights != crop.weights)
        rows, columns = np.flatnonzero(moved.any(axis=1)), np.flatnonzero(moved.any(axis=0))
        place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        assert moved[place].all()
        for mixed, inside, outside in zip(found, other, crop, strict=True):
            expected = outside.copy()
            expected[place] = inside[place]
            np.testing.assert_array_equal(mixed, expected)
        shares.append(moved.mean())
    assert max(shares) <= 0.25 and 0.1 < np.mean(shares) < 0.16  # uniform in the area


def test_copy_paste_lays_whole_pieces_of_the_last_class_over_the_crop():
    crop, other = scene(0), scene(1)
    index = np.where(other.mask == 1, np.uint8(4), np.uint8(2))
    pieces = set()
    for seed in range(30):
        found = copy_paste(
            crop, lambda _: other._replace(mask=index), Chance(probability=1.0), 4, np.random.default_rng(seed)
        )
        moved = found.mask == 4
        assert moved.any() and (index[moved] == 4).all()
        np.testing.assert_array_equal(found.image, np.where(moved[..., None], other.image, crop.image))
        np.testing.assert_array_equal(found.mask, np.where(moved, 4, crop.mask))
        np.testing.assert_array_equal(found.weights, np.where(moved, other.weights, crop.weights))
        grown = moved.copy()  # a piece comes with all that it touches
        grown[1:] |= moved[:-1]
        grown[:-1] |= moved[1:]
        assert not (grown & ~moved & (index == 4)).any()
        pieces.add(moved.tobytes())
    assert len(pieces) > 1


def test_copy_paste_of_a_crop_without_the_class_changes_nothing():
    crop, other = scene(0), scene(1)
    bare = other._replace(mask=np.zeros_like(other.mask))
    assert copy_paste(crop, lambda _: bare, Chance(probability=1.0), 1, np.random.default_rng(0)) is crop


def test_another_crop_is_made_only_when_it_is_needed():
    def never(rng):
        raise AssertionError("made")

    crop = scene()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        assert cutmix(crop, never, Effect(strength=0.5, probability=0.0), rng) is crop
        assert copy_paste(crop, never, Chance(probability=0.0), 1, rng) is crop
    act = Perturbation(PerturbConfig(), 32)
    act.labelled(crop, np.random.default_rng(0), never)


@pytest.mark.parametrize("name", [*COLOURS, *MIXING])
def test_turning_an_effect_on_leaves_the_draws_of_all_others(name):
    """Seen in what is left of the picture where the others were all there is."""
    others = [n for n in (*GEOMETRIC, "jpeg", "erasing", *MIXING) if n != name]
    without = only(*others)
    image, second = scene(0, 90), scene(1, 90)
    for seed in range(4):
        plain, more = (
            Perturbation(msgspec.structs.replace(without, **{name: effect}), 48).labelled(
                image, np.random.default_rng(seed), lambda _: second
            )
            for effect in (getattr(NOTHING, name), getattr(only(name), name))
        )
        if name in COLOURS:  # same place, same pieces, same rectangles
            np.testing.assert_array_equal(plain.mask, more.mask)
            np.testing.assert_array_equal(plain.weights, more.weights)
        else:  # the same place, where nothing was laid over it
            same = plain.weights == more.weights
            assert 0.3 < same.mean() < 1
            np.testing.assert_array_equal(plain.mask[same], more.mask[same])


def test_a_generator_that_is_used_again_gives_other_crops():
    rng = np.random.default_rng(0)
    act = Perturbation(only("erasing", *MIXING, strength=2), 64)
    image = scene()
    assert len({act.labelled(image, rng, lambda _: scene(1)).image.tobytes() for _ in range(6)}) == 6
