"""Geometry of training crops: one map from crop pixels to image pixels, and what lies there in image and mask.

All geometric effects are composed into a single map, so image, mask and pixel weights are each sampled exactly once,
from the same coordinates, with reflected borders.
"""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..config import PerturbConfig
from ..imagery.masks import IGNORED
from .chance import draw, draw_pair

__all__ = ["coordinate_map", "reflect", "sample", "sample_mask", "sample_weights"]

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def reflect(coordinates: Floats, size: int) -> Floats:
    """Coordinates folded back into [0, size - 1] at the borders as often as needed, border pixels not doubled."""
    if size == 1:
        return np.zeros_like(coordinates)
    last = np.float32(size - 1)
    if coordinates.min() >= 0 and coordinates.max() <= last:
        return coordinates
    folded: Floats = last - np.abs(np.mod(coordinates, 2 * last) - last)
    return folded


def _smooth_field(rng: np.random.Generator, size: int, strength: float) -> tuple[Floats, Floats]:
    """Two displacement fields (size, size) in pixels: random vectors on a coarse grid, interpolated by a cubic
    (Ronneberger et al. 2015, section 3.1: a grid, normal displacements, bicubic interpolation)."""
    knots = max(3, size // 64 + 1)
    coarse = rng.normal(0, strength, (2, knots, knots)).astype(np.float32)
    dx, dy = (cv2.resize(c, (size, size), interpolation=cv2.INTER_CUBIC) for c in coarse)
    return np.asarray(dx, np.float32), np.asarray(dy, np.float32)


def coordinate_map(
    config: PerturbConfig, shape: tuple[int, int], crop: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Where each pixel of a square crop lies in the image.

    Args:
        shape: height and width of the image, px.
        crop: side of the crop, px.

    Returns:
        x and y, each (crop, crop) float32 image coordinates inside the image (borders reflected). Without
        perturbation, or mirrored alone, a random crop on whole pixels.
    """
    height, width = shape
    on = config.enabled
    place_x, place_y = rng.random(2)
    mirrored = rng.random() < config.flip.probability
    angle = math.radians(draw(config.rotation, rng))
    zoom = math.exp(draw(config.scale, rng))
    shear_x, shear_y = (math.tan(math.radians(degrees)) for degrees in draw_pair(config.shear, rng))
    shift_x, shift_y = (share * crop for share in draw_pair(config.translation, rng))
    tilt_x, tilt_y = draw_pair(config.perspective, rng)
    bend = draw(config.elastic, rng, signed=False)
    field = rng.integers(2**32)  # a generator of its own: the colours, drawn later, do not depend on `bend`

    side = np.arange(crop, dtype=np.float32) - np.float32((crop - 1) / 2)
    u, v = np.broadcast_to(side, (crop, crop)), np.broadcast_to(side[:, None], (crop, crop))
    room_x, room_y = width - crop, height - crop
    still = zoom == 1 and not any((angle, shear_x, shear_y, shift_x, shift_y, tilt_x, tilt_y, bend))
    if not on or still:  # whole pixels: nothing is interpolated, and so nothing blurred
        left = int(place_x * (room_x + 1)) if room_x > 0 else room_x // 2
        top = int(place_y * (room_y + 1)) if room_y > 0 else room_y // 2
        half = np.float32((crop - 1) / 2)
        u = -u if on and mirrored else u
        return reflect(u + half + np.float32(left), width), reflect(v + half + np.float32(top), height)

    # Outermost first: the crop is mirrored, sheared, scaled, turned, then moved to its place in the image.
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    lean = np.array([[1.0, shear_x], [shear_y, 1.0]])
    mirror = np.diag([-1.0 if mirrored else 1.0, 1.0])
    a = (turn @ lean @ mirror * zoom).astype(np.float32)
    x, y = a[0, 0] * u + a[0, 1] * v, a[1, 0] * u + a[1, 1] * v
    if tilt_x or tilt_y:
        depth = 1 + np.float32(2 * tilt_x / crop) * u + np.float32(2 * tilt_y / crop) * v
        depth = np.maximum(depth, np.float32(0.2))
        x, y = x / depth, y / depth
    if bend:
        dx, dy = _smooth_field(np.random.default_rng(field), crop, bend)
        x, y = x + dx, y + dy
    centre_x = (width - 1) / 2 + (place_x - 0.5) * max(0.0, width - crop * zoom) + shift_x
    centre_y = (height - 1) / 2 + (place_y - 0.5) * max(0.0, height - crop * zoom) + shift_y
    return reflect(x + np.float32(centre_x), width), reflect(y + np.float32(centre_y), height)


def _window(pixels: NDArray[Any], x: Floats, y: Floats) -> tuple[Any, int, int]:
    """The part of `pixels` that the coordinates cover, contiguous, and its left and top.

    OpenCV's map is limited to 32767 px a side, and the image may lie on a disk.
    """
    left, top = int(x.min()), int(y.min())
    right, bottom = math.ceil(x.max()) + 1, math.ceil(y.max()) + 1
    return np.ascontiguousarray(pixels[top:bottom, left:right]), left, top


def _linear(window: Any, x: Floats, y: Floats) -> Any:
    """(H, W) or (H, W, C) of uint8 or float32 at coordinates in it, linearly; OpenCV takes four bands at a time."""
    bands = 1 if window.ndim == 2 else window.shape[2]
    if bands <= 4:
        out = cv2.remap(window, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return out.reshape((*x.shape, *window.shape[2:]))
    parts = [_linear(np.ascontiguousarray(window[..., k : k + 4]), x, y) for k in range(0, bands, 4)]
    return np.concatenate(parts, axis=-1)


def sample(pixels: NDArray[np.uint8], x: Floats, y: Floats, *, discrete: bool) -> Bytes:
    """`pixels` (H, W, C) or (H, W) uint8 at the coordinates x, y: linearly, or the nearest pixel when `discrete`."""
    window, left, top = _window(pixels, x, y)
    if discrete:
        return np.asarray(window[np.rint(y).astype(np.intp) - top, np.rint(x).astype(np.intp) - left], np.uint8)
    return np.asarray(_linear(window, x - np.float32(left), y - np.float32(top)), np.uint8)


def sample_mask(mask: NDArray[np.uint8], x: Floats, y: Floats, *, discrete: bool) -> Bytes:
    """Class positions at the coordinates x, y: (H, W) uint8, `IGNORED` where unlabelled, to the same of x's shape.

    Args:
        discrete: the nearest pixel's. Else the mask is 0 and 1, sampled linearly and cut at one half.

    An unlabelled pixel is no shade of a class: where the nearest pixel is one, so is the result; elsewhere the labelled
    pixels around alone decide.
    """
    if discrete:
        return sample(mask, x, y, discrete=True)
    window, left, top = _window(mask, x, y)
    mx, my = x - np.float32(left), y - np.float32(top)
    if window.max() <= 1:
        return np.asarray(_linear(window * np.uint8(254), mx, my) > 127, np.uint8)
    known = window != IGNORED
    # One band at a time, as above: OpenCV rounds ties in another way where there are two.
    road, labelled = (_linear(part * np.uint8(254), mx, my).astype(np.int16) for part in (window == 1, known))
    truth = (2 * road > labelled).astype(np.uint8)
    truth[~known[np.rint(my).astype(np.intp), np.rint(mx).astype(np.intp)]] = IGNORED
    return np.asarray(truth, np.uint8)


def sample_weights(weights: NDArray[np.floating[Any]], x: Floats, y: Floats) -> Floats:
    """Pixel weights (H, W) of any float type at the coordinates x, y, linearly: float32 of x's shape."""
    window, left, top = _window(weights, x, y)
    return np.asarray(_linear(window.astype(np.float32), x - np.float32(left), y - np.float32(top)), np.float32)
