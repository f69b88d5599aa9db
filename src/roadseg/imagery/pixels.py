"""Arrays of pixels: another number of bands, 8 bits, and what identifies a picture. No files."""

import hashlib
from pathlib import Path

import numpy as np

from ..errors import DataError

__all__ = ["LUMA", "content_hash", "to_bands", "to_uint8"]

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, section 2.5.1
ROWS_AT_ONCE = 1024  # bounds the temporary floats of `to_uint8`


def to_bands(pixels: np.ndarray, bands: int, path: Path) -> np.ndarray:
    """`pixels` (H, W, C) as (H, W, bands), same dtype: grey to 3 by copying, 3 to grey by BT.601 luma.

    Raises:
        DataError: any other number of bands; `path` is named.
    """
    found = pixels.shape[-1]
    if found == bands:
        return pixels
    if found == 1 and bands == 3:
        return np.repeat(pixels, 3, axis=-1)
    if found == 3 and bands == 1:
        luma = pixels @ np.asarray(LUMA, np.float64 if pixels.dtype.itemsize > 2 else np.float32)
        if pixels.dtype.kind != "f":
            luma = np.rint(luma)
        return np.asarray(luma[..., None].astype(pixels.dtype))
    raise DataError(f"image '{path}' has {found} bands, expected {bands}: export it with {bands}, or set data.bands")


def to_uint8(pixels: np.ndarray, value_range: tuple[float, float] | None) -> np.ndarray:
    """`pixels` of any real dtype as uint8: linear, value_range to 0 and 255, clipped; NaN becomes 0.

    Args:
        value_range: low and high pixel value; None leaves uint8 as it is.

    Raises:
        DataError: None for pixels that are not uint8.
    """
    if value_range is None:
        if pixels.dtype != np.uint8:
            raise DataError(
                f"pixels are {pixels.dtype}, expected uint8: give the values that become 0 and 255 (data.value_range)"
            )
        return pixels
    if pixels.dtype in (np.uint8, np.uint16):
        table = _stretched(np.arange(np.iinfo(pixels.dtype).max + 1), value_range)
        return np.asarray(table[pixels])
    out = np.empty(pixels.shape, np.uint8)
    for top in range(0, len(pixels), ROWS_AT_ONCE):
        out[top : top + ROWS_AT_ONCE] = _stretched(pixels[top : top + ROWS_AT_ONCE], value_range)
    return out


def _stretched(values: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    low, high = value_range
    with np.errstate(invalid="ignore", over="ignore"):  # inf / inf of a range without extent is NaN, and so 0
        scaled = (values.astype(np.float64) - low) / (high - low if high > low else np.inf) * 255
    stretched = np.rint(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255))
    return np.asarray(stretched.astype(np.uint8))


def content_hash(pixels: np.ndarray) -> str:
    """Identity of an image whatever its file: 16 hex digits of SHA-256 over shape, dtype and the decoded pixels."""
    pixels = np.ascontiguousarray(pixels)
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype.name} ".encode())
    digest.update(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:16]


# --- writing ---------------------------------------------------------------------------------------------------------
