"""Other sizes: tiles of an image, and images and labels resized together. Arrays and numbers, no files."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..imagery.masks import IGNORED
from ..imagery.raster import Picture
from ..imagery.resample import resample, resample_mask

__all__ = ["Resize", "Tile", "resize_labels", "resize_picture", "tiles"]

DIRECT = ("uint8", "uint16", "int16", "float32", "float64")  # what OpenCV resamples


@dataclass(frozen=True)
class Resize:
    """The size that images are brought to: by a factor, or a width and a height."""

    factor: float = 1.0
    size: tuple[int, int] | None = None  # (height, width)

    @classmethod
    def parse(cls, text: str) -> "Resize":
        """From `0.5`, `50%` or `WIDTHxHEIGHT`.

        Raises:
            ConfigError: anything else.
        """
        sides = re.fullmatch(r"(\d+)x(\d+)", text)
        if sides is not None and int(sides[1]) and int(sides[2]):
            return cls(size=(int(sides[2]), int(sides[1])))
        try:
            factor = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            factor = 0.0
        if not 1 / 64 <= factor <= 16:
            tip = f" (did you mean {text}x{text}?)" if text.isdecimal() and int(text) > 16 else ""
            raise ConfigError(f"--resize {text}: expected a factor such as 0.5 or 50%, or a size such as 512x512{tip}")
        return cls(factor)

    def of(self, height: int, width: int) -> tuple[int, int]:
        """The new height and width of an image, px."""
        if self.size is not None:
            return self.size
        return max(1, round(height * self.factor)), max(1, round(width * self.factor))


@dataclass(frozen=True)
class Tile:
    """A part of an image: its upper left corner and its side, px, and the ending of its name."""

    top: int
    left: int
    height: int
    width: int
    ending: str

    def of(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """The part of (H, W, ...)."""
        return array[self.top : self.top + self.height, self.left : self.left + self.width]


def tiles(height: int, width: int, side: int, overlap: int) -> Iterator[Tile]:
    """Square tiles that cover an image, row by row; the last of a row or column ends at the border.

    Their names end in `_r{top}_c{left}`, in as many digits as the image needs.

    Args:
        height, width: of the image, px; neither below `side`.
        side: px.
        overlap: px that neighbours share at least.
    """
    digits = len(str(max(height, width) - side))
    for top in _starts(height, side, side - overlap):
        for left in _starts(width, side, side - overlap):
            yield Tile(top, left, side, side, f"_r{top:0{digits}}_c{left:0{digits}}")


def _starts(length: int, side: int, step: int) -> list[int]:
    return [min(k * step, length - side) for k in range(math.ceil((length - side) / step) + 1)]


def resize_picture(picture: Picture, height: int, width: int) -> Picture:
    """An image in another size, of the same dtype; what is valid is taken from the nearest pixel."""
    pixels = picture.pixels
    if str(pixels.dtype) in DIRECT:
        resized = resample(pixels, height, width)
    else:
        limits = np.iinfo(pixels.dtype)
        resized = np.rint(resample(pixels.astype(np.float64), height, width)).clip(limits.min, limits.max)
        resized = resized.astype(pixels.dtype)
    valid = picture.valid
    if valid is not None:
        valid = resample_mask(valid.astype(np.uint8), height, width) > 0
        valid = None if valid.all() else valid
    return Picture(resized, valid)


def resize_labels(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Class positions (H, W) in another size: each pixel gets the class, or `IGNORED`, with the largest part of it.

    A class never appears where it was not: positions are counted, not averaged. Of equal parts the later class wins,
    `IGNORED` never, so that thin classes last longer than the background.
    """
    shrinks = height * width < mask.size
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    present = [int(k) for k in np.flatnonzero(np.bincount(mask.ravel(), minlength=256))]
    best = np.full((height, width), -1, np.float32)
    found = np.zeros((height, width), np.uint8)
    for k in sorted(present, key=lambda k: -1 if k == IGNORED else k):
        share = cv2.resize((mask == k).astype(np.float32), (width, height), interpolation=way)
        wins = share >= best
        found[wins] = k
        best[wins] = share[wins]
    return found
