"""One image file of any kind as an array, and a mask array as a file; nothing here knows of datasets.

PNG and JPEG go through Pillow, TIFF and 16-bit colour PNG (which Pillow would cut to 8 bits) through rasterio. What a
file is comes from its first bytes, not from its suffix.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from ..errors import DataError, OutputError
from ..files import write_aside
from .formats import MAX_PIXELS, check_size, kind_of, open_gdal, raster_options, reasons
from .gdal_file import GdalFile
from .pillow_file import pillow_header, read_pillow
from .sources import Picture

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
    with reasons(path):
        kind = kind_of(path)
        if kind == "Pillow":
            return read_pillow(path, expand_palette)
        with GdalFile(path, kind, expand_palette=expand_palette) as file:
            check_size(path, file.width, file.height)
            return file.read(0, file.height)


def read_header(path: Path, *, expand_palette: bool = True) -> Header:
    """Size, bands and dtype of one image, without decoding it.

    Raises:
        ImageError: missing, empty or not an image.
    """
    path = Path(path)
    with reasons(path):
        kind = kind_of(path)
        if kind != "Pillow":
            file = GdalFile(path, kind, expand_palette=expand_palette)
            return Header(file.height, file.width, file.bands, str(file.dtype))
        return Header(*pillow_header(path, expand_palette))


def ground_resolution(path: Path) -> float | None:
    """Metres on the ground per pixel, at the middle of a georeferenced TIFF; None for any other image.

    As the CRS says where that is right within 1 %, so that tiles of one grid agree; Web Mercator's metres are not.

    Raises:
        ImageError: missing, empty or not an image.
    """
    path = Path(path)
    with reasons(path):
        kind = kind_of(path)
        return None if kind in ("Pillow", "PNG") else GdalFile(path, kind).resolution_m


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
    with reasons(like):
        if kind_of(like) != "GTiff":
            return {}, ([], None)
        with open_gdal(like, "GTiff") as source:
            if (source.height, source.width) != (height, width):
                raise DataError(
                    f"mask for '{like}' is {width}x{height} but the image is {source.width}x{source.height}: "
                    "predict that image again"
                )
            grid = {} if source.transform.is_identity else {"transform": source.transform}
            return grid | ({"crs": source.crs} if source.crs else {}), source.gcps
