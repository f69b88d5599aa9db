"""What `inspect` found as one picture: text, the sheet of images and crops, figures of class shares and values."""

import textwrap
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..reports.sheets import CLASS_COLOURS

__all__ = ["draw_page"]

PAPER, INK, GRID = (255, 255, 255), (40, 40, 40), (225, 225, 225)
BACKGROUND, UNLABELLED = (150, 150, 150), (235, 235, 235)
BANDS = ((213, 60, 40), (40, 150, 80), (50, 90, 200), (130, 80, 160), (200, 140, 20), (90, 90, 90))
TEXT, LINE, PAD = 13, 18, 12  # px
KEY_ROWS = 2  # of a figure's key, at most
HIGH, LEFT = 240, 56  # px: height of a figure's field, room for its numbers at the left
FOOT = 8 + LINE * (1 + KEY_ROWS)  # px below the field: numbers and key
HIGHEST = (0.004, 0.01, 0.02, 0.04, 0.08, 0.12, 0.2, 0.4, 0.6, 0.8, 1.0)  # shares that an axis ends at
LEAST = 900  # px, width of a page
COLUMN = 150  # characters of the text on a line, at most

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]


def draw_page(
    lines: Sequence[str],
    sheet: Picture,
    found: Mapping[str, Any],
    histograms: tuple[float, float, NDArray[np.float64]],
) -> Picture:
    """The page.

    Args:
        lines: of text.
        sheet: (H, W, 3) uint8.
        found: `class_shares` and `per_image` as `inspect` has them.
        histograms: lower and upper end, (bands, bins) shares.

    Returns:
        (H, W, 3) uint8.
    """
    width = max(LEAST, sheet.shape[1])
    room = min(COLUMN, int((width - 2 * PAD) / 7.5))
    folded = [part for line in lines for part in textwrap.wrap(line, room, subsequent_indent="      ") or [""]]
    if any(line.startswith("pixel values:") for line in lines):  # a table, which a proportional face would ruffle
        folded = [line for line in folded if not line.startswith(("pixel values:", "  band "))]
    top = PAD + LINE * len(folded) + PAD
    page = Image.new("RGB", (width, top + sheet.shape[0] + PAD + LINE + HIGH + FOOT + PAD), PAPER)
    draw = ImageDraw.Draw(page)
    for k, line in enumerate(folded):
        indent = len(line) - len(line.lstrip())
        draw.text((PAD + 6 * indent, PAD + LINE * k), line.strip(), fill=INK, font=_font())
    page.paste(Image.fromarray(sheet), (0, top))
    down = top + sheet.shape[0] + PAD
    middle = width // 2
    _class_shares(draw, (PAD, down, middle - PAD, down + LINE + HIGH + FOOT), found)
    _values(draw, (middle + PAD, down, width - PAD, down + LINE + HIGH + FOOT), histograms)
    return np.asarray(page)


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(TEXT)


class _Field:
    """A figure's field inside a box (left, top, right, bottom): title above, numbers at its left and below, key."""

    def __init__(self, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], title: str, highest: float) -> None:
        self.draw = draw
        left, top, right, _ = box
        self.left, self.right, self.top, self.bottom = left + LEFT, right, top + LINE, top + LINE + HIGH
        self.highest = highest
        draw.text((left, top - 2), title, fill=INK, font=_font())

    def levels(self, numbers: Sequence[tuple[float, str]]) -> None:
        """Lines across with their numbers at the left."""
        for value, text in numbers:
            y = self.y_of(value)
            self.draw.line((self.left, y, self.right, y), fill=GRID)
            self.draw.text((self.left - 6, y), text, fill=INK, font=_font(), anchor="rm")

    def below(self, numbers: Sequence[tuple[float, str]]) -> None:
        """Numbers under the field, at places 0..1 of its width."""
        for place, text in numbers:
            x = self.left + place * (self.right - self.left)
            anchor = "la" if place == 0 else "ra" if place == 1 else "ma"
            self.draw.text((x, self.bottom + 4), text, fill=INK, font=_font(), anchor=anchor)

    def key(self, entries: Sequence[tuple[str, Colour]]) -> None:
        """Swatches below it all, in rows."""
        left, top, rows = float(self.left), self.bottom + 8 + LINE, 1
        for text, colour in entries:
            wide = TEXT + 6 + _font().getlength(text) + 14
            if left + wide > self.right - 20:
                if rows == KEY_ROWS:
                    self.draw.text((left, top), "...", fill=INK, font=_font())
                    return
                left, top, rows = float(self.left), top + LINE, rows + 1
            self.draw.rectangle((left, top, left + TEXT - 1, top + TEXT - 1), fill=colour, outline=INK)
            self.draw.text((left + TEXT + 6, top - 2), text, fill=INK, font=_font())
            left += wide

    def y_of(self, value: float) -> float:
        return self.bottom - HIGH * value / self.highest


def class_colour(position: int) -> Colour:
    """The colour of a class on the sheet; the background, which has none there, is grey."""
    if position == 0:
        return BACKGROUND
    red, green, blue = CLASS_COLOURS[(position - 1) % (len(CLASS_COLOURS) - 1) + 1].astype(int).tolist()
    return red, green, blue


def _class_shares(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], found: Mapping[str, Any]) -> None:
    """A bar an image, of two classes the second's share, of more all of them; unlabelled pixels on top."""
    names = list(found["class_shares"])
    shown = [1] if len(names) == 2 else list(range(len(names)))
    bars = []
    for image in found["per_image"].values():
        unlabelled = image["unlabelled_share"]
        bars.append([*(image["class_shares"][k] * (1 - unlabelled) for k in shown), unlabelled])
    bars.sort(key=lambda bar: bar[0])
    several = len(shown) > 1
    highest = 1.0 if several or not bars else next(h for h in HIGHEST if h >= min(1, max(sum(bar) for bar in bars)))
    title = f"share of {names[1]} in each image, sorted; dashed: of all pixels"
    if several:
        title = f"share of the classes in each image, sorted by {names[0]}"
    field = _Field(draw, box, title, highest)
    levels = [highest * k / 4 for k in range(5)]
    field.levels([(level, f"{level:.0%}" if highest >= 0.04 else f"{level:.1%}") for level in levels])
    colours = [*(class_colour(k) for k in shown), UNLABELLED]
    wide = field.right - field.left
    if len(bars) > wide:  # one pixel a bar: every so many images
        bars = [bars[k] for k in np.linspace(0, len(bars) - 1, wide).astype(int)]
    for k, bar in enumerate(bars):
        x0, x1 = (field.left + wide * edge / len(bars) for edge in (k, k + 1))
        gap = 1 if x1 - x0 > 3 else 0
        base = 0.0
        for share, colour in zip(bar, colours, strict=True):
            if share > 0:
                y1, y0 = field.y_of(base), field.y_of(base + share)
                draw.rectangle((round(x0), y0, max(round(x0), round(x1) - 1 - gap), y1), fill=colour)
            base += share
    if not several:
        y = field.y_of(min(highest, found["class_shares"][names[1]] * (1 - found["unlabelled_share"])))
        for x in range(field.left, field.right, 10):
            draw.line((x, y, x + 5, y), fill=INK)
    count = len(found["per_image"])
    field.below([(0.0, f"{count} image{'s' if count != 1 else ''}")])
    entries = [(f"{names[k]} {found['class_shares'][names[k]]:.1%}", class_colour(k)) for k in shown]
    if found["unlabelled_share"]:
        entries.append((f"unlabelled {found['unlabelled_share']:.1%}", UNLABELLED))
    field.key(entries)


def _values(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    histograms: tuple[float, float, NDArray[np.float64]],
) -> None:
    """The distribution of the pixel values, a line a band."""
    low, high, rows = histograms
    # A spike, such as black borders, must not press all else flat: what stands out is cut off at the top.
    ranked = np.sort(rows.ravel())[::-1]
    highest = float(max(1e-6, min(ranked[0], 3 * ranked[min(len(ranked) - 1, 2 * len(rows))]))) if rows.size else 1.0
    field = _Field(draw, box, "pixel values of each band, share of the pixels", highest)
    field.levels([(0.0, "0"), (highest / 2, f"{highest / 2:.1%}"), (highest, f"{highest:.1%}")])
    wide = field.right - field.left
    colours = [(90, 90, 90)] if len(rows) == 1 else [BANDS[k % len(BANDS)] for k in range(len(rows))]
    for row, colour in zip(rows, colours, strict=True):
        points = []
        for k, share in enumerate(row):
            y = field.y_of(min(highest, float(share)))
            points += [(field.left + wide * k / len(row), y), (field.left + wide * (k + 1) / len(row), y)]
        draw.line(points, fill=colour, width=2)
    top = high - 1 if (low, high) == (0.0, 256.0) else high
    middle = 128 if top == 255 else (low + top) / 2
    field.below([(0.0, f"{low:.6g}"), (0.5, f"{middle:.6g}"), (1.0, f"{top:.6g}")])
    field.key([(f"band {k + 1}", colour) for k, colour in enumerate(colours)])
