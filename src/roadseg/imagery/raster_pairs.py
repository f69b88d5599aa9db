"""A large image and its labels, read a window at a time: both open at once, and both on one grid of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from .layouts import Pair
from .masks import RawMask, raw_mask
from .striped import open_for_blocks

if TYPE_CHECKING:
    from .blocks import Block
    from .sources import Picture, Placing, Source

__all__ = ["RasterPair", "labels_offset"]

DRIFT = 0.5  # px that the grids of image and labels may lie apart at the far corner, as files round their numbers
SHIFT = 0.1  # px that the corner of the labels may lie beside a corner of the image's pixels


class RasterPair:
    """The files of a pair, for a `with` block.

    Labels may cover a part of the image, or more than it: what is outside of them has no label.

    Args:
        pair: its files; its block does not matter.
        select: numbers from 1 of the image's bands that are read, in this order; None: all but alpha.

    Raises:
        ImageError: a file cannot be read.
        DataError: image and labels are not on one grid, or a band is missing.

    Attributes:
        image: the open image.
        height, width: of the image, px.
    """

    def __init__(self, pair: Pair, select: Sequence[int] | None = None) -> None:
        self.pair = pair
        self.image: Source = open_for_blocks(pair.image, bands=select)
        self.labels: Source = open_for_blocks(pair.mask, expand_palette=False)
        self.height, self.width = self.image.height, self.image.width
        self.offset = labels_offset(self.image, self.labels)
        # No data where the labels have the value 0 is background by mistake, as in `read_mask`.
        self._holes = getattr(self.labels, "nodata", None) != 0
        self._open = ExitStack()

    def __enter__(self) -> RasterPair:
        self._open.enter_context(self.image)
        self._open.enter_context(self.labels)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def picture(self, block: Block) -> Picture:
        """The image of a block.

        Raises:
            ImageError: the file is truncated or damaged there.
        """
        return self.image.read(*block.window)

    def mask(self, block: Block) -> RawMask | None:
        """The labels of a block; None where they do not reach it.

        Raises:
            ImageError: the file is truncated or damaged there.
            DataError: they are coloured.
        """
        top, bottom, left, right = self._part(block)
        if top >= bottom or left >= right:
            return None
        down, across = self.offset
        raw = raw_mask(
            self.labels.read(top - down, bottom - down, left - across, right - across),
            self.pair.mask,
            holes=self._holes,
        )
        if (bottom - top, right - left) == (block.height, block.width):
            return raw
        values = np.zeros((block.height, block.width), raw.values.dtype)
        valid = np.zeros(values.shape, bool)
        inside = np.s_[top - block.top : bottom - block.top, left - block.left : right - block.left]
        values[inside] = raw.values
        valid[inside] = True if raw.valid is None else raw.valid
        return RawMask(values, raw.palette, valid)

    def _part(self, block: Block) -> tuple[int, int, int, int]:
        """Top, bottom, left and right of the part of a block that the labels reach, px of the image."""
        top, bottom, left, right = block.window
        down, across = self.offset
        return (
            max(top, down),
            min(bottom, down + self.labels.height),
            max(left, across),
            min(right, across + self.labels.width),
        )


def labels_offset(image: Source, labels: Source) -> tuple[int, int]:
    """Row and column of the image that the labels' first pixel lies on.

    Where both say where they lie on the earth, that counts, else they must be of one size.

    Raises:
        DataError: they are of other sizes or CRS, on other grids, or do not meet.
    """
    same_size = (image.height, image.width) == (labels.height, labels.width)
    if image.placing.transform is None or labels.placing.transform is None:
        if same_size:
            return 0, 0
        bare = image.name if image.placing.transform is None else labels.name
        raise DataError(
            f"mask '{labels.name}' is {labels.width}x{labels.height} but its image is {image.width}x{image.height}, "
            f"and '{bare}' does not say where it lies on the earth: export the labels on the image's grid, or "
            "georeference both"
        )
    _check_crs(image, labels)
    a, b, c, d, e, f = image.placing.transform
    steps = np.array([[a, b], [d, e]])
    own = np.array(labels.placing.transform).reshape(2, 3)
    try:
        apart = np.linalg.solve(steps, own[:, :2] - steps) @ [labels.width, labels.height]
        across, down = np.linalg.solve(steps, own[:, 2] - [c, f]).tolist()
    except np.linalg.LinAlgError as error:
        raise DataError(
            f"image '{image.name}' has a transform that puts all pixels on a line: export it again"
        ) from error
    if np.abs(apart).max() > DRIFT:
        raise DataError(
            f"mask '{labels.name}' has other pixels ({_step(labels.placing)}) than its image ({_step(image.placing)}): "
            f"{ADVICE}"
        )
    if max(abs(across - round(across)), abs(down - round(down))) > SHIFT:
        if (
            same_size and max(abs(across), abs(down)) < 1
        ):  # a convention of corners and centres: less than a label's blur
            return 0, 0
        raise DataError(
            f"the pixels of mask '{labels.name}' lie {across % 1:.2f} and {down % 1:.2f} px beside those of its image: "
            f"{ADVICE}"
        )
    row, column = round(down), round(across)
    if not (-labels.height < row < image.height and -labels.width < column < image.width):
        raise DataError(
            f"mask '{labels.name}' lies elsewhere than its image '{image.name}': its upper left corner is at row "
            f"{row}, column {column} of {image.height} and {image.width}; pair the files that belong together"
        )
    return row, column


ADVICE = (
    "put the labels on the image's grid (`roadseg prepare` burns vectors on it, gdalwarp -te -tr resamples rasters)"
)


def _check_crs(image: Source, labels: Source) -> None:
    from rasterio.crs import CRS

    ours, theirs = image.placing.crs, labels.placing.crs
    if ours is None or theirs is None or ours == theirs:  # numbers alone are compared then
        return
    if CRS.from_user_input(ours) != CRS.from_user_input(theirs):
        raise DataError(f"mask '{labels.name}' is in {_name(theirs)} but its image in {_name(ours)}: {ADVICE}")


def _name(crs: str) -> str:
    from rasterio.crs import CRS

    code = CRS.from_user_input(crs).to_epsg()
    return f"EPSG:{code}" if code else crs[:60]


def _step(placing: Placing) -> str:
    a, b, _, d, e, _ = placing.transform or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    return f"{float(np.hypot(a, d)):.6g} x {float(np.hypot(b, e)):.6g}" + (", turned" if b or d else "")
