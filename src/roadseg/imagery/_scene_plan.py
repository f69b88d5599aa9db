"""Where the roads of a made scene run: centrelines and widths. Draws nothing but the road mask."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Road", "cover", "normals", "plan_roads", "resample", "shifted"]

Points: TypeAlias = NDArray[np.float64]

LANE, STREET, MAIN, HIGHWAY = range(4)
STEP = 8.0  # px between the points of a centreline
TRIES = 10  # plans drawn per scene; the one whose road share is nearest to the share wished for is kept
SUBPIXEL = 4  # fractional bits of OpenCV's fixed-point coordinates


@dataclass(frozen=True)
class Road:
    """A centreline `points: (N, 2) float64` as x, y in px, its `width` in px and its rank (0 lane ... 3 highway)."""

    points: Points
    width: float
    rank: int


def resample(points: Points, step: float = STEP) -> Points:
    """The polyline `(N, 2)` with points about `step` px apart, ends kept."""
    lengths = np.hypot(*np.diff(points, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    at = np.linspace(0.0, along[-1], max(2, round(along[-1] / step) + 1))
    return np.stack([np.interp(at, along, points[:, 0]), np.interp(at, along, points[:, 1])], axis=1)


def normals(points: Points) -> tuple[Points, Points]:
    """Unit tangents and left-hand unit normals `(N, 2)` at the points of a polyline `(N, 2)`."""
    tangent = np.gradient(points, axis=0)
    tangent /= np.maximum(np.hypot(*tangent.T), 1e-9)[:, None]
    return tangent, np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)


def shifted(roads: Sequence[Road], by: float) -> list[Road]:
    """The roads moved by `by` px in x and y."""
    return [replace(road, points=road.points + by) for road in roads]


def cover(roads: Sequence[Road], shape: tuple[int, int], wider: float = 0.0, scale: float = 2.0) -> NDArray[np.float32]:
    """How much of each pixel the roads cover, widened by `wider` px on each side: `(H, W) float32 in [0, 1]`.

    Drawn at `scale` times the size and averaged down; below 1 the result has that smaller size.
    """
    height, width = (max(1, round(side * scale)) for side in shape)
    drawn = np.zeros((height, width), np.uint8)
    for road in roads:
        line = np.rint(road.points * scale * 2**SUBPIXEL).astype(np.int32)
        thickness = max(1, round((road.width + 2 * wider) * scale))
        cv2.polylines(drawn, [line], False, 255, thickness, cv2.LINE_8, SUBPIXEL)
    if scale > 1:
        small = cv2.resize(drawn, shape[::-1], interpolation=cv2.INTER_AREA).reshape(shape)
        return np.asarray(small / 255, np.float32)
    return np.asarray(drawn / 255, np.float32)


def plan_roads(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[str, list[Road]]:
    """Choose a kind of place and lay its roads.

    Returns:
        kind: "grid", "bent" (a grid of curved streets), "winding", "rural" or "highway".
        roads: in px of the image; they run past its borders.
    """
    height, width = shape
    kind = str(rng.choice(["grid", "bent", "winding", "rural", "highway"], p=[0.34, 0.2, 0.22, 0.12, 0.12]))
    low, high = {"rural": (0.1, 0.2), "highway": (0.2, 0.38)}.get(kind, (0.13, 0.36))
    wish = low + (high - low) * rng.beta(2.0, 2.2)
    scale = min(1.0, 128 / max(shape))
    best: tuple[float, list[Road]] | None = None
    for _ in range(TRIES):
        roads = _LAYOUTS[kind](rng, width, height)
        miss = abs(float(cover(roads, shape, scale=scale).mean()) - wish)
        if best is None or miss < best[0]:
            best = miss, roads
        if miss < 0.015:
            break
    assert best is not None
    return kind, best[1]


def _positions(rng: np.random.Generator, gap: float, anchor: float, reach: float) -> Points:
    """Places along an axis, about `gap` apart, one of them at `anchor`, out to `reach` both ways."""
    n = int(2 * reach / gap) + 3
    up = anchor + np.cumsum(gap * rng.uniform(0.8, 1.2, n))
    down = anchor - np.cumsum(gap * rng.uniform(0.8, 1.2, n))
    every = np.concatenate([down[::-1], [anchor], up])
    return np.asarray(every[np.abs(every) <= reach])


def _anchor(rng: np.random.Generator, width: int, height: int, gap: float, road: float) -> float:
    """A road's distance from the scene's centre, such that a small scene has a road too."""
    return float(rng.uniform(-1, 1) * min(gap / 2, 0.4 * min(width, height) + 0.45 * road))


def _grid(rng: np.random.Generator, width: int, height: int, bend: bool = False) -> list[Road]:
    """Parallel streets, some with lanes between them, and cross streets that go through or are staggered."""
    reach = float(np.hypot(width, height)) / 2 + 80
    angle = rng.normal(0, 0.03) if rng.random() < 0.35 else rng.uniform(0, np.pi)
    street, cross = rng.uniform(21, 32), rng.uniform(20, 28)
    gap_u, gap_v = rng.uniform(150, 290), rng.uniform(210, 420)
    across = _positions(rng, gap_u, _anchor(rng, width, height, gap_u, street), reach)
    lanes, staggered = rng.random() < 0.4, rng.random() < 0.4
    flat: list[Road] = []
    for u in across:
        main = rng.random() < 0.3
        wide = rng.uniform(32, 43) if main else street * rng.uniform(0.9, 1.1)
        flat.append(Road(np.array([[u, -reach], [u, reach]]), wide, MAIN if main else STREET))
    ends = np.concatenate([[-reach], across, [reach]])
    through = _positions(rng, gap_v, _anchor(rng, width, height, gap_v, cross), reach)
    for left, right in pairwise(ends):
        for v in _positions(rng, gap_v, rng.uniform(-gap_v, gap_v) / 2, reach) if staggered else through:
            if rng.random() < 0.93:
                flat.append(Road(np.array([[left, v], [right, v]]), cross, STREET))
        if lanes and right - left > 120 and rng.random() < 0.8:
            u = (left + right) / 2
            flat.append(Road(np.array([[u, -reach], [u, reach]]), rng.uniform(15, 19), LANE))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    waves = rng.uniform(350, 800, 2), rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.03, 0.075, 2)
    roads = []
    for road in flat:
        points = resample(road.points)
        if bend:
            length, phase, height_share = waves
            points = points + np.sin(points[:, ::-1] / length * 2 * np.pi + phase) * length * height_share
        roads.append(replace(road, points=points @ turn + (width / 2, height / 2)))
    return roads


def _bent(rng: np.random.Generator, width: int, height: int) -> list[Road]:
    return _grid(rng, width, height, bend=True)


def _walk(rng: np.random.Generator, start: Points, heading: float, length: float, wild: float) -> Points:
    """A smooth path from `start`, its heading swinging by `wild` radians or so."""
    n = max(3, int(length / STEP))
    s = np.arange(n) * STEP
    swing = np.zeros(n)
    for wave in rng.uniform(220, 700, 3):
        phase = rng.uniform(0, 2 * np.pi)
        swing += wild * rng.uniform(0.3, 1.0) * (np.sin(s / wave * 2 * np.pi + phase) - np.sin(phase))
    steps = np.stack([np.cos(heading + swing), np.sin(heading + swing)], axis=1) * STEP
    return np.concatenate([start[None], start + np.cumsum(steps[:-1], axis=0)])


def _axis(rng: np.random.Generator, width: int, height: int, wild: float, road: float, spread: float) -> Points:
    """A path through the scene from border to border, passing near its centre."""
    reach = float(np.hypot(width, height)) / 2 + 120
    heading = rng.uniform(0, 2 * np.pi)
    off = _anchor(rng, width, height, spread, road)
    start = np.array([width / 2 - np.sin(heading) * off, height / 2 + np.cos(heading) * off])
    back = _walk(rng, start, heading + np.pi, reach, wild)
    return np.concatenate([back[:0:-1], _walk(rng, start, heading, reach, wild)])


def _gaps(path: Points, roads: Sequence[Road]) -> Points:
    """The distance of each point of a path `(N, 2)` to the roads' points: `(N,)` px."""
    others = np.concatenate([road.points for road in roads])
    near = np.all(np.abs(others - path.mean(0)) < np.ptp(path, axis=0) + 200, axis=1)
    if not near.any():
        return np.full(len(path), np.inf)
    return np.asarray(np.min(np.hypot(*(path[:, None] - others[near][None]).transpose(2, 0, 1)), axis=1))


def _branch(
    rng: np.random.Generator, roads: Sequence[Road], width: float, rank: int, wild: float, barriers: Sequence[Road] = ()
) -> list[Road]:
    """A side street from one of the roads to the next one or to a turning circle; [] where it would crowd them."""
    parent = roads[int(rng.integers(len(roads)))]
    if len(parent.points) < 12:
        return []
    at = int(rng.integers(2, len(parent.points) - 2))
    tangent, normal = normals(parent.points)
    out = normal[at] * rng.choice([-1, 1]) + tangent[at] * rng.normal(0, 0.2)
    path = _walk(rng, parent.points[at], float(np.arctan2(out[1], out[0])), rng.uniform(140, 620), wild)
    start = int(95 / STEP)  # so far it is near its parent in any case
    if len(path) <= start or (barriers and np.min(_gaps(path, barriers)) < 60):
        return []
    gaps = _gaps(path[start:], roads)
    meets = np.flatnonzero(gaps < STEP)
    if len(meets):
        end = int(meets[0])
        crowded = np.mean(gaps[: max(1, end - 9)] < 70) > 0.15
        return [] if crowded else [Road(path[: start + end + 1], width, rank)]
    if np.min(gaps) < 70:
        return []
    circle = Road(np.stack([path[-1], path[-1] + 1.0]), rng.uniform(48, 60), rank)
    return [Road(path, width, rank), circle]


def _grown(rng: np.random.Generator, roads: list[Road], attempts: int, wild: float) -> list[Road]:
    """The roads and as many side streets as find room."""
    street = rng.uniform(20, 28)
    for _ in range(attempts):
        rank = LANE if rng.random() < 0.15 else STREET
        roads += _branch(rng, roads, street * (0.75 if rank == LANE else rng.uniform(0.9, 1.1)), rank, wild)
    return roads


def _winding(rng: np.random.Generator, width: int, height: int) -> list[Road]:
    """Roads that follow the ground, side streets, turning circles."""
    roads: list[Road] = []
    for _ in range(max(1, round(min(width, height) / 600))):
        main = rng.random() < 0.5
        wide = rng.uniform(30, 40) if main else rng.uniform(22, 30)
        roads.append(Road(_axis(rng, width, height, 0.45, wide, 900), wide, MAIN if main else STREET))
    area = (width + 200) * (height + 200) / 1e4
    return _grown(rng, roads, min(160, round(area * rng.uniform(0.3, 1.1))), 0.4)


def _rural(rng: np.random.Generator, width: int, height: int) -> list[Road]:
    """A country road, now and then a second one."""
    wide = rng.uniform(21, 30)
    roads = [Road(_axis(rng, width, height, 0.3, wide, 600), wide, MAIN)]
    area = (width + 200) * (height + 200) / 1e4
    return _grown(rng, roads, min(60, round(area * rng.uniform(0.0, 0.35))), 0.25)


def _highway(rng: np.random.Generator, width: int, height: int) -> list[Road]:
    """Two carriageways with a strip between them, and streets beside them."""
    lanes = rng.uniform(34, 47)
    axis = _axis(rng, width, height, 0.12, lanes, 500)
    _, normal = normals(axis)
    apart = lanes / 2 + rng.uniform(4, 16)
    roads = [Road(axis + normal * apart * side, lanes, HIGHWAY) for side in (-1, 1)]
    for side in (-1, 1):
        if rng.random() < 0.6:
            off = apart + lanes / 2 + rng.uniform(45, 130)
            frontage = Road(axis + normal * off * side, rng.uniform(20, 28), STREET)
            found = [frontage]
            for _ in range(round((width + height) / 80)):
                found += _branch(rng, found, 22.0, STREET, 0.1, barriers=roads[:2])
            roads += found
    return roads


_LAYOUTS = {"grid": _grid, "bent": _bent, "winding": _winding, "rural": _rural, "highway": _highway}
