"""Scoring a predictor on labelled images, just as `predict` would see them: native scale, reflected borders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import write_aside
from ..imagery.dataset import Sample
from ..scores import Scores, score_image

__all__ = ["Validated", "labels_of", "validate", "write_pictures"]


@dataclass(frozen=True)
class Validated:
    """One image's result: its probabilities (H, W, K) float32, its scores and its loss."""

    sample: Sample
    probabilities: NDArray[np.float32]
    scores: Scores
    loss: float


def labels_of(probabilities: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """(H, W, K) probabilities to (H, W) uint8 class positions."""
    if probabilities.shape[-1] == 1:
        return np.asarray(probabilities[..., 0] > threshold, np.uint8)
    return np.asarray(probabilities.argmax(-1), np.uint8)


def validate(
    predictor: Any, samples: Sequence[Sample], classes: int, threshold: float, patch_threshold: float, loss: Any = None
) -> list[Validated]:
    """Predict and score each sample. `loss` is a Keras loss on `(1, H, W, 1)` truth, or None for none (NaN)."""
    results = []
    for sample in samples:
        p = predictor.probabilities(sample.image)
        scores = score_image(sample.mask, labels_of(p, threshold), classes, patch_threshold, sample.valid)
        cost = float(loss(sample.mask[None, ..., None], p[None])) if loss is not None else float("nan")
        results.append(Validated(sample, p, scores, cost))
    return results


def write_pictures(folder: Path, results: Sequence[Validated], classes: tuple[str, ...]) -> None:
    """NAME.png (8-bit probability of the road, or the best class's) and NAME_overlay.png for each result."""
    from PIL import Image

    from ..reports.overlays import overlay, probability_image

    for result in results:
        p = result.probabilities
        road = p[..., 0] if p.shape[-1] == 1 else p.max(-1)
        truth = result.sample.mask
        if p.shape[-1] > 1:  # right and wrong, whatever the class
            truth, shown = np.ones_like(truth), (p.argmax(-1) == truth).astype(np.float32)
        else:
            shown = road
        for suffix, picture in (
            ("", probability_image(road)),
            ("_overlay", overlay(result.sample.image, shown, truth)),
        ):
            with write_aside(folder / f"{result.sample.stem}{suffix}.png") as aside:
                Image.fromarray(picture).save(aside)
