"""What a run needs to know before it begins: how many steps, what the pixels are like, whether the settings fit.

Settings that are left to the data (`train.crop = 0`, `train.batch = 0`, `loss.class_weights = "auto"`) get their values
here, from the fingerprint of the images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from ..config import Config
from ..errors import ConfigError, DataError, RunError
from ..imagery.dataset import Dataset, Sample
from ..imagery.fingerprint import SMALLEST_CROP, Suggestion, suggest, take_fingerprint
from .loss_names import parse_loss

__all__ = [
    "Plan",
    "check_batch",
    "check_crop",
    "check_resumed_split",
    "class_shares",
    "pixel_statistics",
    "settle",
    "suggestion",
]


ROWS_AT_ONCE = 256  # bounds the temporary floats of `pixel_statistics`
WEIGHED = {"bce", "bce_dice", "boundary_bce", "focal"}  # losses that `loss.class_weights` is for


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
    """Mean and standard deviation of each band over the valid pixels, in 0..255.

    Pixels without data are of no value, and those without a label are not learnt from. Reads each image once, a few
    rows a time.
    """
    count = 0
    total: Any = 0.0
    square: Any = 0.0
    for sample in samples:
        for top in range(0, len(sample.image), ROWS_AT_ONCE):
            rows = sample.image[top : top + ROWS_AT_ONCE]
            valid = None if sample.valid is None else sample.valid[top : top + ROWS_AT_ONCE]
            values = (rows.reshape(-1, rows.shape[-1]) if valid is None else rows[valid]).astype(np.float32)
            count += len(values)
            total = total + values.sum(0, dtype=np.float64)  # whole numbers: exact in any order
            square = square + (values**2).sum(0, dtype=np.float64)
    mean, square = total / max(1, count), square / max(1, count)
    return [float(m) for m in mean], [float(s) for s in np.sqrt(np.maximum(square - mean**2, 0))]


def suggestion(config: Config, dataset: Dataset, train: Sequence[int] | None = None) -> Suggestion:
    """What the data suggests for this network and this loss; see `roadseg.imagery.fingerprint.suggest`.

    Args:
        train: the pairs that are trained on; None: all of them.

    Raises:
        ConfigError: `loss.name` is no loss and no sum of losses.
    """
    found = suggest(take_fingerprint(dataset, train, config.data.scale), config)
    losses = {term.name for term in parse_loss(config.loss.name)}
    if found.class_weights == "none" or (losses & WEIGHED and "weighted_bce" not in losses):
        return found
    why = "weighted_bce has weights of its own" if "weighted_bce" in losses else f"{config.loss.name} takes none"
    return replace(found, class_weights="none", reasons={**found.reasons, "loss.class_weights": why})


def settle(config: Config, dataset: Dataset, train: Sequence[int]) -> tuple[Config, str]:
    """The configuration with what it leaves to the data decided, and a line that says what and why ("": nothing was).

    Args:
        train: the pairs that are trained on.
    """
    given = {
        "train.crop": config.train.crop > 0,
        "train.batch": config.train.batch > 0,
        "loss.class_weights": config.loss.class_weights != "auto",
    }
    left = [key for key, is_given in given.items() if not is_given]
    if not left:
        return config, ""
    found = suggestion(config, dataset, train)
    crop, batch = config.train.crop or found.crop, config.train.batch or found.batch
    weights = found.class_weights if config.loss.class_weights == "auto" else config.loss.class_weights
    settled = msgspec.structs.replace(
        config,
        train=msgspec.structs.replace(config.train, crop=crop, batch=batch),
        loss=msgspec.structs.replace(config.loss, class_weights=weights),
    )
    return settled, found.line(left)


def check_crop(config: Config) -> None:
    """The crops must go through all poolings. 0, as the data suggests, does.

    Raises:
        ConfigError: they do not.
    """
    crop, multiple = config.train.crop, config.network.multiple
    if 0 < crop < SMALLEST_CROP:
        raise ConfigError(f"train.crop = {crop}: expected >= {SMALLEST_CROP} pixels, or 0: as the data suggests")
    if crop % multiple:
        raise ConfigError(
            f"train.crop = {crop} is not a multiple of {multiple}, as {_asks(config)}: "
            f"use {max(1, round(crop / multiple)) * multiple}"
        )


def _asks(config: Config) -> str:
    network = config.network
    if network.name != "unet":
        return "network.multiple_of asks"
    return f"network.depth {'of the encoder asks' if network.encoder else 'and network.stem ask'}"


def check_batch(config: Config) -> None:
    """Every device takes an equal part of a batch. 0, as the data suggests, is divided so.

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
    """Share of the labelled pixels of each class.

    Raises:
        DataError: no pixel is labelled.
    """
    labelled = (s.mask.ravel() if s.valid is None else s.mask[s.valid] for s in samples)
    counts = sum(np.bincount(values, minlength=classes)[:classes] for values in labelled)  # 255 is no class
    total = np.asarray(counts, float)
    if not total.sum():
        raise DataError("no pixel of the training images is labelled: see data.ignore, and the images' 'no data' value")
    return [float(c) for c in total / total.sum()]


def check_resumed_split(stored: Mapping[str, Any], pairs: Mapping[str, Mapping[str, str]]) -> None:
    """The images and masks of a resumed run must be those it began with; `pairs` has the dataset's entries by stem.

    Raises:
        RunError, DataError: they are not.
    """
    for part in ("train", "val"):
        for item in stored.get(part, []):
            if item["stem"] not in pairs:
                raise DataError(f"the run was begun with image '{item['stem']}', which the dataset no longer has")
            for key, what in (("hash", "image"), ("mask", "the mask of")):
                if key in item and pairs[item["stem"]][key] != item[key]:
                    raise RunError(
                        f"{what} '{item['stem']}' is not the one that the run was begun with: start a new run"
                    )
