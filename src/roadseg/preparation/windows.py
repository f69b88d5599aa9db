"""Images read a window at a time, so that one larger than the memory can be cut; and the blocks that keep places apart.

A GeoTIFF that is cut is never held whole: it is checked a strip at a time, and each tile is read from the file. Other
images are decoded once and held.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..imagery.gdal_file import GdalFile
from ..imagery.opening import open_source
from ..imagery.raster import read_picture
from ..imagery.sources import Picture, Source
from ..imagery.whole import HeldPicture
from .cutting import Tile, tiles
from .writing import TIFF_SUFFIXES

__all__ = [
    "BLOCKS",
    "MANY",
    "MIDDLE",
    "blocks_for",
    "can_be_windowed",
    "check",
    "group_of",
    "looks",
    "middle",
    "opened",
    "place_tiles",
    "small",
    "window",
]

STRIP = 2**24  # pixels that are checked at once
ROWS = 256  # of them, a multiple of what files are made of
MIDDLE = 1536  # px, side of the part of a large image that is shown
LOOK = 1024  # px, side of each of nine parts of a large image that labels are held against
BLOCKS = 20  # so many, if a set can have them, make a share of a tenth and five folds even enough
MANY = 10  # georeferenced images from which each is a place of its own


def opened(path: Path, windowed: bool) -> Source:
    """An image, for a `with` block: read where asked for, or decoded and held."""
    return open_source(path) if windowed else HeldPicture(read_picture(path), str(path))


def can_be_windowed(path: Path) -> bool:
    """Whether an image is read where asked for: GeoTIFFs, which may be larger than the memory."""
    return path.suffix.lower() in TIFF_SUFFIXES


def window(source: Source, tile: Tile) -> Picture:
    """A part of an image.

    Raises:
        ImageError: the file is truncated or damaged there.
    """
    return source.read(tile.top, tile.top + tile.height, tile.left, tile.left + tile.width)


def small(source: Source) -> Picture:
    """An image to be shown: one that is read in windows `MIDDLE` px a side at most."""
    if not isinstance(source, GdalFile):
        return source.read(0, source.height)
    factor = min(1.0, MIDDLE / max(source.height, source.width))
    return source.small(*(max(1, round(side * factor)) for side in (source.height, source.width)))


def check(source: Source) -> None:
    """Decode all of an image once, a strip at a time.

    Raises:
        ImageError: the file is truncated or damaged.
    """
    if isinstance(source, HeldPicture):
        return
    rows = max(ROWS, STRIP // source.width // ROWS * ROWS)
    for top in range(0, source.height, rows):
        source.read(top, min(top + rows, source.height))


def looks(height: int, width: int) -> list[Tile]:
    """Parts of an image that stand for it where labels are held against what is seen.

    All of a small one; three by three, well apart, of one with sides of three times `LOOK` or more; else the middle.
    """
    if min(height, width) >= 3 * LOOK:
        rows, columns = ([(2 * k + 1) * side // 6 - LOOK // 2 for k in range(3)] for side in (height, width))
        return [Tile(top, left, LOOK, LOOK, "") for top in rows for left in columns]
    return [middle(height, width)]


def middle(height: int, width: int) -> Tile:
    """The middle of an image, `MIDDLE` px a side at most."""
    h, w = min(height, MIDDLE), min(width, MIDDLE)
    return Tile((height - h) // 2, (width - w) // 2, h, w, "")


# --- places ----------------------------------------------------------------------------------------------------------


def place_tiles(height: int, width: int, side: int, overlap: int, block: int) -> Iterator[Tile]:
    """The tiles of an image, in blocks that share no pixel: tiles overlap within a block alone.

    Their names end in `_b{row}_{column}_r{top}_c{left}`; without blocks in `_r{top}_c{left}`. The last block of a row
    or column holds what is left over and is up to twice as long.

    Args:
        height, width: of the image, px; neither below `side`.
        side: of the tiles, px.
        overlap: px that neighbours in a block share at least.
        block: tiles along a side of a block; 0: no blocks.
    """
    if not block:
        yield from tiles(height, width, side, overlap)
        return
    digits = len(str(max(height, width) - side))
    rows, columns = (_cut(length, side + (block - 1) * (side - overlap)) for length in (height, width))
    wide = len(str(max(len(rows), len(columns)) - 1))
    for i, (top, h) in enumerate(rows):
        for j, (left, w) in enumerate(columns):
            for tile in tiles(h, w, side, overlap):
                y, x = top + tile.top, left + tile.left
                ending = f"_b{i:0{wide}}_{j:0{wide}}_r{y:0{digits}}_c{x:0{digits}}"
                yield Tile(y, x, side, side, ending)


def _cut(length: int, span: int) -> list[tuple[int, int]]:
    """Begin and length of parts of `span` px; the rest goes to the last."""
    n = max(1, length // span)
    return [(k * span, span if k < n - 1 else length - k * span) for k in range(n)]


def blocks_for(sizes: Sequence[tuple[int, int]], side: int, overlap: int) -> int:
    """Tiles along a side of a block, so that images of these sizes (height, width) have `BLOCKS` blocks or more.

    The largest that does, 8 at most; 0 where even blocks of 2 x 2 are too few.
    """
    for block in range(8, 1, -1):
        span = side + (block - 1) * (side - overlap)
        if sum(max(1, h // span) * max(1, w // span) for h, w in sizes) >= BLOCKS:
            return block
    return 0


def group_of(names: Sequence[str], blocks: bool) -> tuple[str, int] | None:
    """What `dataset.toml` says of the places, as `--group` takes it, and their number; None: there is but one place.

    Args:
        names: of the tiles.
        blocks: whether these name blocks.
    """
    pattern = r"^(.+_b\d+_\d+)_r\d+_c\d+$" if blocks else r"^(.+)_r\d+_c\d+$"
    found = {match[1] if (match := re.match(pattern, name)) else name for name in names}
    return (pattern, len(found)) if len(found) > 1 else None
