"""Suspected label errors: regions where every seed's out-of-fold prediction is confident against the label.

Confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels")
in spirit, at the level of connected regions: what a model that has not seen a label contradicts with confidence is
worth a person's look. A suspicion is no proof; nothing here changes a label.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..reports.overlays import COLOURS, contact_sheet, display_rgb, probability_image

__all__ = ["KINDS", "Suspect", "border_distances", "find_suspects", "suspect_picture"]

KINDS = ("road in the label, none seen", "road seen, none in the label")
CONFIDENT = 0.9  # probability of the other class, in every seed
CLEAR_PX = 3.0  # farther from the label's border than an annotator's hand wanders
SMALLEST = 64  # px of a region
MARGIN = 32  # px of surroundings in a picture
UNLABELLED = 128  # grey


@dataclass(frozen=True)
class Suspect:
    """A region whose label is doubted.

    Attributes:
        kind: one of `KINDS`.
        box: (x0, y0, x1, y1) px, the ends exclusive.
        region: (y1 - y0, x1 - x0) bool.
        score: sum over the region's pixels of the probability that speaks against the label, that of the seed that
            says it least.
    """

    kind: str
    box: tuple[int, int, int, int]
    region: NDArray[np.bool_]
    score: float

    @property
    def pixels(self) -> int:
        """Number of pixels in the region."""
        return int(self.region.sum())


def border_distances(mask: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How deep road pixels lie inside labelled road, and how far background pixels lie outside.

    Args:
        mask: (H, W) uint8, 0 background, 1 road, anything else unlabelled. The edge of the image is no border.

    Returns:
        inside, outside: (H, W) float32, px from a pixel's centre to the border line of the label: 0.5 beside it, inf
        where the image has no such border. Meant for pixels of road and of background respectively.
    """
    return _distance(mask == 0), _distance(mask == 1)


def _distance(target: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) px from each pixel's centre to the edge of the nearest pixel of `target`."""
    if not target.any():
        return np.full(target.shape, np.inf, np.float32)
    away = cv2.distanceTransform(np.where(target, np.uint8(0), np.uint8(1)), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away, np.float32) - np.float32(0.5)


def find_suspects(
    mask: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    *,
    confident: float = CONFIDENT,
    clear_px: float = CLEAR_PX,
    smallest: int = SMALLEST,
) -> list[Suspect]:
    """Regions of an image that every seed sees otherwise than the label, the most doubtful first.

    Args:
        mask: (H, W) uint8, 0 background, 1 road, anything else unlabelled (never suspected).
        probabilities: (S, H, W) float32 in [0, 1], road, of S >= 1 trainings that have not seen the image.
        confident: least probability against the label, 0.5..1.
        clear_px: px, least distance from the label's border; lines there are a matter of taste.
        smallest: px, least size of a region (8-connected).
    """
    inside, outside = border_distances(mask)
    against_road = 1 - probabilities.max(axis=0)
    against_background = probabilities.min(axis=0)
    doubts = (
        (KINDS[0], (mask == 1) & (inside > clear_px), against_road),
        (KINDS[1], (mask == 0) & (outside > clear_px), against_background),
    )
    found = []
    for kind, where, against in doubts:
        doubted = where & (against > confident)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(doubted.astype(np.uint8), connectivity=8)
        for number in range(1, count):
            x, y, wide, high, pixels = (int(v) for v in stats[number])
            if pixels < smallest:
                continue
            part = slice(y, y + high), slice(x, x + wide)
            region = labels[part] == number
            score = float(against[part][region].sum(dtype=np.float64))
            found.append(Suspect(kind, (x, y, x + wide, y + high), region, score))
    return sorted(found, key=lambda suspect: (-suspect.score, suspect.box))


def _around(start: int, end: int, side: int, length: int) -> slice:
    """`side` px with start..end in their middle, moved where they would leave 0..length."""
    first = max(0, min((start + end - side) // 2, length - side))
    return slice(first, min(length, first + side))


def suspect_picture(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], probability: NDArray[np.float32], suspect: Suspect
) -> NDArray[np.uint8]:
    """Image, label and probability around a suspect side by side, its region outlined.

    Args:
        image: (H, W, C) uint8.
        mask: (H, W) uint8 as `find_suspects` takes it; unlabelled is grey.
        probability: (H, W) float32 in [0, 1], road.

    Returns:
        (h, w, 3) uint8.
    """
    x0, y0, x1, y1 = suspect.box
    side = max(x1 - x0, y1 - y0) + 2 * MARGIN
    part = _around(y0, y1, side, mask.shape[0]), _around(x0, x1, side, mask.shape[1])
    region = np.zeros(mask.shape, np.uint8)
    region[y0:y1, x0:x1] = suspect.region
    shape = region[part].shape
    thick = 1 + max(shape) // 256  # px; seen when the picture is scaled down
    grown = cv2.dilate(region[part], np.ones((2 * thick + 1, 2 * thick + 1), np.uint8))
    outline = (grown == 1) & (region[part] == 0)
    label = np.where(mask == 1, np.uint8(255), np.where(mask == 0, np.uint8(0), np.uint8(UNLABELLED)))
    cells = [display_rgb(image)[part].copy(), display_rgb(label)[part].copy()]
    cells.append(display_rgb(probability_image(probability[part])))
    for cell in cells:
        cell[outline] = COLOURS["miss"]
    return contact_sheet([cells], titles=["image", "label", "road probability"])
