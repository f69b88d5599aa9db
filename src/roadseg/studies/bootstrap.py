"""Bootstrap over held-out images: would the same trained models differ as much on other images?

It takes the models as they are: what other training images or other seeds would change is not in its interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, RunError
from .records import ImageRecord, RunRecord, check_metric

__all__ = ["Counts", "Interval", "bootstrap"]

CHUNK = 1000  # resamples at a time: a few MB


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, both infinite where nothing can be said."""

    low: float
    high: float


@dataclass(frozen=True)
class Counts:
    """Confusion matrices (truth, found) of each image by each seed; seeds of another split of the folds are seeds too.

    Attributes:
        pixels: (seeds, images, K, K) int64, K classes.
        patches: (seeds, images, 2, 2) int64.
        stems: names of the images, sorted.
            Groups of images in place of images after `by_group`.
        seen: (seeds, images) bool, False where a seed has no run that held this image out (its counts are 0).
    """

    pixels: NDArray[np.int64]
    patches: NDArray[np.int64]
    stems: tuple[str, ...]
    seen: NDArray[np.bool_]

    @classmethod
    def of(cls, records: Sequence[RunRecord]) -> "Counts":
        """The held-out images of all folds put together, by seed.

        Of two variants, give the runs that `statistics.paired_runs` has found in common: both then have the same
        images and seeds at the same places.

        Raises:
            RunError: no run; an image that one seed has twice, or that differs in content between runs.
        """
        found: dict[tuple[int, int], dict[str, ImageRecord]] = {}
        hashes: dict[str, str] = {}
        for record in records:
            images = found.setdefault((record.fold_seed, record.seed), {})
            for stem, image in record.images.items():
                if stem in images:
                    raise RunError(f"'{record.variant}', seed {record.seed}: two runs held out '{stem}'; keep one")
                if hashes.setdefault(stem, image.hash) != image.hash:
                    raise RunError(f"'{record.variant}': image '{stem}' is not the same in all runs; train on one set")
                images[stem] = image
        if not hashes:
            raise RunError("no held-out image to resample: there is no finished run")
        stems = tuple(sorted(hashes))
        classes = len(next(iter(next(iter(found.values())).values())).pixels)
        seen = np.zeros((len(found), len(stems)), np.bool_)
        pixels = np.zeros((*seen.shape, classes, classes), np.int64)
        patches = np.zeros((*seen.shape, 2, 2), np.int64)
        for row, (_, images) in enumerate(sorted(found.items())):
            for column, stem in enumerate(stems):
                if stem in images:
                    seen[row, column] = True
                    pixels[row, column] = images[stem].pixels
                    patches[row, column] = images[stem].patches
        return cls(pixels, patches, stems, seen)

    def by_group(self, groups: Mapping[str, str]) -> "Counts":
        """Counts of groups in place of images: what belongs together (a site, a raster's tiles) is drawn together.

        Args:
            groups: of each stem; an image whose stem is not in it stands alone.
        """
        names = [groups.get(stem, stem) for stem in self.stems]
        rows = sorted(set(names))
        member = np.zeros((len(rows), len(names)), np.int64)
        member[[rows.index(name) for name in names], np.arange(len(names))] = 1
        pixels = np.einsum("gi,si...->sg...", member, self.pixels)
        patches = np.einsum("gi,si...->sg...", member, self.patches)
        return Counts(pixels, patches, tuple(rows), (self.seen @ member.T) > 0)

    def score(self, metric: str) -> float:
        """A score of `records.METRICS`: pooled over the images of each seed, then the mean over the seeds.

        A seed counts by the images it has.

        Raises:
            ConfigError: an unknown metric, or one that these classes do not have.
        """
        return float(_scores(self, metric, np.ones((1, len(self.stems))))[0])


def bootstrap(
    ours: Counts,
    baseline: Counts,
    metric: str,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Interval of the difference of pooled scores, ours minus the baseline's, over resamples of the images.

    Images are drawn with replacement; all seeds of an image, ours and the baseline's, are drawn together. The ends
    are percentiles (Efron 1979), set further out as a t interval is than a normal one and by the n - 1 of a sample's
    variance: Hesterberg 2015 (What Teachers Should Know About the Bootstrap, section 5.3), "expanded percentile".
    The same seed gives the same interval. A single image gives an interval without ends.

    Raises:
        ConfigError: an unknown metric, or one that these classes do not have; a confidence not between 0 and 1.
        RunError: ours and the baseline have other images or numbers of seeds.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence {confidence:g}: expected a share above 0 and below 1, e.g. 0.95")
    if ours.stems != baseline.stems or not np.array_equal(ours.seen, baseline.seen):
        raise RunError("the two sides of a bootstrap have other images or seeds: pair their runs first")
    images = len(ours.stems)
    rng = np.random.default_rng(seed)
    parts = []
    for start in range(0, resamples, CHUNK):
        drawn = rng.multinomial(images, np.full(images, 1 / images), size=min(CHUNK, resamples - start))
        weights = drawn.astype(np.float64)
        parts.append(_scores(ours, metric, weights) - _scores(baseline, metric, weights))
    if images == 1:
        return Interval(-math.inf, math.inf)
    tail = _tail(images, confidence)
    low, high = np.quantile(np.concatenate(parts), [tail, 1 - tail])
    return Interval(float(low), float(high))


def _tail(images: int, confidence: float) -> float:
    """Share of the resamples beyond each end."""
    from scipy import special

    reach = float(special.stdtrit(images - 1, (1 + confidence) / 2)) * math.sqrt(images / (images - 1))
    return float(special.ndtr(-reach))


def _scores(counts: Counts, metric: str, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(resamples,): the score of each resample, given how often it has each image: (resamples, images)."""
    check_metric(metric, counts.pixels.shape[-1])
    of, _, score = metric.partition("_")
    matrices = counts.pixels if of == "pixel" else counts.patches
    seeds, images, classes = matrices.shape[:3]
    flat = np.moveaxis(matrices, 1, 0).reshape(images, -1).astype(np.float64)  # exact: counts are far below 2**53
    pooled = (weights @ flat).reshape(len(weights), seeds, classes, classes)
    share = weights @ counts.seen.T.astype(np.float64)  # images that each seed has in a resample
    found: NDArray[np.float64] = (_fraction(pooled, score) * share).sum(1) / share.sum(1)
    return found


def _fraction(matrix: NDArray[np.float64], score: str) -> NDArray[np.float64]:
    """(...): accuracy, IoU or F1 of confusion matrices (..., K, K), by the rules of `scores.Scores`."""
    hit = np.diagonal(matrix, axis1=-2, axis2=-1)
    if score == "accuracy":
        return _divide(hit.sum(-1), matrix.sum((-2, -1)), 1.0)
    found, truth = matrix.sum(-2), matrix.sum(-1)
    rows = slice(1, 2) if matrix.shape[-1] == 2 else slice(None)
    tp, fp, fn = hit[..., rows], (found - hit)[..., rows], (truth - hit)[..., rows]
    above, below = (tp, tp + fp + fn) if score == "iou" else (2 * tp, 2 * tp + fp + fn)
    return _divide(_divide(above, below, 0.0).sum(-1), (below > 0).sum(-1).astype(np.float64), 1.0)


def _divide(above: NDArray[np.float64], below: NDArray[np.float64], empty: float) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.full_like(below, empty), where=below > 0)
