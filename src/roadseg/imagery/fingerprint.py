"""What the images of a set are like, and the crop, the batch and the class weights that this suggests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..config import Config
from .dataset import Dataset
from .store import memory_bytes

__all__ = ["SMALLEST_CROP", "Fingerprint", "Suggestion", "suggest", "take_fingerprint"]

CROP, BATCH = 256, 8  # px, crops: what the default recipe was measured with
SMALLEST_CROP = 16  # px: what is left of a crop below it is no picture
LARGEST_BATCH = 64  # crops: more of them, however small, are fewer steps and no better gradient
COVERED = 0.9  # of the pixels: that share lies in images that the crop fits into
STEPS = 2  # at least, in which the training images are shown once
RARE = 0.05  # share of the labelled pixels below which a class is rare
FLOOR = 1e-4  # share that a class counts with at least: one that is hardly there must not drown the others
MEMORY_SHARE = 0.25  # of the machine's memory for what one step keeps of its activations
KEPT = 30  # activations of the U-Net, per pixel and channel of its first level: 15 there, half as many at each below


@dataclass(frozen=True)
class Fingerprint:
    """What a recipe has to fit.

    Attributes:
        sizes: (height, width) of each training image as it is trained on, that is after `data.scale`, px.
        classes: names, by class position.
        shares: share of the labelled pixels of each class.
        bands: of the images.
        memory: of the machine, bytes.
    """

    sizes: tuple[tuple[int, int], ...]
    classes: tuple[str, ...]
    shares: tuple[float, ...]
    bands: int
    memory: int

    @property
    def pixels(self) -> int:
        """Of all training images."""
        return sum(height * width for height, width in self.sizes)

    @property
    def side(self) -> int:
        """The shorter side that most images have at least, px: nine tenths of the pixels lie in such images."""
        found = sorted((min(size), math.prod(size)) for size in self.sizes)
        below = np.cumsum([area for _, area in found]) > (1 - COVERED) * self.pixels
        return found[int(np.argmax(below))][0]


@dataclass(frozen=True)
class Suggestion:
    """Values of `train.crop` (px), `train.batch` and `loss.class_weights`, and the reason of each by its key."""

    crop: int
    batch: int
    class_weights: list[float] | Literal["none"]
    reasons: dict[str, str] = field(default_factory=dict)

    def values(self) -> dict[str, int | str | list[float]]:
        """The values by their keys in the configuration."""
        return {"train.crop": self.crop, "train.batch": self.batch, "loss.class_weights": self.class_weights}

    def line(self, keys: Sequence[str] | None = None) -> str:
        """`train.crop = 256 (reason), ...` of `keys`, of all of them when None."""
        chosen = {key: value for key, value in self.values().items() if keys is None or key in keys}
        return ", ".join(f"{key} = {value} ({self.reasons[key]})" for key, value in chosen.items())


def take_fingerprint(dataset: Dataset, train: Sequence[int] | None = None, scale: float = 1.0) -> Fingerprint:
    """The fingerprint of an opened dataset.

    Args:
        train: the pairs that are trained on; None: all of them.
        scale: `data.scale`.
    """
    chosen = range(len(dataset)) if train is None else train
    sizes = tuple((max(1, round(h * scale)), max(1, round(w * scale))) for h, w in (dataset.sizes[k] for k in chosen))
    return Fingerprint(sizes, dataset.classes, dataset.class_shares, dataset.bands, memory_bytes())


def suggest(found: Fingerprint, config: Config) -> Suggestion:
    """Crop, batch and class weights for these images; a crop that `config` gives is the one the batch is for.

    The crop is 256 px, where most images have that on their shorter side, else the largest multiple of
    `network.multiple` that they have. The batch is 8 at that crop, and as many as give a step the same number of pixels
    at others; fewer where the training images are shown in fewer than 2 steps, or where a step would take more than a
    quarter of the memory. Weights are for several classes of which the rarest has less than 5 % of the labelled pixels:
    the inverse square root of the shares, a compromise between no weights and balanced ones, with a mean over the
    pixels of 1.
    """
    crop, why_crop = _crop(found, config.network.multiple)
    batch, why_batch = _batch(found, config.train.crop or crop, config)
    weights, why_weights = _weights(found)
    reasons = {"train.crop": why_crop, "train.batch": why_batch, "loss.class_weights": why_weights}
    return Suggestion(crop, batch, weights, reasons)


def _crop(found: Fingerprint, multiple: int) -> tuple[int, str]:
    side, least = found.side, math.ceil(SMALLEST_CROP / multiple) * multiple
    crop = min(CROP, side) // multiple * multiple
    if crop < least:
        if side >= least:
            return least, f"the least that this network takes, multiples of {multiple}"
        return least, f"the least that this network takes; images of {side} px are mirrored at their borders"
    if side < CROP:
        return crop, f"the largest multiple of {multiple} in images of {side} px"
    return crop, "the usual" if crop == CROP else f"the usual {CROP} as a multiple of {multiple}"


def _batch(found: Fingerprint, crop: int, config: Config) -> tuple[int, str]:
    batch = max(1, round(BATCH * CROP**2 / crop**2))
    why = "the usual" if crop == CROP else f"about as many pixels as {BATCH} crops of {CROP} px"
    if batch > LARGEST_BATCH:
        batch, why = LARGEST_BATCH, "the most"
    few = max(2, found.pixels // (STEPS * crop**2))
    if few < batch:
        batch, why = few, f"the training images hold {max(1, found.pixels // crop**2)} such crops"
    network = config.network
    kept = KEPT * network.width * 4 * crop**2 / (1 if network.stem == "none" else 4)  # float32
    room = max(1, int(MEMORY_SHARE * found.memory / kept))
    if room < batch:
        batch, why = room, f"{found.memory / 2**30:.2g} GB of memory"
    devices = config.train.devices
    if batch % devices:
        batch, why = max(1, batch // devices) * devices, f"{why}; a multiple of {devices} devices"
    return batch, why


def _weights(found: Fingerprint) -> tuple[list[float] | Literal["none"], str]:
    count = len(found.shares)
    if count <= 2:
        return "none", "two classes"
    present = [share for share in found.shares if share > 0]
    rarest = min(present)
    name = found.classes[found.shares.index(rarest)]
    what = f"the rarest of {count} classes, {name}, has {100 * rarest:.2g} % of the pixels"
    if rarest >= RARE:
        return "none", what
    roots = [math.sqrt(max(share, FLOOR)) for share in found.shares]
    # The mean over the pixels, sum of share * weight, is 1; a class that does not occur has weight 1.
    scale = sum(share / root for share, root in zip(found.shares, roots, strict=True))
    weights = [round(1 / (root * scale), 4) if s else 1.0 for s, root in zip(found.shares, roots, strict=True)]
    return weights, f"inverse square roots of the shares: {what}"
