"""Colour of training crops: one affine map of the bands, then blur, noise and JPEG. Masks stay as they are."""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..config import Effect, PerturbConfig
from ..imagery.pixels import LUMA
from .chance import draw

__all__ = ["compress", "perturb_colours"]

Bytes = NDArray[np.uint8]


def _colour_matrix(hue: float, saturation: float) -> NDArray[np.float64]:
    """(3, 3): hue turned by `hue` radians about the grey axis, distance from the luma scaled by `saturation`."""
    cos, sin = math.cos(hue), math.sin(hue)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn = cos * np.eye(3) + sin * cross + (1 - cos) / 3 * np.ones((3, 3))  # Rodrigues' rotation about (1, 1, 1)
    grey = np.tile(LUMA, (3, 1))
    return np.asarray((grey + saturation * (np.eye(3) - grey)) @ turn)


def perturb_colours(image: Bytes, config: PerturbConfig, rng: np.random.Generator) -> Bytes:
    """Brightness, contrast, hue and saturation as one affine map, then blur and noise. (H, W, C) uint8 to the same."""
    if not config.enabled:
        return image
    bands = image.shape[2]
    brightness = draw(config.brightness, rng) * 255
    contrast = 1 + draw(config.contrast, rng)
    hue = math.radians(draw(config.hue, rng))
    saturation = 1 + draw(config.saturation, rng)
    blur = draw(config.blur, rng, signed=False)
    noise = draw(config.noise, rng, signed=False) * 255
    pixels: Any = image.astype(np.float32)  # OpenCV's stubs lose the type
    if bands == 3 and (hue or saturation != 1):
        pixels = cv2.transform(pixels, _colour_matrix(hue, saturation))
    if contrast != 1 or brightness:
        mean = np.float32(pixels.mean())
        pixels = (pixels - mean) * np.float32(contrast) + (mean + np.float32(brightness))
    if blur > 0.2:  # below it the kernel is a single pixel
        pixels = cv2.GaussianBlur(pixels, (0, 0), blur).reshape(image.shape)
    if noise:
        pixels = pixels + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(noise)
    return np.asarray(np.clip(np.rint(pixels), 0, 255), np.uint8)


def compress(image: Bytes, effect: Effect, rng: np.random.Generator) -> Bytes:
    """The image (H, W, C) uint8 as a JPEG file of quality 100 minus up to `strength` would give it back.

    Three bands are one colour picture (chroma at half the resolution, as such files have it), one band is grey; of
    other numbers every three bands from the first are one picture, and what is left over are grey ones.
    """
    lost = draw(effect, rng, signed=False)
    if not lost:
        return image
    quality = [cv2.IMWRITE_JPEG_QUALITY, max(1, round(100 - lost))]
    bands = image.shape[2]
    whole = bands - bands % 3
    parts = [image[..., k : k + 3] for k in range(0, whole, 3)] + [image[..., k : k + 1] for k in range(whole, bands)]
    # OpenCV's order is blue, green, red: luma is weighed by it
    return np.concatenate([_through_jpeg(part[..., ::-1], quality)[..., ::-1] for part in parts], axis=-1)


def _through_jpeg(picture: Bytes, quality: list[int]) -> Bytes:
    _, file = cv2.imencode(".jpg", np.ascontiguousarray(picture), quality)
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_UNCHANGED), np.uint8).reshape(picture.shape)
