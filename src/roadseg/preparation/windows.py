"""Images read a window at a time, so that one larger than the memory can be cut; and the blocks that keep places apart.

A GeoTIFF that is cut is never held whole: it is checked a strip at a time, and each tile is read from the file. Other
images are decoded once and held.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ..imagery.raster import Picture, raster_options, read_header, read_picture
from .cutting import Tile, tiles
from .writing import TIFF_SUFFIXES, part_of

__all__ = ["BLOCKS", "MANY", "MIDDLE", "Source", "Whole", "Windowed", "blocks_for", "can_be_windowed", "group_of",
           "looks", "middle", "opened", "place_tiles"]  # fmt: skip

STRIP = 2**24  # pixels that are checked at once
MIDDLE = 1536  # px, side of the part of a large image that is shown
LOOK = 1024  # px, side of each of nine parts of a large image that labels are held against
BLOCKS = 20  # so many, if a set can have them, make a share of a tenth and five folds even enough
MANY = 10  # georeferenced images from which each is a place of its own


class Whole:
    """An image in memory.

    Attributes:
        height, width: px.
    """

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.height, self.width = picture.pixels.shape[:2]

    def window(self, tile: Tile) -> Picture:
        """A part of the image."""
        return part_of(self.picture, tile)

    def small(self) -> Picture:
        """The image to be shown."""
        return self.picture

    def __enter__(self) -> "Whole":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Windowed:
    """A GeoTIFF, read where asked for; `read_picture` would give the same pixels. To be used in a `with` block.

    Attributes:
        path: of the file.
        height, width: px.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        header = read_header(path)
        self.height, self.width = header.height, header.width
        self._open = ExitStack()
        self._source: Any = None

    def __enter__(self) -> "Windowed":
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning

        self._open.enter_context(raster_options())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                self._source = self._open.enter_context(rasterio.open(self.path, driver="GTiff"))
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def small(self) -> Picture:
        """The image to be shown, `MIDDLE` px a side at most."""
        factor = min(1.0, MIDDLE / max(self.height, self.width))
        size = max(1, round(self.height * factor)), max(1, round(self.width * factor))
        return self._read(Tile(0, 0, self.height, self.width, ""), size)

    def window(self, tile: Tile) -> Picture:
        """A part of the image, decoded.

        Raises:
            ImageError: the file is truncated or damaged there.
        """
        return self._read(tile, (tile.height, tile.width))

    def _read(self, tile: Tile, size: tuple[int, int]) -> Picture:
        from rasterio.enums import ColorInterp
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        from ..errors import ImageError

        source, part = self._source, Window(tile.left, tile.top, tile.width, tile.height)
        bands = [k for k, kind in enumerate(source.colorinterp, 1) if kind != ColorInterp.alpha or source.count == 1]
        try:
            pixels = source.read(bands, window=part, out_shape=(len(bands), *size))
            valid = source.dataset_mask(window=part, out_shape=size) > 0
        except (RasterioError, OSError) as error:
            raise ImageError(
                f"image '{self.path}' is truncated or damaged ({' '.join(str(error).split())[:200]}): copy or export "
                "it again, or drop it"
            ) from error
        pixels = np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
        if pixels.dtype.kind == "f":
            valid &= np.isfinite(pixels).all(axis=-1)
        return Picture(pixels, None if valid.all() else valid)

    def check(self) -> None:
        """Decode all of it once, a strip at a time.

        Raises:
            ImageError: the file is truncated or damaged.
        """
        rows = max(1, STRIP // self.width)
        block = int(self._source.block_shapes[0][0])
        rows = max(block, rows // block * block)
        for top in range(0, self.height, rows):
            self.window(Tile(top, 0, min(rows, self.height - top), self.width, ""))


Source = Whole | Windowed


def can_be_windowed(path: Path) -> bool:
    """Whether the file is a TIFF whose pixels are numbers as they are: no palette, no single bits."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    if path.suffix.lower() not in TIFF_SUFFIXES:
        return False
    with raster_options(), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path, driver="GTiff") as source:
                plain = source.colorinterp[0].name != "palette" and np.dtype(source.dtypes[0]).kind in "uif"
                return plain and source.tags(1, ns="IMAGE_STRUCTURE").get("NBITS") is None
        except (RasterioError, OSError, TypeError):
            return False  # whoever reads it says why


def opened(path: Path, windowed: bool) -> Source:
    """An image, for a `with` block."""
    return Windowed(path) if windowed else Whole(read_picture(path))


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
