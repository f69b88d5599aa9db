"""`open_source`: any raster, or several as one mosaic, to be read a window at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .formats import kind_of, reasons
from .gdal_file import GdalFile
from .pillow_file import pillow_header, row_driver
from .sources import Source
from .whole import WholePicture

__all__ = ["open_source"]

LARGE = 2**26  # px, from where on PNG and JPEG are read by rows: 200 MB in 8 bits and three bands


def open_source(
    paths: str | Path | Sequence[str | Path], *, bands: Sequence[int] | None = None, expand_palette: bool = True
) -> Source:
    """A raster of any kind and size, or several files as one mosaic, for a `with` block.

    >>> with open_source("scene.tif", bands=(4, 3, 2)) as source:
    ...     for top in range(0, source.height, 512):
    ...         picture = source.read(top, min(top + 512, source.height))

    TIFF, COG, BigTIFF, VRT, JPEG 2000 and ERDAS Imagine are read in windows. PNG and JPEG are decoded once and held;
    large ones are read by rows, where their kind allows it. The pixels are those of `read_picture`; colours of a large
    JPEG with halved chroma, which GDAL's decoder interpolates differently, are so within a level or two.

    Args:
        paths: a file; or several of one CRS, dtype, number of bands and pixel grid: where they overlap, the first one
            given that has data; where none lies, there is no data.
        bands: numbers from 1 of the bands wanted, in this order; None: all but alpha.
        expand_palette: False keeps the indices of a palette image as one band; `Picture.palette` has the colours. Of
            one file: the palettes of several may differ, and always become colours.

    Raises:
        ImageError: a file is missing, empty, damaged or no image.
        DataError: it has no such band; several files that do not fit together.
    """
    if not isinstance(paths, str | Path):
        if len(paths) != 1:
            from .mosaic import Mosaic

            return Mosaic([Path(p) for p in paths], bands)
        paths = paths[0]
    path = Path(paths)
    with reasons(path):
        kind = kind_of(path)
        if kind == "Pillow":
            height, width, _, _ = pillow_header(path, expand_palette)
            kind = (row_driver(path) if height * width > LARGE else None) or kind
    if kind == "Pillow":
        return WholePicture(path, bands, expand_palette=expand_palette)
    return GdalFile(path, kind, bands, expand_palette=expand_palette)
