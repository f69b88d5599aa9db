"""A tiled, compressed GeoTIFF of one 8-bit band written row by row, checked, and on request made a COG."""

import contextlib
import shutil
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from ..errors import OutputError
from ..imagery.formats import raster_options
from ..imagery.sources import Placing

__all__ = ["TiffWriter"]

BLOCK = 256  # px, side of a tile
COG_BLOCK = 512  # GDAL's own choice for COGs


class TiffWriter:
    """Writes (n, W) uint8 rows from top to bottom, for a `with` block; each tile once, so memory stays a row of tiles.

    The same rows give the same bytes, however they are cut.

    Args:
        path: the file, overwritten.
        placing: its grid.
        name: what errors call it, where that is not `path`.
        nodata: the value that says "no data", where some pixel has none; None: an internal mask says so.
        scale: what a value is multiplied by to have its meaning, where that is not 1.
        cog: make it a cloud-optimised one at the end, with overviews; of "nearest" pixels or their "average".

    Raises:
        OutputError: it cannot be written, or does not hold what was written when it is read again.
    """

    def __init__(
        self,
        path: Path,
        height: int,
        width: int,
        placing: Placing,
        *,
        name: str = "",
        nodata: int | None = None,
        scale: float = 1.0,
        cog: Literal["nearest", "average"] | None = None,
    ) -> None:
        self.path, self.height, self.width, self.name = path, height, width, name or str(path)
        self.placing, self.nodata, self.scale, self.cog = placing, nodata, scale, cog
        self._plain = path.with_name(f"{path.stem}-plain{path.suffix}") if cog else path
        self._rows = np.empty((BLOCK, width), np.uint8)
        self._valid = np.ones((BLOCK, width), bool)
        self._filled = self._done = 0
        self._holes = False  # whether some pixel so far has no data
        self._sum = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "TiffWriter":
        profile: dict[str, Any] = {"driver": "GTiff", "height": self.height, "width": self.width, "count": 1}
        profile |= {"dtype": "uint8", "compress": "deflate", "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK}
        profile |= {"BIGTIFF": "IF_SAFER"}
        if self.placing.transform is not None:
            profile["transform"] = rasterio.Affine(*self.placing.transform)
        if self.placing.crs is not None:
            profile["crs"] = rasterio.crs.CRS.from_user_input(self.placing.crs)
        self._stack.enter_context(raster_options())
        with _reasons(self.path, self.name):
            self._target = self._stack.enter_context(_quiet(self._plain, "w", **profile))
            if self.placing.points[0]:
                self._target.gcps = (list(self.placing.points[0]), self.placing.points[1])
            if self.scale != 1:
                self._target.scales = (self.scale,)
        return self

    def write(self, rows: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None) -> None:
        """The next rows, and where they have data: (n, W) bool, None: everywhere."""
        for begin in range(0, len(rows), BLOCK):
            self._write(rows[begin : begin + BLOCK], None if valid is None else valid[begin : begin + BLOCK])

    def _write(self, rows: NDArray[np.uint8], valid: NDArray[np.bool_] | None) -> None:
        room = BLOCK - self._filled
        for begin, end in ((0, min(room, len(rows))), (min(room, len(rows)), len(rows))):
            if end > begin:
                here = slice(self._filled, self._filled + end - begin)
                self._rows[here] = rows[begin:end]
                self._valid[here] = True if valid is None else valid[begin:end]
                self._filled += end - begin
            if self._filled == BLOCK:
                self._flush()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None:
                with contextlib.suppress(Exception):
                    self._stack.close()
                return
            if self._filled:
                self._flush()
            with _reasons(self.path, self.name):
                if self._holes and self.nodata is not None:
                    self._target.nodata = self.nodata
                self._stack.close()
            if self.cog:
                self._optimise()
            self._check()
        finally:
            if self.cog:
                self._plain.unlink(missing_ok=True)

    def _flush(self) -> None:
        rows, valid = self._rows[: self._filled], self._valid[: self._filled]
        if not valid.all():
            rows[~valid] = self.nodata or 0
            if not self._holes and self.nodata is None:
                for top in range(0, self._done, BLOCK):  # what was written so far has data everywhere
                    self._mask(top, np.ones((min(BLOCK, self._done - top), self.width), bool))
            self._holes = True
        with _reasons(self.path, self.name):
            self._target.write(rows, 1, window=Window(0, self._done, self.width, len(rows)))
        if self._holes and self.nodata is None:
            self._mask(self._done, valid)
        self._sum = zlib.crc32(np.ascontiguousarray(rows).data, self._sum)
        self._done += self._filled
        self._filled = 0

    def _mask(self, top: int, valid: NDArray[np.bool_]) -> None:
        with _reasons(self.path, self.name):
            self._target.write_mask(valid, window=Window(0, top, self.width, len(valid)))

    def _optimise(self) -> None:
        options = {"compress": "deflate", "blocksize": COG_BLOCK, "overview_resampling": self.cog}
        with _reasons(self.path, self.name), raster_options():
            rasterio.shutil.copy(self._plain, self.path, driver="COG", BIGTIFF="IF_SAFER", **options)

    def _check(self) -> None:
        """Read it again: a disk that fills up while a file is closed shows in no other way."""
        found = 0
        with _reasons(self.path, self.name), raster_options(), _quiet(self.path) as source:
            for top in range(0, self.height, BLOCK):
                window = Window(0, top, self.width, min(BLOCK, self.height - top))
                found = zlib.crc32(source.read(1, window=window), found)
        if found != self._sum:
            raise _failed(self.path, self.name, "it does not hold what was written")


@contextlib.contextmanager
def _quiet(path: Path, mode: str = "r", **profile: Any) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, mode, **profile) as dataset:
            yield dataset


@contextlib.contextmanager
def _reasons(path: Path, name: str) -> Iterator[None]:
    try:
        yield
    except (rasterio.errors.RasterioError, rasterio.errors.RasterioIOError, OSError) as error:
        raise _failed(path, name, " ".join(str(error.__cause__ or error).split())[:200]) from error


def _failed(path: Path, name: str, why: str) -> OutputError:
    free = 0
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(path.parent).free
    full = "the disk is full: make room" if free < 2**20 else f"{why}: mend that"
    return OutputError(f"cannot write '{name}' ({full})")
