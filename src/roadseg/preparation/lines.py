"""Lines of vector files as labels: read, given a width each, placed on each image, burnt on its grid, accounted for.

The widths are from `widths`, the drawing from `burning`; files are read by `roads.layers`.
"""

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, DataError, RoadsegWarning
from ..imagery.layouts import Pair
from ..imagery.regions import TURN, Box, Region
from ..imagery.resample import resample, resample_mask
from ..imagery.vector_files import Features
from ..roads.layers import RoadLayer, is_geographic, read_roads, transform_points
from .burning import Burnt, Grid, grid_of
from .cutting import Tile
from .labels import Look, Masks
from .sheet import CELL, Shown
from .tags import tags_of
from .widths import WIDEST, Drawn, Widths

__all__ = ["LineLabels", "check_crs"]

LISTED = 8  # attributes, images or classes named in a message
MARGIN = 0.02  # of an image's extent, that lines are looked for beyond it: roads whose middle is outside
INK = (255, 0, 200)  # of the lines on the sheet: a colour that no ground has
THIN = 1.0  # px; roads that are narrower break up


@dataclass
class _Count:
    """What one class of lines came to."""

    roads: set[tuple[Path, int]] = field(default_factory=set)
    metres: float = 0.0
    widths: set[float] = field(default_factory=set)
    by: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _File:
    """The roads of a vector file near its images.

    Attributes:
        layer: the roads.
        drawn: what becomes of each.
        boxes: (n, 4) left, bottom, right, top of each; in degrees right may be beyond 180.
        bounds: of all that the file holds, None of nothing.
        elsewhere: features far from all images, which were not read.
    """

    layer: RoadLayer
    drawn: tuple[Drawn, ...]
    boxes: NDArray[np.float64]
    bounds: Box | None
    elsewhere: int


class LineLabels:
    """Lines, one file for all images or one for each.

    Args:
        widths: how wide, and what is no road.
        crs: that the files are in, whatever they say; None: as they say.
        layer: which layer of files with several.
    """

    classes = ("background", "road")
    ignores = False

    def __init__(self, widths: Widths, crs: str | None = None, layer: str | None = None) -> None:
        self.widths = widths
        self.crs = crs
        self.layer = layer
        self._files: dict[Path, _File] = {}
        self._images: dict[Path, list[Path]] = {}
        self._burnt: tuple[Path, Burnt] | None = None
        self._counts: dict[str, _Count] = {}
        self._left_out: dict[str, set[tuple[Path, int]]] = {}
        self._thin: set[tuple[Path, int]] = set()
        self._empty: list[str] = []
        self._metres: list[float] = []
        self._elsewhere = ""  # where the last image lies, for a message

    @property
    def rule(self) -> str:
        """One line for the user."""
        systems = sorted({_short(str(file.layer.crs)) for file in self._files.values()})
        named = f" ({', '.join(systems[:3])}{', ...' if len(systems) > 3 else ''})" if systems else ""
        return f"labels are lines{named}, {self.widths.words()}"

    def around(self, pairs: Sequence[Pair]) -> None:
        """Say which images each file is for: only lines near these are read."""
        for pair in pairs:
            self._images.setdefault(pair.mask, []).append(pair.image)

    def check(self, path: Path) -> None:
        """Read a file that is for all images, so that what is wrong with it is said once.

        Raises:
            DataError: it cannot be read or drawn.
        """
        self._file(path)

    # --- the steps of `Labels` ---------------------------------------------------------------------------------------

    def look(self, pair: Pair) -> Look:
        """Place the lines on one image and count them."""
        grid = grid_of(pair.image)
        file = self._file(pair.mask)
        burnt = self._place(file, grid, pair)
        if not burnt.index:
            self._empty.append(pair.stem)
        for k, metres in zip(burnt.index, burnt.metres.tolist(), strict=True):
            drawn = file.drawn[k]
            count = self._counts.setdefault(drawn.what, _Count())
            if (pair.mask, k) not in count.roads:
                count.roads.add((pair.mask, k))
                count.by[drawn.by] += 1
            count.metres += metres
            if drawn.width is not None:
                count.widths.add(drawn.width)
                if drawn.width < THIN * grid.resolution:
                    self._thin.add((pair.mask, k))
        self._metres.append(grid.resolution)
        return Look(pair.mask, (grid.height, grid.width), None)

    def settle(self, looks: Sequence[Look]) -> None:
        """Check that the lines fit the images; `DataError` where none lies in any."""
        if not self._counts:
            raise DataError(self._nowhere())
        if self._empty:
            listed = ", ".join(f"'{name}'" for name in self._empty[:LISTED])
            more = ", ..." if len(self._empty) > LISTED else ""
            plural = f"{len(self._empty)} images have" if len(self._empty) > 1 else "an image has"
            text = f"{plural} no road in the lines, and only background: {listed}{more}; take out what is not mapped"
            warnings.warn(text, RoadsegWarning, stacklevel=3)
        if self._thin:
            pixel = max(self._metres)
            text = (
                f"{len(self._thin)} roads are narrower than a pixel ({pixel:.3g} m) and break up: draw them wider with "
                "--width or --widths"
            )
            warnings.warn(text, RoadsegWarning, stacklevel=3)

    def masks(self, pair: Pair) -> Masks:
        """The roads on any part of the image, 0 and 1; the rest of it is not drawn."""
        burnt = self._on(pair)
        return lambda tile: burnt.part(tile.top, tile.left, tile.height, tile.width)

    def shown(self, pair: Pair, tile: Tile, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> Shown:
        """A row of the sheet: the lines themselves over the image, in the place of the label.

        Args:
            tile: the part of the image that `image` (H, W, C) uint8 and `mask` (H, W) hold.
        """
        import cv2

        height, width = mask.shape
        factor = min(1.0, CELL / max(height, width))
        h, w = max(1, round(height * factor)), max(1, round(width * factor))
        small = resample(np.ascontiguousarray(image[..., :3] if image.shape[-1] > 3 else image), h, w)
        label = np.repeat(small, 3, axis=-1) if small.shape[-1] == 1 else small[..., :3].copy()
        if label.shape[-1] == 2:
            label = np.ascontiguousarray(np.repeat(label[..., :1], 3, axis=-1))
        scale = np.array([w / width, h / height])
        for line in self._on(pair).lines:
            points = np.rint(((line - [tile.left, tile.top]) * scale - 0.5) * 16).clip(-(2**30), 2**30)
            cv2.polylines(label, [points.astype(np.int32)], False, INK, 1, cv2.LINE_AA, 4)
        return Shown(pair.stem, small, label, resample_mask(mask, h, w))

    def account(self) -> dict[str, Any]:
        """What `prepare.json` says of the lines: counts, kilometres and widths by class, what was left out and why."""
        rows = []
        for what, count in sorted(self._counts.items(), key=lambda item: (-item[1].metres, item[0])):
            rows.append(
                {
                    "class": what,
                    "roads": len(count.roads),
                    "km": round(count.metres / 1000, 3),
                    "width_m": [round(min(count.widths), 3), round(max(count.widths), 3)],
                    "by": dict(sorted(count.by.items())),
                }
            )
        total = len({road for count in self._counts.values() for road in count.roads})
        given = sum(len(file.drawn) + file.elsewhere for file in self._files.values())
        left_out = {why: len(roads) for why, roads in sorted(self._left_out.items())}
        found = {
            "files": len(self._files),
            "crs": sorted({str(file.layer.crs) for file in self._files.values()}),
            "lines": given,
            "roads": total,
            "km": round(sum(count.metres for count in self._counts.values()) / 1000, 3),
            "classes": rows,
            "left_out": left_out,
            "outside": given - total - sum(left_out.values()),
            "images_without_roads": self._empty,
        }
        return {"lines": found}

    # --- files -------------------------------------------------------------------------------------------------------

    def _file(self, path: Path) -> _File:
        if path not in self._files:
            layer, found = self._read(path)
            classed = any("highway" in tags_of(road.properties) for road in layer.roads)
            drawn = tuple(self.widths.of(road.properties, classed=classed) for road in layer.roads)
            self._check_attributes(path, layer, drawn)
            degrees = is_geographic(str(layer.crs))
            boxes = np.array([_extent(road.line, degrees) for road in layer.roads], np.float64)
            self._files[path] = _File(layer, drawn, boxes.reshape(-1, 4), found.bounds, found.elsewhere)
        return self._files[path]

    def _read(self, path: Path) -> tuple[RoadLayer, Features]:
        """The lines near the images of a file, and what it says of the rest."""
        regions = self._regions(path)
        if self.crs is not None:
            # Whatever the file says of its CRS: what is near is asked for in the true one.
            own = [Region(region.boxes_in(self.crs)) for region in regions]
            layer, found = read_roads(path, layer=self.layer, pixels=True, regions=own)
            return RoadLayer(layer.roads, self.crs), found
        try:
            layer, found = read_roads(path, layer=self.layer, regions=regions)
        except DataError as error:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read_roads(path, layer=self.layer, pixels=True, regions=regions)
            except DataError:
                raise error from None
            raise DataError(f"{error}; or say it here: --lines-crs EPSG:...") from error
        if layer.crs is None:
            raise DataError(
                f"the lines of '{path}' are in pixel coordinates, which say nothing of a place: trace the GeoTIFF "
                "itself, or give lines with a CRS"
            )
        return layer, found

    def _regions(self, path: Path) -> list[Region]:
        """Where the images of a file lie, one region for each CRS; none where an image is not to be placed."""
        boxes: dict[str, list[Box]] = {}
        for image in self._images.get(path, []):
            try:
                region = _region(grid_of(image))
                if self.crs is not None:
                    region.boxes_in(self.crs)
            except DataError:
                continue  # `look` says of each what is wrong
            boxes.setdefault(str(region.crs), []).extend(region.boxes)
        return [Region(tuple(found), crs) for crs, found in boxes.items()]

    def _check_attributes(self, path: Path, layer: RoadLayer, drawn: Sequence[Drawn]) -> None:
        """Refuse a column that is not there, and lines of which nothing says how wide they are."""
        names = list(dict.fromkeys(name for road in layer.roads for name in road.properties))
        listed = ", ".join(names[: 4 * LISTED]) + (", ..." if len(names) > 4 * LISTED else "") or "none"
        column = self.widths.column
        if column is not None and layer.roads and column not in names and not _is_packed(layer, column):
            raise DataError(f"the lines of '{path}' have no attribute '{column}' (--width-field): they have {listed}")
        if layer.roads and all(one.width is None for one in drawn):
            reasons = Counter(one.by for one in drawn)
            why = ", ".join(f"{reason} ({n})" for reason, n in reasons.most_common(3))
            raise DataError(
                f"no line of '{path}' can be drawn: {why}; its attributes are {listed}: give --width M, --width-field "
                "NAME or --widths FILE.toml"
            )

    def _nowhere(self) -> str:
        path, file = next(iter(self._files.items()))
        if file.bounds is None:
            return f"'{path}' has no line: give the layer that holds the roads"
        left, bottom, right, top = file.bounds
        extent = f"{left:.6g}..{right:.6g}, {bottom:.6g}..{top:.6g}"
        return (
            f"no line lies in any of the {len(self._empty)} images: those of '{path}' span {extent} in "
            f"{_short(str(file.layer.crs))}, the images lie elsewhere ({self._elsewhere}): give other lines, or their "
            "true CRS with --lines-crs EPSG:..."
        )

    # --- images ------------------------------------------------------------------------------------------------------

    def _on(self, pair: Pair) -> Burnt:
        """The lines on the grid of a pair's image; those of the last image are kept."""
        if self._burnt is None or self._burnt[0] != pair.image:
            burnt = self._place(self._file(pair.mask), grid_of(pair.image), pair)
            self._burnt = pair.image, burnt
        return self._burnt[1]

    def _place(self, file: _File, grid: Grid, pair: Pair) -> Burnt:
        """Burnt roads of one image; `index` is that in the file."""
        crs = str(file.layer.crs)
        near = self._near(file, grid, crs, pair)
        for k in near:
            if file.drawn[k].width is None:
                self._left_out.setdefault(file.drawn[k].by, set()).add((pair.mask, k))
        drawn = [k for k in near if file.drawn[k].width is not None]
        lines = _moved([file.layer.roads[k].line for k in drawn], crs, grid)
        burnt = Burnt.of(lines, [file.drawn[k].width or 0.0 for k in drawn], grid)
        burnt.index = [drawn[k] for k in burnt.index]
        return burnt

    def _near(self, file: _File, grid: Grid, crs: str, pair: Pair) -> list[int]:
        """Lines whose extent meets the image's, in the lines' CRS: far ones may have no place in the image's."""
        try:
            seen, boxes = grid.region.boxes_in(crs), _region(grid).boxes_in(crs)
        except DataError as error:
            raise DataError(
                f"image '{pair.image}' ({_short(_name(grid.crs))}) has no place in the CRS of '{pair.mask}' "
                f"({_short(crs)}; {error}): one of the two is wrong"
            ) from error
        left, bottom, right, top = seen[len(seen) // 2]  # of one for each turn of the earth the middle one
        self._elsewhere = f"'{pair.image.name}': {left:.6g}..{right:.6g}, {bottom:.6g}..{top:.6g}"
        meets = np.zeros(len(file.boxes), bool)
        for left, bottom, right, top in boxes:
            here = (file.boxes[:, 0] <= right) & (file.boxes[:, 2] >= left)
            meets |= here & (file.boxes[:, 1] <= top) & (file.boxes[:, 3] >= bottom)
        return [int(k) for k in np.flatnonzero(meets)]


def _region(grid: Grid) -> Region:
    """Where lines are looked for: the image and what is beside it, of roads whose middle is outside."""
    ((left, bottom, right, top),) = grid.region.boxes
    a, b, _, d, e, _ = tuple(grid.transform)[:6]
    unit = grid.resolution / math.sqrt(abs(a * e - b * d))  # metres
    return grid.region.wider(MARGIN * max(right - left, top - bottom) + WIDEST / unit)


def _extent(line: NDArray[np.float64], degrees: bool) -> list[float]:
    """Left, bottom, right, top; of one that crosses the 180th meridian in one stroke on this side and beyond 180."""
    x, y = line.T
    if degrees and x.max() - x.min() > TURN / 2:
        x = np.unwrap(x, period=TURN)
    return [float(value) for value in (x.min(), y.min(), x.max(), y.max())]


def _moved(lines: Sequence[NDArray[np.float64]], crs: str, grid: Grid) -> list[NDArray[np.float64]]:
    if not lines:
        return []
    ends = np.cumsum([len(line) for line in lines])[:-1]
    placed = grid.beside(transform_points(np.concatenate(lines), crs, grid.crs.to_wkt()))
    return list(np.split(placed, ends))


def _is_packed(layer: RoadLayer, name: str) -> bool:
    return any(name in tags_of(road.properties) for road in layer.roads)


def _name(crs: Any) -> str:
    return str(crs.to_string())


def _short(crs: str) -> str:
    return crs if len(crs) <= 40 else crs[:37] + "..."


def check_crs(text: str) -> None:
    """Refuse what is no coordinate reference system.

    Raises:
        ConfigError: `--lines-crs` cannot be understood.
    """
    try:
        is_geographic(text)
    except DataError as error:
        raise ConfigError(f"--lines-crs {text}: {error}") from error
