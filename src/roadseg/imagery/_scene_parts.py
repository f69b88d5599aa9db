"""The things that stand in a made scene: a canvas to draw on, houses, trees, cars, car parks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Canvas", "House", "Sun", "Tree", "asphalt", "cast", "draw_car", "draw_house", "draw_tree", "rect", "scaled"]

Points: TypeAlias = NDArray[np.float64]
Colour: TypeAlias = tuple[float, float, float]

ROAD, BUILT, SOFT, CROSSING, CAR = 1, 2, 4, 8, 16  # bits of Canvas.taken: what is where, so that nothing is built twice
SUBPIXEL = 4

ROOFS: tuple[Colour, ...] = (
    *((96, 84, 74), (78, 74, 72), (118, 104, 90), (128, 92, 76), (126, 84, 71), (104, 106, 108)),
    *((136, 124, 108), (84, 66, 58), (72, 80, 88), (152, 146, 136)),
)
FLAT_ROOFS: tuple[Colour, ...] = (
    *((104, 102, 97), (88, 86, 82), (122, 119, 112), (112, 110, 106), (96, 95, 92)),  # as grey as asphalt
    *((148, 144, 136), (206, 204, 198), (134, 116, 98), (226, 224, 220)),
)
CARS: tuple[Colour, ...] = (
    *((214, 214, 212), (228, 228, 226), (160, 162, 164), (112, 114, 118), (64, 64, 68), (40, 41, 44), (48, 48, 50)),
    *((138, 36, 34), (44, 62, 104), (74, 92, 112), (122, 110, 90), (190, 190, 186), (46, 70, 56)),
)


@dataclass(frozen=True)
class Sun:
    """`shadow: (2,)` unit vector the shadows point along, `length` of a shadow per height, `elevation` in radians."""

    shadow: Points
    length: float
    elevation: float

    def light(self, outward: Points, pitch: float) -> float:
        """Brightness of a roof side that falls towards `outward`, 1.0 for level ground."""
        tilt, low = np.tan(pitch), np.cos(self.elevation) / np.sin(self.elevation)
        direct = max(0.0, 1 - tilt * low * float(outward @ self.shadow)) / np.hypot(1, tilt)
        return float(0.45 + 0.55 * min(1.6, direct))


class Canvas:
    """What is drawn so far.

    `colour: (H, W, 3) uint8` RGB, `grain: (H, W) uint8` how rough the surface is (the texture's amplitude in grey
    levels), `taken: (H, W) uint8` bits of what the place is used for.
    """

    def __init__(self, colour: NDArray[np.uint8], grain: int) -> None:
        self.colour = colour
        self.shape = colour.shape[:2]
        self.grain = np.full(self.shape, grain, np.uint8)
        self.taken = np.zeros(self.shape, np.uint8)

    def fill(self, polygon: Points, colour: Sequence[float], grain: int | None = None) -> None:
        """Fill the polygon `(N, 2)`, edges smoothed."""
        fixed = _fixed(polygon)
        cv2.fillPoly(self.colour, [fixed], _rgb(colour), cv2.LINE_AA, SUBPIXEL)
        if grain is not None:
            cv2.fillPoly(self.grain, [fixed], grain, cv2.LINE_8, SUBPIXEL)

    def line(self, points: Points, colour: Sequence[float], thickness: int = 1, closed: bool = False) -> None:
        """Draw a line along `points: (N, 2)`."""
        cv2.polylines(self.colour, [_fixed(points)], closed, _rgb(colour), thickness, cv2.LINE_AA, SUBPIXEL)

    def disc(self, at: Points, radius: float, colour: Sequence[float]) -> None:
        """Fill a circle."""
        x, y = _fixed(at)
        cv2.circle(self.colour, (int(x), int(y)), round(radius * 2**SUBPIXEL), _rgb(colour), -1, cv2.LINE_AA, SUBPIXEL)

    def is_free(self, polygon: Points, of: int = ROAD | BUILT) -> bool:
        """Whether the polygon is in the picture at least in part, and nothing of the kinds `of` is there."""
        low = np.maximum(np.floor(polygon.min(0)).astype(int), 0)
        high = np.minimum(np.ceil(polygon.max(0)).astype(int) + 1, self.shape[::-1])
        if np.any(high <= low):
            return False
        there = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        cv2.fillPoly(there, [_fixed(polygon - low)], of, cv2.LINE_8, SUBPIXEL)
        return not np.any(there & self.taken[low[1] : high[1], low[0] : high[0]])

    def take(self, polygon: Points, kind: int = BUILT) -> None:
        """Mark the polygon's place as used."""
        cv2.fillPoly(self.taken, [_fixed(polygon)], kind, cv2.LINE_8, SUBPIXEL)

    def what(self, at: Points) -> int:
        """The bits at a point; ROAD outside the picture."""
        x, y = int(at[0]), int(at[1])
        inside = 0 <= x < self.shape[1] and 0 <= y < self.shape[0]
        return int(self.taken[y, x]) if inside else ROAD


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.asarray(np.rint(points * 2**SUBPIXEL), np.int32)


def _rgb(colour: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(min(255, max(0, round(c)))) for c in colour)
    return red, green, blue


def scaled(colour: Sequence[float], by: float) -> Colour:
    """The colour made lighter or darker."""
    return colour[0] * by, colour[1] * by, colour[2] * by


def asphalt(rng: np.random.Generator, age: float | None = None) -> Colour:
    """A grey between fresh black asphalt (age 0) and pale worn asphalt or concrete (age 1)."""
    grey = 78 + 62 * (rng.beta(1.6, 1.8) if age is None else age) + rng.normal(0, 4)
    warm = rng.uniform(-1, 5)
    return grey + warm, grey + warm / 3, grey - warm


def rect(at: Points, along: Points, out: Points, x0: float, x1: float, y0: float, y1: float) -> Points:
    """Corners `(4, 2)` of a rectangle in the frame of `at`, `along` and `out`."""
    return np.stack([at + along * x + out * y for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))])


def cast(shade: NDArray[np.uint8], polygon: Points, by: Points) -> None:
    """Draw on `shade` the shadow of an upright block over `polygon` that reaches as far as `by`."""
    both = np.concatenate([polygon, polygon + by]).astype(np.float32)
    hull = np.asarray(cv2.convexHull(both).reshape(-1, 2), np.float64)
    cv2.fillConvexPoly(shade, _fixed(hull), 255, cv2.LINE_AA, SUBPIXEL)


@dataclass(frozen=True)
class House:
    """A rectangle `corners: (4, 2)` whose first side lies along the street; its roof is "gable", "hip" or "flat"."""

    corners: Points
    height: float
    kind: str
    colour: Colour


def draw_house(canvas: Canvas, rng: np.random.Generator, house: House, sun: Sun) -> None:
    """Draw the roof: sides shaded by the sun, ridge, eaves; on flat roofs a parapet and what stands about."""
    if house.kind == "flat":
        _draw_flat_roof(canvas, rng, house, sun)
        return
    a, b, c, d = house.corners
    if np.hypot(*(b - a)) < np.hypot(*(d - a)):  # the ridge runs along the longer side
        a, b, c, d = b, c, d, a
    along, across = b - a, d - a
    half = float(np.hypot(*across)) / 2
    unit, out = along / np.hypot(*along), across / (2 * half)
    pitch = 0.45
    inset = unit * half * 0.95 if house.kind == "hip" else unit * 0.0
    start, end = (a + d) / 2 + inset, (b + c) / 2 - inset
    sides = [(np.stack([a, b, end, start]), -out), (np.stack([d, c, end, start]), out)]
    if house.kind == "hip":
        sides += [(np.stack([a, d, start]), -unit), (np.stack([b, c, end]), unit)]
    for polygon, outward in sides:
        canvas.fill(polygon, scaled(house.colour, sun.light(outward, pitch)), 7)
    for polygon, outward in sides[:2]:  # courses of tiles
        shade = sun.light(outward, pitch)
        for share in np.arange(3.0, half, 3.0) / half:
            low, high = (1 - share) * polygon[0] + share * polygon[3], (1 - share) * polygon[1] + share * polygon[2]
            canvas.line(np.stack([low, high]), scaled(house.colour, shade * rng.uniform(0.9, 1.03)))
    canvas.line(np.stack([start, end]), scaled(house.colour, 1.22))
    if rng.random() < 0.5:  # chimney or roof light
        spot = start + (end - start) * rng.uniform(0.1, 0.9) + out * half * rng.uniform(-0.6, 0.6)
        size = rng.uniform(1.2, 2.6)
        canvas.fill(rect(spot + sun.shadow * 2, unit, out, -size, size, -size, size), scaled(house.colour, 0.45))
        tone = (130, 78, 62) if rng.random() < 0.5 else (176, 182, 190)
        canvas.fill(rect(spot, unit, out, -size, size, -size, size), tone)


def _draw_flat_roof(canvas: Canvas, rng: np.random.Generator, house: House, sun: Sun) -> None:
    corners, middle = house.corners, house.corners.mean(0)
    along, across = corners[1] - corners[0], corners[3] - corners[0]
    long, deep = float(np.hypot(*along)), float(np.hypot(*across))
    unit, out = along / long, across / deep
    canvas.fill(corners, house.colour, 4)
    if rng.random() < 0.6:  # seams between the sheets
        pitch, tone = rng.uniform(7, 16), scaled(house.colour, rng.uniform(0.9, 1.07))
        for x in np.arange(pitch, long, pitch):
            canvas.line(np.stack([corners[0] + unit * x, corners[3] + unit * x]), tone)
    for _ in range(int(rng.integers(0, 3))):  # stains
        spot = rect(corners[0], unit, out, *sorted(rng.uniform(0, long, 2)), *sorted(rng.uniform(0, deep, 2)))
        canvas.fill(spot, scaled(house.colour, rng.uniform(0.92, 1.06)))
    canvas.line(middle + (corners - middle) * 0.97, scaled(house.colour, 0.78), 1, closed=True)
    canvas.line(corners, scaled(house.colour, 1.16), 1, closed=True)
    for _ in range(rng.poisson(long * deep / 1400)):
        size = rng.uniform(1.5, 4.5, 2)
        if min(long, deep) < 20:
            break
        x, y = rng.uniform(7, long - 7), rng.uniform(7, deep - 7)
        box = rect(corners[0], unit, out, x - size[0], x + size[0], y - size[1], y + size[1])
        canvas.fill(box + sun.shadow * 2.5 * sun.length, scaled(house.colour, 0.5))
        canvas.fill(box, (188, 188, 184) if rng.random() < 0.7 else (120, 122, 126))


@dataclass(frozen=True)
class Tree:
    """A crown at `at: (2,)` with a `radius` in px."""

    at: Points
    radius: float
    colour: Colour


def draw_tree(canvas: Canvas, rng: np.random.Generator, tree: Tree, sun: Sun) -> None:
    """Draw the crown as clumps of leaves, bright towards the sun."""
    n = int(8 + tree.radius**2 / 7)
    angle, away = rng.uniform(0, 2 * np.pi, n), tree.radius * np.sqrt(rng.uniform(0, 1, n)) * rng.uniform(0.78, 0.98)
    clumps = np.stack([np.cos(angle), np.sin(angle)], axis=1) * away[:, None]
    sizes = np.maximum(1.3, tree.radius * rng.uniform(0.13, 0.3, n))
    lit = -(clumps @ sun.shadow) / tree.radius
    tones = 0.85 + 0.32 * lit + rng.normal(0, 0.13, n)
    canvas.disc(tree.at, tree.radius * 0.74, scaled(tree.colour, 0.6))
    for k in np.argsort(lit + rng.normal(0, 0.35, n)):
        canvas.disc(tree.at + clumps[k], sizes[k], scaled(tree.colour, max(0.4, tones[k])))
    x, y = _fixed(tree.at)
    cv2.circle(canvas.grain, (int(x), int(y)), round(tree.radius * 2**SUBPIXEL), 12, -1, cv2.LINE_8, SUBPIXEL)


def draw_car(canvas: Canvas, rng: np.random.Generator, at: Points, heading: Points, sun: Sun) -> None:
    """Draw a car from above with its own small shadow, where no other car is; now and then a lorry."""
    out = np.array([-heading[1], heading[0]])
    colour = CARS[int(rng.integers(len(CARS)))]
    big = rng.random() < 0.03
    long, wide = (rng.uniform(11, 16), 4.0) if big else (rng.uniform(6.6, 8.0), rng.uniform(2.8, 3.2))
    body = rect(at, heading, out, -long, long, -wide, wide)
    if not canvas.is_free(body, CAR):
        return
    canvas.take(body, canvas.what(at) | CAR)
    dark = canvas.colour[min(max(int(at[1]), 0), canvas.shape[0] - 1), min(max(int(at[0]), 0), canvas.shape[1] - 1)]
    reach = sun.shadow * min(5.0, (10 if big else 4) * sun.length)
    canvas.fill(rect(at + reach, heading, out, -long, long, -wide, wide), [float(c) * 0.45 for c in dark])
    canvas.fill(body, scaled(colour, 0.88), 3)
    if big:
        canvas.fill(rect(at, heading, out, -long, long * 0.6, -wide, wide), (206, 206, 202))
        return
    glass = (44.0, 50.0, 58.0)
    canvas.fill(rect(at, heading, out, long * 0.12, long * 0.42, -wide * 0.8, wide * 0.8), glass)
    canvas.fill(rect(at, heading, out, -long * 0.78, -long * 0.55, -wide * 0.75, wide * 0.75), glass)
    canvas.fill(rect(at, heading, out, -long * 0.52, long * 0.1, -wide * 0.75, wide * 0.75), scaled(colour, 1.1))
