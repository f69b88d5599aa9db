"""The grid of windows over a raster, and their blending into finished row bands; pure NumPy, no files, no models."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, DataError, ModelError

__all__ = ["Grid", "predict_bands", "reflect_index", "taper"]

COARSE = 32  # one-piece sizes are multiples of it: few distinct shapes, few compilations

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def reflect_index(i: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Indices into an axis of `n` elements extended without end by reflection at its edges (`c b a | a b c | c b a`).

    Args:
        i: any integers; 0 is the axis' first element.
        n: length of the axis, at least 1.

    Returns:
        integers in [0, n), as `np.pad(..., mode="symmetric")` would repeat them.
    """
    j = np.mod(i, 2 * n)
    return np.asarray(np.minimum(j, 2 * n - 1 - j))


def taper(size: int, overlap: int) -> NDArray[np.float64]:
    """Weights (size,) in (0, 1]: 1 in the middle, a raised cosine over `overlap` pixels at both ends, never 0.

    Two neighbours that share `overlap` pixels sum to 1.
    """
    if overlap == 0:
        return np.ones(size)
    end = np.minimum(np.arange(size), np.arange(size)[::-1])  # pixels to the nearer end
    return np.sin(np.pi / 2 * np.minimum((end + 0.5) / overlap, 1.0)) ** 2


@dataclass(frozen=True)
class Grid:
    """Where the windows lie on a raster; along each axis on its own.

    Several windows start at `-margin` and follow each other at a fixed stride, so that a pixel far from the right and
    lower borders is predicted from the same windows whatever the size of the raster. An axis that fits into one window
    with `margin` pixels of reflection at both ends goes through in one piece, padded to the next multiple of 32 (and
    of `multiple`): 400 -> 416, 608 -> 640.

    Args:
        height, width: pixels of the raster.
        window: pixels, largest side of a window; rounded down to a multiple of `multiple`, at least two of them.
        overlap: pixels, least number shared by neighbours; more where the stride must be a multiple of `multiple`.
        multiple: what the network's input sizes are multiples of, 2**depth.
        margin: pixels of reflected raster before the first row and column and after the last.

    Raises:
        DataError: the raster has no pixels.
        ConfigError: the overlap is not smaller than the window.
    """

    height: int
    width: int
    window: int = 640
    overlap: int = 128
    multiple: int = 16
    margin: int = 8

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise DataError(f"an image of {self.width}x{self.height} pixels has nothing to predict")
        if self.window < 1 or self.multiple < 1 or self.margin < 0:
            raise ConfigError(
                f"window {self.window}, multiple {self.multiple}, margin {self.margin}: these are pixels, above 0"
            )
        if not 0 <= self.overlap < self.window:
            raise ConfigError(
                f"predict.overlap = {self.overlap} leaves no step in a window of {self.window}: make it smaller"
            )

    @cached_property
    def largest(self) -> int:
        """Pixels, the side of a window of an axis that has several."""
        return max(2, self.window // self.multiple) * self.multiple

    @cached_property
    def stride(self) -> int:
        """Pixels from window to window, a multiple of `multiple`."""
        return max(1, (self.largest - self.overlap) // self.multiple) * self.multiple

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """First row of each row of windows, ascending; negative in the margin."""
        return self._axis(self.height)[0]

    @cached_property
    def cols(self) -> tuple[int, ...]:
        """First column of each column of windows."""
        return self._axis(self.width)[0]

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Height and width of every window."""
        return self._axis(self.height)[1], self._axis(self.width)[1]

    def _axis(self, n: int) -> tuple[tuple[int, ...], int]:
        step = math.lcm(self.multiple, COARSE)
        whole = -(-(n + 2 * self.margin) // step) * step
        if whole <= self.largest:
            return (-((whole - n) // 2),), whole
        starts = [-self.margin]
        while starts[-1] + self.largest < n + self.margin and starts[-1] + self.stride < n:
            starts.append(starts[-1] + self.stride)
        return tuple(starts), self.largest

    def weights(self) -> tuple[Floats, Floats]:
        """Blending weights of each row of windows (rows, h) and each column of windows (cols, w).

        At every pixel of the raster the weights of the windows over it sum to 1; outside the raster they are 0.
        A window's weight at a pixel is the product of the two.
        """
        overlap = self.largest - self.stride
        return (
            _partition(self.rows, self.shape[0], overlap, self.height),
            _partition(self.cols, self.shape[1], overlap, self.width),
        )


def _partition(starts: tuple[int, ...], size: int, overlap: int, n: int) -> Floats:
    """Tapered weights (len(starts), size) that sum to 1 at each of the axis' `n` pixels."""
    ramp = taper(size, overlap)
    total = np.zeros(n)
    for start in starts:
        lo, hi = max(start, 0), min(start + size, n)
        total[lo:hi] += ramp[lo - start : hi - start]
    weights = np.zeros((len(starts), size), np.float32)
    for row, start in zip(weights, starts, strict=True):
        lo, hi = max(start, 0), min(start + size, n)
        row[lo - start : hi - start] = ramp[lo - start : hi - start] / total[lo:hi]
    return weights


def predict_bands(
    read: Callable[[int, int], Pixels],
    grid: Grid,
    run: Callable[[Pixels], Floats],
    batch: int,
) -> Iterator[tuple[int, Floats]]:
    """Predict a raster from top to bottom, one row of windows at a time, holding no more than that.

    Args:
        read: `read(y0, y1)` gives rows y0..y1-1 of the raster as (y1 - y0, W, C); asked only for rows within it, from
            top to bottom, and more than once for the rows that windows share.
        grid: the windows.
        run: windows (N, h, w, C) -> predictions (N, h, w, K) float32.
        batch: largest N.

    Yields:
        `(y, rows)`: finished predictions (rows, W, K) float32 from row y down, each row once and in order.

    Raises:
        ModelError: `run` answers with another height, width or number of windows than it was given.
    """
    height, width = grid.height, grid.width
    h, w = grid.shape
    weights_y, weights_x = grid.weights()
    columns = [reflect_index(np.arange(x, x + w), width) for x in grid.cols]
    calls = -(-len(columns) // max(1, batch))
    size = -(-len(columns) // calls)  # even shares: 9 windows at most 4 at a time are 3 + 3 + 3, not 4 + 4 + 1
    sums: Floats | None = None  # (h, W, K); its first row is the raster's row `top`

    for r, top in enumerate(grid.rows):
        rows = reflect_index(np.arange(top, top + h), height)
        first, last = int(rows.min()), int(rows.max()) + 1
        band = read(first, last)[rows - first]
        for c in range(0, len(columns), size):
            windows = np.stack([band[:, index] for index in columns[c : c + size]])
            found = run(windows)
            if found.ndim != 4 or found.shape[:3] != windows.shape[:3]:
                expected = (*windows.shape[:3], "K")
                raise ModelError(
                    f"the model answers {windows.shape} with {found.shape}, not {expected}: it does not segment"
                )
            if sums is None:
                sums = np.zeros((h, width, found.shape[3]), np.float32)
            for k, piece in enumerate(found, start=c):
                left, right = max(grid.cols[k], 0), min(grid.cols[k] + w, width)
                inside = slice(left - grid.cols[k], right - grid.cols[k])
                weight = weights_y[r][:, None, None] * weights_x[k][None, inside, None]
                sums[:, left:right] += piece[:, inside] * weight
        assert sums is not None
        end = grid.rows[r + 1] if r + 1 < len(grid.rows) else height
        lo, hi = max(top, 0), min(end, height)
        if hi > lo:
            yield lo, sums[lo - top : hi - top].copy()
        done = end - top
        if r + 1 < len(grid.rows):
            sums[: h - done] = sums[done:]
            sums[h - done :] = 0
