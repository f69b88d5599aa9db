"""Where the windows lie on a raster and what each of them finishes; pure arithmetic, no pixels, no files, no models."""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, DataError

__all__ = ["Axis", "Grid", "reflect_index", "rise"]

COARSE = 32  # sides of windows are multiples of it where they need not be: few distinct shapes, few compilations
LEAST = 256  # px of the last window of an axis, at least: less would be too little to see what is a road
STRIP = 32_000_000  # px of a strip, about: seconds of work for a processor, and few enough tasks for a country

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


def rise(overlap: int) -> Floats:
    """Weights (overlap,) in (0, 1) of the later of two windows in the seam that they share: half a cosine.

    The earlier one has what is missing to 1, which is the same curve from the other end.
    """
    share = (np.arange(overlap) + 0.5) / max(overlap, 1)
    return (np.sin(np.pi / 2 * share) ** 2).astype(np.float32)


@dataclass(frozen=True)
class Axis:
    """The windows along the rows, or along the columns, of a raster.

    Attributes:
        length: px of the raster.
        starts: first pixel of each window, ascending; negative in the reflected margin.
        sizes: px of each window; all the same but the last one's, which may be smaller.
        overlap: px shared by neighbours, the first ones of the later window; at most half a window.
    """

    length: int
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    overlap: int

    def __len__(self) -> int:
        return len(self.starts)

    def own(self, k: int) -> tuple[int, int]:
        """Pixels lo..hi-1 of the raster that are finished once window `k` is: from its start to the next one's."""
        hi = self.starts[k + 1] if k + 1 < len(self.starts) else self.length
        return max(self.starts[k], 0), hi

    def seam(self, k: int) -> int:
        """How many of the first pixels of `own` are shared with window `k - 1`; 0 for the first window."""
        lo, hi = self.own(k)
        return min(self.overlap, hi - lo) if k else 0

    def covered(self, k: int) -> tuple[int, int]:
        """Pixels lo..hi-1 of the raster that window `k` sees."""
        return max(self.starts[k], 0), min(self.starts[k] + self.sizes[k], self.length)


@dataclass(frozen=True)
class Grid:
    """Where the windows lie on a raster; along each axis on its own.

    Several windows start at `-margin` and follow each other at a fixed stride, so that a pixel far from the right and
    lower borders is predicted from the same windows whatever the size of the raster. The last one ends where the raster
    does, but for the margin and rounding. An axis that fits into one window with `margin` pixels of reflection at both
    ends goes through in one piece, padded to the next multiple of 32 (and of `multiple`): 400 -> 416, 608 -> 640.

    Args:
        height, width: pixels of the raster.
        window: pixels, largest side of a window; rounded down to a multiple of `multiple`, at least two of them.
        overlap: pixels shared by neighbours; more where the stride must be a multiple of `multiple`, and never more
            than half a window, so that no more than two windows meet along an axis.
        multiple: what the network's input sizes are multiples of, 2**depth.
        margin: pixels of reflected raster before the first row and column and after the last.

    Raises:
        DataError: the raster has no pixels.
        ConfigError: the overlap is not smaller than the window.
    """

    height: int
    width: int
    window: int = 1024
    overlap: int = 96
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
        half = -(-self.largest // (2 * self.multiple))
        return max(half, (self.largest - self.overlap) // self.multiple) * self.multiple

    @cached_property
    def seam(self) -> int:
        """Pixels that neighbours share: `overlap` as the stride allows it."""
        return self.largest - self.stride

    @cached_property
    def down(self) -> Axis:
        """The rows of windows: bands."""
        return self._axis(self.height)

    @cached_property
    def across(self) -> Axis:
        """The columns of windows."""
        return self._axis(self.width)

    @cached_property
    def network_pixels(self) -> int:
        """Pixels that go through the network where all windows have data."""
        return sum(self.down.sizes) * sum(self.across.sizes)

    @cached_property
    def strips(self) -> tuple[range, ...]:
        """The bands in even shares of about `STRIP` pixels: what can be computed apart from the rest.

        Fixed by the grid alone: whoever computes them, they are the same.
        """
        bands = len(self.down)
        each = max(1, min(8, round(STRIP / (self.stride * self.width))))
        count = -(-bands // each)
        ends = [bands * k // count for k in range(count + 1)]
        return tuple(range(a, b) for a, b in pairwise(ends))

    def _axis(self, n: int) -> Axis:
        step = math.lcm(self.multiple, COARSE)
        whole = _up(n + 2 * self.margin, step)
        if whole <= self.largest:
            return Axis(n, (-((whole - n) // 2),), (whole,), self.seam)
        starts = [-self.margin]
        while starts[-1] + self.largest < n + self.margin and starts[-1] + self.stride < n:
            starts.append(starts[-1] + self.stride)
        last = min(self.largest, _up(max(LEAST, n + self.margin - starts[-1]), step))
        return Axis(n, tuple(starts), (*[self.largest] * (len(starts) - 1), last), self.seam)


def _up(n: int, step: int) -> int:
    return -(-n // step) * step
