"""The picture sheet of a prepared dataset: raw label and finished mask beside and over the image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..imagery.layouts import Pair
from ..imagery.raster import read_picture
from ..imagery.resample import resample, resample_mask

__all__ = ["Shown", "draw_sheet"]

CELL = 384  # px
SWATCH, GAP = 18, 6  # px, of the legend
DARK = 63  # a grey label whose values all lie below holds class indices, and would be black as it is

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """One row of the sheet, in the size of a cell.

    Attributes:
        stem: the pair's name.
        image: (h, w, C) uint8.
        label: (h, w, C) uint8, the raw label as a picture.
        mask: (h, w) uint8 class positions, or 255.
    """

    stem: str
    image: Pixels
    label: Pixels
    mask: Pixels

    @classmethod
    def of(cls, pair: Pair, image: Pixels, mask: Pixels) -> "Shown":
        """A row from a pair, its image (H, W, C) uint8 and its mask (H, W); the raw label is read from its file."""
        height, width = mask.shape
        factor = min(1.0, CELL / max(height, width))
        h, w = max(1, round(height * factor)), max(1, round(width * factor))
        label = read_picture(pair.mask).pixels.astype(np.float32)
        if label.shape[-1] not in (1, 3):
            label = label[..., :1]
        top = float(label.max())
        if label.shape[-1] == 1 and (top > 255 or 0 < top <= DARK):
            label = label * (255 / top)
        shown = resample(np.rint(label).clip(0, 255).astype(np.uint8), h, w)
        return cls(pair.stem, resample(image[..., :3] if image.shape[-1] > 3 else image, h, w), shown,
                   resample_mask(mask, h, w))  # fmt: skip


def draw_sheet(path: Path, rows: Sequence[Shown], classes: Sequence[str]) -> None:
    """Write the sheet: image, raw label, classes over the image; with a legend of the classes.

    Raises:
        OutputError: it cannot be written.
    """
    from ..reports.overlays import contact_sheet, display_rgb
    from ..reports.sheets import save_png, with_mask

    pictures = [[display_rgb(r.image), display_rgb(r.label), with_mask(r.image, r.mask)] for r in rows]
    titles = ["image", "label", "classes over the image"]
    labels = [r.stem for r in rows]
    white = np.full((SWATCH, SWATCH, 3), 255, np.uint8)
    swatches = [with_mask(white, np.full((SWATCH, SWATCH), k, np.uint8)) for k in range(1, len(classes))]
    save_png(path, contact_sheet(pictures, titles, labels, CELL, footer=_legend(swatches, classes[1:])))


def _legend(swatches: Sequence[Pixels], names: Sequence[str]) -> Pixels:
    """A strip (h, w, 3) of coloured squares with names beside them, as many to a line as fit."""
    font = ImageFont.load_default(SWATCH - 4)
    width = 3 * CELL
    places, left, top = [], GAP, GAP
    for name in names:
        length = SWATCH + GAP + round(font.getlength(name)) + 3 * GAP
        if left > GAP and left + length > width:
            left, top = GAP, top + SWATCH + GAP
        places.append((left, top))
        left += length
    strip = Image.new("RGB", (width, top + SWATCH + GAP), (255, 255, 255))
    draw = ImageDraw.Draw(strip)
    for (x, y), swatch, name in zip(places, swatches, names, strict=True):
        strip.paste(Image.fromarray(swatch), (x, y))
        draw.text((x + SWATCH + GAP, y + SWATCH / 2), name, fill=(40, 40, 40), font=font, anchor="lm")
    return np.asarray(strip)
