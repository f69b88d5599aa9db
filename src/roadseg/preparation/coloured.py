"""A coloured map made into class positions: colours matched, soft edges shared out, text over the classes mended.

Arrays in, arrays out. The values of the limits here were chosen on map tiles with one-way arrows, house outlines and
JPEG noise (docs/prepare.md), and on drawn ones with known truth (tests/test_palette.py).
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from .palette import Palette

__all__ = ["Matched", "colour_table", "match", "mend"]

SURROUNDED = 0.7  # share of a gap's border that must be of the class for the gap to be closed
STRAINED = 0.4  # share of the tolerance from which a small patch is taken for a chance likeness (a house nearly white)
BINS = 32  # per channel, of the colours listed to the user

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Matched:
    """What the palette finds in one map.

    Attributes:
        positions: (H, W) uint8, class position of each pixel, `palette.rest` where no colour fits.
        listed: (H, W) bool, False where no colour of the palette fits.
        strain: (H, W) float32, how much of the tolerance the colour takes, 0..1; infinite where none fits by itself.
        hits: pixels of each class as listed, by position.
        doubtful: pixels that have colours of two classes, by both positions.
    """

    positions: Mask
    listed: NDArray[np.bool_]
    strain: NDArray[np.float32]
    hits: dict[int, int]
    doubtful: dict[tuple[int, int], int] = field(default_factory=dict)


def match(pixels: NDArray[np.uint8], palette: Palette, *, edges: bool = True) -> Matched:
    """Class positions of a coloured map.

    A pixel within the tolerances of several colours gets the one whose tolerance it uses least. With `edges`, pixels
    beside a class that are a blend with what lies behind go to the class that makes up more than half of them.

    Args:
        pixels: (H, W, 3) uint8.
        palette: the colours.
        edges: False takes the listed colours alone.
    """
    positions = np.full(pixels.shape[:2], palette.rest, np.uint8)
    used = np.full(pixels.shape[:2], np.inf, np.float32)  # of the tolerance of the best colour; below 1 it fits
    away: dict[int, Mask] = {}  # distance from the nearest colour of a class
    within: dict[int, NDArray[np.bool_]] = {}
    for colour in palette.colours:
        apart = cv2.absdiff(pixels, np.full_like(pixels, colour.rgb)).max(axis=-1)
        share = apart / np.float32(colour.tolerance + 1)
        better = (share < 1) & (share < used)
        positions[better] = colour.position
        used[better] = share[better]
        near = away.get(colour.position)
        away[colour.position] = apart if near is None else np.minimum(near, apart)
        within[colour.position] = within.get(colour.position, np.zeros_like(better)) | (share < 1)
    listed = np.isfinite(used)
    order = list(within)
    doubtful = {
        (a, b): n
        for i, a in enumerate(order)
        for b in order[i + 1 :]
        if (n := int(np.count_nonzero(within[a] & within[b])))
    }
    hits = {p: int(np.count_nonzero(listed & (positions == p))) for p in order}
    if edges:
        _share_edges(positions, listed, away, palette.rest)
        _share_edges(positions, listed, away, palette.rest, between=True)
    return Matched(positions, listed, used, hits, doubtful)


def _share_edges(
    positions: Mask, listed: NDArray[np.bool_], away: dict[int, Mask], rest: int, *, between: bool = False
) -> None:
    """Give blends beside a class to it, in place.

    A pixel of the blend a * class + (1 - a) * behind is (1 - a) of the way from the class's colour to the one behind,
    and that is in view right beside it. With `between`, what is left between two classes goes to the nearer one.
    """
    square = np.ones((3, 3), np.uint8)
    free = ~listed
    best = np.full(positions.shape, np.inf, np.float32)
    winner = np.zeros_like(positions)
    beside = np.zeros(positions.shape, np.uint8)
    for position, apart in away.items():
        if position == rest:
            continue
        rim = (cv2.dilate((positions == position).astype(np.uint8), square) > 0) & free
        beside += rim
        if not between:
            rim &= apart.astype(np.uint16) * 2 <= cv2.dilate(apart, square)
        closer = rim & (apart < best)
        best[closer] = apart[closer]
        winner[closer] = position
    given = np.isfinite(best) & ((beside > 1) | (not between))
    positions[given] = winner[given]
    listed |= given


def mend(matched: Matched, palette: Palette, size: int) -> Mask:
    """Class positions with text and arrows over the classes closed and specks of them taken away.

    A gap is closed when it is thinner than `size`, no more than some letters long and nearly all around it is of one
    class; so a strip between two carriageways stays, and so does the corner of two streets. A closed-in hole counts as
    a gap up to (2 size)**2 pixels. Patches up to that size which do not touch the border go where their colours barely
    fit; what is drawn in just the colour of its class stays, however small.

    Args:
        matched: of `match`.
        palette: the same.
        size: px, about the thickness of the strokes of the text; 0 changes nothing.

    Returns:
        (H, W) uint8.
    """
    positions = matched.positions.copy()
    if size < 1:
        return positions
    most = (2 * size) ** 2
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size | 1, size | 1))
    for position in dict.fromkeys(c.position for c in palette.colours):
        own = (positions == position).astype(np.uint8)
        if position == palette.rest or not own.any():
            continue
        own &= 1 - _strained(own, matched.strain, most)
        positions[(positions == position) & (own == 0)] = palette.rest
        open_to = ((positions == palette.rest) & ~matched.listed).astype(np.uint8)
        own |= _parts(1 - own, most)[0] & open_to
        padded = cv2.copyMakeBorder(own, size, size, size, size, cv2.BORDER_REPLICATE)
        closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[size:-size, size:-size]
        own |= _surrounded(closed & open_to & (1 - own), own, most)
        positions[own > 0] = position
    return positions


def _parts(area: Mask, most: int) -> tuple[Mask, NDArray[np.int32]]:
    """The connected parts of `area` (H, W) 0/1 of at most `most` pixels and off the border, and the labels of all."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(area, connectivity=4)
    height, width = area.shape
    left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    inside = (left > 0) & (top > 0)
    inside &= (left + stats[:, cv2.CC_STAT_WIDTH] < width) & (top + stats[:, cv2.CC_STAT_HEIGHT] < height)
    chosen = inside & (stats[:, cv2.CC_STAT_AREA] <= most)
    chosen[0] = False
    return np.asarray(chosen[labels].astype(np.uint8)), np.asarray(labels, np.int32)


def _strained(own: Mask, strain: NDArray[np.float32], most: int) -> Mask:
    """The small parts of `own` whose colours barely fit."""
    small, labels = _parts(own, most)
    fits = (small > 0) & np.isfinite(strain)
    count = np.bincount(labels[fits])
    mean = np.bincount(labels[fits], strain[fits]) / np.maximum(count, 1)
    return np.asarray((small > 0) & (np.pad(mean, (0, int(labels.max()) + 1 - len(mean)))[labels] > STRAINED), np.uint8)


def _surrounded(gaps: Mask, own: Mask, most: int) -> Mask:
    """The connected parts of `gaps` of at most `most` pixels whose border is nearly all in `own`."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(gaps, connectivity=4)
    rim = np.zeros((2, count), np.int64)  # of each gap: sides that face the class, all sides
    padded_labels = np.pad(labels, 1)
    padded_own = np.pad(own, 1, mode="edge")
    for rows, columns in ((slice(0, -2), slice(1, -1)), (slice(2, None), slice(1, -1)),
                          (slice(1, -1), slice(0, -2)), (slice(1, -1), slice(2, None))):  # fmt: skip
        faces = (labels > 0) & (padded_labels[rows, columns] != labels)
        rim[1] += np.bincount(labels[faces], minlength=count)
        rim[0] += np.bincount(labels[faces & (padded_own[rows, columns] > 0)], minlength=count)
    chosen = (rim[0] >= SURROUNDED * rim[1]) & (stats[:, cv2.CC_STAT_AREA] <= most)
    chosen[0] = False
    return np.asarray(chosen[labels].astype(np.uint8))


def colour_table(pixels: NDArray[np.uint8], total: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Counts and sums of a map's colours, by coarse colour, added to `total`: (BINS**3, 4) int64, n and r, g, b."""
    if total is None:
        total = np.zeros((BINS**3, 4), np.int64)
    flat = pixels.reshape(-1, 3)
    coarse = flat // (256 // BINS)
    index = (coarse[:, 0].astype(np.int32) * BINS + coarse[:, 1]) * BINS + coarse[:, 2]
    total[:, 0] += np.bincount(index, minlength=BINS**3)
    for channel in range(3):
        total[:, channel + 1] += np.bincount(index, flat[:, channel], minlength=BINS**3).astype(np.int64)
    return total
