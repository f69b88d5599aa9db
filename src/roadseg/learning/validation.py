"""Scoring a predictor on labelled images, just as `predict` would see them: native scale, reflected borders."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import write_aside
from ..imagery.dataset import Sample
from ..imagery.described import IGNORED
from ..scores import Scores, score_image

__all__ = ["Scored", "Validated", "labels_of", "picture_of", "validate", "write_pictures"]


@dataclass(frozen=True)
class Scored:
    """What is kept of an image's result, without a pixel: name, scores, loss.

    Attributes:
        labelled: number of pixels that have a label: what the image counts in a mean of losses.
    """

    stem: str
    scores: Scores
    loss: float
    labelled: int


@dataclass(frozen=True)
class Validated:
    """One image's result: its probabilities (H, W, K) float32, its scores and its loss."""

    sample: Sample
    probabilities: NDArray[np.float32]
    scores: Scores
    loss: float

    @property
    def scored(self) -> Scored:
        """The same without pixels."""
        labelled = int(np.count_nonzero(self.sample.mask != IGNORED))
        return Scored(self.sample.stem, self.scores, self.loss, labelled)


def labels_of(probabilities: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """(H, W, K) probabilities to (H, W) uint8 class positions."""
    if probabilities.shape[-1] == 1:
        return np.asarray(probabilities[..., 0] > threshold, np.uint8)
    return np.asarray(probabilities.argmax(-1), np.uint8)


def validate(
    predictor: Any,
    samples: Iterable[Sample],
    classes: int,
    threshold: float,
    patch_threshold: float,
    loss: Any = None,
    weights: Mapping[str, NDArray[np.floating[Any]]] | None = None,
) -> Iterator[Validated]:
    """Predict and score each sample, one after the other; unlabelled pixels are left out of scores and loss.

    Args:
        loss: a Keras loss on `(1, H, W, 1)` truth; None: none (NaN). One with a method `weigh` (see `losses.Sum`) gets
            its pixel weights here as in training.
        weights: those of each image (H, W) by its stem, where they are known already.
    """
    weigh = getattr(loss, "weigh", None)
    for sample in samples:
        p = predictor.probabilities(sample.image)
        scores = score_image(sample.mask, labels_of(p, threshold), classes, patch_threshold, sample.valid)
        cost = float("nan")
        if loss is not None:
            known = None if weights is None else weights.get(sample.stem)
            found = () if weigh is None else (weigh(sample.mask) if known is None else known.astype(np.float32),)
            cost = float(loss(sample.mask[None, ..., None], p[None], *(each[None] for each in found)))
        yield Validated(sample, p, scores, cost)


def picture_of(result: Validated) -> NDArray[np.uint8]:
    """The image (H, W, 3) uint8 with hits, misses and false alarms in colour; of several classes, right and wrong.

    Unlabelled pixels are neither.
    """
    from ..reports.overlays import overlay

    p, truth = result.probabilities, result.sample.mask
    if p.shape[-1] == 1:
        return overlay(result.sample.image, p[..., 0], truth)
    judged = np.where(truth == IGNORED, np.uint8(IGNORED), np.uint8(1))
    return overlay(result.sample.image, (p.argmax(-1) == truth).astype(np.float32), judged)


def write_pictures(folder: Path, result: Validated, overlay: str) -> None:
    """NAME.png (8-bit probability of the road, or the best class's) of a result, and `overlay`.png beside it."""
    from PIL import Image

    from ..reports.overlays import probability_image

    best = result.probabilities.max(-1)  # with two classes there is one: the road's
    for name, picture in ((result.sample.stem, probability_image(best)), (overlay, picture_of(result))):
        with write_aside(folder / f"{name}.png") as aside:
            Image.fromarray(picture).save(aside)
