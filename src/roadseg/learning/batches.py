"""Training batches: random perturbed crops, each a function of (seed, position) alone, made ahead of the step."""

import math
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..errors import ConfigError
from ..imagery.dataset import Sample
from ..imagery.masks import IGNORED
from ..imagery.resample import resample, resample_mask
from ..imagery.store import PixelStore
from .augment import Labelled, Perturbation

__all__ = ["TrainingBatches", "prefetch", "rescale", "sampling_factors", "weighed"]

FINE = 8  # times as many crops in a round where images are shown more or less often than their area asks for

T = TypeVar("T")
Weigh = Callable[[NDArray[np.uint8]], NDArray[np.floating[Any]]]


def _scaled(shape: tuple[int, ...], scale: float) -> tuple[int, int]:
    height, width = (max(1, round(side * scale)) for side in shape)
    return height, width


def rescale(sample: Sample, scale: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image (H, W, C) and mask (H, W) of a sample resampled by `scale`; masks take the nearest pixel, never a blend.

    What the sample says is no data is `IGNORED` in the mask.
    """
    mask = sample.mask
    if sample.valid is not None and not sample.valid.all():
        mask = np.where(sample.valid, mask, np.uint8(IGNORED))
    if scale == 1:
        return sample.image, mask
    height, width = _scaled(mask.shape, scale)
    return resample(sample.image, height, width), resample_mask(mask, height, width)


def _rescaled(
    samples: Sequence[Sample], scale: float, store: PixelStore | None
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """`rescale` of each sample; what it makes anew goes to the store."""
    if store is None:
        return [rescale(s, scale) for s in samples]
    resampled = scale != 1  # else the images are what they were
    made = [resampled or (s.valid is not None and not s.valid.all()) for s in samples]
    fresh = [s for s, new in zip(samples, made, strict=True) if new]

    def rows() -> Iterator[tuple[NDArray[Any] | None, ...]]:
        for image, mask in (rescale(s, scale) for s in fresh):
            yield (image if resampled else None), mask

    size = sum(math.prod(_scaled(s.mask.shape, scale)) * (1 + resampled * s.image.shape[2]) for s in fresh)
    kept: Any = iter(store.keep(rows(), size) if fresh else ())
    pairs = []
    for sample, new in zip(samples, made, strict=True):
        image, mask = next(kept) if new else (None, sample.mask)
        pairs.append((sample.image if image is None else image, mask))
    return pairs


def weighed(masks: Sequence[NDArray[np.uint8]], weigh: Weigh, store: PixelStore | None) -> list[NDArray[np.float16]]:
    """The pixel weights of each mask (H, W); half precision keeps three digits of them in half the memory.

    Args:
        store: where they are kept; memory when None.

    Raises:
        OutputError: the store's folder cannot be written, or the disk is full.
    """
    rows = ((np.asarray(weigh(mask), np.float16),) for mask in masks)
    kept: Any = rows if store is None else store.keep(rows, 2 * sum(mask.size for mask in masks))
    return [weights for (weights,) in kept]


def sampling_factors(stems: Sequence[str], sampling: Mapping[str, float]) -> list[float]:
    """How much more often than its area asks for each image is shown: the product of the patterns found in its name.

    Raises:
        ConfigError: a pattern is no regular expression, or fits no image.
    """
    factors = [1.0] * len(stems)
    for pattern, factor in sampling.items():
        try:
            found = [re.search(pattern, stem) is not None for stem in stems]
        except re.error as error:
            raise ConfigError(f"data.sampling: '{pattern}' is no regular expression: {error}") from error
        if not any(found):
            raise ConfigError(f"data.sampling: '{pattern}' fits no training image; names are like '{stems[0]}'")
        factors = [had * factor if fits else had for had, fits in zip(factors, found, strict=True)]
    return factors


class TrainingBatches:
    """Random crops of the training images in an endless, reproducible order.

    Every image comes as often as its area (and `data.sampling`) asks for, in a new random order each round. Batch
    `step` depends on the seed and `step` alone: a resumed run goes on with the very batches it would have had. Crops of
    other images that `perturb.cutmix` and `perturb.copy_paste` take parts of are drawn likewise.

    Args:
        samples: training images and masks, in memory or mapped; where `valid` is False, the crops' masks are `IGNORED`.
        config: `data.scale`, `data.sampling`, `perturb`, `train.crop`, `train.batch`, `train.seed`.
        classes: number of classes; masks of more than two are sampled by nearest pixel.
        store: takes what is made of the samples once (resampled images, pixel weights); memory when None.
        weigh: mask (H, W) uint8 -> weights (H, W) of its pixels in the loss, at most 65504; called once an image, after
            it is resampled.

    Raises:
        ConfigError: see `sampling_factors`.
        OutputError: the store's folder cannot be written, or the disk is full.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        config: Config,
        classes: int = 2,
        store: PixelStore | None = None,
        weigh: Weigh | None = None,
    ) -> None:
        self.pairs = _rescaled(samples, config.data.scale, store)
        self.weights = None if weigh is None else weighed([mask for _, mask in self.pairs], weigh, store)
        self.batch = config.train.batch
        self.seed = config.train.seed
        self.perturbation = Perturbation(config.perturb, config.train.crop, discrete=classes > 2, last=classes - 1)
        area = config.train.crop**2
        shares = sampling_factors([sample.stem for sample in samples], config.data.sampling)
        # Factors are rounded to whole crops: the finer, the more crops a round has.
        fine = FINE if config.data.sampling else 1
        sizes = [fine * factor * mask.size / area for factor, (_, mask) in zip(shares, self.pairs, strict=True)]
        self.times = np.array([max(1, round(size)) for size in sizes])
        self.round = np.repeat(np.arange(len(self.pairs)), self.times)
        self.order = lru_cache(maxsize=4)(self._draw_order)  # threads are in one or two rounds at a time
        # Steps that show about as many pixels as the training images have: one epoch.
        self.steps_per_epoch = max(1, math.ceil(sum(mask.size for _, mask in self.pairs) / (area * self.batch)))

    def _draw_order(self, turn: int) -> NDArray[np.int_]:
        return np.random.default_rng([self.seed, 1, turn]).permutation(self.round)

    def _labelled(self, index: int) -> Labelled:
        return Labelled(*self.pairs[index], None if self.weights is None else self.weights[index])

    def _other_than(self, index: int, rng: np.random.Generator) -> Labelled:
        """Another image, as likely as its area asks for; the same one where there is no other."""
        rest = len(self.round) - int(self.times[index])
        if not rest:
            return self._labelled(index)
        place = int(rng.integers(rest))
        if place >= np.searchsorted(self.round, index):  # `round` is sorted: step over the image's own places
            place += int(self.times[index])
        return self._labelled(int(self.round[place]))

    def crop(self, position: int) -> Labelled:
        """The crop at one position of the endless order."""
        turn, place = divmod(position, len(self.round))
        index = int(self.order(turn)[place])
        rng = np.random.default_rng([self.seed, 2, position])
        return self.perturbation.labelled(self._labelled(index), rng, lambda chosen: self._other_than(index, chosen))

    def __call__(self, step: int) -> tuple[NDArray[Any], ...]:
        """Batch number `step`: images (N, crop, crop, C) uint8, truth (N, crop, crop, 1) uint8.

        With `weigh` a third one: weights (N, crop, crop) float32.
        """
        crops = [self.crop(step * self.batch + k) for k in range(self.batch)]
        images, truth = np.stack([c.image for c in crops]), np.stack([c.mask for c in crops])[..., None]
        if self.weights is None:
            return images, truth
        return images, truth, np.stack([c.weights for c in crops if c.weights is not None])


def prefetch(make: Callable[[int], T], start: int, stop: int, ahead: int = 4, workers: int = 2) -> Iterator[T]:
    """`make(start)`, ..., `make(stop - 1)` in order, up to `ahead` of them made in threads while the caller works."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="roadseg-batches")
    waiting: deque[Future[T]] = deque()
    try:
        for step in range(start, stop):
            waiting.append(pool.submit(make, step))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
