"""Parts of images and labels as files: in the image's own depth, on its place on the ground where it has one.

A file depends on the pixels alone: no times, no names of programs.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from ..errors import OutputError
from ..imagery.raster import Picture, raster_options

__all__ = ["Place", "part_suffix", "place_of", "write_labels", "write_part"]

TIFF_SUFFIXES = (".tif", ".tiff")


class Place:
    """Where a TIFF lies and how it says "no data".

    Attributes:
        crs: coordinate reference system, or None.
        transform: of its pixels to the ground, or None.
        nodata: value of pixels without data, or None.
    """

    def __init__(self, crs: Any = None, transform: Any = None, nodata: float | None = None) -> None:
        self.crs = crs
        self.transform = transform
        self.nodata = nodata

    @property
    def known(self) -> bool:
        """Whether it is anywhere on the ground."""
        return self.crs is not None and self.transform is not None

    def part(self, scale_y: float, scale_x: float, top: int, left: int) -> Any:
        """The transform of a part at (top, left) of the image resized by these scales; None where there is none."""
        if self.transform is None:
            return None
        a, b, c, d, e, f = tuple(self.transform)[:6]
        a, b, d, e = a / scale_x, b / scale_y, d / scale_x, e / scale_y
        return type(self.transform)(a, b, c + a * left + b * top, d, e, f + d * left + e * top)


def place_of(path: Path) -> Place:
    """The place of an image that has been read before; nowhere for what is no TIFF."""
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return Place()
    with raster_options(), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path, driver="GTiff") as source:
                transform = None if source.transform.is_identity else source.transform
                return Place(source.crs, transform, source.nodata)
        except rasterio.errors.RasterioIOError:  # a PNG that is called .tif
            return Place()


def part_suffix(source: Path, picture: Picture) -> str:
    """`.tif` for a TIFF and for what a PNG cannot hold, else `.png`."""
    bands, dtype = picture.pixels.shape[-1], picture.pixels.dtype
    fits = dtype in (np.uint8, np.uint16) and bands in (1, 3)
    fits &= not (dtype == np.uint16 and bands == 1 and picture.valid is not None)  # no writer for grey 16 bit + alpha
    return ".png" if fits and source.suffix.lower() not in TIFF_SUFFIXES else ".tif"


def write_part(path: Path, picture: Picture, place: Place, transform: Any) -> None:
    """Write a part of an image, without loss.

    Args:
        path: ends in what `part_suffix` says.
        picture: pixels (H, W, C) of the part in the file's own dtype, and where they are valid.
        place: of the image it is from.
        transform: of the part, or None.

    Raises:
        OutputError: it cannot be written.
    """
    with _writing(path):
        if path.suffix in TIFF_SUFFIXES:
            _write_tiff(path, picture, place, transform)
        else:
            _write_png(path, picture)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, rasterio.errors.RasterioError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise OutputError(f"cannot write '{path}': {reason}") from error


def _write_png(path: Path, picture: Picture) -> None:
    pixels = picture.pixels
    if picture.valid is not None:
        alpha = picture.valid[..., None] * np.asarray(np.iinfo(pixels.dtype).max, pixels.dtype)
        pixels = np.concatenate([pixels, alpha], axis=-1)
    if pixels.dtype == np.uint16 and pixels.shape[-1] >= 3:
        order = [2, 1, 0, *range(3, pixels.shape[-1])]  # OpenCV wants blue first
        path.write_bytes(cv2.imencode(".png", np.ascontiguousarray(pixels[..., order]))[1].tobytes())
        return
    flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    Image.fromarray(np.ascontiguousarray(flat)).save(path, format="PNG")


def _write_tiff(path: Path, picture: Picture, place: Place, transform: Any) -> None:
    pixels, valid = picture.pixels, picture.valid
    height, width, bands = pixels.shape
    if valid is not None and place.nodata is not None:
        pixels = np.where(valid[..., None], pixels, np.asarray(place.nodata).astype(pixels.dtype))
    profile: dict[str, Any] = {"height": height, "width": width, "count": bands, "dtype": str(pixels.dtype)}
    profile |= {"compress": "deflate", "tiled": True, "blockxsize": 256, "blockysize": 256, "BIGTIFF": "IF_SAFER"}
    profile |= {"photometric": "RGB"} if bands == 3 and pixels.dtype in (np.uint8, np.uint16) else {}
    profile |= {"nodata": place.nodata} if place.nodata is not None else {}
    profile |= {"crs": place.crs} if place.crs is not None else {}
    profile |= {"transform": transform} if transform is not None else {}
    with raster_options(), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **profile) as target:
            target.write(np.moveaxis(pixels, -1, 0))
            if valid is not None and place.nodata is None:
                target.write_mask(valid)


def write_labels(path: Path, mask: NDArray[np.uint8], binary: bool, place: Place, transform: Any) -> None:
    """Write class positions in 8 bits: 0 and 255 when `binary`, else the positions and 255 (`IGNORED`).

    Args:
        path: `.png`, or `.tif` on the ground of the image.
        place, transform: see `write_part`.

    Raises:
        OutputError: it cannot be written.
    """
    pixels = np.ascontiguousarray(mask * np.uint8(255) if binary else mask)
    with _writing(path):
        if path.suffix in TIFF_SUFFIXES:
            _write_tiff(path, Picture(pixels[..., None], None), Place(place.crs, place.transform), transform)
        else:
            Image.fromarray(pixels).save(path, format="PNG")
