"""Perturbation of training images at run time: geometry as one coordinate map, colour as one affine map of the bands.

All geometric effects are composed into a single map from crop pixels to image pixels, so image and mask are each
sampled exactly once, from the same coordinates, with reflected borders. NumPy and OpenCV only: it runs beside the
network's step.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..config import Effect, PerturbConfig
from ..imagery.pixels import LUMA

__all__ = ["Perturbation", "coordinate_map", "perturb_colours", "reflect", "sample"]

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def _draw(effect: Effect, rng: np.random.Generator, *, signed: bool = True) -> float:
    """A strength for one image: uniform in +-strength (or 0..strength), or 0 when the effect does not happen.

    Always takes two numbers from `rng`: changing one effect leaves the others' draws as they were.
    """
    happens = rng.random() < effect.probability
    value = rng.uniform(-1 if signed else 0, 1) * effect.strength
    return float(value) if happens else 0.0


def _draw_pair(effect: Effect, rng: np.random.Generator) -> tuple[float, float]:
    """Two strengths for x and y that happen together: `probability` is the image's, not each direction's."""
    happens = rng.random() < effect.probability
    x, y = rng.uniform(-1, 1, 2) * effect.strength
    return (float(x), float(y)) if happens else (0.0, 0.0)


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
    angle = math.radians(_draw(config.rotation, rng))
    zoom = math.exp(_draw(config.scale, rng))
    shear_x, shear_y = (math.tan(math.radians(degrees)) for degrees in _draw_pair(config.shear, rng))
    shift_x, shift_y = (share * crop for share in _draw_pair(config.translation, rng))
    tilt_x, tilt_y = _draw_pair(config.perspective, rng)
    bend = _draw(config.elastic, rng, signed=False)
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


def sample(pixels: NDArray[np.uint8], x: Floats, y: Floats, *, discrete: bool, factor: int = 1) -> Bytes:
    """`pixels` (H, W, C) or (H, W) uint8 at the coordinates x, y: linearly, or the nearest pixel when `discrete`.

    Values are multiplied by `factor` before they are blended. Only the window that the coordinates cover is touched:
    OpenCV's map is limited to 32767 px a side, and the image may lie on a disk.
    """
    left, top = int(x.min()), int(y.min())
    right, bottom = math.ceil(x.max()) + 1, math.ceil(y.max()) + 1
    window: Any = np.ascontiguousarray(pixels[top:bottom, left:right])
    if factor != 1:
        window = window * np.uint8(factor)
    if discrete:
        out = window[np.rint(y).astype(np.intp) - top, np.rint(x).astype(np.intp) - left]
        return np.asarray(out, np.uint8)
    mx, my = x - np.float32(left), y - np.float32(top)
    bands = 1 if window.ndim == 2 else window.shape[2]
    if bands <= 4:
        out = cv2.remap(window, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(out.reshape((*x.shape, *window.shape[2:])), np.uint8)
    parts = [
        cv2.remap(
            np.ascontiguousarray(window[..., k : k + 4]), mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for k in range(0, bands, 4)
    ]
    return np.concatenate([p.reshape((*x.shape, -1)) for p in parts], axis=-1).astype(np.uint8)


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
    brightness = _draw(config.brightness, rng) * 255
    contrast = 1 + _draw(config.contrast, rng)
    hue = math.radians(_draw(config.hue, rng))
    saturation = 1 + _draw(config.saturation, rng)
    blur = _draw(config.blur, rng, signed=False)
    noise = _draw(config.noise, rng, signed=False) * 255
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


@dataclass(frozen=True)
class Perturbation:
    """Random crops of one size out of images, perturbed as `config` says.

    >>> crop, mask = Perturbation(config.perturb, crop=256)(image, mask, np.random.default_rng(0))
    """

    config: PerturbConfig
    crop: int
    discrete: bool = False  # class-index masks: nearest pixel; road masks are sampled linearly and cut at one half

    def __call__(self, image: Bytes, mask: Bytes, rng: np.random.Generator) -> tuple[Bytes, Bytes]:
        """(H, W, C) uint8 image and (H, W) uint8 mask of class positions -> (crop, crop, C) and (crop, crop) uint8."""
        x, y = coordinate_map(self.config, (image.shape[0], image.shape[1]), self.crop, rng)
        pixels = sample(image, x, y, discrete=False)
        if self.discrete:
            truth = sample(mask, x, y, discrete=True)
        else:
            truth = (sample(mask, x, y, discrete=False, factor=254) > 127).astype(np.uint8)
        return perturb_colours(pixels, self.config, rng), truth
