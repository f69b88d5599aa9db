"""One file that GDAL reads a window at a time, as pixels of one form: palettes as colours, alpha as what is valid."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasterio.windows import Window

from ..errors import ImageError
from .crs import crs_of
from .formats import open_gdal, raster_options, reasons
from .ground import resolution_of
from .sources import Picture, Placing, checked_bands, checked_window
from .virtual import check_virtual

__all__ = ["GdalFile"]

PLAIN = ("PNG", "JPEG")  # pictures: what a file beside them may say of a place or a mask is not looked at


class GdalFile:
    """A TIFF, a virtual raster, or what else a driver of GDAL reads; a `Source`.

    The file is opened when it is first read from, and closed at the end of the `with` block; it can be read again then.
    A copy in another process (pickle) opens its own. One thread at a time.

    Args:
        path: the file.
        driver: of GDAL.
        bands: numbers from 1 of the bands wanted, in this order; of a palette's three colours where there is a
            palette. None: all but alpha. A band that the file calls alpha is a band like others where it is asked for.
        expand_palette: False keeps the indices of a palette image as one band, and `read` gives the palette.

    Attributes:
        nodata: the value that the file says is no data, or None.

    Raises:
        ImageError: it cannot be read, or its pixels are no real numbers.
        DataError: it has no such band.
    """

    def __init__(
        self, path: Path, driver: str, bands: Sequence[int] | None = None, *, expand_palette: bool = True
    ) -> None:
        self.path, self.name = Path(path), str(path)
        self._asked = (driver, None if bands is None else tuple(bands), expand_palette)
        self._driver = driver
        self._dataset: Any = None
        with reasons(self.path):
            if driver == "VRT":
                check_virtual(self.path)
        with reasons(self.path), open_gdal(self.path, driver) as dataset:
            self.height, self.width = int(dataset.height), int(dataset.width)
            self.placing = _placing(dataset)
            self.nodata: float | None = dataset.nodata
            self._form = _form(self.path, dataset, bands, expand_palette)
        self.bands = self._form.bands
        self.dtype = self._form.dtype

    @functools.cached_property
    def resolution_m(self) -> float | None:
        """Metres on the ground per pixel at the middle; of a thousand tiles nobody asks but the first."""
        if self.placing.crs is None or self.placing.transform is None:
            return None
        return resolution_of(crs_of(self.placing.crs), Affine(*self.placing.transform), self.height, self.width)

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> Picture:
        """(bottom - top, right - left, bands) of a window, in the file's own dtype.

        Raises:
            ImageError: the file is truncated or damaged there.
        """
        right = checked_window(self, top, bottom, left, right)
        return self._read(top, bottom, left, right, (bottom - top, right - left))

    def small(self, height: int, width: int) -> Picture:
        """All of it in another size, each pixel the nearest one's; from an overview where there is one."""
        return self._read(0, self.height, 0, self.width, (height, width))

    def __enter__(self) -> GdalFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; reading opens it again."""
        if self._dataset is not None:
            self._dataset.close()
        self._dataset = None

    def __reduce__(self) -> Any:
        driver, bands, expand_palette = self._asked
        return _again, (self.path, driver, bands, expand_palette)

    def _read(self, top: int, bottom: int, left: int, right: int, size: tuple[int, int]) -> Picture:
        form = self._form
        pixels = np.empty((*size, len(form.numbers)), form.raw)
        valid: NDArray[np.bool_] | None = None
        if pixels.size:
            window = Window(left, top, right - left, bottom - top)
            with reasons(self.path, (top, bottom)), raster_options():
                dataset = self._opened()
                # GDAL lays the bands side by side itself: a third of the time that NumPy needs for it afterwards.
                dataset.read(list(form.numbers), window=window, out=pixels.transpose(2, 0, 1))
                if form.alpha is not None:
                    valid = dataset.read(form.alpha, window=window, out_shape=size) > 0
                for number in form.masks:
                    mask = dataset.read_masks(number, window=window, out_shape=size) > 0
                    valid = mask if valid is None else valid | mask
        for band, value in enumerate(form.nodata):
            differs = pixels[..., band] != value
            valid = differs if valid is None else np.logical_or(valid, differs, out=valid)
        return form.picture(pixels, valid)

    def _opened(self) -> Any:
        if self._dataset is None:
            with ExitStack() as stack:
                if self.placing.transform is None:  # changing filters of warnings is not safe beside other threads
                    stack.enter_context(warnings.catch_warnings())
                    warnings.simplefilter("ignore", NotGeoreferencedWarning)
                self._dataset = rasterio.open(self.path, driver=self._driver)
        return self._dataset


def _again(path: Path, driver: str, bands: tuple[int, ...] | None, expand_palette: bool) -> GdalFile:
    return GdalFile(path, driver, bands, expand_palette=expand_palette)


@dataclass(frozen=True)
class _Form:
    """How the pixels of a file become those of a `Picture`.

    Attributes:
        numbers: of the file's bands that are read, from 1.
        raw: dtype of the file.
        alpha: the band that says what is valid, where it is not 0; None: there is none, or it is one of `numbers`.
        masks: bands whose GDAL masks, taken together (any says so), are what is valid.
        nodata: of each band, the whole number that is no data where all bands have it: GDAL's masks take four times as
            long as reading itself. With none of these three, all is valid.
        palette: (256, 3), or None.
        picked: of the palette's colours, from 0.
        expand: whether indices become colours.
        bit: whether the pixels are single bits.
    """

    numbers: tuple[int, ...]
    raw: np.dtype[Any]
    alpha: int | None = None
    masks: tuple[int, ...] = ()
    nodata: tuple[int, ...] = ()
    palette: NDArray[np.uint8] | None = None
    picked: tuple[int, ...] = ()
    expand: bool = False
    bit: bool = False

    @property
    def bands(self) -> int:
        return len(self.picked) if self.expand else len(self.numbers)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8) if self.expand else self.raw

    def picture(self, pixels: NDArray[Any], valid: NDArray[np.bool_] | None) -> Picture:
        palette = self.palette
        if palette is not None and self.expand:
            pixels, palette = palette[:, list(self.picked)][pixels[..., 0]], None
        if self.bit:
            pixels = pixels * np.uint8(255)
        if pixels.dtype.kind == "f":
            finite = np.isfinite(pixels).all(axis=-1)
            valid = finite if valid is None else valid & finite
        return Picture(pixels, None if valid is None or valid.all() else valid, palette)


def _form(path: Path, dataset: Any, bands: Sequence[int] | None, expand_palette: bool) -> _Form:
    alpha = [n for n, kind in enumerate(dataset.colorinterp, 1) if kind == ColorInterp.alpha and dataset.count > 1]
    palette = _colormap(dataset)
    if palette is not None:
        checked_bands(str(path), bands, ["red", "green", "blue"])
        picked = (0, 1, 2) if bands is None else tuple(n - 1 for n in bands)
        mask = {"alpha": alpha[0]} if alpha else _mask_of(dataset, (1,))
        return _Form((1,), np.dtype(np.uint8), palette=palette, picked=picked, expand=expand_palette, **mask)
    checked_bands(str(path), bands, [_described(dataset, n) for n in range(1, dataset.count + 1)])
    chosen = [n for n in range(1, dataset.count + 1) if n not in alpha] if bands is None else list(bands)
    dtypes = {str(dataset.dtypes[n - 1]) for n in chosen}
    if len(dtypes) > 1:
        raise ImageError(
            f"the bands of '{path}' are of several kinds ({', '.join(sorted(dtypes))}): choose some of one"
        )
    said = dtypes.pop()
    if said.startswith("complex") or np.dtype(said).kind not in "uif":
        raise ImageError(f"image '{path}' has {said} pixels: expected whole or real numbers, e.g. uint16")
    bit = dataset.tags(chosen[0], ns="IMAGE_STRUCTURE").get("NBITS") == "1" and said == "uint8"
    unchosen = [n for n in alpha if n not in chosen]
    mask = {"alpha": unchosen[0]} if unchosen else _mask_of(dataset, chosen)
    return _Form(tuple(chosen), np.dtype(said), bit=bit, **mask)


def _mask_of(dataset: Any, chosen: Sequence[int]) -> dict[str, Any]:
    """What says where the chosen bands are valid, of a file without alpha: see `_Form`."""
    flags = [dataset.mask_flag_enums[n - 1] for n in chosen]
    if dataset.driver in PLAIN or any(MaskFlags.all_valid in said or MaskFlags.alpha in said for said in flags):
        return {}
    if MaskFlags.per_dataset in flags[0]:
        return {"masks": (chosen[0],)}
    dtype = np.dtype(dataset.dtypes[chosen[0] - 1])
    values = [dataset.nodatavals[n - 1] for n in chosen]
    if dtype.kind in "ui" and dtype.itemsize <= 4 and None not in values:  # beyond, doubles do not hold the value
        limits = np.iinfo(dtype)
        within = all(limits.min <= value <= limits.max and value == int(value) for value in values)
        return {"nodata": tuple(int(value) for value in values)} if within else {}
    return {"masks": tuple(dict.fromkeys(chosen))}


def _described(dataset: Any, number: int) -> str:
    said = dataset.descriptions[number - 1]
    kind = dataset.colorinterp[number - 1].name
    return str(said or ("" if kind in ("undefined", "gray") and dataset.count > 1 else kind))


def _colormap(dataset: Any) -> NDArray[np.uint8] | None:
    """(256, 3) uint8, or None: the file has no palette."""
    if dataset.colorinterp[0] != ColorInterp.palette or dataset.dtypes[0] != "uint8":
        return None
    table = np.zeros((256, 3), np.uint8)
    for index, colour in dataset.colormap(1).items():
        table[index] = colour[:3]
    return table


def _placing(dataset: Any) -> Placing:
    if dataset.driver in PLAIN:
        return Placing()
    points, system = dataset.gcps
    gcps = (tuple(points), system) if points else ((), None)
    transform = None if dataset.transform.is_identity else tuple(float(v) for v in tuple(dataset.transform)[:6])
    crs = None if dataset.crs is None else sys.intern(dataset.crs.to_wkt())  # the same text of thousands of tiles
    return Placing(transform, crs, gcps)  # type: ignore[arg-type]
