"""The ground of a made scene: grass, soil, fields, water, verges, asphalt with its wear and its markings."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ._scene_parts import BUILT, CROSSING, ROAD, SOFT, Canvas, Colour, asphalt, rect, scaled
from ._scene_plan import HIGHWAY, LANE, MAIN, Road, cover, normals, resample

__all__ = ["lay_asphalt", "lay_corridors", "lay_fields", "lay_railway", "lay_water", "make_ground", "noise"]

Floats: TypeAlias = NDArray[np.float32]
Points: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
Stroke: TypeAlias = Callable[[Points, int, Colour], None]
WHITE: Colour = (222, 221, 214)
GOLD: Colour = (206, 168, 78)


def noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> Floats:
    """Smooth random values with features of about `cell` px: `(H, W) float32`, about mean 0 and deviation 1."""
    grid = rng.standard_normal((int(shape[0] / cell) + 2, int(shape[1] / cell) + 2), dtype=np.float32)
    return np.asarray(cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC) * np.float32(1.3), np.float32)


def _blend(canvas: Canvas, over: NDArray[np.uint8] | Floats, alpha: Floats) -> None:
    """Lay `over: (H, W, 3)` on the canvas where `alpha: (H, W)` in [0, 1] says so."""
    under = canvas.colour.astype(np.float32)
    canvas.colour[:] = np.clip(under + (over - under) * alpha[..., None], 0, 255).astype(np.uint8)


def make_ground(rng: np.random.Generator, shape: tuple[int, int], green: float) -> NDArray[np.uint8]:
    """Grass, dry grass and soil in patches: `(H, W, 3) uint8`; `green` in [0, 1] is how lush it is."""
    grass = np.array([74, 86, 50]) + rng.normal(0, 5, 3)
    dry = np.array([124, 114, 84]) + rng.normal(0, 6, 3)
    patches = 0.6 * noise(rng, shape, 70) + 0.5 * noise(rng, shape, 22) + 0.3 * noise(rng, shape, 6)
    share = 1 / (1 + np.exp(-2.2 * (patches + 2.4 * (green - 0.5))))
    ground = dry + (grass - dry) * share[..., None]
    return np.asarray(np.clip(ground, 0, 255), np.uint8)


def lay_fields(canvas: Canvas, rng: np.random.Generator, roads: Sequence[Road], often: float) -> None:
    """Fields with furrows beside the roads."""
    for road in roads:
        points = resample(road.points, 60)
        tangent, normal = normals(points)
        for k in range(len(points)):
            if rng.random() > often:
                continue
            side = rng.choice([-1, 1])
            long, near = rng.uniform(90, 260), road.width / 2 + rng.uniform(14, 22)
            out = normal[k] * side
            field = rect(points[k], tangent[k], out, 0, long, near, near + rng.uniform(120, 330))
            if not canvas.is_free(field, SOFT | BUILT):
                continue
            canvas.take(field, SOFT)
            tone = ((88, 98, 54), (132, 120, 86), (112, 94, 74), (120, 122, 74), (70, 84, 48))[int(rng.integers(5))]
            canvas.fill(field, tone, int(rng.integers(5, 10)))
            furrow, deep = rng.uniform(4, 9), rng.uniform(0.88, 0.97)
            for x in np.arange(furrow, long, furrow):
                share = x / long
                line = np.stack([field[0] + (field[1] - field[0]) * share, field[3] + (field[2] - field[3]) * share])
                canvas.line(line, scaled(tone, deep * rng.uniform(0.97, 1.03)), int(rng.integers(1, 3)))


def lay_water(canvas: Canvas, rng: np.random.Generator) -> None:
    """A pond or a part of a lake, with its bank."""
    level = noise(rng, canvas.shape, float(rng.uniform(90, 170)))
    wet = level > np.quantile(level, rng.uniform(0.78, 0.93))
    alpha = cv2.GaussianBlur(wet.astype(np.float32), (0, 0), 2.0)
    bank = cv2.GaussianBlur(wet.astype(np.float32), (0, 0), 6.0)
    blank = np.ones((*canvas.shape, 3), np.float32)
    _blend(canvas, blank * np.array([104, 96, 74], np.float32), np.clip(bank * 1.4, 0, 1))
    tone = (np.array([46, 62, 66]) + rng.uniform(-10, 14, 3)).astype(np.float32)
    _blend(canvas, blank * tone + (noise(rng, canvas.shape, 40) * 3)[..., None], np.asarray(alpha, np.float32))
    canvas.grain[wet] = 2
    canvas.taken[bank > 0.2] |= BUILT


def lay_railway(canvas: Canvas, rng: np.random.Generator, road: Road) -> None:
    """Tracks on ballast beside a road, at most where nothing else is."""
    _, normal = normals(road.points)
    off = road.width / 2 + rng.uniform(26, 60)
    side, tracks = rng.choice([-1, 1]), int(rng.integers(1, 5))
    wide = tracks * 15.0
    middle = Road(road.points + normal * side * (off + wide / 2), wide, 0)
    strip = cover([middle], canvas.shape)
    if np.any(canvas.taken[strip > 0] & (ROAD | BUILT)):
        return
    blank = np.ones((*canvas.shape, 3), np.float32)
    _blend(canvas, blank * np.array([104, 94, 86], np.float32), strip)
    canvas.grain[strip > 0.5] = 11
    canvas.taken[strip > 0] |= BUILT
    for track in range(tracks):
        at = road.points + normal * side * (off + 15.0 * track + 7.5)
        canvas.line(at, (82, 72, 64), 8)
        for rail in (-2.4, 2.4):
            canvas.line(at + normal * rail, (136, 128, 122), 1)


def lay_corridors(canvas: Canvas, rng: np.random.Generator, roads: Sequence[Road], town: bool) -> None:
    """Footpaths, verges and kerbs along the roads; marks the corridors as taken."""
    grass = canvas.colour.copy()
    verge, path = (rng.uniform(3, 11), rng.uniform(4, 6)) if town else (rng.uniform(5, 14), 0.0)
    concrete = np.array([150, 145, 134], np.float32) + np.float32(rng.normal(0, 9))
    blank = np.ones((*canvas.shape, 3), np.float32)
    streets = [road for road in roads if road.rank not in (LANE, HIGHWAY)]
    if path and streets:
        along = cover(streets, canvas.shape, verge + path) - cover(streets, canvas.shape, verge)
        _blend(canvas, blank * concrete + (noise(rng, canvas.shape, 9) * 4)[..., None], along * np.float32(0.9))
        canvas.grain[along > 0.5] = 4
        _blend(canvas, grass, cover(streets, canvas.shape, verge))
    worn = [road for road in roads if road.rank in (LANE, HIGHWAY)] if path else roads
    if worn:  # gravel and dust at the edges
        edge = cv2.GaussianBlur(cover(worn, canvas.shape, 3.0), (0, 0), 2.0)
        _blend(canvas, blank * np.array([126, 116, 98], np.float32), np.asarray(edge, np.float32) * np.float32(0.7))
    if path and rng.random() < 0.7:
        _blend(canvas, blank * concrete * np.float32(1.05), cover(streets, canvas.shape, 1.2) * np.float32(0.8))
    canvas.taken[cover(streets, canvas.shape, verge + path) > 0] |= ROAD
    canvas.taken[cover(roads, canvas.shape, 4.0) > 0] |= ROAD


def lay_asphalt(canvas: Canvas, rng: np.random.Generator, roads: Sequence[Road]) -> None:
    """The road surfaces, joined where they meet, with wear, repairs and markings."""
    surface, wear = canvas.colour.copy(), np.full(canvas.shape, 128, np.uint8)
    common = asphalt(rng)
    backwards = list(roads)[::-1]  # a branch comes after its parent in the list and ends beneath it
    for road in sorted(backwards, key=lambda road: road.rank):
        tone = asphalt(rng) if rng.random() < 0.3 else scaled(common, rng.uniform(0.94, 1.06))
        line = np.rint(road.points * 16).astype(np.int32)
        cv2.polylines(surface, [line], False, tone, round(road.width) + 4, cv2.LINE_8, 4)
        _wear(wear, rng, road)
    alpha, count = cover(roads, canvas.shape), _crossings(roads, canvas.shape)
    canvas.taken[count > 1] |= CROSSING
    level = cv2.GaussianBlur(wear, (0, 0), 1.1).astype(np.float32) - 128
    level += noise(rng, canvas.shape, 60) * 4 + noise(rng, canvas.shape, 14) * 2.5
    _blend(canvas, surface + level[..., None], alpha)
    canvas.grain[alpha > 0.5] = int(rng.integers(3, 7))
    _paint(canvas, rng, roads, alpha, count)


def _wear(wear: NDArray[np.uint8], rng: np.random.Generator, road: Road) -> None:
    """Tracks of tyres, repairs, joints and cracks of one road, drawn about 128."""
    if len(road.points) < 3:
        return
    tangent, normal = normals(road.points)

    def line(points: Points, tone: int, thickness: int) -> None:
        cv2.polylines(wear, [np.rint(points * 16).astype(np.int32)], False, tone, thickness, cv2.LINE_AA, 4)

    lanes = max(2, round(road.width / 12)) if road.rank >= MAIN else 2
    lane, deep = road.width / lanes, int(rng.integers(3, 11))
    for k in range(lanes):
        middle = road.points + normal * ((k + 0.5) * lane - road.width / 2)
        line(middle, 128 - deep, max(2, int(lane * 0.4)))
    for side in (-1, 1):
        line(road.points + normal * side * (road.width / 2 - 1), 128 - int(rng.integers(0, 14)), 3)
    if rng.random() < 0.4:  # slabs with joints between them
        for k in range(0, len(road.points), 2):
            line(road.points[k] + normal[k] * road.width * np.array([[-0.5], [0.5]]), 112, 1)
    for _ in range(rng.poisson(len(road.points) * 0.12)):
        k = int(rng.integers(len(road.points)))
        y = rng.uniform(-0.5, 0.3) * road.width
        if rng.random() < 0.55:
            patch = rect(road.points[k], tangent[k], normal[k], 0, rng.uniform(5, 50), y, y + rng.uniform(4, 12))
            tone = 128 + int(rng.choice([-20, -13, -8, 7, 12]))
            cv2.fillPoly(wear, [np.rint(patch * 16).astype(np.int32)], tone, cv2.LINE_AA, 4)
        else:
            steps = rng.normal(0, 3, (12, 2)) + tangent[k] * rng.uniform(-3, 3) + normal[k] * rng.uniform(-3, 3)
            line(road.points[k] + normal[k] * y + np.cumsum(steps, axis=0), 104, 1)


def _crossings(roads: Sequence[Road], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """How many roads cover each pixel: `(H, W) uint8`."""
    count = np.zeros(shape, np.uint8)
    for road in roads:
        one = np.zeros(shape, np.uint8)
        line = np.rint(road.points * 16).astype(np.int32)
        cv2.polylines(one, [line], False, 1, round(road.width) + 7, cv2.LINE_8, 4)
        count += one
    return count


def _paint(
    canvas: Canvas, rng: np.random.Generator, roads: Sequence[Road], alpha: Floats, count: NDArray[np.uint8]
) -> None:
    """Centre lines, lane lines, edge lines, zebra crossings and stop lines, worn in places."""
    height, width = canvas.shape
    yellow, dashes = rng.random() < 0.5, bool(rng.random() < 0.6)
    layer, there = canvas.colour.copy(), np.zeros(canvas.shape, np.uint8)

    def stroke(points: Points, thickness: int, tone: Colour) -> None:
        fixed = [np.rint(points * 16).astype(np.int32)]
        cv2.polylines(layer, fixed, False, tone, thickness + 1, cv2.LINE_8, 4)
        cv2.polylines(there, fixed, False, 255, thickness, cv2.LINE_AA, 4)

    for road in roads:
        if road.rank == LANE or len(road.points) < 6 or (road.rank < MAIN and rng.random() < 0.6):
            continue
        points = resample(road.points, 4.0)
        tangent, normal = normals(points)
        x, y = np.clip(np.rint(points).astype(int), 0, (width - 1, height - 1)).T
        inner = (points > 0).all(1) & (points < (width, height)).all(1)
        clear = (count[y, x] == 1) & inner
        lines: list[tuple[float, Colour, bool]] = []
        if road.rank == HIGHWAY:
            lanes = max(2, round(road.width / 12.5))
            lines = [((k / lanes - 0.5) * (road.width - 5), WHITE, 0 < k < lanes) for k in range(lanes + 1)]
        else:
            centre = GOLD if yellow else WHITE
            lines = (
                [(0.0, centre, True)] if dashes or road.rank < MAIN else [(-1.3, centre, False), (1.3, centre, False)]
            )
            if road.rank == MAIN and road.width > 36:
                lines += [(side * road.width * 0.27, WHITE, True) for side in (-1, 1)]
            if road.rank == MAIN and rng.random() < 0.5:
                lines += [(side * (road.width / 2 - 2), WHITE, False) for side in (-1, 1)]
        for off, tone, dashed in lines:
            at = points + normal * off
            for k in range(0, len(points) - 2):
                if clear[k] and clear[k + 1] and not (dashed and k % 6 >= 3):
                    stroke(at[k : k + 2], 1, tone)
        if road.rank != HIGHWAY:
            _stop_lines(rng, (points, tangent, normal), road.width / 2 - 2, clear, count[y, x] > 1, stroke)
    wear = np.clip(0.62 + 0.3 * noise(rng, canvas.shape, 11), 0.15, 0.95)
    _blend(canvas, layer, np.asarray(there / 255 * wear * alpha, np.float32))


def _stop_lines(
    rng: np.random.Generator,
    frame: tuple[Points, Points, Points],
    half: float,
    clear: Mask,
    crossing: Mask,
    stroke: Stroke,
) -> None:
    """Where a road (points, tangents and normals in `frame`) comes to a junction: a zebra crossing or a stop line."""
    points, tangent, normal = frame
    for k in range(3, len(points) - 3):
        into = 1 if clear[k] and crossing[k + 1] else -1 if clear[k] and crossing[k - 1] else 0
        if not into:
            continue
        if rng.random() < 0.45:
            back = points[k] - tangent[k] * into * 7
            for y in np.arange(1 - half, half, 4.0):
                stroke(np.stack([back + normal[k] * y, back + normal[k] * y + tangent[k] * into * 6]), 2, WHITE)
        elif rng.random() < 0.6:
            stroke(points[k] + normal[k] * into * np.array([[0.0], [half]]), 2, WHITE)
