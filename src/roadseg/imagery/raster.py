"""One image file of any kind as an array, and a mask array as a file; nothing here knows of datasets.

PNG and JPEG go through Pillow, TIFF and 16-bit colour PNG (which Pillow would cut to 8 bits) through rasterio. What a
file is comes from its first bytes, not from its suffix.
"""

import math
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from PIL import Image, UnidentifiedImageError
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from ..errors import DataError, ImageError, OutputError
from ..files import write_aside
from .ground import ground_steps

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "Header",
    "Picture",
    "ground_resolution",
    "raster_options",
    "read_header",
    "read_picture",
    "write_mask",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
MAX_PIXELS = 2**31  # of one image: what a decoder can still index; far above any aerial image that fits into memory

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF, either byte order
PNG_START = b"\x89PNG\r\n\x1a\n"
PILLOW_FORMATS = ("PNG", "JPEG", "GIF", "BMP")  # decoders that run no other program; JPEG includes MPO
ORIENTATION_TAG = 0x0112  # EXIF 2.3
SCALE_ERROR = 0.01  # a projection whose metres are off by more is not one to measure in (Web Mercator)

_limit_lock = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """A decoded image.

    Attributes:
        pixels: (H, W, C) in the file's own dtype; alpha removed, palettes as RGB, 1-bit as 0 and 255.
        valid: (H, W) bool, False where there is no data; None where all of it is data.
        palette: (256, 3) uint8, only when the palette's indices were asked for and `pixels` holds them.
    """

    pixels: np.ndarray
    valid: np.ndarray | None
    palette: np.ndarray | None = None


@dataclass(frozen=True)
class Header:
    """What a file says of itself without being decoded; bands without alpha, as `read_picture` would give them."""

    height: int
    width: int
    bands: int
    dtype: str


def read_picture(path: Path, *, expand_palette: bool = True) -> Picture:
    """Decode one image, the first frame or page of several; EXIF orientation is applied.

    Args:
        path: PNG, JPEG or TIFF, by content.
        expand_palette: False keeps the indices of a palette image as one band, and gives the palette.

    Raises:
        ImageError: missing, empty, not an image, truncated, or too large for the memory.
    """
    path = Path(path)
    with _reasons(path):
        kind = _kind(path)
        if kind != "Pillow":
            return _read_rasterio(path, kind, expand_palette)
        return _read_pillow(path, expand_palette)


def read_header(path: Path) -> Header:
    """Size, bands and dtype of one image, without decoding it.

    Raises:
        ImageError: missing, empty or not an image.
    """
    path = Path(path)
    with _reasons(path):
        kind = _kind(path)
        if kind != "Pillow":
            with _open_rasterio(path, kind) as source:
                colours = len(_colour_bands(source))
                bands = 3 if _colormap(source) is not None else colours
                return Header(source.height, source.width, bands, str(source.dtypes[0]))
        with _open_pillow(path) as image:
            width, height = image.size
            if _orientation(image) >= 5:
                width, height = height, width
            grey = image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")
            wide = image.mode == "I" or image.mode.startswith("I;16")
            return Header(height, width, 1 if grey else 3, "uint16" if wide else "uint8")


@contextmanager
def _reasons(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into an `ImageError` that names the file."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"image '{path}' does not exist: check the path") from error
    except MemoryError as error:
        raise ImageError(f"image '{path}' does not fit into the memory: cut it, or save it as a tiled TIFF") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"'{path}' is not an image that can be read, whatever its suffix says: expected PNG, JPEG or TIFF"
        ) from error
    except PermissionError as error:
        raise ImageError(f"image '{path}' cannot be read: no permission") from error
    except (
        Exception
    ) as error:  # decoders raise nearly anything on broken bytes: OSError, SyntaxError, struct.error, ...
        text = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(
            f"image '{path}' is truncated or damaged ({text[:200]}): copy or export it again, or drop it"
        ) from error


def _kind(path: Path) -> Literal["Pillow", "GTiff", "PNG"]:
    """Who reads the file: Pillow, or one driver of GDAL."""
    if path.is_dir():
        raise ImageError(f"'{path}' is a folder: expected one image file")
    with path.open("rb") as file:
        start = file.read(26)
    if not start:
        raise ImageError(f"image '{path}' is empty (0 bytes): copy or export it again, or drop it")
    if start[:4] in TIFF_STARTS:
        return "GTiff"
    if start[:8] == PNG_START and len(start) == 26:
        depth, colour = struct.unpack(">BB", start[24:26])  # PNG specification, 11.2.2 IHDR
        if depth == 16 and colour != 0:
            return "PNG"
    return "Pillow"


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"image '{path}' says it is {width}x{height} pixels, more than 2**31: cut it into parts if it really is"
        )


# --- Pillow ----------------------------------------------------------------------------------------------------------


@contextmanager
def _open_pillow(path: Path) -> Iterator[Image.Image]:
    with _limit_lock:  # Pillow's limit is one global number: lifted only while opening, our own check follows
        saved = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            image = Image.open(path, formats=PILLOW_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = saved
    with image:
        _check_size(path, *image.size)
        yield image


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF does not make the picture unreadable
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _oriented(array: np.ndarray, orientation: int) -> np.ndarray:
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return np.ascontiguousarray(array)


def _read_pillow(path: Path, expand_palette: bool) -> Picture:
    with _open_pillow(path) as image:
        orientation = _orientation(image)
        image.load()
        transparent = image.info.get("transparency")
        mode = image.mode
        palette = None
        if mode == "P" and not expand_palette:
            palette = np.zeros((256, 3), np.uint8)
            colours = np.frombuffer(bytes(image.getpalette("RGB") or b""), np.uint8).reshape(-1, 3)
            palette[: len(colours)] = colours
            pixels = np.array(image)
            valid = None
        elif mode.startswith("I") or mode == "F":
            pixels = np.array(image)
            if pixels.dtype.kind == "i" and pixels.min() >= 0 and pixels.max() <= 65535:
                pixels = pixels.astype(np.uint16)
            pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
            valid = pixels != transparent if isinstance(transparent, int) else None
        else:
            grey = mode in ("1", "L", "LA", "La")
            alpha = mode in ("LA", "La", "PA", "RGBA", "RGBa") or transparent is not None
            target = ("LA" if grey else "RGBA") if alpha else ("L" if grey else "RGB")
            if mode == "1" and alpha:
                image = image.convert("L") if not isinstance(transparent, int) else image
            pixels = np.array(image if image.mode == target else image.convert(target))
            valid = None
            if alpha:
                valid, pixels = pixels[..., -1] > 0, pixels[..., :-1]
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    valid = None if valid is None or valid.all() else _oriented(valid, orientation)
    return Picture(_oriented(pixels, orientation), valid, palette)


# --- rasterio --------------------------------------------------------------------------------------------------------


def raster_options() -> Any:
    """The GDAL environment for every use here: a bounded block cache, masks inside the TIFF."""
    return rasterio.Env(GDAL_CACHEMAX=256, GDAL_TIFF_INTERNAL_MASK=True)  # 256 MB; GDAL's own choice is 5 % of the RAM


@contextmanager
def _open_rasterio(path: Path, driver: str) -> Iterator[Any]:
    with raster_options(), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        # One named driver: left to choose, GDAL would follow a virtual raster to other files and hosts.
        with rasterio.open(path, driver=driver) as source:
            _check_size(path, source.width, source.height)
            yield source


def _colour_bands(source: Any) -> list[int]:
    """Band numbers from 1, without alpha."""
    return [i for i, kind in enumerate(source.colorinterp, start=1) if kind != ColorInterp.alpha or source.count == 1]


def _colormap(source: Any) -> np.ndarray | None:
    """(256, 3) uint8, or None: the file has no palette."""
    if source.colorinterp[0] != ColorInterp.palette or source.dtypes[0] != "uint8":
        return None
    table = np.zeros((256, 3), np.uint8)
    for index, colour in source.colormap(1).items():
        table[index] = colour[:3]
    return table


def _read_rasterio(path: Path, driver: str, expand_palette: bool) -> Picture:
    with _open_rasterio(path, driver) as source:
        if np.dtype(source.dtypes[0]).kind not in "uif":
            raise ImageError(
                f"image '{path}' has {source.dtypes[0]} pixels: expected whole or real numbers, e.g. uint16"
            )
        pixels = np.ascontiguousarray(np.moveaxis(source.read(_colour_bands(source)), 0, -1))
        valid = source.dataset_mask() > 0
        palette = _colormap(source)
        if source.tags(1, ns="IMAGE_STRUCTURE").get("NBITS") == "1" and palette is None:
            pixels = pixels * np.uint8(255)
    if palette is not None and expand_palette:
        pixels, palette = palette[pixels[..., 0]], None
    if pixels.dtype.kind == "f":
        valid &= np.isfinite(pixels).all(axis=-1)
    return Picture(pixels, None if valid.all() else valid, palette)


def ground_resolution(path: Path) -> float | None:
    """Metres on the ground per pixel, at the middle of a georeferenced TIFF; None for any other image.

    As the CRS says where that is right within 1 %, so that tiles of one grid agree; Web Mercator's metres are not.

    Raises:
        ImageError: missing, empty or not an image.
    """
    path = Path(path)
    with _reasons(path):
        if _kind(path) != "GTiff":
            return None
        with _open_rasterio(path, "GTiff") as source:
            if source.crs is None or source.transform.is_identity:
                return None
            steps = ground_steps(source.crs, source.transform, source.height, source.width)
            found = math.sqrt(abs(float(np.linalg.det(steps))))
            if source.crs.is_geographic:
                return found
            said = math.sqrt(abs(source.transform.determinant)) * float(source.crs.linear_units_factor[1])
            return said if abs(found / said - 1) < SCALE_ERROR else found


# --- pixels ----------------------------------------------------------------------------------------------------------


def write_mask(
    path: Path,
    mask: np.ndarray,
    like: Path | None = None,
    *,
    valid: np.ndarray | None = None,
    nodata: int | None = None,
) -> Path:
    """Write `mask` (H, W) uint8 as it is; give the path written.

    `.tif` gives a tiled, deflated TIFF on the grid of `like`, anything else an 8-bit grey PNG (`x.jpg`: `x.png`).

    Args:
        like: a TIFF of the same size; its CRS, transform and control points are taken over.
        valid: (H, W) bool; where False a TIFF has no data. A PNG cannot say so and leaves it out.
        nodata: say "no data" with this value instead of an internal mask.

    Raises:
        OutputError: the file cannot be written.
        DataError: `like` cannot be read, or has another size.
    """
    path = Path(path)
    mask = np.ascontiguousarray(mask, np.uint8)
    if path.suffix.lower() not in (".tif", ".tiff"):
        path = path.with_suffix(".png")
        with write_aside(path) as aside:
            Image.fromarray(mask).save(aside, format="PNG")
        return path

    height, width = mask.shape
    grid, points = _grid(Path(like), height, width) if like is not None else ({}, ([], None))
    if valid is not None and nodata is not None:
        mask = np.where(valid, mask, np.uint8(nodata))
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint8", "nodata": nodata}
    profile |= {"compress": "deflate", "tiled": True, "blockxsize": 256, "blockysize": 256, "BIGTIFF": "IF_SAFER"}
    with write_aside(path) as aside, raster_options(), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(aside, "w", **profile, **grid) as target:
                target.write(mask, 1)
                if valid is not None and nodata is None:
                    target.write_mask(valid)
                if points[0]:
                    target.gcps = points
        except (rasterio.errors.RasterioError, rasterio.errors.RasterioIOError) as error:
            raise OutputError(f"cannot write '{path}': {error}") from error
    return path


def _grid(like: Path, height: int, width: int) -> tuple[dict[str, Any], tuple[list[Any], Any]]:
    """CRS and transform of a TIFF as profile keys, and its ground control points; empty for a PNG or JPEG."""
    with _reasons(like):
        if _kind(like) != "GTiff":
            return {}, ([], None)
        with _open_rasterio(like, "GTiff") as source:
            if (source.height, source.width) != (height, width):
                raise DataError(
                    f"mask for '{like}' is {width}x{height} but the image is {source.width}x{source.height}: "
                    "predict that image again"
                )
            grid = {} if source.transform.is_identity else {"transform": source.transform}
            return grid | ({"crs": source.crs} if source.crs else {}), source.gcps
