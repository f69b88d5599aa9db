"""The first reading of a pair's files: what is in them, and the blocks of a large raster that have something to teach.

Every pixel that will be learnt from is read once here, for the hashes, the values of the masks and the range of the
pixels.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..config import DataConfig
from ..errors import DataError
from .blocks import blocks_of, is_large
from .layouts import Pair
from .masks import RawMask, histogram, read_mask
from .pixels import content_hash
from .raster import Picture, read_header, read_picture
from .raster_pairs import RasterPair
from .samples import check_sizes, read_image
from .sources import Source
from .striped import open_for_blocks

__all__ = ["Checked", "Part", "Raster", "check"]

SAMPLED = 20_000  # pixel values per image or block that the percentiles are taken from
SAMPLED_AT_MOST = 2_000_000  # of all blocks of one raster
WINDOWED = (".tif", ".tiff", ".vrt")  # what is read by windows where it is large


@dataclass(frozen=True)
class Part:
    """What becomes one sample: its name and place, (height, width) px, `content_hash` of image and mask."""

    pair: Pair
    size: tuple[int, int]
    hash: str
    mask_hash: str


@dataclass(frozen=True)
class Raster:
    """A large raster that is read by blocks.

    Attributes:
        stem: its name, without a block's ending.
        size: (height, width), px.
        grid: (rows, columns) of blocks.
        kept: number of blocks that are samples; the others have no label, or no data where they have one.
    """

    stem: str
    size: tuple[int, int]
    grid: tuple[int, int]
    kept: int


@dataclass
class Checked:
    """What the first reading of a pair's files leaves behind.

    Attributes:
        parts: one, or the blocks of a large raster.
        values: a few values of valid pixels, for the percentiles.
        counts: pixels of each value of the mask where mask and image have data; by palette index where it has one.
        greys: the same by grey.
        colours: (N, 3) of the mask's palette.
        raster: what is large.
    """

    pair: Pair
    bands: int
    dtype: np.dtype[Any]
    parts: list[Part] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    counts: Counter[float] = field(default_factory=Counter)
    greys: Counter[float] = field(default_factory=Counter)
    colours: np.ndarray = field(default_factory=lambda: np.empty((0, 3), np.uint8))
    raster: Raster | None = None

    @property
    def pixels(self) -> int:
        """Of all parts."""
        return sum(math.prod(part.size) for part in self.parts)

    def add(self, pair: Pair, whole: Picture, picture: Picture, raw: RawMask, sampled: int) -> None:
        """Take in a part: its image with all bands, with the chosen ones, and its mask."""
        valid = picture.valid
        both = raw.valid if valid is None else valid if raw.valid is None else valid & raw.valid
        self.counts.update(histogram(raw.values if both is None else raw.values[both]))
        if raw.palette is not None:
            grey = raw.read_as(indexed=False)
            self.greys.update(histogram(grey if both is None else grey[both]))
            self.colours = np.unique(np.concatenate([self.colours, raw.colours()]), axis=0)
        if picture.pixels.dtype != np.uint8:
            data = picture.pixels if valid is None else picture.pixels[valid]
            self.values.append(data.reshape(-1)[:: max(1, data.size // sampled)].copy())
        size = picture.pixels.shape[0], picture.pixels.shape[1]
        self.parts.append(Part(pair, size, content_hash(whole.pixels), content_hash(raw.values)))


def check(pair: Pair, config: DataConfig, ignore: int = -1) -> Checked:
    """Read a pair for the first time.

    Args:
        config: its `block` and `select`.
        ignore: mask value of pixels without a label; -1: none.

    Raises:
        DataError: a file cannot be read, image and mask do not fit together, or nothing of a large raster is labelled.
    """
    header = read_header(pair.image) if pair.image.suffix.lower() in WINDOWED else None
    if header is not None and is_large(header.height, header.width, config.block):
        found = _check_raster(pair, config, ignore)
    else:
        whole, raw = read_picture(pair.image), read_mask(pair.mask)
        check_sizes(pair, whole.pixels, raw.values)
        picture = read_image(pair.image, config.select) if config.select else whole
        found = Checked(pair, picture.pixels.shape[-1], picture.pixels.dtype)
        found.add(pair, whole, picture, raw, SAMPLED)
    found.greys = found.greys or found.counts
    return found


def _check_raster(pair: Pair, config: DataConfig, ignore: int) -> Checked:
    with ExitStack() as stack:
        files = stack.enter_context(RasterPair(pair))
        chosen: Source = files.image
        if config.select:
            chosen = stack.enter_context(open_for_blocks(pair.image, bands=config.select))
        blocks = blocks_of(files.height, files.width, config.block)
        sampled = max(100, min(SAMPLED, SAMPLED_AT_MOST // len(blocks)))
        found = Checked(pair, chosen.bands, chosen.dtype)
        for block in blocks:
            raw = files.mask(block)  # first: where nothing is labelled, the image is not read
            if raw is None or not _has_labels(raw, None, ignore):
                continue
            whole = files.picture(block)
            picture = chosen.read(*block.window) if config.select else whole
            if not _has_labels(raw, picture.valid, ignore) or _is_blank(files.image, whole):
                continue
            own = replace(pair, stem=pair.stem + block.ending, block=block)
            found.add(own, whole, picture, raw, sampled)
    if not found.parts:
        raise DataError(
            f"nothing of '{pair.image}' can be learnt from: mask '{pair.mask}' has no label where the image has data; "
            'see data.ignore, and the "no data" values of both'
        )
    size, grid = (files.height, files.width), (blocks[0].rows, blocks[0].columns)
    found.raster = Raster(pair.stem, size, grid, len(found.parts))
    return found


def _has_labels(raw: RawMask, data: np.ndarray | None, ignore: int) -> bool:
    """Whether any pixel has a label and, where `data` says it, data."""
    known = raw.values != ignore
    for valid in (raw.valid, data):
        if valid is not None:
            known &= valid
    return bool(known.any())


def _is_blank(image: Source, picture: Picture) -> bool:
    """Whether a georeferenced image is 0 everywhere in a block, as where it has no data and does not say so."""
    return image.placing.transform is not None and not picture.pixels.any()
