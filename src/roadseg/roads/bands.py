"""Masks and probability rasters of any size as 8-bit values, a window at a time; and what a first look over them tells.

Whatever the file has (bool, 0/1, 0/255, soft masks, 8-bit or real probabilities), `Raster.read` gives uint8 from 0 to
255, and 0 where there is no data: nothing that reads a raster here needs to know more.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, ImageError

__all__ = ["BAND", "Grid", "Raster", "Survey", "counts", "grid_of", "level_of", "open_raster", "survey"]

BAND = 2048  # rows that are looked at together: 20 MB of a raster 10,000 pixels wide
CHUNK = 4_000_000  # pixels that are counted together: NumPy counts in 8 bytes per pixel
SQUARE = 1e-6  # a pixel's sides are that equal, and that perpendicular, where it counts as square
SLACK = 1e-3  # real numbers may be so far below 0 or above 1: sums of float32 are


@dataclass(frozen=True)
class Grid:
    """Where pixels lie.

    Attributes:
        transform: (a, b, c, d, e, f): x = a * column + b * row + c, y = d * column + e * row + f, of pixel corners.
        crs: "EPSG:32611" or WKT; None: pixel coordinates.
    """

    transform: tuple[float, float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    crs: str | None = None

    def place(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 2) columns and rows (0, 0 the upper left corner of the image) to (N, 2) x and y."""
        a, b, c, d, e, f = self.transform
        placed: NDArray[np.float64] = points @ np.array([[a, d], [b, e]]) + np.array([c, f])
        return placed

    def metres(self, height: int, width: int) -> NDArray[np.float64]:
        """(2, 2): metres east and north of one pixel to the right (first row) and one down, at the raster's centre.

        Exact for a north-up raster in metres; elsewhere a linear map that is good over the extent of one image.
        Pixel coordinates: the unit matrix, in pixels.
        """
        a, b, _, d, e, _ = self.transform
        if self.crs is None:
            return np.eye(2)
        from .layers import Road, RoadLayer, metric_crs, transform_points

        cross = self.place(
            np.array([[width / 2, height / 2], [width / 2 + 1, height / 2], [width / 2, height / 2 + 1]])
        )
        system = metric_crs(RoadLayer((Road(cross[:2], {}),), self.crs))
        if system == self.crs:
            return np.array([[a, d], [b, e]])
        moved = transform_points(cross, self.crs, system)
        steps: NDArray[np.float64] = moved[1:] - moved[0]
        return steps

    def shape(self, height: int, width: int) -> NDArray[np.float64]:
        """(2, 2): `metres` in units of `pixel_m`, the shape of a pixel on the ground; the unit matrix of a square.

        Pixels in degrees are squares at the equator only: at 60 degrees north twice as high as wide.
        """
        shape = self.metres(height, width) / self.pixel_m(height, width)
        return np.eye(2) if np.abs(shape @ shape.T - np.eye(2)).max() < SQUARE else shape

    def pixel_m(self, height: int, width: int) -> float:
        """Side of a square with a pixel's area, metres (1 in pixel coordinates)."""
        return math.sqrt(abs(float(np.linalg.det(self.metres(height, width)))))


class Raster:
    """An image of one band, read in windows. Made by `open_raster`, or of an array."""

    def __init__(
        self,
        values: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
        grid: Grid | None = None,
        name: str = "the raster",
    ) -> None:
        """Of an array (H, W): bool, 8-bit, or real numbers from 0 to 1; `valid` (H, W) is False where there is no data.

        Raises:
            DataError: another shape or dtype, or real numbers outside of 0 to 1.
        """
        values = np.asarray(values)
        if values.ndim == 3 and values.shape[2] == 3 and (values == values[..., :1]).all():
            values = values[..., 0]  # a grey image saved as colour
        if values.ndim != 2:
            bands = values.shape[2] if values.ndim == 3 else 0
            _refuse_bands(name, bands, values.shape)
        if min(values.shape) == 0:
            raise DataError(f"{name} has no pixels: its shape is {values.shape}")
        _check_dtype(name, values.dtype)
        self.name, self.grid = name, grid or Grid()
        self.height, self.width = values.shape
        self._values, self._valid = values, valid
        self._whole, self._between = values.dtype.kind == "u", False

    @property
    def ones(self) -> tuple[int, ...]:
        """The 8-bit values that mean "road" in a mask of this kind, as far as the raster was read."""
        return () if self._between else (1, 255) if self._whole else (255,)

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> NDArray[np.uint8]:
        """(bottom - top, right - left) uint8 of a window, cut at the raster's borders; 0 where there is no data."""
        rows, columns = slice(max(0, top), bottom), slice(max(0, left), self.width if right is None else right)
        valid = None if self._valid is None else self._valid[rows, columns]
        return self._converted(self._values[rows, columns], valid)

    def bands(self, height: int = BAND) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """(first row, values) of one band of rows after another."""
        for top in range(0, self.height, height):
            yield top, self.read(top, min(top + height, self.height))

    def _converted(self, values: NDArray[Any], valid: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
        found, between = _as_8bit(self.name, values, valid)
        self._between |= between
        return found


class _FileRaster(Raster):
    """A TIFF that is read window by window."""

    def __init__(self, source: Any, grid: Grid, name: str, palette: NDArray[np.uint8] | None = None) -> None:
        from rasterio.enums import MaskFlags

        self.name, self.grid = name, grid
        self.height, self.width = source.height, source.width
        self._source = source
        self._masked = MaskFlags.all_valid not in source.mask_flag_enums[0]
        self._whole, self._between = np.dtype(source.dtypes[0]).kind == "u", False
        self._palette, self._indices = palette, np.zeros(256, bool)

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> NDArray[np.uint8]:
        from rasterio.windows import Window

        top, left = max(0, top), max(0, left)
        bottom, right = min(bottom, self.height), self.width if right is None else min(right, self.width)
        window = Window(left, top, right - left, bottom - top)
        try:
            values = self._source.read(1, window=window)
            valid = self._source.read_masks(1, window=window) > 0 if self._masked else None
        except Exception as error:  # GDAL's, of several kinds
            raise ImageError(f"'{self.name}' is truncated or damaged ({error}): export it again") from error
        if self._palette is not None:
            values = _without_palette(self.name, values, self._palette, self._indices)
        return self._converted(values, valid)


@contextmanager
def open_raster(path: Path | str, like: Path | str | None = None) -> Iterator[Raster]:
    """A mask or probability raster. TIFFs are read in windows, PNG and JPEG are decoded whole.

    Args:
        like: a TIFF of the same size that says where the pixels lie, for a mask that does not say so itself.

    Raises:
        ImageError: missing or unreadable.
        DataError: several bands (a colour image), a dtype that is neither 8-bit nor real, a palette of more than two
            colours, or `like` does not fit.
    """
    from ..imagery.formats import TIFF_STARTS
    from ..imagery.raster import read_header, read_picture

    path = Path(path)
    header = read_header(path)  # says what is wrong with a file that cannot be read
    name = f"'{path}'"
    with path.open("rb") as file:
        tiff = file.read(4) in TIFF_STARTS
    borrowed = _grid_of(Path(like), header.height, header.width) if like is not None else None
    if not tiff:
        picture = read_picture(path)
        pixels = picture.pixels[..., 0] if picture.pixels.shape[2] == 1 else picture.pixels
        if pixels.ndim == 3 and not (pixels == pixels[..., :1]).all():
            indexed = read_picture(path, expand_palette=False)
            if indexed.palette is not None:
                pixels = _without_palette(name, indexed.pixels[..., 0], indexed.palette, np.zeros(256, bool))
        yield Raster(pixels, picture.valid, borrowed, name)
        return
    with _open_tiff(path) as source:
        palette = _palette(source)
        if header.bands != 1 and palette is None:
            _refuse_bands(name, header.bands, (header.height, header.width, header.bands))
        _check_dtype(name, np.dtype(header.dtype))
        yield _FileRaster(source, borrowed or _grid(source), name, palette)


@contextmanager
def _open_tiff(path: Path) -> Iterator[Any]:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    from ..imagery.raster import raster_options

    with raster_options(), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, driver="GTiff") as source:
            yield source


def _palette(source: Any) -> NDArray[np.uint8] | None:
    """(256, 3), of a TIFF of one 8-bit band with a colour table; else None."""
    from rasterio.enums import ColorInterp

    if source.count != 1 or source.dtypes[0] != "uint8" or source.colorinterp[0] != ColorInterp.palette:
        return None
    colours = np.zeros((256, 3), np.uint8)
    for index, colour in source.colormap(1).items():
        colours[index] = colour[:3]
    return colours


def _without_palette(
    name: str, values: NDArray[np.uint8], palette: NDArray[np.uint8], used: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Indices of a palette of greys as these greys; of colours as they are, where they are a mask's.

    Args:
        used: (256,) the indices that were met so far; changed in place.
    """
    if (palette == palette[:, :1]).all():
        greys: NDArray[np.uint8] = palette[values, 0]
        return greys
    used |= counts(values, 256) > 0
    found = np.flatnonzero(used[1:]) + 1
    if len(found) > 1 or (len(found) == 1 and found[0] not in (1, 255)):
        raise DataError(
            f"{name} has a palette of colours and uses its indices {', '.join(map(str, np.flatnonzero(used)[:8]))}: "
            "expected a mask (0 and 1, or 0 and 255); make one of the class of roads, or save probabilities as grey"
        )
    return values


def grid_of(path: Path) -> tuple[Grid, int, int]:
    """Where the pixels of an image lie, its height and width; of one that does not say so, pixel coordinates.

    Raises:
        ImageError: missing or unreadable.
    """
    from ..imagery.formats import TIFF_STARTS
    from ..imagery.raster import read_header

    header = read_header(path)
    with path.open("rb") as file:
        tiff = file.read(4) in TIFF_STARTS
    if not tiff:
        return Grid(), header.height, header.width
    with _open_tiff(path) as source:
        return _grid(source), header.height, header.width


def _grid_of(like: Path, height: int, width: int) -> Grid:
    from ..imagery.raster import read_header

    header = read_header(like)
    if (header.height, header.width) != (height, width):
        raise DataError(
            f"'{like}' is {header.width}x{header.height} but the mask is {width}x{height}: give the image of this mask"
        )
    try:
        with _open_tiff(like) as source:
            grid = _grid(source)
    except Exception as error:
        raise DataError(f"'{like}' is no GeoTIFF: give the image that the mask was made of") from error
    if grid.crs is None:
        raise DataError(f"'{like}' has no CRS: it does not say where its pixels lie")
    return grid


def _grid(source: Any) -> Grid:
    if source.crs is None or source.transform.is_identity:
        return Grid()
    return Grid(tuple(float(value) for value in source.transform[:6]), source.crs.to_string())  # type: ignore[arg-type]


def _refuse_bands(name: str, bands: int, shape: tuple[int, ...]) -> None:
    raise DataError(
        f"{name} has {bands} bands (shape {shape}): expected one band, a mask or a probability, as `roadseg predict` "
        "writes them; an image has to be predicted first"
    )


def _check_dtype(name: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "bf" and dtype != np.uint8:
        raise DataError(
            f"{name} has {dtype} pixels: expected an 8-bit mask (0 and 255, or 0 and 1), 8-bit probabilities (0 to "
            "255), or real ones (0 to 1)"
        )


def _as_8bit(name: str, values: NDArray[Any], valid: NDArray[np.bool_] | None) -> tuple[NDArray[np.uint8], bool]:
    """The values, and whether a real number among them is neither 0 nor 1."""
    between = False
    if values.dtype.kind == "b":
        values = values * np.uint8(255)
    elif values.dtype.kind == "f":
        known = np.isfinite(values) if valid is None else valid & np.isfinite(values)
        values = np.where(known, values, 0)
        if values.min(initial=0) < -SLACK or values.max(initial=0) > 1 + SLACK:
            raise DataError(
                f"{name} has real numbers from {values.min():g} to {values.max():g}: expected probabilities, 0 to 1"
            )
        values = np.clip(values, 0, 1)
        between = bool(((values > 0) & (values < 1)).any())
        # Halves go down: just 0.5 is not above a threshold of 0.5.
        values = np.ceil(values * 255 - 0.5).astype(np.uint8)
    if valid is not None and not valid.all():
        values = np.where(valid, values, np.uint8(0))
    return values.astype(np.uint8, copy=False), between


# --- a first look ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Survey:
    """What a look at all pixels tells; sums over pixels, so that bands of any height give the same.

    Attributes:
        is_mask: one value beside 0, which is True, 255, or 1 (of integers, or exactly 1 of real numbers); else
            probabilities, even where there is one value only: the threshold decides.
        levels: (low, high) uint8 values: road is at least `high`, or at least `low` and connected to such.
        road: number of pixels of at least `high`, of `pixels` in all; `largest` is the largest value.
        width: typical width of a road, px: twice area over perimeter, as of a long ribbon. The perimeter is that of
            square pixels, so that slanted roads count up to 1/sqrt(2) narrower: a measure for limits, not of roads.
    """

    is_mask: bool
    levels: tuple[int, int]
    road: int
    pixels: int
    largest: int
    width: float


def level_of(probability: float) -> int:
    """The smallest 8-bit value above a probability: 0.5 is 128, as everywhere here road is *above* the threshold."""
    return min(255, math.floor(probability * 255 + 1e-9) + 1)


def counts(values: NDArray[Any], size: int, weights: NDArray[Any] | None = None) -> NDArray[Any]:
    """`np.bincount` of an array of any shape, in pieces: at once it takes 8 to 16 bytes per pixel."""
    flat = values.ravel()
    heavy = None if weights is None else weights.ravel()
    total = np.zeros(size, np.int64 if heavy is None else np.float64)
    for start in range(0, len(flat), CHUNK):
        part = slice(start, start + CHUNK)
        total += np.bincount(flat[part], None if heavy is None else heavy[part], minlength=size)
    return total


def survey(raster: Raster, threshold: float, low: float, band: int = BAND) -> Survey:
    """Look at all pixels of `raster`, a band of rows at a time. `low` <= `threshold`, both probabilities."""
    histogram = np.zeros(256, np.int64)
    levels = (1, level_of(threshold))  # a mask's, which may be of 0 and 1, and a probability's
    edges = [0, 0]
    above: NDArray[np.uint8] = np.zeros((1, raster.width), np.uint8)
    for _, values in raster.bands(band):
        histogram += counts(values, 256)
        rows = np.concatenate([above, values])
        for k, level in enumerate(levels):
            is_road = rows >= level
            edges[k] += int(np.count_nonzero(is_road[1:] != is_road[:-1]))
            edges[k] += int(np.count_nonzero(is_road[1:, 1:] != is_road[1:, :-1]))
        above = values[-1:]
    found = np.flatnonzero(histogram[1:]) + 1
    is_mask = len(found) == 1 and int(found[0]) in raster.ones
    high = 1 if is_mask else levels[1]
    road = int(histogram[high:].sum())
    width = 2 * road / max(1, edges[0 if is_mask else 1])
    low_level = 1 if is_mask else min(high, level_of(low))
    return Survey(
        is_mask, (low_level, high), road, raster.height * raster.width, int(found[-1]) if len(found) else 0, width
    )
