"""Resampling of whole images and masks to another size."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["resample", "resample_mask"]


def resample(pixels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """(H, W, C) of any real type to (height, width, C) of the same: by area where it shrinks, else linearly.

    Four bands at a time: OpenCV takes no more when it resamples by area.
    """
    shrinks = height * width < pixels.shape[0] * pixels.shape[1]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    parts = [np.ascontiguousarray(pixels[..., k : k + 4]) for k in range(0, pixels.shape[2], 4)]
    return np.concatenate(
        [cv2.resize(part, (width, height), interpolation=way).reshape(height, width, -1) for part in parts], axis=-1
    )


def resample_mask(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """(H, W) class positions to (height, width): each takes the nearest pixel's, never a blend."""
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
