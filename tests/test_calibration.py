"""Calibration from histograms: against brute force on the pixels, and on simulated data whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.errors import ConfigError, DataError
from roadseg.imagery.described import IGNORED
from roadseg.scores import Scores, score_image
from roadseg.studies.calibration import (
    LEVELS,
    THRESHOLDS,
    Histogram,
    apply_temperature,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    patch_levels,
    reliability,
    shift_prior,
    to_levels,
)

Image = tuple[np.ndarray, np.ndarray]  # levels (H, W, 1) uint16, truth (H, W) uint8


def image(seed: int, height: int, width: int, unlabelled: float = 0.0) -> Image:
    """Noisy probabilities of a block of road; levels are coarse, so that equal ones occur."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((height, width), np.uint8)
    truth[height // 4 : height // 4 + 9, : width // 2 + 1] = 1
    p = np.clip(0.25 + 0.4 * truth + rng.normal(0, 0.2, truth.shape), 0, 1)
    truth[rng.random(truth.shape) < unlabelled] = IGNORED
    return (to_levels(p.astype(np.float32)) // 3000 * 3000)[..., None], truth


def histogram_of(*images: Image, patch_threshold: float = 0.25) -> Histogram:
    total = Histogram()
    for levels, truth in images:
        total.add(levels, truth, patch_threshold)
    return total


def scores_at(threshold: float, *images: Image) -> Scores:
    """From the masks themselves."""
    return Scores.pool(
        score_image(truth, np.asarray(levels[..., 0] / (LEVELS - 1) > threshold, np.uint8)) for levels, truth in images
    )


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 999),
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    unlabelled=st.sampled_from([0.0, 0.3, 1.0]),
    patch_threshold=st.sampled_from([0.0, 0.25, 0.3, 0.5, 1.0]),
    threshold=st.sampled_from([0.0, 0.2, 0.25, 0.5, 0.6, 0.995]),
)
def test_patch_levels_are_the_contests_rule_at_every_threshold(
    seed: int, height: int, width: int, unlabelled: float, patch_threshold: float, threshold: float
) -> None:
    levels, truth = image(seed, height, width, unlabelled)
    found = np.asarray(levels[..., 0] > threshold * (LEVELS - 1), np.uint8)
    expected = score_image(truth, found, patch_threshold=patch_threshold).patches
    labels, level = patch_levels(levels[..., 0], truth, patch_threshold)
    above = level > threshold * (LEVELS - 1)
    both = [[int(((labels == t) & (above == f)).sum()) for f in (False, True)] for t in (False, True)]
    np.testing.assert_array_equal(both, expected)


def test_thresholds_are_those_of_trying_all_of_them_on_the_masks() -> None:
    folds = [[image(2 * k, 61, 50, 0.1), image(2 * k + 1, 40, 70)] for k in range(3)]
    found = calibrate({k: histogram_of(*images) for k, images in enumerate(folds)})["thresholds"]
    everything = [one for images in folds for one in images]
    for name in ("pixel_f1", "pixel_iou", "patch_accuracy", "patch_f1"):
        entry = found[name]
        tried = [scores_at(t, *everything).to_dict()[name] for t in THRESHOLDS]
        assert entry["score_at_half"] == pytest.approx(scores_at(0.5, *everything).to_dict()[name])
        assert entry["score_in_sample"] == pytest.approx(max(tried))
        assert scores_at(entry["threshold"], *everything).to_dict()[name] == pytest.approx(max(tried))
        parts = []
        for k, images in enumerate(folds):  # chosen where it is not scored
            others = [one for j, other in enumerate(folds) if j != k for one in other]
            best = [scores_at(t, *others).to_dict()[name] for t in THRESHOLDS]
            chosen = entry["per_fold"][k]
            assert scores_at(chosen, *others).to_dict()[name] == pytest.approx(max(best))
            parts.append(scores_at(chosen, *images))
        assert entry["score_nested"] == pytest.approx(Scores.pool(parts).to_dict()[name])
    assert found["pixel_f1"]["score_in_sample"] > found["pixel_f1"]["score_at_half"]


def test_of_equal_thresholds_the_one_nearest_to_a_half_is_taken() -> None:
    truth = np.zeros((32, 32), np.uint8)
    truth[:16] = 1
    sure = (truth * np.uint16(LEVELS - 1))[..., None]
    found = calibrate({0: histogram_of((sure, truth)), 1: histogram_of((sure, truth))})["thresholds"]
    for entry in found.values():
        assert entry["threshold"] == 0.5 and entry["per_fold"] == [0.5, 0.5]
        assert entry["score_nested"] == entry["score_at_half"] == 1


def test_the_middle_level_is_above_a_half_and_what_is_below_is_not() -> None:
    p = np.array([0.4999, 0.50001, 1.0, 0.0], np.float32)
    np.testing.assert_array_equal(to_levels(p) > 0.5 * (LEVELS - 1), p > 0.5)


# --- reliability and temperature --------------------------------------------------------------------------------------


def counts(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(2, LEVELS) of single pixels."""
    both = to_levels(p.astype(np.float32)).astype(np.int64) + LEVELS * truth
    return np.bincount(both, minlength=2 * LEVELS).reshape(2, LEVELS)


def test_an_example_by_hand() -> None:
    p = np.array([0.25] * 4 + [0.9] * 10)
    truth = np.array([1, 0, 0, 0] + [1, 0] * 5)
    bins = reliability(counts(p, truth))
    assert [(b["pixels"], b["road_share"]) for b in bins if b["pixels"]] == [(4, 0.25), (10, 0.5)]
    assert bins[3]["mean_probability"] == pytest.approx(0.25, abs=1e-5) and bins[0]["mean_probability"] is None
    assert (len(bins), bins[0]["low"], bins[-1]["high"]) == (15, 0, 1)
    assert expected_calibration_error([(counts(p, truth), 1.0)]) == pytest.approx(10 / 14 * 0.4, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_simulated_overconfidence_is_found(temperature: float) -> None:
    rng = np.random.default_rng(1)
    true = rng.beta(0.7, 1.5, 200_000).clip(0.002, 0.998)
    truth = (rng.random(true.size) < true).astype(np.int64)
    told = apply_temperature(true, 1 / temperature)  # logits times the temperature: too sure where it is above 1
    parts = [counts(told[k::2], truth[k::2]) for k in range(2)]
    found = calibrate({k: Histogram(part) for k, part in enumerate(parts)})
    assert found["temperature"] == pytest.approx(temperature, rel=0.03)
    assert fit_temperature(parts[0]) == pytest.approx(temperature, rel=0.05)
    assert found["ece_after"] < 0.005
    if temperature == 1:
        assert found["ece"] < 0.005
    else:
        assert found["ece"] > 5 * found["ece_after"]
    assert found["n_pixels"] == true.size and found["road_share_pixels"] == pytest.approx(truth.mean())


def test_nothing_labelled_is_an_error() -> None:
    empty = np.zeros((20, 20, 1), np.uint16), np.full((20, 20), IGNORED, np.uint8)
    with pytest.raises(DataError, match="no labelled pixel"):
        calibrate({0: histogram_of(empty), 1: histogram_of(empty)})


def test_of_several_classes_there_is_the_error_of_the_top_class_alone() -> None:
    levels = np.zeros((16, 16, 3), np.uint16)
    levels[..., 2] = to_levels(np.float32(0.8))
    truth = np.full((16, 16), 2, np.uint8)
    truth[:8] = 1
    found = calibrate({0: histogram_of((levels, truth)), 1: histogram_of((levels, truth))}, classes=3)
    assert found["ece"] == pytest.approx(0.3, abs=1e-4) and found["n_pixels"] == 512
    assert found["thresholds"] is None and found["temperature"] is None and found["reliability"] is None
    with pytest.raises(ConfigError, match="two classes"):
        calibrate({0: histogram_of((levels, truth))}, classes=3, road_share=0.2)


# --- another share of roads -------------------------------------------------------------------------------------------


def test_shifting_the_prior_is_bayes_rule_on_two_normal_densities() -> None:
    x = np.linspace(-3, 4, 50)
    road, background = np.exp(-((x - 1) ** 2) / 2), np.exp(-(x**2) / 2)

    def posterior(share: float) -> np.ndarray:
        return share * road / (share * road + (1 - share) * background)

    np.testing.assert_allclose(shift_prior(posterior(0.26), 0.26, 0.16), posterior(0.16), rtol=1e-12)


@given(p=st.floats(0, 1), first=st.floats(0.01, 0.99), second=st.floats(0.01, 0.99))
def test_shifting_back_gives_what_was(p: float, first: float, second: float) -> None:
    there = float(shift_prior(np.array(p), first, second))
    assert 0 <= there <= 1 and (there - p) * (second - first) >= -1e-12
    assert float(shift_prior(np.array(there), second, first)) == pytest.approx(p, abs=1e-9)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="above 0 and below 1"):
        shift_prior(np.array(0.5), 0.2, share)
    one = histogram_of(image(0, 48, 48))
    with pytest.raises(ConfigError, match="--road-share"):
        calibrate({0: one, 1: one}, road_share=share)


def simulated(share: float, n: int, seed: int) -> Histogram:
    """Patches and pixels whose levels have one density for road and one for background, whatever their shares."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < share).astype(np.int64)
    p = np.clip(rng.normal(0.35 + 0.3 * truth, 0.15), 0, 1)
    return Histogram(counts(p, truth), counts(p, truth))


def test_a_stated_share_finds_the_threshold_of_images_with_that_share() -> None:
    here = {k: simulated(0.4, 100_000, k) for k in range(2)}
    there = calibrate({k: simulated(0.1, 100_000, 10 + k) for k in range(2)})
    plain, stated = calibrate(here), calibrate(here, road_share=0.1)
    assert stated["stated_road_share"] == 0.1 and stated["road_share_patches"] == pytest.approx(0.4, abs=0.005)
    for name in ("patch_accuracy", "patch_f1", "pixel_f1", "pixel_iou"):
        ours, aim = stated["thresholds"][name], there["thresholds"][name]
        assert ours["threshold"] == pytest.approx(aim["threshold"], abs=0.03)
        assert ours["threshold"] > plain["thresholds"][name]["threshold"] + 0.02
        for score in ("score_at_half", "score_nested", "score_in_sample"):
            assert ours[score] == pytest.approx(aim[score], abs=0.01)
    accuracy = stated["thresholds"]["patch_accuracy"]
    # Two normal densities: where 0.1 N(.65, .15) and 0.9 N(.35, .15) meet
    assert accuracy["threshold"] == pytest.approx(0.5 + 0.15**2 / 0.3 * np.log(9), abs=0.025)
    assert stated["ece"] == plain["ece"]  # told of these images as they are


def test_the_share_of_pixels_follows_that_of_the_patches() -> None:
    rare, common = simulated(0.1, 50_000, 1).pixels, simulated(0.4, 50_000, 2).patches
    found = calibrate({k: Histogram(rare, common) for k in range(2)}, road_share=0.2)  # 10 % pixels become 5 %
    aim = calibrate({k: Histogram(simulated(0.05, 200_000, 5).pixels, common) for k in range(2)})
    assert found["thresholds"]["pixel_f1"]["score_at_half"] == pytest.approx(
        aim["thresholds"]["pixel_f1"]["score_at_half"], abs=0.02
    )


def test_without_a_road_no_share_can_be_stated() -> None:
    empty = np.zeros((20, 20, 1), np.uint16), np.zeros((20, 20), np.uint8)
    folds = {0: histogram_of(empty), 1: histogram_of(empty)}
    assert calibrate(folds)["thresholds"]["pixel_f1"]["score_nested"] == 1
    with pytest.raises(DataError, match="nothing to weigh it with"):
        calibrate(folds, road_share=0.16)
