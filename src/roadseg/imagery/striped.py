"""TIFFs whose rows lie whole in the file, read by blocks: GDAL would decode all of a row anew for each block in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .formats import kind_of, open_gdal, reasons
from .opening import open_source
from .sources import Picture, Source

__all__ = ["open_for_blocks"]

HELD = 2**29  # bytes of rows that are kept; wider rasters than a row of blocks fits into are read block by block


def open_for_blocks(path: Path, *, bands: Sequence[int] | None = None, expand_palette: bool = True) -> Source:
    """`open_source` for who reads blocks row by row: of a striped TIFF the last row of blocks is held.

    On a 16-bit TIFF of four bands, 12,000 px wide, a row of twelve blocks takes 0.3 s so, else 3.2 s.

    Raises:
        ImageError, DataError: as `open_source`.
    """
    source = open_source(path, bands=bands, expand_palette=expand_palette)
    return _Rows(source) if _is_striped(path) else source


def _is_striped(path: Path) -> bool:
    with reasons(path):
        if kind_of(path) != "GTiff":
            return False
        with open_gdal(path, "GTiff") as dataset:
            return bool(dataset.block_shapes[0][1] >= dataset.width)


class _Rows:
    """A `Source` that keeps the rows it was last asked for, over the whole width.

    Args:
        source: is opened and closed with this one.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._held: tuple[int, int, Picture] | None = None
        self.name, self.height, self.width, self.bands = source.name, source.height, source.width, source.bands
        self.dtype, self.placing, self.resolution_m = source.dtype, source.placing, source.resolution_m
        self.nodata: Any = getattr(source, "nodata", None)

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> Picture:
        """(bottom - top, right - left, bands) of a window, in the file's own dtype.

        Raises:
            ImageError: the file is truncated or damaged in these rows.
        """
        right = self.width if right is None else right
        if (bottom - top) * self.width * self.bands * self.dtype.itemsize > HELD:
            return self._source.read(top, bottom, left, right)
        if self._held is None or self._held[:2] != (top, bottom):
            self._held = None  # two of them would be in memory
            self._held = top, bottom, self._source.read(top, bottom)
        rows = self._held[2]
        valid = None if rows.valid is None else rows.valid[:, left:right]
        valid = None if valid is None or valid.all() else valid.copy()
        return Picture(rows.pixels[:, left:right].copy(), valid, rows.palette)

    def __enter__(self) -> _Rows:
        self._source.__enter__()
        return self

    def __exit__(self, *reason: object) -> None:
        self._held = None
        self._source.__exit__(*reason)
