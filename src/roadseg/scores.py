"""Scores of masks, pooled over all pixels and all 16x16 patches of many images. NumPy alone."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .imagery.described import IGNORED
from .roads.patches import PATCH, patch_labels

__all__ = ["Scores", "score_image"]


def _fractions(matrix: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, IoU, F1, precision and recall of a confusion matrix (truth, found).

    With two classes the scores are the second one's (road); with more they are means over the classes that occur.
    A score with nothing to count (no road in truth and none found) is 1 for IoU, F1, precision and recall.
    """
    hit = np.diag(matrix).astype(float)
    found, truth = matrix.sum(0).astype(float), matrix.sum(1).astype(float)
    rows = slice(1, 2) if len(matrix) == 2 else slice(None)
    tp, fp, fn = hit[rows], (found - hit)[rows], (truth - hit)[rows]
    occurs = tp + fp + fn > 0

    def mean(above: NDArray[np.float64], below: NDArray[np.float64], empty: float) -> float:
        if not occurs.any():
            return 1.0
        return float(np.mean([a / b if b else empty for a, b in zip(above[occurs], below[occurs], strict=True)]))

    total = float(matrix.sum())
    return {
        "accuracy": float(hit.sum() / total) if total else 1.0,
        "iou": mean(tp, tp + fp + fn, 0.0),
        "f1": mean(2 * tp, 2 * tp + fp + fn, 0.0),
        "precision": mean(tp, tp + fp, 0.0),
        "recall": mean(tp, tp + fn, 0.0),
    }


@dataclass
class Scores:
    """Confusion matrices of pixels and of patches, `(truth, found)`, that add up over images."""

    pixels: NDArray[np.int64]
    patches: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, 2), np.int64))
    images: int = 0

    @property
    def classes(self) -> int:
        """Number of classes, background included."""
        return len(self.pixels)

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(self.pixels + other.pixels, self.patches + other.patches, self.images + other.images)

    @classmethod
    def pool(cls, parts: Iterable["Scores"], classes: int = 2) -> "Scores":
        """The sum of many images' scores."""
        total = cls(np.zeros((classes, classes), np.int64))
        for part in parts:
            total = total + part
        return total

    def to_dict(self) -> dict[str, Any]:
        """The contract's names. Patch scores are the contest's and exist for two classes; else they are None."""
        pixel, patch = _fractions(self.pixels), _fractions(self.patches)
        binary = self.classes == 2
        background = float(self.patches[0].sum() / max(1, self.patches.sum()))
        return {
            "pixel_accuracy": pixel["accuracy"],
            "pixel_iou": pixel["iou"],
            "pixel_f1": pixel["f1"],
            "pixel_precision": pixel["precision"],
            "pixel_recall": pixel["recall"],
            "patch_accuracy": patch["accuracy"] if binary else None,
            "patch_f1": patch["f1"] if binary else None,
            "all_background_patch_accuracy": background if binary else None,
            "n_images": self.images,
        }

    def class_iou(self) -> list[float | None]:
        """IoU of every class; None where it neither is nor was found."""
        hit = np.diag(self.pixels)
        either = self.pixels.sum(0) + self.pixels.sum(1) - hit
        return [float(h / e) if e else None for h, e in zip(hit, either, strict=True)]


def score_image(
    truth: NDArray[np.uint8],
    found: NDArray[np.uint8],
    classes: int = 2,
    patch_threshold: float = 0.25,
    valid: NDArray[np.bool_] | None = None,
) -> Scores:
    """Scores of one image. Pixels whose truth is `IGNORED` (255) are left out, of pixels and of patches.

    Args:
        truth, found: (H, W) uint8 class positions (0 and 1 when binary).
        patch_threshold: a patch is road when the mean of its binary mask is strictly above it, in truth and prediction.
        valid: (H, W) bool, False where there is no data: left out likewise.
    """
    known = truth != IGNORED
    if valid is not None:
        known &= valid
    everything = bool(known.all())
    both = truth.astype(np.int64) * classes + found
    pixels = np.bincount((both if everything else both[known]).ravel(), minlength=classes * classes)
    patches = np.zeros(4, np.int64)
    if classes == 2 and everything:
        labels = patch_labels(truth, patch_threshold).astype(np.int64) * 2 + patch_labels(found, patch_threshold)
        patches = np.bincount(labels.ravel(), minlength=4)
    elif classes == 2:
        counts, roads = _patch_sums(known), [_patch_sums(known & (mask == 1)) for mask in (truth, found)]
        there = counts > 0  # a patch is scored by its labelled pixels, and not without any
        true, seen = (road[there] / counts[there] > patch_threshold for road in roads)
        patches = np.bincount(true.astype(np.int64) * 2 + seen, minlength=4)
    return Scores(pixels.reshape(classes, classes), patches.reshape(2, 2), 1)


def _patch_sums(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of true pixels in each 16x16 patch, partial ones at the border too."""
    rows, columns = (np.arange(0, length, PATCH) for length in mask.shape)
    sums: NDArray[np.int64] = np.add.reduceat(np.add.reduceat(mask, rows, 0, np.int64), columns, 1)
    return sums
