"""Pixel weights that are high in the gaps between objects, from one mask. NumPy and OpenCV alone."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from ..imagery.described import IGNORED

__all__ = ["boundary_weights"]

NEGLIGIBLE = 1e-3  # of what is added: farther pixels are not looked at


def boundary_weights(mask: NDArray[np.uint8], boundary: float = 10.0, sigma: float = 5.0) -> NDArray[np.float32]:
    """`1 + boundary * exp(-(d1 + d2)**2 / (2 sigma**2))`: Ronneberger et al. 2015, section 3, without class weights.

    d1 and d2 are the distances to the two nearest objects: Euclidean, in pixels from the pixel's centre to the centre
    of the object's nearest pixel, 0 inside. So a pixel of one object beside another one counts more, too (the paper
    measures to the objects' borders). An object is a connected component of one class, by sides and not by corners,
    so that cells which a thin slanting line parts are two; of several classes all but the first (background) have
    objects. Where the addition is below 0.001 it may be 0.

    Args:
        mask: (H, W) uint8 class positions; `IGNORED` pixels belong to no object.
        boundary: w0, added between two objects that touch.
        sigma: float > 0, pixels over which that falls.

    Returns:
        (H, W) float32, 1 .. 1 + boundary; all 1 where there is one object or none.
    """
    height, width = mask.shape
    weights = np.ones((height, width), np.float32)
    if boundary <= NEGLIGIBLE:
        return weights
    reach = sigma * math.sqrt(2 * math.log(boundary / NEGLIGIBLE))
    margin = math.ceil(reach)
    nearest = np.full((height, width), np.inf, np.float32)
    second = nearest.copy()
    objects = 0
    for value in np.unique(mask):
        if value in (0, IGNORED):
            continue
        count, labels, boxes, _ = cv2.connectedComponentsWithStats((mask == value).astype(np.uint8), connectivity=4)
        objects += count - 1
        for label in range(1, count):  # each in its neighbourhood alone: there may be thousands
            left, top, wide, high, _ = (int(v) for v in boxes[label])
            rows = slice(max(0, top - margin), top + high + margin)
            columns = slice(max(0, left - margin), left + wide + margin)
            outside = (labels[rows, columns] != label).astype(np.uint8)
            distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            near = nearest[rows, columns]
            second[rows, columns] = np.minimum(second[rows, columns], np.maximum(near, distance))
            nearest[rows, columns] = np.minimum(near, distance)
    if objects < 2:
        return weights
    weights += np.float32(boundary) * np.exp(-((nearest + second) ** 2) / np.float32(2 * sigma**2))
    return weights
