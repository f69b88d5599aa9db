"""Pairs decoded into samples: images and masks of whole files or of blocks, as uint8 arrays of one form."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError
from .layouts import Pair
from .masks import IGNORED, MaskCoding, RawMask, decode, read_mask
from .opening import open_source
from .pixels import content_hash, to_bands, to_uint8
from .raster import Picture, read_picture
from .raster_pairs import RasterPair

__all__ = ["Form", "Reader", "Sample", "as_uint8", "check_sizes", "no_labels", "read_image"]


@dataclass(frozen=True)
class Sample:
    """One pair, decoded.

    Attributes:
        stem: the pair's name.
        image: (H, W, bands) uint8.
        mask: (H, W) uint8 class position, 0 and 1 when binary; `IGNORED` (255) where there is no label or no data.
        valid: (H, W) bool, False where the mask is `IGNORED`; None where it nowhere is.
        hash: `content_hash` of the image's pixels as decoded, before bands and range are changed.
    """

    stem: str
    image: np.ndarray
    mask: np.ndarray
    valid: np.ndarray | None
    hash: str


@dataclass(frozen=True)
class Form:
    """What all samples of a set have in common.

    Attributes:
        coding: how the masks become classes.
        bands: of every image.
        select: numbers from 1 of the bands of the files that are read; empty: all but alpha.
        value_range: pixel values that become 0 and 255; None: 8-bit images as they are.
    """

    coding: MaskCoding
    bands: int
    select: tuple[int, ...] = ()
    value_range: tuple[float, float] | None = None


class Reader:
    """Reads pairs one after the other; in a `with` block a large raster stays open while its blocks follow each other.

    Args:
        pairs: of the set.
        hashes: `content_hash` of each pair's image.
    """

    def __init__(self, pairs: Sequence[Pair], hashes: Sequence[str], form: Form) -> None:
        self._pairs, self._hashes, self._form = pairs, hashes, form
        self._files: tuple[Path, Path] | None = None
        self._raster: RasterPair | None = None
        self._open = ExitStack()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self._open.close()
        self._files = self._raster = None

    def read(self, index: int) -> Sample:
        """Decode one pair.

        Raises:
            DataError: a file has changed or gone since the dataset was opened.
        """
        return self.read_both(index)[0]

    def read_both(self, index: int) -> tuple[Sample, Picture]:
        """A sample, and its image as it is in the file.

        Raises:
            DataError: a file has changed or gone since the dataset was opened.
        """
        pair, form = self._pairs[index], self._form
        if pair.block is None:
            self.close()
            picture, raw, code = _whole(pair, form.select)
        else:
            raster = self._opened(pair)
            picture, code = raster.picture(pair.block), self._hashes[index]
            raw = raster.mask(pair.block) or no_labels(picture)
        image = as_uint8(to_bands(picture.pixels, form.bands, pair.image), form.value_range, pair.image)
        mask = decode(raw.read_as(indexed=form.coding.indexed), form.coding)
        for valid in (picture.valid, raw.valid):
            if valid is not None:
                mask[~valid] = IGNORED
        known = mask != IGNORED
        return Sample(pair.stem, image, mask, None if known.all() else known, code), picture

    def _opened(self, pair: Pair) -> RasterPair:
        files = (pair.image, pair.mask)
        if self._raster is None or self._files != files:
            self.close()
            raster = RasterPair(pair, self._form.select or None)
            block = pair.block
            if block is not None and (
                block.top + block.height > raster.height or block.left + block.width > raster.width
            ):
                raise DataError(f"image '{pair.image}' is smaller than when the dataset was opened: open it again")
            self._raster, self._files = self._open.enter_context(raster), files
        return self._raster


def _whole(pair: Pair, select: tuple[int, ...]) -> tuple[Picture, RawMask, str]:
    picture, raw = read_picture(pair.image), read_mask(pair.mask)
    code = content_hash(picture.pixels)  # of all bands: the same image whichever of them are learnt from
    check_sizes(pair, picture.pixels, raw.values)
    return (read_image(pair.image, select) if select else picture), raw, code


def read_image(path: Path, select: Sequence[int]) -> Picture:
    """An image, decoded whole, of the bands `select` (from 1, in that order; none: all but alpha).

    Raises:
        ImageError: it cannot be read.
        DataError: it has no such band.
    """
    if not select:
        return read_picture(path)
    with open_source(path, bands=select) as source:
        return source.read(0, source.height)


def no_labels(picture: Picture) -> RawMask:
    """The mask of an image that has none."""
    shape = picture.pixels.shape[:2]
    return RawMask(np.zeros(shape, np.uint8), None, np.zeros(shape, bool))


def as_uint8(pixels: np.ndarray, value_range: tuple[float, float] | None, path: Path) -> np.ndarray:
    """`to_uint8`, where pixels and range belong together.

    Raises:
        DataError: they are 8-bit and the range is not, or the other way round; `path` is named.
    """
    if value_range is None and pixels.dtype != np.uint8:
        raise DataError(f"image '{path}' has {pixels.dtype} pixels, expected uint8: export it with 8 bits per band")
    if value_range is not None and pixels.dtype == np.uint8 and value_range[1] > 255:
        low, high = value_range
        raise DataError(f"image '{path}' has 8-bit pixels, expected values {low:g}..{high:g}: give the original image")
    return to_uint8(pixels, value_range)


def check_sizes(pair: Pair, pixels: np.ndarray, mask: np.ndarray) -> None:
    """Image (H, W, C) and mask (H, W) must be of one size.

    Raises:
        DataError: they are not.
    """
    if pixels.shape[:2] != mask.shape:
        (h, w), (mask_h, mask_w) = pixels.shape[:2], mask.shape
        raise DataError(
            f"mask '{pair.mask}' is {mask_w}x{mask_h} but its image is {w}x{h}: "
            "resize or re-export one of them, or drop the pair from the folder"
        )
