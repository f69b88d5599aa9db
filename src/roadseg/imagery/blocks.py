"""Large rasters as blocks: the parts that are samples, and the squares of them that a split keeps together. No files.

A raster is cut on a fixed grid from its upper left corner, so that a block is the same whatever is labelled elsewhere,
and the same as if somebody had cut the raster into files.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["BLOCK", "CUT_FROM", "MANY", "PLACES", "Block", "blocks_of", "is_large", "square_of", "squares_for"]

BLOCK = 1024  # px: holds 16 crops of the usual 256 px; a multiple of the tiles that GeoTIFFs are made of
CUT_FROM = 16  # blocks: a raster that holds no more is one sample, as it is read in a moment and splits stay as ever
PLACES = 20  # so many, if a set can have them, make a share of a tenth and five folds even enough
LARGEST_SQUARE = 4  # blocks along a side: at 0.3 m more than a kilometre
MANY = 10  # rasters from which each is a place of its own


@dataclass(frozen=True)
class Block:
    """A part of a raster.

    Attributes:
        top, left: of its first pixel in the raster, px.
        height, width: px.
        row, column: in the grid of blocks, from 0.
        rows, columns: of that grid.
    """

    top: int
    left: int
    height: int
    width: int
    row: int
    column: int
    rows: int
    columns: int

    @property
    def window(self) -> tuple[int, int, int, int]:
        """Top, bottom, left, right: px of the raster, the ends excluded."""
        return self.top, self.top + self.height, self.left, self.left + self.width

    @property
    def ending(self) -> str:
        """What is added to the raster's name, `_b03_05`; nothing where the grid is this block alone."""
        if self.rows == self.columns == 1:
            return ""
        digits = max(2, len(str(max(self.rows, self.columns) - 1)))  # names sort as the blocks lie
        return f"_b{self.row:0{digits}}_{self.column:0{digits}}"


def is_large(height: int, width: int, side: int) -> bool:
    """Whether a raster of this size (px) is cut into blocks of `side` px: it holds more than 16 of them."""
    return height * width > CUT_FROM * side**2


def blocks_of(height: int, width: int, side: int) -> list[Block]:
    """The blocks of a raster, row by row; the last one of a row or column takes the rest, up to twice `side`."""
    rows, columns = _cut(height, side), _cut(width, side)
    return [
        Block(top, left, h, w, i, j, len(rows), len(columns))
        for i, (top, h) in enumerate(rows)
        for j, (left, w) in enumerate(columns)
    ]


def _cut(length: int, side: int) -> list[tuple[int, int]]:
    """Begin and length of parts of `side` px; the rest goes to the last."""
    n = max(1, length // side)
    return [(k * side, side if k < n - 1 else length - k * side) for k in range(n)]


def square_of(block: Block, side: int) -> tuple[int, int]:
    """Row and column of the square of `side` x `side` blocks that a block lies in; the last one takes the rest."""
    row, column = (
        min(at // side, max(1, count // side) - 1)
        for at, count in ((block.row, block.rows), (block.column, block.columns))
    )
    return row, column


def squares_for(rasters: Iterable[Sequence[Block]]) -> int:
    """Blocks along a side of the squares that a split keeps together: the most, 4 at most, that leave 20 squares.

    1 where even squares of 2 x 2 are fewer.

    Args:
        rasters: of each the blocks that are samples.
    """
    kept = list(rasters)
    for side in range(LARGEST_SQUARE, 1, -1):
        if sum(len({square_of(block, side) for block in blocks}) for blocks in kept) >= PLACES:
            return side
    return 1
