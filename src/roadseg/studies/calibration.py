"""What probabilities mean: reliability, temperature, thresholds, another share of roads. NumPy on histograms, no files.

Calibration is done on out-of-fold probabilities: those of images that the model was not trained on. All of it needs no
more than how often each probability occurs, in each class of the truth and each fold, so that memory does not grow with
the images. A threshold's score is told three ways: at 0.5, with the threshold that is best on these very images
(`score_in_sample`, too good), and nested: for each fold with the threshold that is best on the other folds
(`score_nested`, what may be hoped for on new images).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, DataError
from ..imagery.described import IGNORED
from ..roads.patches import PATCH

__all__ = [
    "LEVELS",
    "THRESHOLDS",
    "Histogram",
    "apply_temperature",
    "calibrate",
    "expected_calibration_error",
    "fit_temperature",
    "patch_levels",
    "reliability",
    "shift_prior",
    "to_levels",
]

LEVELS = 65536  # a probability p is kept as round(65535 p), what a 16-bit map holds
BINS = 15  # of the reliability diagram; Guo et al. 2017
THRESHOLDS = np.arange(1, 200) / 200  # the candidates
FIRST_ABOVE = np.arange(1, 200) * (LEVELS - 1) // 200 + 1  # lowest level that is above each of them
HALF = len(THRESHOLDS) // 2
TEMPERATURES = (0.05, 20.0)

Fractions = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # (T, 2, 2) counts (truth, found) -> (T,) scores
Weights = tuple[float, float]  # of background and of road


@dataclass
class Histogram:
    """How often each probability occurs, by truth (background, road); they add up over images.

    Attributes:
        pixels: (2, LEVELS) int64, labelled pixels.
        patches: (2, LEVELS) int64, 16x16 patches by `patch_levels`.

    Of several classes, the probability is that of the most probable one, and "road" says that it is right; there are
    no patches.
    """

    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, LEVELS), np.int64))
    patches: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, LEVELS), np.int64))

    def __add__(self, other: "Histogram") -> "Histogram":
        return Histogram(self.pixels + other.pixels, self.patches + other.patches)

    def add(self, levels: NDArray[np.uint16], truth: NDArray[np.uint8], patch_threshold: float = 0.25) -> None:
        """Take in one image.

        Args:
            levels: (H, W, K) uint16, probabilities 0..65535: of the road (K = 1), or of each of K classes.
            truth: (H, W) uint8 class position; pixels that are `IGNORED` (255) do not count.
            patch_threshold: a patch is road when the mean of its mask is strictly above it.
        """
        known = truth != IGNORED
        if levels.shape[-1] == 1:
            level, is_road = levels[..., 0], truth == 1
            labels, found = patch_levels(level, truth, patch_threshold)
            self.patches += _counts(found, labels)
        else:
            level, is_road = levels.max(-1), levels.argmax(-1) == truth
        self.pixels += _counts(level[known], is_road[known])


def _counts(levels: NDArray[Any], truth: NDArray[np.bool_]) -> NDArray[np.int64]:
    both = levels.astype(np.int64) + LEVELS * truth
    return np.bincount(both.ravel(), minlength=2 * LEVELS).reshape(2, LEVELS).astype(np.int64)


def to_levels(probabilities: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Probabilities in [0, 1] of any shape as uint16, 65535 = 1."""
    return np.asarray(np.rint(np.clip(probabilities, 0, 1) * np.float32(LEVELS - 1)), np.uint16)


def patch_levels(
    levels: NDArray[np.uint16], truth: NDArray[np.uint8], patch_threshold: float = 0.25
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Each 16x16 patch's label, and the level above which a pixel threshold finds no road in it.

    A patch is found to be road when more than `patch_threshold` of its pixels are above the pixel threshold: when the
    k-th highest of them is, k being the least number that is more than that share. So one number says at which
    thresholds a patch is road, and patches can be counted as pixels are.

    Args:
        levels: (H, W) uint16. truth: (H, W) uint8, `IGNORED` where unlabelled: a patch is judged by its other pixels.

    Returns:
        Labels (P,) bool and levels (P,) int64, of the P patches with a labelled pixel; partial ones at the border too.
    """
    height, width = truth.shape
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    known = truth != IGNORED
    padded = np.full((rows * PATCH, columns * PATCH), -1, np.int32)
    padded[:height, :width] = np.where(known, levels, np.int32(-1))
    road = np.zeros(padded.shape, np.int32)
    road[:height, :width] = truth == 1

    def by_patch(values: NDArray[np.int32]) -> NDArray[np.int32]:
        return values.reshape(rows, PATCH, columns, PATCH).swapaxes(1, 2).reshape(-1, PATCH * PATCH)

    values, roads = by_patch(padded), by_patch(road).sum(1)
    counts = (values >= 0).sum(1)
    there = counts > 0
    values, roads, counts = np.sort(values[there], axis=1)[:, ::-1], roads[there], counts[there]
    # The least number of pixels whose share is above, in patches of 1, 2, ... labelled ones; one more than there are
    # where all of them would not do.
    numbers = np.arange(1, PATCH**2 + 2)
    least = numbers[(numbers / numbers[:-1, None] > patch_threshold).argmax(1)][counts - 1]
    found = np.take_along_axis(values, np.minimum(least, PATCH**2)[:, None] - 1, 1)[:, 0].astype(np.int64)
    found[least > counts] = 0  # above no threshold
    return roads / counts > patch_threshold, found


# --- reliability and temperature -------------------------------------------------------------------------------------


def reliability(pixels: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The reliability diagram: in 15 equal bins, the mean probability of road beside the share that is road.

    Args:
        pixels: (2, LEVELS) counts, see `Histogram`.

    Returns:
        `low`, `high`, `mean_probability`, `road_share` (None where there are no pixels), `pixels` of each bin.
    """
    return [
        {
            "low": k / BINS,
            "high": (k + 1) / BINS,
            "mean_probability": float(total / count) if count else None,
            "road_share": float(roads / count) if count else None,
            "pixels": int(count),
        }
        for k, (count, total, roads) in enumerate(_bins(pixels).T)
    ]


def expected_calibration_error(parts: Sequence[tuple[NDArray[np.int64], float]]) -> float:
    """Mean distance of probability and frequency over the bins of `reliability`, weighted by their pixels, 0..1.

    Guo, Pleiss, Sun and Weinberger 2017, arXiv:1706.04599, there for the probability of the top class; of two classes
    we take the road's, for that is what is thresholded.

    Args:
        parts: (2, LEVELS) counts, see `Histogram`, each with the temperature that its probabilities are divided by.

    Raises:
        DataError: no labelled pixel.
    """
    counts, sums, roads = np.sum([_bins(pixels, temperature) for pixels, temperature in parts], axis=0)
    if not counts.any():
        raise DataError("no labelled pixel to calibrate on")
    return float(np.abs(sums - roads).sum() / counts.sum())


def _bins(pixels: NDArray[np.int64], temperature: float = 1.0) -> NDArray[np.float64]:
    """(3, 15): pixels, their probabilities' sum, and road pixels in each bin."""
    p = apply_temperature(np.arange(LEVELS) / (LEVELS - 1), temperature)
    place = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    total = pixels.sum(0)
    return np.array([np.bincount(place, weights, BINS) for weights in (total, total * p, pixels[1])])


def apply_temperature(p: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    """Probabilities with their logits divided by `temperature`: above 1 they move to 0.5 (Guo et al. 2017)."""
    p = np.asarray(p, np.float64)
    if temperature == 1:
        return p
    return _sigmoid(_logits(p) / temperature)


def _logits(p: NDArray[np.float64]) -> NDArray[np.float64]:
    least = 0.5 / (LEVELS - 1)  # what a 16-bit 0 stands for lies below
    p = np.clip(p, least, 1 - least)
    return np.asarray(np.log(p) - np.log1p(-p))


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-np.logaddexp(0, -x)))


def fit_temperature(pixels: NDArray[np.int64]) -> float:
    """The temperature, 0.05..20, under which the truth is most likely; above 1: the model is too sure of itself.

    Args:
        pixels: (2, LEVELS) counts, see `Histogram`.
    """
    from scipy.optimize import minimize_scalar

    logits = _logits(np.arange(LEVELS) / (LEVELS - 1))
    total = max(1, int(pixels.sum()))

    def cost(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(pixels[1] @ np.logaddexp(0, -scaled) + pixels[0] @ np.logaddexp(0, scaled)) / total

    found = minimize_scalar(cost, bounds=tuple(np.log(TEMPERATURES)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


# --- another share of roads ------------------------------------------------------------------------------------------


def shift_prior(p: NDArray[Any], share_from: float, share_to: float) -> NDArray[np.float64]:
    """Probabilities of road for images with another share of it (Saerens, Latinne and Decaestecker 2002, equation 4).

    The odds are multiplied by the ratio of the prior odds. It is assumed that roads look alike, and so does the
    background, and only how much there is of each differs; and that `p` is calibrated for the share it comes from.

    Args:
        p: probabilities in [0, 1], any shape.
        share_from, share_to: share of road where `p` was learnt, and where it is to be used; above 0, below 1.

    Raises:
        ConfigError: a share that is 0, 1 or none.
    """
    for share in (share_from, share_to):
        _check_share(share)
    p = np.asarray(p, np.float64)
    road = p * share_to / share_from
    return np.asarray(road / (road + (1 - p) * (1 - share_to) / (1 - share_from)))


def _check_share(share: float, name: str = "share of road") -> None:
    if not 0 < share < 1:
        raise ConfigError(f"{name} {share:g}: expected a share above 0 and below 1, e.g. 0.16")


def _weights(counts: NDArray[np.int64], share: float | None) -> Weights:
    """How much a pixel or patch of each class counts so that road has this `share`."""
    if share is None:
        return 1.0, 1.0
    here = float(counts[1].sum() / max(1, counts.sum()))
    if not 0 < here < 1:
        raise DataError(
            f"a share of road of {share:g} was stated, but here {here:.0%} is road: there is nothing to weigh it with"
        )
    return (1 - share) / (1 - here), share / here


# --- thresholds ------------------------------------------------------------------------------------------------------


def _f1(c: NDArray[np.float64]) -> NDArray[np.float64]:
    return _ratio(2 * c[:, 1, 1], 2 * c[:, 1, 1] + c[:, 0, 1] + c[:, 1, 0])


def _iou(c: NDArray[np.float64]) -> NDArray[np.float64]:
    return _ratio(c[:, 1, 1], c[:, 1, 1] + c[:, 0, 1] + c[:, 1, 0])


def _accuracy(c: NDArray[np.float64]) -> NDArray[np.float64]:
    return _ratio(c[:, 0, 0] + c[:, 1, 1], c.sum((1, 2)))


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(below > 0, above / np.where(below > 0, below, 1), 1.0)  # nothing to find and nothing found: 1


SCORES: dict[str, tuple[str, Fractions]] = {  # what is counted, and the score
    "pixel_f1": ("pixels", _f1),
    "pixel_iou": ("pixels", _iou),
    "patch_accuracy": ("patches", _accuracy),
    "patch_f1": ("patches", _f1),
}


def _confusions(counts: NDArray[np.int64], weights: Weights) -> NDArray[np.float64]:
    """(T, 2, 2) weighted counts (truth, found) at each of THRESHOLDS."""
    from_below = np.concatenate([np.zeros((2, 1), np.int64), np.cumsum(counts, 1)], 1)
    missed = from_below[:, FIRST_ABOVE]  # (2, T) found to be background
    found = counts.sum(1, keepdims=True) - missed
    both = np.stack([missed, found], -1) * np.asarray(weights)[:, None, None]
    return np.asarray(both.swapaxes(0, 1), np.float64)


def _best(scores: NDArray[np.float64]) -> int:
    """Index of the best threshold; of equals the one that is nearest to 0.5."""
    equals = np.flatnonzero(scores >= scores.max() - 1e-12)
    return int(equals[np.abs(THRESHOLDS[equals] - 0.5).argmin()])


def _threshold(
    folds: Sequence[NDArray[np.int64]], score: Fractions, weigh: Callable[[NDArray[np.int64]], Weights]
) -> dict[str, Any]:
    """The entry of one score: the threshold chosen on all folds, and the scores that tell what it is worth."""
    total = np.sum(folds, axis=0)
    weights = weigh(total)
    everywhere = _confusions(total, weights)
    scores = score(everywhere)
    chosen: list[int] = []
    nested = np.zeros((2, 2))
    for counts in folds:
        others = total - counts
        chosen.append(_best(score(_confusions(others, weigh(others)))))
        nested += _confusions(counts, weights)[chosen[-1]]
    best = _best(scores)
    return {
        "threshold": float(THRESHOLDS[best]),
        "score_at_half": float(scores[HALF]),
        "score_nested": float(score(nested[None])[0]),
        "score_in_sample": float(scores[best]),
        "per_fold": [float(THRESHOLDS[k]) for k in chosen],  # each chosen on the other folds
    }


def calibrate(folds: Mapping[int, Histogram], *, classes: int = 2, road_share: float | None = None) -> dict[str, Any]:
    """All of `calibration.json`, from the out-of-fold probabilities of each fold.

    Args:
        folds: at least two, by number.
        classes: with more than two there is the calibration error of the top class, and no threshold; those are None.
        road_share: share of 16x16 patches that are road in the images to come, above 0 and below 1. Thresholds are
            then chosen and scored with each class weighted by its share there over its share here: w = s / s0 for
            road, (1 - s) / (1 - s0) for the rest. The share of road pixels is taken to change in proportion to that of
            the patches. As in `shift_prior`, only the shares are assumed to differ, not what roads look like.

    Returns:
        `n_pixels` (labelled), `road_share_pixels`, `road_share_patches`, `stated_road_share`; `temperature` of all
        folds, `ece`, and `ece_after` with each fold's temperature fitted on the other folds; `reliability`;
        `thresholds`: of each score the `threshold` and what it is worth.

    Raises:
        ConfigError: a share that is none.
        DataError: no labelled pixel; a stated share where no patch, or every one, is road.
    """
    binary = classes == 2
    if road_share is not None:
        if not binary:
            raise ConfigError(f"--road-share is for two classes, here are {classes}")
        _check_share(road_share, "--road-share")
    parts = list(folds.values())
    total = sum(parts[1:], parts[0])
    answer: dict[str, Any] = {
        "version": 1,
        "n_pixels": int(total.pixels.sum()),
        "road_share_pixels": None,
        "road_share_patches": None,
        "stated_road_share": road_share,
        "temperature": None,
        "ece": expected_calibration_error([(total.pixels, 1.0)]),
        "ece_after": None,
        "reliability": None,
        "thresholds": None,
    }
    if not binary:
        return answer
    in_pixels, in_patches = (float(c[1].sum() / max(1, c.sum())) for c in (total.pixels, total.patches))
    aims: dict[str, float | None] = {"pixels": None, "patches": road_share}
    if road_share is not None:
        _weights(total.patches, road_share)  # says so where it cannot be done
        of_pixels = in_pixels * road_share / in_patches
        if not 0 < of_pixels < 1:
            raise ConfigError(f"--road-share {road_share:g} would make {of_pixels:.0%} of the pixels road")
        aims["pixels"] = of_pixels
    nested = [(part.pixels, fit_temperature(total.pixels - part.pixels)) for part in parts]
    answer |= {
        "road_share_pixels": in_pixels,
        "road_share_patches": in_patches,
        "temperature": fit_temperature(total.pixels),
        "ece_after": expected_calibration_error(nested),
        "reliability": reliability(total.pixels),
    }
    answer["thresholds"] = {}
    for name, (kind, score) in SCORES.items():
        aim = aims[kind]
        counts = [getattr(part, kind) for part in parts]
        answer["thresholds"][name] = _threshold(counts, score, lambda c, aim=aim: _weights(c, aim))  # type: ignore[misc]
    return answer
