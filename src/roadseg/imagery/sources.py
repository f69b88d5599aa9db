"""A raster that is read a window at a time, whatever lies behind it: what prediction and training read."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import DataError, RoadsegWarning
from .crs import is_geographic

__all__ = ["Picture", "Placing", "Source", "checked_bands", "checked_window", "surely_empty", "warn_place"]


@dataclass(frozen=True)
class Picture:
    """A decoded image, or a part of one.

    Attributes:
        pixels: (H, W, C) in the file's own dtype; alpha removed, palettes as RGB, 1-bit as 0 and 255.
        valid: (H, W) bool, False where there is no data; None where all of it is data.
        palette: (256, 3) uint8, only when the palette's indices were asked for and `pixels` holds them.
    """

    pixels: np.ndarray
    valid: np.ndarray | None
    palette: np.ndarray | None = None


@dataclass(frozen=True)
class Placing:
    """Where the pixels of a raster lie on the earth.

    Attributes:
        transform: (a, b, c, d, e, f): x = a * column + b * row + c, y = d * column + e * row + f, of pixel corners;
            None: pixel coordinates.
        crs: WKT; None: not known.
        points: ground control points as rasterio has them, and their CRS; empty where there are none.
    """

    transform: tuple[float, float, float, float, float, float] | None = None
    crs: str | None = None
    points: tuple[tuple[Any, ...], Any] = ((), None)


class Source(Protocol):
    """A raster of any size, for a `with` block.

    Its attributes are known before anything is read. It belongs to one thread at a time: a reader thread and a worker
    open their own. It can be pickled: another process gets what was asked for, and opens the files itself.

    Attributes:
        name: what the user calls it: the file, or the first of several.
        height, width: px.
        bands: of what `read` gives; alpha is not one of them.
        dtype: of the pixels.
        placing: where it lies.
        resolution_m: metres on the ground per pixel, where known.
    """

    name: str
    height: int
    width: int
    bands: int
    dtype: np.dtype[Any]
    placing: Placing

    @property
    def resolution_m(self) -> float | None: ...

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> Picture:
        """(bottom - top, right - left, bands) of a window within the raster, in the file's own dtype.

        Raises:
            ImageError: the file is truncated or damaged there.
        """

    def __enter__(self) -> Source: ...

    def __exit__(self, *_: object) -> None: ...


def checked_window(source: Source, top: int, bottom: int, left: int, right: int | None) -> int:
    """The right end of a window, where it lies within the raster.

    Raises:
        ValueError: it does not.
    """
    right = source.width if right is None else right
    if not (0 <= top <= bottom <= source.height and 0 <= left <= right <= source.width):
        raise ValueError(
            f"rows {top}:{bottom}, columns {left}:{right} are not within '{source.name}' "
            f"({source.width}x{source.height})"
        )
    return right


def checked_bands(name: str, bands: Sequence[int] | None, there: Sequence[str]) -> None:
    """Refuse numbers of bands that an image has not.

    Args:
        bands: from 1; None: whatever there is.
        there: what each band is, as far as its file says.

    Raises:
        DataError: one is missing, or none is asked for.
    """
    if bands is None:
        return
    listed = ", ".join(f"{n} {what}".strip() for n, what in enumerate(there, 1))
    missing = [n for n in bands if not 1 <= n <= len(there)]
    if missing or not bands:
        lacking = f"no band {', '.join(map(str, missing))}" if missing else "bands, but none is asked for"
        raise DataError(f"image '{name}' has {lacking}: choose of its {len(there)} ({listed}), counted from 1")


def surely_empty(source: Source, top: int, bottom: int, left: int = 0, right: int | None = None) -> bool:
    """Whether a window has no data, as far as that is known without reading it: gaps of a mosaic, outside of an area.

    False says nothing: a source that knows more has a method `empty(top, bottom, left, right)`.
    """
    known = getattr(source, "empty", None)
    return known is not None and bool(known(top, bottom, left, source.width if right is None else right))


def warn_place(source: Source) -> None:
    """Say what is not known of where a raster lies, and what is assumed of its ground resolution.

    Of a PNG or JPEG nobody expects to know.
    """
    crs = source.placing.crs
    if crs is None and source.name.lower().endswith((".png", ".jpg", ".jpeg")):
        return
    if crs is None:
        text = f"no CRS: '{source.name}' does not say where it lies, and nothing made of it will"
        if source.placing.points[0]:
            text = f"no CRS: '{source.name}' is placed by control points alone; they are carried over"
        warnings.warn(
            f"{text}; its ground resolution is not known (--resolution says it)", RoadsegWarning, stacklevel=2
        )
    elif is_geographic(crs) and source.resolution_m is not None:
        text = (
            f"'{source.name}' is in degrees: its pixels are taken to be as large as at its centre, "
            f"{source.resolution_m:.3g} m a side (--resolution overrides it)"
        )
        warnings.warn(text, RoadsegWarning, stacklevel=2)
