"""A grey PNG of any height written row by row: GDAL and Pillow write one only of a picture they hold."""

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["PngWriter"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"  # PNG specification (third edition), 5.2
GREY, UP = 0, 2  # 11.2.2 colour type, 9.2 filter type: the difference to the pixel above
LEVEL = 6  # of zlib, its own choice too
LONGEST = 2**31 - 1  # px of a side
AT_ONCE = 2**16  # bytes of compressed pixels to a chunk


class PngWriter:
    """Writes (n, W) uint8 rows from top to bottom, for a `with` block.

    Raises:
        OSError: the file cannot be written.
        ValueError: more or fewer rows than were said.
    """

    def __init__(self, path: Path, height: int, width: int) -> None:
        if not (1 <= height <= LONGEST and 1 <= width <= LONGEST):
            raise ValueError(f"a PNG cannot be {width}x{height} pixels")
        self.height, self.width = height, width
        self._row = 0
        self._above = np.zeros((1, width), np.uint8)
        self._pack = zlib.compressobj(LEVEL)
        self._packed = bytearray()
        self._file = path.open("wb")
        self._file.write(SIGNATURE)
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, GREY, 0, 0, 0))

    def write(self, rows: NDArray[np.uint8]) -> None:
        """The next rows."""
        lines = np.empty((len(rows), self.width + 1), np.uint8)
        lines[:, 0] = UP
        lines[:, 1:] = rows - np.concatenate([self._above, rows[:-1]])  # modulo 256, as the filter is
        self._above = rows[-1:].copy()
        self._row += len(rows)
        self._packed += self._pack.compress(lines.tobytes())
        if len(self._packed) >= AT_ONCE:
            self._give()

    def __enter__(self) -> "PngWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is not None:
                return
            if self._row != self.height:
                raise ValueError(f"{self._row} rows of {self.height} are written")
            self._packed += self._pack.flush()
            self._give()
            self._chunk(b"IEND", b"")

    def _give(self) -> None:
        self._chunk(b"IDAT", bytes(self._packed))
        self._packed.clear()

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
