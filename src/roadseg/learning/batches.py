"""Training batches: random perturbed crops, each a function of (seed, position) alone, made ahead of the step."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..imagery.dataset import Sample
from ..imagery.resample import resample, resample_mask
from ..imagery.store import PixelStore
from .augment import Perturbation

__all__ = ["TrainingBatches", "prefetch", "rescale"]

T = TypeVar("T")


def _scaled(shape: tuple[int, ...], scale: float) -> tuple[int, int]:
    height, width = (max(1, round(side * scale)) for side in shape)
    return height, width


def rescale(sample: Sample, scale: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image (H, W, C) and mask (H, W) of a sample resampled by `scale`; masks take the nearest pixel, never a blend."""
    if scale == 1:
        return sample.image, sample.mask
    height, width = _scaled(sample.mask.shape, scale)
    return resample(sample.image, height, width), resample_mask(sample.mask, height, width)


def _rescaled(
    samples: Sequence[Sample], scale: float, store: PixelStore | None
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    if scale == 1 or store is None:
        return [rescale(s, scale) for s in samples]
    size = sum(math.prod(_scaled(s.mask.shape, scale)) * (s.image.shape[2] + 1) for s in samples)
    kept: Any = store.keep((rescale(s, scale) for s in samples), size)
    return list(kept)


class TrainingBatches:
    """Random crops of the training images in an endless, reproducible order.

    Every image comes as often as its area asks for, in a new random order each round. Batch `step` depends on the seed
    and `step` alone: a resumed run goes on with the very batches it would have had.

    Args:
        samples: training images and masks, in memory or mapped.
        config: `data.scale`, `perturb`, `train.crop`, `train.batch`, `train.seed`.
        classes: number of classes; masks of more than two are sampled by nearest pixel.
        store: takes the resampled images where `data.scale` is not 1; memory when None.

    Raises:
        OutputError: the store's folder cannot be written, or the disk is full.
    """

    def __init__(
        self, samples: Sequence[Sample], config: Config, classes: int = 2, store: PixelStore | None = None
    ) -> None:
        self.pairs = _rescaled(samples, config.data.scale, store)
        self.batch = config.train.batch
        self.seed = config.train.seed
        self.perturbation = Perturbation(config.perturb, config.train.crop, discrete=classes > 2)
        area = config.train.crop**2
        times = [max(1, round(mask.size / area)) for _, mask in self.pairs]
        self.round = np.repeat(np.arange(len(self.pairs)), times)
        self.order = lru_cache(maxsize=4)(self._draw_order)  # threads are in one or two rounds at a time
        # Steps that show about as many pixels as the training images have: one epoch.
        self.steps_per_epoch = max(1, math.ceil(sum(mask.size for _, mask in self.pairs) / (area * self.batch)))

    def _draw_order(self, turn: int) -> NDArray[np.int_]:
        return np.random.default_rng([self.seed, 1, turn]).permutation(self.round)

    def crop(self, position: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The crop at one position of the endless order."""
        turn, place = divmod(position, len(self.round))
        image, mask = self.pairs[int(self.order(turn)[place])]
        return self.perturbation(image, mask, np.random.default_rng([self.seed, 2, position]))

    def __call__(self, step: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Batch number `step`: images (N, crop, crop, C) uint8 and truth (N, crop, crop, 1) uint8."""
        crops = [self.crop(step * self.batch + k) for k in range(self.batch)]
        return np.stack([c[0] for c in crops]), np.stack([c[1] for c in crops])[..., None]


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
