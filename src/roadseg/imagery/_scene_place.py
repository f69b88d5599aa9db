"""What people have put beside the roads of a made scene: lots and houses, car parks, cars, trees, and their shadows."""

from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ._scene_ground import noise
from ._scene_parts import (
    BUILT,
    CROSSING,
    FLAT_ROOFS,
    ROAD,
    ROOFS,
    SOFT,
    Canvas,
    Colour,
    House,
    Sun,
    Tree,
    asphalt,
    cast,
    draw_car,
    draw_house,
    draw_tree,
    rect,
    scaled,
)
from ._scene_plan import HIGHWAY, LANE, MAIN, Road, normals, resample

__all__ = ["Place"]

Points: TypeAlias = NDArray[np.float64]
GREENS: tuple[Colour, ...] = ((62, 84, 42), (76, 96, 50), (54, 74, 40), (90, 104, 58), (84, 82, 52), (70, 88, 38))
YARDS: tuple[Colour, ...] = ((72, 90, 48), (80, 96, 54), (96, 100, 64), (122, 114, 86), (112, 100, 82), (136, 130, 116))


class Place:
    """Fills a canvas: `build` on the ground, `park_and_drive` once the asphalt is down, `raise_up` what is tall."""

    def __init__(self, canvas: Canvas, rng: np.random.Generator, sun: Sun, kind: str) -> None:
        self.canvas, self.rng, self.sun, self.kind = canvas, rng, sun, kind
        self.dense = float(rng.uniform(0.4, 1.0)) ** 0.5 if kind != "rural" else float(rng.uniform(0.05, 0.3))
        self.frontage = float(26 + 26 * rng.beta(1.2, 2.0))  # px of street per lot
        self.leafy = float(rng.uniform(0.15, 1.0))
        self.houses: list[House] = []
        self.trees: list[Tree] = []
        self.cars: list[tuple[Points, Points]] = []

    def build(self, roads: Sequence[Road]) -> None:
        """Car parks with halls first, then lots with houses along the streets, then yards behind them."""
        streets = [road for road in roads if road.rank != HIGHWAY and len(road.points) > 4]
        yards = {"rural": 0.3, "highway": 1.4}.get(self.kind, 1.0)
        area = self.canvas.colour.size / 3 / 1e5
        for _ in range(self.rng.poisson(yards * area * 1.5)):
            for _ in range(6):
                if self._car_park(streets or roads):
                    break
        for road in streets:
            for side in (-1, 1):
                self._row(road, side)

    def _car_park(self, roads: Sequence[Road]) -> bool:
        """A car park beside a road, as grey as the road, and mostly a hall with a flat roof behind it."""
        rng, canvas = self.rng, self.canvas
        road = roads[int(rng.integers(len(roads)))]
        tangent, normal = normals(road.points)
        k = int(rng.integers(len(road.points)))
        along, out = tangent[k], normal[k] * rng.choice([-1, 1])
        long, deep, near = rng.uniform(70, 190), rng.choice([52.0, 88.0, 124.0]), road.width / 2 + rng.uniform(14, 24)
        lot = rect(road.points[k], along, out, -long / 2, long / 2, near, near + deep)
        if not (lot > 0).all(1).any() or not canvas.is_free(lot):
            return False
        tone = asphalt(rng)
        canvas.fill(lot, tone, 5)
        canvas.take(lot)
        canvas.fill(rect(road.points[k], along, out, -9, 9, 0, near + 1), tone, 5)
        corner = lot[0]
        for y, inward in [(0.0, 1), *((m, s) for m in np.arange(52.0, deep - 20, 36.0) for s in (-1, 1)), (deep, -1)]:
            for x in np.arange(4, long - 3, 8.2):
                if rng.random() < 0.9:
                    canvas.line(
                        np.stack([corner + along * x + out * (y + inward * d) for d in (0, 15)]), (190, 189, 182)
                    )
                if rng.random() < self.dense * 0.55 and x + 8 < long:
                    at = corner + along * (x + 4.1) + out * (y + inward * 8.2)
                    self.cars.append((at, out * rng.choice([-1, 1])))
        for _ in range(int(rng.integers(0, 4))):
            at = corner + along * rng.choice([2.0, long - 2.0]) + out * rng.uniform(0, deep)
            self._tree(at, rng.uniform(6, 11))
        hall = rect(
            road.points[k],
            along,
            out,
            -long / 2,
            long * rng.uniform(0.1, 0.5),
            near + deep + 4,
            near + deep + rng.uniform(60, 140),
        )
        if rng.random() < 0.8 and canvas.is_free(hall):
            self._house(hall, "flat", FLAT_ROOFS[int(rng.integers(len(FLAT_ROOFS)))], rng.uniform(14, 30))
        return True

    def _house(self, corners: Points, kind: str, colour: Colour, height: float) -> None:
        self.canvas.take(corners)
        self.houses.append(House(corners, height, kind, scaled(colour, self.rng.uniform(0.88, 1.1))))

    def _row(self, road: Road, side: int) -> None:
        """Lots along one side of a street."""
        rng = self.rng
        points = resample(road.points, 4.0)
        tangent, normal = normals(points)
        setback = road.width / 2 + rng.uniform(20, 36) - (9 if road.rank == LANE else 0)
        flats, at = rng.random() < 0.18, rng.uniform(0, self.frontage)
        while at < (len(points) - 1) * 4:
            front = self.frontage * rng.uniform(0.85, 1.2) * (2.2 if flats else 1)
            k = min(len(points) - 1, int((at + front / 2) / 4))
            at += front
            if rng.random() < self.dense:
                self._lot(points[k], tangent[k], normal[k] * side, front, setback, road, flats)

    def _lot(
        self, at: Points, along: Points, out: Points, front: float, setback: float, road: Road, flats: bool
    ) -> None:
        """One lot: its yard, a house, perhaps a driveway, a garage, a shed, a pool."""
        rng, canvas, half = self.rng, self.canvas, front / 2
        small = road.rank == LANE
        wide = front * rng.uniform(0.62, 0.9)
        deep = rng.uniform(16, 24) if small else min(70.0, max(26.0, wide * rng.uniform(0.75, 1.7)))
        near = setback + rng.uniform(-3, 3) - (8 if small else 0)
        body = rect(at, along, out, -wide / 2, wide / 2, near, near + deep)
        if not canvas.is_free(body):
            return
        back = near + deep + rng.uniform(25, 50)
        yard = rect(at, along, out, -half, half, road.width / 2 + 14, back)
        if not small and canvas.is_free(yard):
            canvas.fill(yard, scaled(YARDS[int(rng.integers(len(YARDS)))], rng.uniform(0.85, 1.1)), 9)
            if rng.random() < 0.5:
                canvas.line(yard[[1, 2, 3, 0]], (100, 92, 78))
        concrete = scaled((150, 146, 136), rng.uniform(0.75, 1.05))
        paved = asphalt(rng) if rng.random() < 0.4 else concrete
        if rng.random() < 0.7 and not flats:  # driveway, often with a car
            x = rng.choice([-1, 1]) * (wide / 2 - 4.5)
            end = near + (1 if rng.random() < 0.6 else deep)
            canvas.fill(rect(at, along, out, x - 4.5, x + 4.5, 0, end), paved, 4)
            if rng.random() < 0.35 and near - road.width / 2 > 24:
                self.cars.append((at + along * x + out * (near - 10), out * rng.choice([-1, 1])))
        else:
            canvas.fill(rect(at, along, out, -1.8, 1.8, 0, near), concrete, 4)
        if flats:
            kind = "flat" if rng.random() < 0.75 else "hip"
        else:
            kind = str(rng.choice(["gable", "hip", "flat"], p=[0.5, 0.33, 0.17]))
        roofs = FLAT_ROOFS if kind == "flat" else ROOFS
        height = rng.uniform(9, 12) if small else rng.uniform(26, 42) if flats else rng.uniform(13, 24)
        colour = roofs[int(rng.integers(len(roofs)))]
        self._house(body, kind, colour, height)
        if kind != "flat" and not small and rng.random() < 0.45:  # a wing makes the plan an L
            reach = wide * rng.uniform(0.35, 0.5)
            x = -wide / 2 if rng.random() < 0.5 else wide / 2 - reach
            wing = rect(at, along, out, x, x + reach, near + deep * 0.5, near + deep + rng.uniform(8, 18))
            if canvas.is_free(wing[2:], ROAD):
                self._house(wing, kind, colour, height * 0.9)
        if small:
            return
        for _ in range(int(rng.integers(0, 3))):  # shed, garage
            x, y, w, d = rng.uniform(-half, half * 0.4), near + deep + rng.uniform(10, 40), *rng.uniform(9, 22, 2)
            hut = rect(at, along, out, x, x + w, y, y + d)
            if canvas.is_free(hut):
                self._house(hut, str(rng.choice(["flat", "gable"])), ROOFS[int(rng.integers(len(ROOFS)))], 8.0)
        if rng.random() < 0.06:
            x, y = rng.uniform(-half * 0.5, half * 0.5), near + deep + 16
            pool = rect(at, along, out, x - 5, x + 5, y - 9, y + 9)
            if canvas.is_free(pool):
                canvas.fill(pool, (92, 152, 168), 2)
                canvas.line(pool, (176, 172, 160), 1, closed=True)
                canvas.take(pool)
        if rng.random() < 0.4 * self.leafy:
            spot = at + along * rng.uniform(-half, half) + out * (back - 8)
            if not canvas.what(spot) & ROAD:
                self._tree(spot, rng.uniform(7, 17))

    def _tree(self, at: Points, radius: float) -> None:
        colour = GREENS[int(self.rng.integers(len(GREENS)))]
        self.trees.append(Tree(at, radius, scaled(colour, self.rng.uniform(0.8, 1.2))))

    def park_and_drive(self, roads: Sequence[Road]) -> None:
        """Cars in the car parks and driveways, at the kerbs and in the lanes."""
        rng = self.rng
        busy, kerbs = rng.uniform(0.04, 0.16), rng.uniform(0.0, 0.55) if self.kind != "rural" else 0.03
        for road in roads:
            if len(road.points) < 4:
                continue
            points = resample(road.points, 19.0)
            tangent, normal = normals(points)
            lanes = max(2, round(road.width / 12)) if road.rank >= MAIN else 2
            for k in range(1, len(points) - 1):
                for side in (-1, 1):
                    at = points[k] + normal[k] * side * (road.width / 2 - 4)
                    if (
                        road.rank not in (LANE, HIGHWAY)
                        and not self.canvas.what(at) & CROSSING
                        and rng.random() < kerbs * (0.6 if road.rank == MAIN else 1)
                    ):
                        self.cars.append((at, tangent[k] * side))
                if rng.random() < busy * (1.6 if road.rank >= MAIN else 0.5):
                    lane = int(rng.integers(lanes))
                    off = ((lane + 0.5) / lanes - 0.5) * (road.width - 5)
                    turn = -1 if off > 0 and road.rank != HIGHWAY else 1
                    self.cars.append((points[k] + normal[k] * off, tangent[k] * turn))
        for at, heading in self.cars:
            if (at > -20).all() and (at < np.array(self.canvas.shape[::-1]) + 20).all():
                draw_car(self.canvas, rng, at, heading, self.sun)

    def raise_up(self, roads: Sequence[Road]) -> None:
        """Plant trees, cast all shadows, then draw roofs and crowns above them."""
        self._plant(roads)
        canvas, sun = self.canvas, self.sun
        shade = np.zeros(canvas.shape, np.uint8)
        for house in self.houses:
            cast(shade, house.corners, sun.shadow * min(70.0, house.height * sun.length))
        roofed = np.zeros(canvas.shape, np.uint8)
        cv2.fillPoly(roofed, [np.asarray(np.rint(house.corners), np.int32) for house in self.houses], 1)
        edge = np.array(canvas.shape[::-1]) - 1
        self.trees = [tree for tree in self.trees if not roofed[tuple(np.clip(tree.at, 0, edge).astype(int)[::-1])]]
        for tree in self.trees:
            tip = tree.at + sun.shadow * min(3 * tree.radius, tree.radius * (0.5 + 0.9 * sun.length))
            turn = np.linspace(0, 2 * np.pi, 9)[:-1]
            cast(
                shade, tip + np.stack([np.cos(turn), np.sin(turn)], axis=1) * tree.radius * 0.92, (tree.at - tip) * 0.7
            )
        dark = cv2.GaussianBlur(shade, (0, 0), 0.8).astype(np.float32)[..., None] / 255
        keep = 1 - dark * (1 - np.array([0.40, 0.43, 0.50], np.float32))  # sky light is blue
        canvas.colour[:] = (canvas.colour * keep).astype(np.uint8)
        for house in self.houses:
            draw_house(canvas, self.rng, house, sun)
        for tree in sorted(self.trees, key=lambda tree: tree.radius):
            draw_tree(canvas, self.rng, tree, sun)

    def _plant(self, roads: Sequence[Road]) -> None:
        """Street trees, which may hang over the road, and trees and woods where there is room."""
        rng, canvas = self.rng, self.canvas
        avenue = rng.uniform(0, 0.5) * self.leafy if self.kind not in ("rural", "highway") else 0.06
        for road in roads:
            if road.rank in (LANE, HIGHWAY) or len(road.points) < 4:
                continue
            points = resample(road.points, 27.0)
            _, normal = normals(points)
            for k in range(len(points)):
                for side in (-1, 1):
                    at = points[k] + normal[k] * side * (road.width / 2 + rng.uniform(5, 10))
                    if rng.random() < avenue and self._off_road(at, roads):
                        self._tree(at, rng.uniform(7, 18))
        wood = noise(rng, canvas.shape, 80) + (0.5 if self.kind in ("rural", "highway", "winding") else -0.2)
        spots = rng.uniform(0, 1, (int(canvas.colour.size / 3 / 420 * self.leafy), 2)) * canvas.shape[::-1]
        for at in spots:
            clump = wood[int(at[1]), int(at[0])]
            soft = canvas.what(at) & SOFT
            if not canvas.what(at) & (ROAD | BUILT) and rng.random() < (0.02 if soft else 0.16 + 0.5 * max(0.0, clump)):
                self._tree(at, rng.uniform(4, 15) + 3 * max(0.0, min(2.0, float(clump))))

    def _off_road(self, at: Points, roads: Sequence[Road]) -> bool:
        """Whether no road, car park or house is right at the point."""
        if self.canvas.what(at) & BUILT:
            return False
        return all(np.min(np.hypot(*(road.points - at).T)) > road.width / 2 + 3 for road in roads)
