"""The 16x16 patch rule of the road contests: mask to patches and back. NumPy only, no files."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

__all__ = ["PATCH", "patch_labels", "patch_means", "unpatch"]

PATCH = 16  # pixels, side of a patch in the ETH CIL and EPFL ML road contests


def patch_means(mask: NDArray[Any], size: int = PATCH) -> NDArray[np.float64]:
    """Mean of each `size` x `size` patch; a partial patch at the border over the pixels that exist.

    Args:
        mask: (H, W), any number type or bool, any range.
        size: side of a patch, pixels.

    Returns:
        (ceil(H / size), ceil(W / size)) float64, in the range of `mask`.

    Raises:
        DataError: `mask` has not two dimensions.
    """
    if mask.ndim != 2:
        raise DataError(f"a mask of shape {mask.shape} has no patches: give one of shape (H, W)")
    rows, columns = (np.arange(0, length, size) for length in mask.shape)
    sums = np.add.reduceat(np.add.reduceat(mask, rows, axis=0, dtype=np.float64), columns, axis=1)
    heights = np.minimum(size, mask.shape[0] - rows)
    widths = np.minimum(size, mask.shape[1] - columns)
    means: NDArray[np.float64] = sums / np.multiply.outer(heights, widths)
    return means


def patch_labels(mask01: NDArray[Any], threshold: float = 0.25, size: int = PATCH) -> NDArray[np.bool_]:
    """The contests' rule: a patch is road when the mean of its binary mask is strictly above `threshold`.

    Args:
        mask01: (H, W), 0 or 1 (or bool), 1 = road.
        threshold: share of road pixels, 0..1.
        size: side of a patch, pixels.

    Returns:
        (ceil(H / size), ceil(W / size)) bool.

    Raises:
        DataError: `mask01` has not two dimensions.
    """
    labels: NDArray[np.bool_] = patch_means(mask01, size) > threshold
    return labels


def unpatch(labels: NDArray[Any], height: int, width: int, size: int = PATCH) -> NDArray[np.uint8]:
    """A mask in which each patch is filled with its label.

    Args:
        labels: (ceil(height / size), ceil(width / size)), true = road.
        height, width: of the mask, pixels.
        size: side of a patch, pixels.

    Returns:
        (height, width) uint8, 0 or 255.

    Raises:
        DataError: the labels do not cover the mask exactly.
    """
    expected = (-(-height // size), -(-width // size))
    if labels.shape != expected:
        raise DataError(f"labels of shape {labels.shape} do not fit a {width}x{height} mask: expected {expected}")
    filled = np.where(labels, np.uint8(255), np.uint8(0))
    return filled.repeat(size, axis=0).repeat(size, axis=1)[:height, :width]
