"""What kind of image a file is, by its first bytes; and GDAL, asked with one named driver. No pixels are read here."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import rasterio
from PIL import UnidentifiedImageError
from rasterio.errors import NotGeoreferencedWarning

from ..errors import DataError, ImageError

__all__ = [
    "MAX_PIXELS",
    "PLAIN_STARTS",
    "PNG_START",
    "TIFF_STARTS",
    "Kind",
    "check_size",
    "kind_of",
    "open_gdal",
    "raster_options",
    "reasons",
]

MAX_PIXELS = 2**31  # of an image that is decoded whole: what a decoder can still index; far above any that fits
CACHE = 256 * 2**20  # bytes (of rasterio; GDAL itself reads small numbers as MB); GDAL's own choice is 5 % of the RAM
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF, either byte order
PNG_START = b"\x89PNG\r\n\x1a\n"
PLAIN_STARTS = (PNG_START, b"\xff\xd8\xff", b"GIF8", b"BM")  # what Pillow is asked to decode
OTHER_STARTS: tuple[tuple[bytes, "Kind"], ...] = (
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JP2OpenJPEG"),  # ISO/IEC 15444-1, annex I
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),  # a bare codestream
    (b"EHFA_HEADER_TAG", "HFA"),  # ERDAS Imagine
    (b"<VRTDataset", "VRT"),
)

# Who reads a file: Pillow, or one driver of GDAL.
Kind = Literal["Pillow", "GTiff", "PNG", "JPEG", "JP2OpenJPEG", "HFA", "VRT"]


def kind_of(path: Path) -> Kind:
    """Who reads the file.

    A virtual raster is one by its suffix too: under another name, nobody meant to follow it to other files.

    Raises:
        ImageError: a folder, or an empty file.
    """
    if path.is_dir():
        raise ImageError(f"'{path}' is a folder: expected one image file")
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise ImageError(f"image '{path}' is empty (0 bytes): copy or export it again, or drop it")
    if start[:4] in TIFF_STARTS:
        return "GTiff"
    if start[:8] == PNG_START and len(start) >= 26:
        depth, colour = struct.unpack(">BB", start[24:26])  # PNG specification, 11.2.2 IHDR
        if depth == 16 and colour != 0:
            return "PNG"  # Pillow would cut it to 8 bits
    for begin, kind in OTHER_STARTS:
        if start.lstrip().startswith(begin) and (kind != "VRT" or path.suffix.lower() == ".vrt"):
            return kind
    return "Pillow"


@contextmanager
def reasons(path: Path, rows: tuple[int, int] | None = None) -> Iterator[None]:
    """Turn whatever a decoder raises into an `ImageError` that names the file, and the rows where they are known."""
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
        text = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
        where = "" if rows is None else f" at rows {rows[0]} to {rows[1] - 1}"
        raise ImageError(
            f"image '{path}' is truncated or damaged{where} ({text[:200]}): copy or export it again, or drop it"
        ) from error


def check_size(path: Path, width: int, height: int) -> None:
    """Refuse an image too large to be decoded whole."""
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"image '{path}' says it is {width}x{height} pixels, more than 2**31: cut it into parts if it really is"
        )


def raster_options() -> Any:
    """The GDAL environment for every use here: a bounded block cache, masks inside the TIFF, no listing of folders."""
    return rasterio.Env(
        GDAL_CACHEMAX=CACHE,
        GDAL_TIFF_INTERNAL_MASK=True,
        GDAL_DISABLE_READDIR_ON_OPEN=True,  # asks for the few files that may lie beside one: folders may hold thousands
    )


@contextmanager
def open_gdal(path: Path, driver: str) -> Iterator[Any]:
    """A rasterio dataset.

    One named driver: left to choose, GDAL would follow a virtual raster to other files and hosts.
    """
    with raster_options(), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, driver=driver) as dataset:
            yield dataset
