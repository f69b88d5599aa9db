"""Pictures in memory as a `Source`: one that is there already, and a file that is decoded when first read from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .raster import Picture, read_header, read_picture
from .sources import Placing, checked_bands, checked_window

__all__ = ["HeldPicture", "WholePicture"]


class HeldPicture:
    """A picture in memory.

    Attributes:
        picture: all of it.
    """

    resolution_m: float | None = None

    def __init__(self, picture: Picture, name: str = "the picture", placing: Placing | None = None) -> None:
        self.picture, self.name = picture, name
        self.height, self.width, self.bands = picture.pixels.shape
        self.dtype = picture.pixels.dtype
        self.placing = Placing() if placing is None else placing

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> Picture:
        """(bottom - top, right - left, bands) of a window."""
        right = checked_window(self, top, bottom, left, right)
        return _part(self.picture, top, bottom, left, right)

    def __enter__(self) -> HeldPicture:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _part(picture: Picture, top: int, bottom: int, left: int, right: int) -> Picture:
    """A copy, so that whoever changes it does not change what is held."""
    pixels, valid = picture.pixels[top:bottom, left:right].copy(), picture.valid
    if valid is not None:
        valid = valid[top:bottom, left:right].copy()
    return Picture(pixels, None if valid is None or valid.all() else valid, picture.palette)


class WholePicture:
    """An image in memory from its first `read` to the end of the `with` block.

    Args:
        path: PNG or JPEG (or whatever `read_picture` takes).
        bands: numbers from 1; None: all but alpha.
        expand_palette: False keeps the indices of a palette image as one band.

    Raises:
        ImageError: it cannot be read.
        DataError: it has no such band.
    """

    resolution_m: float | None = None

    def __init__(self, path: Path, bands: Sequence[int] | None = None, *, expand_palette: bool = True) -> None:
        self.path, self.name = Path(path), str(path)
        self._asked = None if bands is None else tuple(bands), expand_palette
        header = read_header(self.path, expand_palette=expand_palette)
        checked_bands(self.name, bands, ["red", "green", "blue"] if header.bands == 3 else [""] * header.bands)
        self.height, self.width, self.dtype = header.height, header.width, np.dtype(header.dtype)
        self.bands = header.bands if bands is None else len(bands)
        self.placing = Placing()
        self._picture: Picture | None = None

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> Picture:
        """(bottom - top, right - left, bands) of a window, in the file's own dtype.

        Raises:
            ImageError: the file is truncated or damaged.
        """
        right = checked_window(self, top, bottom, left, right)
        if self._picture is None:
            self._picture = self._decoded()
        return _part(self._picture, top, bottom, left, right)

    def _decoded(self) -> Picture:
        bands, expand_palette = self._asked
        found = read_picture(self.path, expand_palette=expand_palette)
        if bands is None:
            return found
        return Picture(found.pixels[..., [n - 1 for n in bands]], found.valid, found.palette)

    def __enter__(self) -> WholePicture:
        return self

    def __exit__(self, *_: object) -> None:
        self._picture = None

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (self.path, *self._asked)


def _again(path: Path, bands: tuple[int, ...] | None, expand_palette: bool) -> WholePicture:
    return WholePicture(path, bands, expand_palette=expand_palette)
