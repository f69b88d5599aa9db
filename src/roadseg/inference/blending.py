"""The windows of a raster joined into finished rows: the one blending, of arrays and of files; no threads, no files.

Two neighbours share a seam and nowhere more than two meet along an axis. So nearly all of a window's answer is final
as it comes from the network, and is handed on without a copy; only the seams are computed. From one row of windows to
the next, what is kept is the weighted answer in the seam, `overlap` rows, not the rows of windows themselves.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .engine import Engine
from .tiling import Axis, Floats, Grid, reflect_index, rise

__all__ = ["Blender", "Mask", "Piece", "Pixels", "Read", "Row", "RowReader", "join"]

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Read = Callable[[int, int], tuple[Pixels, Mask | None]]


@dataclass(frozen=True)
class Row:
    """What goes through the network for one row of windows.

    Attributes:
        band: its number.
        pixels: (h, W, C) uint8 of the windows' height, reflected above and below the raster.
        wanted: numbers of the windows that have data, ascending.
        valid: (rows, W) bool of the rows that this band finishes; None where all of them are data.
    """

    band: int
    pixels: Pixels
    wanted: Sequence[int]
    valid: Mask | None


class RowReader:
    """Reads the rows of windows of a raster; rows that neighbours share are read once.

    Args:
        read: `read(top, bottom)` gives rows top..bottom-1 as (rows, W, C) uint8, and (rows, W) bool, False where there
            is no data, or None; asked only for rows within the raster.
    """

    def __init__(self, read: Read, grid: Grid) -> None:
        self._read, self.grid = read, grid
        self._top = 0
        self._pixels: Pixels | None = None  # the last rows read, from `_top` on
        self._valid: Mask | None = None

    def row(self, band: int) -> Row:
        """The row of windows with this number.

        Raises:
            ImageError: the raster is truncated or damaged there.
        """
        down = self.grid.down
        start, size = down.starts[band], down.sizes[band]
        index = reflect_index(np.arange(start, start + size), self.grid.height)
        first, last = int(index.min()), int(index.max()) + 1
        pixels, valid = self._rows(first, last)
        self._keep(first, last, pixels, valid)
        (lo, hi), (top, bottom) = down.own(band), down.covered(band)
        if valid is None:
            wanted: Sequence[int] = range(len(self.grid.across))
        else:
            wanted = _with_data(np.any(valid[top - first : bottom - first], axis=0), self.grid.across)
            valid = valid[lo - first : hi - first]
            valid = None if valid.all() else valid
        return Row(band, pixels if last - first == size else pixels[index - first], wanted, valid)

    def _rows(self, first: int, last: int) -> tuple[Pixels, Mask | None]:
        """Rows first..last-1, those that are kept and the rest."""
        kept = self._pixels
        if kept is None or not self._top <= first < self._top + len(kept) <= last:
            return self._read(first, last)
        have = self._top + len(kept) - first
        pixels = np.empty((last - first, *kept.shape[1:]), np.uint8)
        pixels[:have] = kept[-have:]
        rest: Mask | None = None
        if last > first + have:
            pixels[have:], rest = self._read(first + have, last)
        old = self._valid
        if old is None and rest is None:
            return pixels, None
        valid = np.ones(pixels.shape[:2], bool)
        if old is not None:
            valid[:have] = old[-have:]
        if rest is not None:
            valid[have:] = rest
        return pixels, valid

    def _keep(self, first: int, last: int, pixels: Pixels, valid: Mask | None) -> None:
        shared = min(self.grid.seam, last - first)
        self._top = last - shared
        self._pixels = pixels[len(pixels) - shared :].copy()
        self._valid = None if valid is None else valid[len(pixels) - shared :].copy()


def _with_data(columns: Mask, across: Axis) -> list[int]:
    """Numbers of the windows over at least one True of `columns` (W,)."""
    before = np.concatenate([[0], np.cumsum(columns)])
    found = []
    for k in range(len(across)):
        lo, hi = across.covered(k)
        if before[hi] > before[lo]:
            found.append(k)
    return found


@dataclass(frozen=True)
class Piece:
    """Finished pixels: `values` (rows, columns, K) float32 from row `top` and column `left` of the raster on.

    Probabilities are in [0, 1]. The array is the receiver's.
    """

    top: int
    left: int
    values: Floats


class Blender:
    """Sends rows of windows through the network and joins the answers.

    Args:
        run: windows (N, h, w, C) uint8 -> (N, h, w, K) float32. What it returns is changed.
        outputs: K.
        batch: largest N.
        fill: repeat windows until each call has the same N: for an engine that compiles for each N, and whose answer
            must not depend on what it was asked before.

    Attributes:
        tail: (overlap, W, K) the last row's share in the seam with the next row; None before the first row, and after
            the raster's last. It may be set to go on where another blender has ended.
        head: (overlap, W, K) the share of a row, computed without the one above it, in the seam with that.
        network_pixels: how many have gone through the network.
    """

    def __init__(self, grid: Grid, run: Engine, outputs: int, batch: int, *, fill: bool = False) -> None:
        self.grid, self.run, self.outputs, self.fill = grid, run, outputs, fill
        columns = len(grid.across)
        calls = -(-columns // max(1, batch))
        self.batch = -(-columns // calls)  # even shares: 9 windows at most 4 at a time are 3 + 3 + 3, not 4 + 4 + 1
        self.tail: Floats | None = None
        self.head: Floats | None = None
        self.network_pixels = 0
        self._rise = rise(grid.seam)
        self._fall = 1 - self._rise
        self._columns = [
            reflect_index(np.arange(x, x + w), grid.width)
            for x, w in zip(grid.across.starts, grid.across.sizes, strict=True)
        ]

    def pieces(self, row: Row) -> Iterator[Piece]:
        """The pixels that this row of windows finishes, window by window from the left; where no window has data, none.

        Rows follow each other without a gap; a row after `tail` was None and that is not the raster's first leaves its
        share of the seam above it in `head`, and finishes the rows below that.

        Raises:
            ModelError: `run` answers with another shape than it should.
        """
        down, across, seam = self.grid.down, self.grid.across, self.grid.seam
        start, (lo, hi) = down.starts[row.band], down.own(row.band)
        above, shared = self.tail, down.seam(row.band)
        size = (seam, self.grid.width, self.outputs)
        self.head = np.zeros(size, np.float32) if row.band and above is None else None
        below = np.zeros(size, np.float32) if row.band + 1 < len(down) else None
        rising, falling = self._rise[:, None, None], self._fall[:, None, None]
        edge: Floats | None = None  # the window to the left's share in the seam with this one
        last = -1
        for k, found in self._answers(row):
            left, right = across.own(k)
            inside = slice(left - across.starts[k], right - across.starts[k])
            if edge is not None and last == k - 1:
                n = across.seam(k)
                found[:, :n] = _add(edge[:, :n], found[:, :n], rising[None, :n, :, 0])
            last = k
            if k + 1 < len(across):
                stride = across.sizes[k] - seam
                edge = found[:, stride:] * falling[None, :, :, 0]
            if below is not None:
                np.multiply(found[len(found) - seam :, inside], falling, out=below[:, left:right])
            top = lo - start
            if shared and above is not None:
                seen = found[:shared, inside]
                seen[...] = _add(above[:shared, left:right], seen, rising[:shared])
            elif shared and self.head is not None:
                np.multiply(found[:shared, inside], rising[:shared], out=self.head[:shared, left:right])
                top += shared
            if top < hi - start:
                yield Piece(start + top, left, found[top : hi - start, inside])
        self.tail = below

    def _answers(self, row: Row) -> Iterator[tuple[int, Floats]]:
        """Each window with data, and its answer (h, w, K), which is free to be changed."""
        sizes = self.grid.across.sizes
        wanted = list(row.wanted)
        while wanted:
            group = [k for k in wanted[: self.batch] if sizes[k] == sizes[wanted[0]]]
            wanted = wanted[len(group) :]
            whole = self.batch if self.fill and sizes[group[0]] == sizes[0] else len(group)
            windows = np.stack([self._window(row.pixels, k) for k in group + [group[-1]] * (whole - len(group))])
            found = np.asarray(self.run(windows), np.float32)
            self._check(windows, found)
            self.network_pixels += windows[..., 0].size
            if not found.flags.writeable or not found.flags.owndata:
                found = found.copy()
            yield from zip(group, found, strict=False)

    def _window(self, pixels: Pixels, k: int) -> Pixels:
        start, size = self.grid.across.starts[k], self.grid.across.sizes[k]
        if start >= 0 and start + size <= self.grid.width:
            return pixels[:, start : start + size]
        return pixels[:, self._columns[k]]

    def _check(self, windows: Pixels, found: NDArray[Any]) -> None:
        if found.ndim != 4 or found.shape[:3] != windows.shape[:3]:
            expected = (*windows.shape[:3], "K")
            raise ModelError(
                f"the model answers {windows.shape} with {found.shape}, not {expected}: it does not segment"
            )
        if found.shape[3] != self.outputs:
            raise ModelError(
                f"the model has {found.shape[3]} outputs a pixel, but its classes need {self.outputs}: "
                "the file and its description do not belong together"
            )


def _add(earlier: Floats, later: Floats, weight: Floats) -> Floats:
    """The seam of two windows; of probabilities no more than 1, which rounding may exceed."""
    return join(earlier, later * weight)


def join(tail: Floats, head: Floats) -> Floats:
    """The seam of two rows of windows from the shares of both: always summed in this order, so to the same bits."""
    total: Floats = tail + head
    np.minimum(total, 1, out=total)
    return total
