"""From a raster to the pixels of its skeleton, tile by tile on a fixed grid: the part that sees every pixel.

Thinning [1] is not local: how far a pixel's fate reaches is twice the number of passes, which is the width of the
widest road nearby. A window with a margin of `HALO` pixels on each side therefore gives inside exactly the skeleton of
the whole raster wherever a blob is narrower than about `HALO - HOLE_SIDE` pixels (holes are filled first, and the
margin must show them whole). Wider ones (a car park, "all road") depend on the grid of tiles; as the grid is fixed,
they too come out the same whatever the bands are, and for a file as for an array. All later steps see the whole
skeleton at once, which is as large as the roads are long.

[1] T. Y. Zhang and C. Y. Suen, "A fast parallel algorithm for thinning digital patterns", CACM 27 (1984), 236-239.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bands import Raster, Survey

__all__ = ["HALO", "TILE", "Skeleton", "skeletonize"]

TILE = 2048  # px; one tile's arrays take about 80 MB
HALO = 192  # px: 57 m at 0.3 m, far above the width of any road
LOOKS = 1_000_000  # pixels that are looked at together, around those of the skeleton
HOLE_SIDE = 64  # px: no hole is wider or higher, so that the margin shows it whole


@dataclass(frozen=True)
class Skeleton:
    """Pixels of the skeleton, from top to bottom and from left to right.

    Attributes:
        height, width: of the raster, px.
        rows, columns: (N,) int32.
        radius: (N,) float32, px: to the nearest pixel that is not road (of what was thinned: values from `low` on).
        half_width: (N,) float32, px: the same for road without the merely possible pixels, where there is such road
            within `radius`: at its widest there if the pixel does not lie in the middle of it.
        value: (N,) uint8, the raster's values.
        strong: (N,) bool, whether a pixel within `radius` is above the threshold. All of these are of the same piece
            of road; where one side of a road is merely possible, the skeleton runs beside the strong pixels.
        other: (N,) uint8, the second raster's values (uncertainty); None without one.
    """

    height: int
    width: int
    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    radius: NDArray[np.float32]
    half_width: NDArray[np.float32]
    value: NDArray[np.uint8]
    strong: NDArray[np.bool_]
    other: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, keep: NDArray[np.bool_]) -> "Skeleton":
        """Only the pixels where `keep` (N,) is true."""
        return replace(
            self,
            rows=self.rows[keep],
            columns=self.columns[keep],
            radius=self.radius[keep],
            half_width=self.half_width[keep],
            value=self.value[keep],
            strong=self.strong[keep],
            other=None if self.other is None else self.other[keep],
        )


def skeletonize(
    raster: Raster, seen: Survey, *, hole: float = 1.0, other: Raster | None = None, tile: int = TILE, halo: int = HALO
) -> Skeleton:
    """The skeleton of a raster's road pixels.

    Args:
        seen: the survey of the raster.
        hole: holes up to this many squares of the typical road's width are filled (shadows, cars); 0: none.
        other: a second raster of the same size to read at the skeleton.
        tile, halo: px, the grid; the defaults unless the grid itself is to be tested.
    """
    limit = int(hole * seen.width**2)
    parts = [
        _one_tile(window, seen.levels, limit, core, start, other, raster)
        for window, core, start in _windows(raster, tile, halo)
        if window.max(initial=0) >= seen.levels[0]
    ]
    parts = [part for part in parts if len(part[0])]
    columns: list[NDArray[Any]] = (
        [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else _nothing(other is not None)
    )
    order = np.lexsort((columns[1], columns[0]))
    rows, cols, radius, half, value, strong, *more = (column[order] for column in columns)
    return Skeleton(raster.height, raster.width, rows, cols, radius, half, value, strong, more[0] if more else None)


Core = tuple[slice, slice]


def _windows(raster: Raster, tile: int, halo: int) -> Iterator[tuple[NDArray[np.uint8], Core, tuple[int, int]]]:
    """Each tile's values with its margin, the tile within them, and the raster's row and column of the window."""
    for top in range(0, raster.height, tile):
        first = max(0, top - halo)
        band = raster.read(first, min(top + tile + halo, raster.height))  # whole rows: files are cheapest so
        rows = slice(top - first, min(top + tile, raster.height) - first)
        for left in range(0, raster.width, tile):
            start = max(0, left - halo)
            stop = min(left + tile + halo, raster.width)
            columns = slice(left - start, min(left + tile, raster.width) - start)
            yield band[:, start:stop], (rows, columns), (first, start)


def _one_tile(
    values: NDArray[np.uint8],
    levels: tuple[int, int],
    hole: int,
    core: Core,
    start: tuple[int, int],
    other: Raster | None,
    raster: Raster,
) -> list[NDArray[Any]]:
    """Columns of the tile's skeleton: rows, columns, radius, half width, values, strong, and the other raster's."""
    from skimage.morphology import skeletonize as thin

    low, high = levels
    road = values >= low
    filled = _holes(road, hole, start, (raster.height, raster.width))
    if filled is not None:
        road |= filled
    thinned = thin(road)[core]
    row, column = np.nonzero(thinned)
    y, x = row + (core[0].start or 0), column + (core[1].start or 0)
    radius = _distance(road)[y, x]
    half, near = radius, np.ones(len(y), bool)
    if high > low:
        strong = values >= high
        away = _distance(~strong)[y, x]
        near = (away <= radius) & (away < HALO)
        if filled is not None:
            strong |= filled
        inside = _distance(strong)
        inner = inside[y, x]
        beside = near & (inner < radius / 2)  # not in the middle of the strong road
        inner[beside] = _widest(inside, y[beside], x[beside], radius[beside])
        half = np.where(inner > 0, inner, radius)
    found: list[NDArray[Any]] = [
        (y + start[0]).astype(np.int32),
        (x + start[1]).astype(np.int32),
        radius,
        half,
        values[y, x],
        near,
    ]
    if other is not None:
        window = other.read(start[0], start[0] + values.shape[0], start[1], start[1] + values.shape[1])
        found.append(window[y, x])
    return found


def _distance(road: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) float32, px: to the nearest pixel that is not road. What lies beyond the raster counts as neither."""
    import cv2

    if road.all():
        return np.full(road.shape, float(HALO), np.float32)
    found = cv2.distanceTransform(road.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.minimum(found, np.float32(HALO))


def _widest(
    inside: NDArray[np.float32], y: NDArray[np.int64], x: NDArray[np.int64], radius: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(N,) the largest value of `inside` within `radius` of each place."""
    found = np.zeros(len(y), np.float32)
    reach = radius.astype(np.int64)
    for size in np.unique(reach).tolist():
        down, right = np.mgrid[-size : size + 1, -size : size + 1]
        disc = down**2 + right**2 <= size**2
        down, right = down[disc], right[disc]
        at = np.flatnonzero(reach == size)
        for part in np.array_split(at, len(at) * len(down) // LOOKS + 1):
            rows = np.clip(y[part, None] + down, 0, inside.shape[0] - 1)
            columns = np.clip(x[part, None] + right, 0, inside.shape[1] - 1)
            found[part] = inside[rows, columns].max(axis=1)
    return found


def _holes(
    road: NDArray[np.bool_], limit: int, start: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.bool_] | None:
    """Pixels of holes of at most `limit` pixels; None where there is none. A bay of the raster's border is no hole."""
    import cv2

    if limit < 1:
        return None
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~road).view(np.uint8), connectivity=4)
    left, top, wide, high, area = stats.T
    small = (area <= limit) & (wide <= HOLE_SIDE) & (high <= HOLE_SIDE)
    small &= (left + start[1] > 0) & (top + start[0] > 0)
    small &= (left + wide + start[1] < size[1]) & (top + high + start[0] < size[0])
    small[0] = False  # the road itself
    if count < 2 or not small.any():
        return None
    filled: NDArray[np.bool_] = small[labels]
    return filled


def _nothing(other: bool) -> list[NDArray[Any]]:
    kinds = [np.int32, np.int32, np.float32, np.float32, np.uint8, np.bool_, *([np.uint8] if other else [])]
    return [np.zeros(0, kind) for kind in kinds]
