"""Large rasters from above: the blocks that they are read by, which of them teach anything, and what stays together."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..imagery.checking import Raster
from ..imagery.dataset import Dataset
from ..imagery.layouts import Pair
from .survey import Seen

__all__ = ["draw_overview", "raster_table"]

SHOWN = 6  # rasters
PAD, LINE = 12, 20  # px: space around a raster, height of its title
LONGEST = 880  # px: longer side of a raster
IN_A_ROW = 2
PAPER, INK, LEFT_OUT, HATCH = (255, 255, 255), (40, 40, 40), (225, 225, 225), (190, 190, 190)
LINES, PLACES = (255, 255, 255), (213, 60, 40)
TINT = np.array([230, 159, 0], np.float32)  # the last class', as on the sheet
STRONGEST = 0.6  # of the tint

Picture = NDArray[np.uint8]


def raster_table(dataset: Dataset, images: Sequence[Seen]) -> list[dict[str, Any]]:
    """Of each large raster: stem, size (WIDTHxHEIGHT), grid (rows, columns), blocks, left_out, places, class_shares."""
    seen = {image.stem: image for image in images}
    rows = []
    for raster in dataset.rasters:
        own = _blocks(dataset, raster)
        counts = np.sum([seen[p.stem].counts for p in own if p.stem in seen], axis=0, dtype=np.int64)
        shares = np.atleast_1d(counts) / max(1, int(np.sum(counts)))
        height, width = raster.size
        rows.append(
            {
                "stem": raster.stem,
                "size": f"{width}x{height}",
                "grid": list(raster.grid),
                "blocks": raster.kept,
                "left_out": raster.grid[0] * raster.grid[1] - raster.kept,
                "places": len({pair.place or pair.stem for pair in own}),
                "class_shares": dict(zip(dataset.classes, shares.round(6).tolist(), strict=False)),
            }
        )
    return rows


def draw_overview(dataset: Dataset, images: Sequence[Seen], width: int) -> Picture | None:
    """Up to six large rasters, two in a row: (H, width, 3) uint8; None where there are none.

    Each block is shown in grey under the colour of the last class, the stronger the more of it there is; blocks that
    are left out are hatched; red lines are between blocks that a split may part.
    """
    if not dataset.rasters:
        return None
    seen = {image.stem: image for image in images}
    side = min(LONGEST, (width - PAD) // IN_A_ROW - PAD)
    tiles = [_tile(raster, _blocks(dataset, raster), seen, side) for raster in dataset.rasters[:SHOWN]]
    rows = [tiles[k : k + IN_A_ROW] for k in range(0, len(tiles), IN_A_ROW)]
    page = Image.new("RGB", (width, sum(max(t.height for t in row) + PAD for row in rows)), PAPER)
    top = 0
    for row in rows:
        for k, tile in enumerate(row):
            page.paste(tile, (PAD + k * (side + PAD), top))
        top += max(tile.height for tile in row) + PAD
    return np.asarray(page)


def _blocks(dataset: Dataset, raster: Raster) -> list[Pair]:
    return [p for p in dataset.pairs if p.block is not None and p.stem.removesuffix(p.block.ending) == raster.stem]


def _tile(raster: Raster, blocks: Sequence[Pair], seen: Mapping[str, Seen], side: int) -> Image.Image:
    """A raster under its title."""
    height, width = raster.size
    ground = _ground(raster, blocks, seen, side / max(height, width))
    tile = Image.new("RGB", (side, LINE + ground.height), PAPER)
    title = f"{raster.stem}: {width}x{height}, {raster.kept} of {raster.grid[0] * raster.grid[1]} blocks"
    ImageDraw.Draw(tile).text((0, 0), title, fill=INK, font=ImageFont.load_default(13))
    tile.paste(ground, (0, LINE))
    return tile


def _ground(raster: Raster, blocks: Sequence[Pair], seen: Mapping[str, Seen], scale: float) -> Image.Image:
    high, wide = (max(1, round(side * scale)) for side in raster.size)
    ground = Image.new("RGB", (wide, high), LEFT_OUT)
    draw = ImageDraw.Draw(ground)
    for x in range(-high, wide, 8):
        draw.line((x, high, x + high, 0), fill=HATCH)
    places: dict[tuple[int, int], object] = {}
    boxes: dict[tuple[int, int], tuple[int, int, int, int]] = {}
    for pair in blocks:
        block = pair.block
        if block is None or pair.stem not in seen:
            continue
        top, bottom, left, right = (round(edge * scale) for edge in block.window)
        box = (left, top, max(left + 1, right), max(top + 1, bottom))
        ground.paste(_shown(seen[pair.stem], box[3] - box[1], box[2] - box[0]), box[:2])
        draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=LINES)
        boxes[block.row, block.column] = box
        places[block.row, block.column] = pair.place or pair.stem
    for (row, column), (left, top, right, bottom) in boxes.items():
        if places.get((row, column + 1)) not in (None, places[row, column]):
            draw.line((right, top, right, bottom), fill=PLACES, width=2)
        if places.get((row + 1, column)) not in (None, places[row, column]):
            draw.line((left, bottom, right, bottom), fill=PLACES, width=2)
    return ground


def _shown(image: Seen, height: int, width: int) -> Image.Image:
    grey = cv2.resize(image.thumbnail.grey, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    share = STRONGEST * min(1.0, 3 * float(image.shares[-1]))
    colour = (1 - share) * grey[..., None] + share * TINT
    return Image.fromarray(np.asarray(np.rint(colour), np.uint8))
