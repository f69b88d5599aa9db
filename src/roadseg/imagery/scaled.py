"""A raster resampled on the way in, and results laid back on its own grid; a window at a time, whatever the windows.

By area where it shrinks, linearly where it is enlarged, as `resample` does with whole images; pixels are squares, and
both grids have their outer corners in common. Each pixel is a weighted sum over a few of the other grid's, by weights
that depend on its own row and column alone: it comes out the same, to the last bit, in any window.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .sources import Picture, Placing, Source, checked_window, surely_empty

__all__ = ["ScaledSource", "factor_for", "lay_back", "scaled_shape"]

NEAR = 0.05  # factors so near to 1 are 1: networks see larger differences in training, and pixels stay as they are
FARTHEST = 8.0  # times larger or smaller; what lies beyond is a mistake in a resolution
AT_ONCE = 2**26  # values that are read at once: 64 MB in 8 bits
CHUNK = 2**21  # values that are resampled at once: what the temporary floats of stay in a processor's cache
HALF = 0.5  # share of a pixel that must have data


def scaled_shape(height: int, width: int, factor: float) -> tuple[int, int]:
    """Height and width of a raster resampled by `factor`, px; one at least."""
    return max(1, round(height * factor)), max(1, round(width * factor))


class ScaledSource:
    """A `Source` in another size.

    A pixel is valid where half of what it covers is or more, so that borders stay where they are on average, and is
    made of that half: nothing of what has no data (fill values, NaN, infinities) gets into it.

    Args:
        source: what is resampled; entered and left with this one.
        factor: of its height and width, e.g. 0.5 to halve both.
    """

    def __init__(self, source: Source, factor: float) -> None:
        self.source, self.factor = source, factor
        self.name, self.bands, self.dtype = source.name, source.bands, source.dtype
        self.height, self.width = scaled_shape(source.height, source.width, factor)
        area = self.height * self.width < source.height * source.width
        self._rows = _Axis(source.height, self.height, area)
        self._columns = _Axis(source.width, self.width, area)
        self.placing = _placed(source.placing, source.height / self.height, source.width / self.width)
        was = source.resolution_m
        grown = math.sqrt(source.height / self.height * source.width / self.width)
        self.resolution_m = None if was is None else was * grown

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> Picture:
        """(bottom - top, right - left, bands) of a window, in the source's dtype.

        Raises:
            ImageError: the file is truncated or damaged there.
        """
        right = checked_window(self, top, bottom, left, right)
        pixels = np.zeros((bottom - top, right - left, self.bands), self.dtype)
        valid = np.ones(pixels.shape[:2], bool)
        if not pixels.size:
            return Picture(pixels, None)
        x0, x1 = self._columns.needs(left, right)
        for y, end in _steps(top, bottom, AT_ONCE / ((x1 - x0) * self.bands * self._rows.step)):
            y0, y1 = self._rows.needs(y, end)
            part = self.source.read(y0, y1, x0, x1)
            for begin, stop in _steps(y, end, CHUNK / ((x1 - x0) * self.bands * self._rows.step)):
                here = slice(begin - top, stop - top)
                first, last = self._rows.needs(begin, stop)
                own = _cut(part, first - y0, last - y0)
                pixels[here], valid[here] = self._resampled(own, (begin, stop, first), (left, right, x0))
        return Picture(pixels, None if valid.all() else valid)

    def _resampled(
        self, part: Picture, rows: tuple[int, int, int], columns: tuple[int, int, int]
    ) -> tuple[NDArray[Any], Any]:
        def both(values: NDArray[Any]) -> NDArray[Any]:
            return self._columns.apply(self._rows.apply(values, 0, *rows), 1, *columns)

        working = _working(self.dtype)
        if part.valid is None:
            return _rounded(both(part.pixels.astype(working, copy=False)), self.dtype), True
        known = part.valid[..., None]
        sums = both(np.where(known, part.pixels, 0).astype(working, copy=False))
        lacking = both((~known).astype(working))
        share = both(known.astype(working))
        valid = share[..., 0] >= HALF
        # Where nothing lacks the sum is left as it is: the same as in a window that has data everywhere.
        mixed = (lacking > 0) & valid[..., None]
        np.divide(sums, share, out=sums, where=mixed)
        sums[~valid] = 0
        return _rounded(sums, self.dtype), valid

    def empty(self, top: int, bottom: int, left: int, right: int) -> bool:
        """See `surely_empty`."""
        return surely_empty(self.source, *self._rows.needs(top, bottom), *self._columns.needs(left, right))

    def __enter__(self) -> ScaledSource:
        self.source.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.source.__exit__(*error)


def lay_back(
    bands: Iterable[tuple[int, NDArray[Any]]], scaled: tuple[int, int], shape: tuple[int, int]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """A result on the grid of a `ScaledSource`, laid back on the grid of what it was made of.

    The same rows come out however they are cut; what is held is one band, and a row or two.

    Args:
        bands: (y, rows) from top to bottom without gaps; rows (n, scaled width, ...) of real or whole numbers,
            e.g. float32 or uint8 probabilities (not class indices: they are blended).
        scaled: (height, width) of the grid that they are on.
        shape: (height, width) of the grid wanted.

    Yields:
        (y, rows), rows (n, width, ...) of the same dtype, from top to bottom; whole numbers are rounded.
    """
    area = shape[0] * shape[1] < scaled[0] * scaled[1]
    down, across = _Axis(scaled[0], shape[0], area), _Axis(scaled[1], shape[1], area)
    held: NDArray[Any] | None = None
    begin, done = 0, 0  # the first row held, the rows given
    for y, rows in bands:
        if y != begin + (0 if held is None else len(held)):
            raise ValueError(f"the band from row {y} does not follow row {begin + (0 if held is None else len(held))}")
        # Columns first: a row that is held has the width that it is needed in.
        wide = across.apply(rows.astype(_working(rows.dtype), copy=False), 1, 0, shape[1], 0)
        held = wide if held is None else np.concatenate([held, wide])
        while (ready := min(down.complete(begin + len(held), done), done + _step(wide))) > done:
            yield done, _rounded(down.apply(held, 0, done, ready, begin), rows.dtype)
            done = ready
        if done < shape[0]:
            keep = down.needs(done, done + 1)[0]
            held, begin = held[keep - begin :].copy(), keep
    if done < shape[0]:
        raise ValueError(f"the result ends at row {begin}: expected {scaled[0]} rows")


def _step(rows: NDArray[Any]) -> int:
    return max(1, CHUNK // max(1, math.prod(rows.shape[1:])))


def _steps(begin: int, end: int, rows: float) -> Iterator[tuple[int, int]]:
    step = max(1, int(rows))
    for y in range(begin, end, step):
        yield y, min(y + step, end)


def _cut(part: Picture, begin: int, end: int) -> Picture:
    valid = None if part.valid is None else part.valid[begin:end]
    return Picture(part.pixels[begin:end], None if valid is None or valid.all() else valid)


class _Axis:
    """Weights from one grid to another along one axis: each pixel is a sum over `taps` neighbours.

    Args:
        there, here: px along the axis, of what is resampled and of what comes out.
        area: whether by area, else linearly; an axis that is enlarged is interpolated within an image that shrinks.
    """

    def __init__(self, there: int, here: int, area: bool) -> None:
        self.there, self.here = there, here
        self.step = there / here
        self._area = area and there > here
        whole = there % here == 0  # then pixels here end where some end there
        self.taps = (there // here if whole else there // here + 2) if self._area else 2

    def needs(self, begin: int, end: int) -> tuple[int, int]:
        """The pixels there that `begin` to `end` are made of, as (first, one after the last)."""
        first = self._first(np.array([begin, end - 1]))
        return max(0, int(first[0])), min(self.there, int(first[1]) + self.taps)

    def complete(self, known: int, begin: int) -> int:
        """How far pixels from `begin` on can be made of the first `known` there."""
        if known >= self.there:
            return self.here
        low, high = begin, self.here
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.needs(middle, middle + 1)[1] <= known else (low, middle)
        return low

    def apply(self, values: NDArray[Any], axis: int, begin: int, end: int, offset: int) -> NDArray[Any]:
        """Pixels `begin` to `end` along `axis`, of real `values` that begin at pixel `offset` there."""
        if self.there == self.here:
            return values[(slice(None),) * axis + (slice(begin - offset, end - offset),)]
        first, weights = self._weights(np.arange(begin, end))
        shape = (-1,) + (1,) * (values.ndim - 1 - axis)
        total: NDArray[Any] | None = None
        for tap in range(self.taps):  # one after another, for every pixel alike: sums do not depend on the window
            which = np.clip(first + tap, 0, self.there - 1) - offset
            part = np.take(values, which, axis) * weights[:, tap].reshape(shape).astype(values.dtype)
            total = part if total is None else np.add(total, part, out=total)
        assert total is not None
        return total

    def _first(self, pixels: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first pixel there of each; in whole numbers, so that nothing is rounded."""
        if self.there == self.here:
            return pixels
        if self._area:
            return pixels * self.there // self.here
        return ((2 * pixels + 1) * self.there - self.here) // (2 * self.here)

    def _weights(self, pixels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(n,) first pixel there, (n, taps) weights that sum to 1."""
        first = self._first(pixels)
        if self._area:
            edges = (first[:, None] + np.arange(self.taps + 1)) * self.here  # in parts of a pixel: `here` of one there
            begin, end = (pixels * self.there)[:, None], ((pixels + 1) * self.there)[:, None]
            covered = np.minimum(edges[:, 1:], end) - np.maximum(edges[:, :-1], begin)
            return first, np.clip(covered, 0, None) / self.there
        beyond = (2 * pixels + 1) * self.there - self.here - 2 * self.here * first
        share = beyond / (2 * self.here)
        return first, np.stack([1 - share, share], axis=1)


def _working(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The floats that sums of a dtype are made in: float32 where it holds all its values."""
    wide = dtype.itemsize > 2 and dtype != np.float32
    return np.dtype(np.float64 if wide else np.float32)


def _rounded(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "f":
        return np.asarray(values.astype(dtype, copy=False))
    limits = np.iinfo(dtype)
    return np.asarray(np.rint(values).clip(limits.min, limits.max).astype(dtype))


def _placed(placing: Placing, down: float, across: float) -> Placing:
    """The place of a grid whose pixels are so many times as high and wide; control points are not carried on."""
    if placing.transform is None:
        return Placing(None, placing.crs)
    a, b, c, d, e, f = placing.transform
    return Placing((a * across, b * down, c, d * across, e * down, f), placing.crs)


def factor_for(
    resolution_m: float | None,
    model_resolution_m: float | None,
    scale: float = 1.0,
    override_m: float | None = None,
    name: str = "the raster",
) -> float:
    """The factor that a raster is resampled by before the network.

    The model learnt from images of `model_resolution_m` per pixel that were resampled by `scale`: the network has seen
    `model_resolution_m / scale`, and that is what it is given. Where a resolution is not known, pixels are taken to be
    as large as in training, and `scale` alone is applied.

    Args:
        resolution_m: metres per pixel of the raster; None: not known.
        model_resolution_m: of the images that the model learnt from; None: not known.
        scale: that these were resampled by.
        override_m: metres per pixel of the raster, whatever it says itself (`--resolution`).

    Returns:
        the factor; `scale` where the ground resolutions differ by less than 5 %.

    Raises:
        ConfigError: resolutions more than 8 times apart, or one that is no length; `override_m` for a model that does
            not know its own.
    """
    if override_m is not None and not (math.isfinite(override_m) and override_m > 0):
        raise ConfigError(f"--resolution {override_m:g}: expected metres per pixel, e.g. 0.3")
    if override_m is not None and model_resolution_m is None:
        raise ConfigError(
            f"--resolution {override_m:g}: the model does not know the ground resolution that it was trained at; "
            "resample the raster yourself, or train with ground_resolution_m in dataset.toml"
        )
    own = override_m if override_m is not None else resolution_m
    if own is None or model_resolution_m is None:
        return scale
    factor = own / model_resolution_m
    if not 1 / FARTHEST <= factor <= FARTHEST:
        raise ConfigError(
            f"'{name}' has {own:.3g} m per pixel but the model learnt from {model_resolution_m:.3g} m: more than "
            f"{FARTHEST:g} times apart; where the file is wrong, say the raster's own with --resolution"
        )
    return scale if abs(factor - 1) < NEAR else factor * scale
