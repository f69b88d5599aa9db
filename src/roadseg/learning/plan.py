"""What a run needs to know before it begins: how many steps, what the pixels are like, whether the settings fit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import Config
from ..errors import ConfigError, DataError, RunError
from ..imagery.dataset import Sample

__all__ = ["Plan", "check_batch", "check_crop", "check_resumed_split", "class_shares", "pixel_statistics"]


ROWS_AT_ONCE = 256  # bounds the temporary floats of `pixel_statistics`


@dataclass(frozen=True)
class Plan:
    """How long a run is."""

    steps: int
    epochs: int
    steps_per_epoch: int

    @classmethod
    def of(cls, steps: int, coverage: int) -> "Plan":
        """`steps` in epochs of equal length, each about `coverage` steps."""
        epochs = max(1, round(steps / coverage))
        per_epoch = max(1, steps // epochs)
        return cls(epochs * per_epoch, epochs, per_epoch)


def pixel_statistics(samples: Sequence[Sample]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each band over all pixels, in 0..255. Reads each image once, a few rows a time."""
    count = sum(s.mask.size for s in samples)
    total: Any = 0.0
    square: Any = 0.0
    for image in (s.image for s in samples):
        for top in range(0, len(image), ROWS_AT_ONCE):
            rows = image[top : top + ROWS_AT_ONCE].astype(np.float32)
            total = total + rows.sum((0, 1), dtype=np.float64)  # whole numbers: exact in any order
            square = square + (rows**2).sum((0, 1), dtype=np.float64)
    mean, square = total / count, square / count
    return [float(m) for m in mean], [float(s) for s in np.sqrt(np.maximum(square - mean**2, 0))]


def check_crop(config: Config) -> None:
    """The crops must go through all poolings.

    Raises:
        ConfigError: they do not.
    """
    crop, multiple = config.train.crop, config.network.multiple
    if crop % multiple:
        raise ConfigError(
            f"train.crop = {crop} is not a multiple of {multiple}, as network.depth and network.stem ask: "
            f"use {max(1, round(crop / multiple)) * multiple}"
        )


def check_batch(config: Config) -> None:
    """Every device takes an equal part of a batch.

    Raises:
        ConfigError: the batch does not divide.
    """
    batch, devices = config.train.batch, config.train.devices
    if batch % devices:
        raise ConfigError(
            f"train.batch = {batch} is not a multiple of train.devices = {devices}: "
            f"use --set train.batch={math.ceil(batch / devices) * devices}"
        )


def class_shares(samples: Sequence[Sample], classes: int) -> list[float]:
    """Share of the pixels of each class."""
    counts = sum(np.bincount(s.mask.ravel(), minlength=classes)[:classes] for s in samples)
    total = np.asarray(counts, float)
    return [float(c) for c in total / total.sum()]


def check_resumed_split(stored: Mapping[str, Any], samples: Mapping[str, str]) -> None:
    """The images of a resumed run must be those it began with.

    Raises:
        RunError, DataError: they are not.
    """
    for part in ("train", "val"):
        for item in stored.get(part, []):
            if item["stem"] not in samples:
                raise DataError(f"the run was begun with image '{item['stem']}', which the dataset no longer has")
            if samples[item["stem"]] != item["hash"]:
                raise RunError(f"image '{item['stem']}' is not the one that the run was begun with: start a new run")
