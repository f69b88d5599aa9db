"""Several georeferenced files as one raster; a `Source`.

All lie on the pixel grid of the first. Files of another grid are refused, not resampled: their pixels would be smoother
than the others', and roads would shift by parts of a pixel at the seams, without anybody having asked for it.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, RoadsegWarning
from .formats import kind_of, reasons
from .gdal_file import GdalFile
from .sources import Picture, Placing, checked_window

__all__ = ["Mosaic"]

OPEN = 128  # files at once: a row of tiles of a large mosaic, and far below what systems allow
DRIFT = 0.01  # px, that grids may differ by
SPARSE = 1e-3  # share of what the files span that they cover, below which one of them is probably misplaced
LONGEST = 2**31  # px, of a side


class Mosaic:
    """Files of one CRS, dtype, number of bands and pixel grid, as one raster of the rectangle that they span.

    A pixel is that of the first file given that has data there; where none has, there is no data and pixels are 0.
    Any number of files: some `OPEN` are open at a time, and a copy in another process does not look at them all again.

    Args:
        paths: two files at least.
        bands: numbers from 1, of each file; None: all but alpha.

    Raises:
        ImageError: a file cannot be read.
        DataError: the files do not fit together: which two, and in what.
    """

    def __init__(self, paths: Sequence[Path], bands: Sequence[int] | None = None) -> None:
        self.paths = tuple(Path(p) for p in paths)
        self._bands = None if bands is None else tuple(bands)
        if not self.paths:
            raise DataError("no image is given")
        boxes = np.empty((len(self.paths), 4), np.int64)  # top, bottom, left, right on the grid of the first
        files = {0: self._file(0)}
        first = files[0]
        if first.placing.transform is None:
            raise DataError(
                f"'{first.path}' does not say where it lies: several files are one mosaic only where all are "
                "georeferenced; give them one by one"
            )
        for number in range(len(self.paths)):
            other = files.setdefault(number, self._file(number) if number else first)
            _check_alike(first, other)
            top, left = _offset(first, other)
            boxes[number] = top, top + other.height, left, left + other.width
        origin = boxes.min(axis=0)[[0, 2]]
        self._boxes = boxes - np.repeat(origin, 2)
        self.name = first.name
        self.height, self.width = (int(v) for v in self._boxes.max(axis=0)[[1, 3]])
        self._check_extent()
        self.bands, self.dtype = first.bands, first.dtype
        self.resolution_m = first.resolution_m
        a, b, c, d, e, f = first.placing.transform
        y, x = (int(v) for v in origin)
        self.placing = Placing((a, b, c + a * x + b * y, d, e, f + d * x + e * y), first.placing.crs)
        self._files = files  # what is known of those that were looked at
        self._open: OrderedDict[int, GdalFile] = OrderedDict()

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> Picture:
        """(bottom - top, right - left, bands) of a window, in the files' own dtype.

        Raises:
            ImageError: a file is gone, truncated or damaged there.
        """
        right = checked_window(self, top, bottom, left, right)
        pixels = np.zeros((bottom - top, right - left, self.bands), self.dtype)
        missing = np.ones(pixels.shape[:2], bool)
        for number in self._under(top, bottom, left, right):
            box_top, box_bottom, box_left, box_right = (int(v) for v in self._boxes[number])
            y0, y1 = max(top, box_top), min(bottom, box_bottom)
            x0, x1 = max(left, box_left), min(right, box_right)
            here = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
            wanted = missing[here]
            if not wanted.any():
                continue
            part = self._opened(number).read(y0 - box_top, y1 - box_top, x0 - box_left, x1 - box_left)
            take = wanted if part.valid is None else wanted & part.valid
            if take.all():
                pixels[here] = part.pixels
            else:
                np.copyto(pixels[here], part.pixels, where=take[..., None])
            wanted &= ~take
        return Picture(pixels, ~missing if missing.any() else None)

    def empty(self, top: int, bottom: int, left: int, right: int) -> bool:
        """See `surely_empty`."""
        return not self._under(top, bottom, left, right)

    def __enter__(self) -> Mosaic:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict(), "_files": {}}

    def _under(self, top: int, bottom: int, left: int, right: int) -> list[int]:
        """The files that a window touches, in their order. A look at all boxes: 50 microseconds for 10,000."""
        tops, bottoms, lefts, rights = self._boxes.T
        touched = (tops < bottom) & (bottoms > top) & (lefts < right) & (rights > left)
        return [int(number) for number in np.flatnonzero(touched)]

    def _opened(self, number: int) -> GdalFile:
        if (file := self._files.get(number)) is None:
            file = self._files[number] = self._file(number)
        self._open.pop(number, None)
        self._open[number] = file  # the last one used is the last one closed
        if len(self._open) > OPEN:
            self._open.popitem(last=False)[1].close()
        return file

    def _file(self, number: int) -> GdalFile:
        path = self.paths[number]
        with reasons(path):
            kind = kind_of(path)
        if kind in ("Pillow", "PNG"):
            raise DataError(f"'{path}' is no GeoTIFF: only georeferenced rasters can be put together to one")
        return GdalFile(path, kind, self._bands)

    def _check_extent(self) -> None:
        heights, widths = self._boxes[:, 1] - self._boxes[:, 0], self._boxes[:, 3] - self._boxes[:, 2]
        covered = int((heights * widths).sum()) / (self.height * self.width)
        if max(self.height, self.width) < LONGEST and covered >= SPARSE:
            return
        middle = np.median(self._boxes, axis=0)
        far = self.paths[int(np.abs(self._boxes - middle).sum(axis=1).argmax())]
        text = (
            f"the {len(self.paths)} files of the mosaic cover {covered:.2g} of the {self.width}x{self.height} pixels "
            f"that they span: is '{far}' of another place?"
        )
        if max(self.height, self.width) >= LONGEST:
            raise DataError(text)
        warnings.warn(text, RoadsegWarning, stacklevel=4)


def _check_alike(first: GdalFile, other: GdalFile) -> None:
    for what, ours, theirs in (
        ("bands", first.bands, other.bands),
        ("pixels of type", first.dtype, other.dtype),
    ):
        if ours != theirs:
            raise DataError(
                f"'{other.path}' and '{first.path}' cannot be one mosaic: {what} {theirs} against {ours}; export all "
                "the same way, or give them one by one"
            )
    if other.placing.transform is None:
        raise DataError(f"'{other.path}' does not say where it lies: leave it out of the mosaic, or georeference it")
    if not _same_crs(first.placing.crs, other.placing.crs):
        names = [_crs_name(file.placing.crs) for file in (other, first)]
        raise DataError(
            f"'{other.path}' is in {names[0]} but '{first.path}' in {names[1]}: bring all to one CRS (`rio warp`, "
            "gdalwarp), or give them one by one"
        )


def _same_crs(ours: str | None, theirs: str | None) -> bool:
    if ours == theirs:
        return True
    if ours is None or theirs is None:
        return False
    from rasterio.crs import CRS

    return bool(CRS.from_wkt(ours) == CRS.from_wkt(theirs))


def _crs_name(crs: str | None) -> str:
    if crs is None:
        return "no CRS that it names"
    from rasterio.crs import CRS

    return str(CRS.from_wkt(crs).to_string())[:40]


def _offset(first: GdalFile, other: GdalFile) -> tuple[int, int]:
    """Row and column of the other's upper left corner on the grid of the first.

    Raises:
        DataError: it lies on another grid.
    """
    ours, theirs = (_matrix(file.placing) for file in (first, other))
    own = np.linalg.solve(ours, theirs)  # the other's columns and rows to those of the first
    corners = np.array([[0, other.width, 0, other.width], [0, 0, other.height, other.height], [1, 1, 1, 1]])
    placed = (own @ corners)[:2]
    column, row = (int(v) for v in np.rint(placed[:, 0]))
    off = np.abs(placed - corners[:2] - [[column], [row]]).max()
    if off <= DRIFT:
        return row, column
    steps = [float(np.hypot(*matrix[:2, 0])) for matrix in (theirs, ours)]
    if not math.isclose(*steps, rel_tol=DRIFT / max(other.width, other.height)):
        found = f"its pixels are {steps[0]:.9g} wide, not {steps[1]:.9g}"
    else:
        found = f"it is off by {off:.2g} pixels"
    raise DataError(
        f"'{other.path}' does not lie on the pixel grid of '{first.path}': {found}; resample it to that grid "
        "(gdalwarp -tap), or give the files one by one"
    )


def _matrix(placing: Placing) -> NDArray[np.float64]:
    assert placing.transform is not None
    return np.array([[*placing.transform[:3]], [*placing.transform[3:]], [0, 0, 1]], np.float64)
