"""PNG and JPEG (GIF and BMP too) through Pillow: decoded whole; and which of them GDAL can read by rows instead."""

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from .formats import PNG_START, Kind, check_size
from .sources import Picture

__all__ = ["pillow_header", "read_pillow", "row_driver"]

PILLOW_FORMATS = ("PNG", "JPEG", "GIF", "BMP")  # decoders that run no other program; JPEG includes MPO
ORIENTATION_TAG = 0x0112  # EXIF 2.3
EXIF_CHUNKS = (b"eXIf", b"zTXt", b"tEXt", b"iTXt")  # where a PNG may have it, after the pixels too

_limit_lock = threading.Lock()


@contextmanager
def _open_pillow(path: Path, *, whole: bool = True) -> Iterator[Image.Image]:
    with _limit_lock:  # Pillow's limit is one global number: lifted only while opening, our own check follows
        saved = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            image = Image.open(path, formats=PILLOW_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = saved
    with image:
        if whole:
            check_size(path, *image.size)
        yield image


def _orientation(image: Image.Image, path: Path) -> int:
    """As EXIF says; 1: as it is."""
    try:
        if image.format == "PNG" and not (set(EXIF_CHUNKS) & set(_chunks(path))):
            return 1  # Pillow would decode all of it to find out
        found = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF does not make the picture unreadable
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _chunks(path: Path) -> Iterator[bytes]:
    """The names of a PNG's chunks (PNG specification, 5.3), up to where it is cut off."""
    with path.open("rb") as file:
        file.seek(len(PNG_START))
        while len(start := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", start)
            yield name
            file.seek(length + 4, 1)


def _oriented(array: np.ndarray, orientation: int) -> np.ndarray:
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return np.ascontiguousarray(array)


def read_pillow(path: Path, expand_palette: bool) -> Picture:
    """Decode one image; see `read_picture`."""
    with _open_pillow(path) as image:
        orientation = _orientation(image, path)
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


def pillow_header(path: Path, expand_palette: bool) -> tuple[int, int, int, str]:
    """Height, width, bands and dtype of what `read_pillow` gives."""
    with _open_pillow(path, whole=False) as image:
        width, height = image.size
        if _orientation(image, path) >= 5:
            width, height = height, width
        one = image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")
        one |= image.mode == "P" and not expand_palette
        wide = image.mode == "I" or image.mode.startswith("I;16")
        return height, width, 1 if one else 3, "uint16" if wide else "uint8"


def row_driver(path: Path) -> Kind | None:
    """GDAL's driver that reads a PNG or JPEG by rows, to the same pixels; None where only Pillow will do.

    That is where the rows are not stored one after another (interlaced, progressive), the picture is turned by EXIF, or
    its pixels are to be changed (palettes, a transparent colour, single bits, CMYK).
    """
    with _open_pillow(path, whole=False) as image:
        if _orientation(image, path) != 1:
            return None
        if image.format == "JPEG":
            plain = image.mode in ("L", "RGB") and not image.info.get("progressive")
            return "JPEG" if plain and getattr(image, "n_frames", 1) == 1 else None
        if image.format != "PNG" or image.info.get("interlace") or "transparency" in image.info:
            return None
        with path.open("rb") as file:
            depth = file.read(25)[24]  # PNG specification, 11.2.2 IHDR
        plain = image.mode in ("L", "LA", "RGB", "RGBA") or image.mode.startswith("I")
        return "PNG" if plain and depth in (8, 16) and not getattr(image, "is_animated", False) else None
