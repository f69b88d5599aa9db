"""Pictures for people: predictions laid over images, sheets of pictures, legends. Arrays in, arrays out, no files.

The colours are from the palette of Okabe and Ito (2008), which stays distinct under colour blindness; they differ in
lightness too, so that a grey print is readable.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..errors import DataError

__all__ = ["COLOURS", "contact_sheet", "display_rgb", "legend", "overlay", "overlay_names", "probability_image"]

COLOURS: dict[str, tuple[int, int, int]] = {
    "hit": (86, 180, 233),  # sky blue
    "miss": (213, 94, 0),  # vermilion
    "false alarm": (240, 228, 66),  # yellow
}
MEANINGS = {"hit": "road found", "miss": "road missed", "false alarm": "false alarm"}
OPACITY = 0.6
DIM = 0.75  # of the image beneath
OUTLINE = (255, 255, 255)
PAPER, INK = (255, 255, 255), (40, 40, 40)
TEXT_SIZE = 13  # pixels
GAP = 6  # pixels between cells

Picture = NDArray[np.uint8]


def display_rgb(image: NDArray[np.uint8]) -> Picture:
    """An image as it is shown: one band as grey, of two the first, of more than three the first three.

    Args:
        image: (H, W) or (H, W, C) uint8.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: another shape or another type.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise DataError(f"cannot show an array of {image.dtype} {image.shape}: expected uint8 (H, W) or (H, W, C)")
    bands = image[..., None] if image.ndim == 2 else image
    return np.ascontiguousarray(bands[..., :3] if bands.shape[-1] >= 3 else bands[..., :1].repeat(3, axis=-1))


def probability_image(probability: NDArray[np.floating[Any]]) -> Picture:
    """Probabilities 0..1 of any shape as uint8 of that shape, 255 where it is 1; not-a-number becomes 0."""
    scaled = np.nan_to_num(probability, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1) * 255
    picture: Picture = np.rint(scaled).astype(np.uint8)
    return picture


def overlay(
    image: NDArray[np.uint8],
    probability: NDArray[np.floating[Any]],
    truth: NDArray[Any] | None = None,
    threshold: float = 0.5,
) -> Picture:
    """A prediction half transparent over the dimmed grey image: road found, road missed, false alarms.

    Args:
        image: (H, W) or (H, W, C) uint8.
        probability: (H, W) float, 0..1; road where it is above `threshold`.
        truth: (H, W), 1 road, 0 background, anything else not judged; None: the predicted road alone, outlined.
        threshold: 0..1.

    Returns:
        (H, W, 3) uint8, in the colours of `COLOURS`.

    Raises:
        DataError: the shapes differ.
    """
    rgb = display_rgb(image)
    for name, other in (("probability", probability), ("truth", truth)):
        if other is not None and other.shape != rgb.shape[:2]:
            raise DataError(f"{name} of shape {other.shape} does not lie on an image of {rgb.shape[:2]}")
    road = probability > threshold
    kinds = np.zeros(road.shape, np.uint8)  # 0 nothing, then the order of COLOURS
    if truth is None:
        kinds[road] = 1
    else:
        kinds[road & (truth == 1)] = 1
        kinds[~road & (truth == 1)] = 2
        kinds[road & (truth == 0)] = 3
    drawn: Picture = _blends()[kinds, np.asarray(Image.fromarray(rgb).convert("L"))]
    if truth is None:
        drawn[_outline(road)] = OUTLINE
    return drawn


@lru_cache(maxsize=1)
def _blends() -> Picture:
    """(1 + colours, 256, 3): the colour of each kind of pixel over each grey."""
    grey = np.linspace(0, 255 * DIM, 256)[:, None].repeat(3, axis=1)
    kinds = [grey, *(grey * (1 - OPACITY) + np.array(colour) * OPACITY for colour in COLOURS.values())]
    return np.rint(np.stack(kinds)).astype(np.uint8)


def _outline(road: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H, W) bool: road pixels with a background pixel above, below, left or right; the border is no background."""
    padded = np.pad(road, 1, constant_values=True)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return road & ~inner


def legend(with_truth: bool = True) -> Picture:
    """A strip (height, width, 3) uint8 that names the colours of `overlay`, with truth or without."""
    entries = (
        [(COLOURS[kind], MEANINGS[kind]) for kind in COLOURS] if with_truth else [(COLOURS["hit"], "predicted road")]
    )
    swatch, pad = TEXT_SIZE, GAP
    widths = [swatch + pad + _text_width(text) + 3 * pad for _, text in entries]
    strip = Image.new("RGB", (sum(widths) + pad, swatch + 2 * pad), PAPER)
    draw = ImageDraw.Draw(strip)
    left = pad
    for (colour, text), width in zip(entries, widths, strict=True):
        draw.rectangle((left, pad, left + swatch - 1, pad + swatch - 1), fill=colour, outline=INK)
        draw.text((left + swatch + pad, pad + swatch / 2), text, fill=INK, font=_font(), anchor="lm")
        left += width
    return np.asarray(strip)


def contact_sheet(
    rows: Sequence[Sequence[NDArray[np.uint8]]],
    titles: Sequence[str] = (),
    labels: Sequence[str] = (),
    cell: int = 256,
    footer: NDArray[np.uint8] | None = None,
) -> Picture:
    """Pictures of any sizes on one sheet, each scaled into a square cell, its proportions kept.

    Args:
        rows: of pictures, each (H, W) or (H, W, C) uint8; rows may differ in length.
        titles: captions of the columns, from the left; too long ones are shortened.
        labels: captions of the rows, each above its row.
        cell: side of a cell, pixels.
        footer: (h, w, 3) uint8 under it all, such as `legend()`.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: there is no picture, or one that cannot be shown.
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0:
        raise DataError("a sheet needs at least one picture")
    line = TEXT_SIZE + GAP
    foot = None if footer is None else display_rgb(footer)
    width = max(columns * (cell + GAP) + GAP, 0 if foot is None else foot.shape[1])
    top = GAP + (line if titles else 0)
    tall = cell + GAP + (line if labels else 0)
    height = top + tall * len(rows) + (0 if foot is None else foot.shape[0])
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, text in enumerate(titles[:columns]):
        draw.text((GAP + column * (cell + GAP), GAP), _fit(text, cell), fill=INK, font=_font())
    for index, row in enumerate(rows):
        down = top + tall * index
        if labels:
            if index < len(labels):
                draw.text((GAP, down), _fit(labels[index], width - 2 * GAP), fill=INK, font=_font())
            down += line
        for column, picture in enumerate(row):
            scaled = _scaled(display_rgb(picture), cell)
            left = GAP + column * (cell + GAP)
            sheet.paste(scaled, (left + (cell - scaled.width) // 2, down + (cell - scaled.height) // 2))
    if foot is not None:
        sheet.paste(Image.fromarray(foot), (0, height - foot.shape[0]))
    return np.asarray(sheet)


def _scaled(picture: Picture, cell: int) -> Image.Image:
    image = Image.fromarray(picture)
    factor = cell / max(image.size)
    if factor == 1:
        return image
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    # Small pictures show their pixels as they are, large ones are averaged.
    return image.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BOX)


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(TEXT_SIZE)


def _text_width(text: str) -> int:
    return round(_font().getlength(text))


def _fit(text: str, width: int) -> str:
    """`text` on one line, cut in the middle where it is wider than `width` pixels (file names differ at their ends)."""
    text = " ".join(text.split())
    if _text_width(text) <= width:
        return text
    keep = len(text) - 1
    while (
        keep > 1 and _text_width(shorter := f"{text[: keep // 2]}...{text[len(text) - (keep - keep // 2) :]}") > width
    ):
        keep -= 1
    return shorter if keep > 1 else text[:1]


def overlay_names(stems: Iterable[str]) -> dict[str, str]:
    """`NAME_overlay` of each image, or `NAME_overlay_2`, ... where another image is called so."""
    taken, found = set(stems), {}
    for stem in sorted(taken):
        name, number = f"{stem}_overlay", 2
        while name in taken:
            name, number = f"{stem}_overlay_{number}", number + 1
        taken.add(name)
        found[stem] = name
    return found
