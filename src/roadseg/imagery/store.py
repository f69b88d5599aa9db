"""Where decoded pixels live: in memory while they fit a budget, else in a file that is mapped."""

import math
import mmap
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError
from ..files import make_folder

__all__ = ["PixelStore", "memory_bytes"]

Row = tuple[NDArray[Any] | None, ...]

UNKNOWN_MEMORY = 8 * 2**30  # bytes, where the system does not tell
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))  # v2, v1


def memory_bytes() -> int:
    """Memory of this machine in bytes, or of the container that this runs in where that has less."""
    found = UNKNOWN_MEMORY
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in CGROUP_LIMITS:
        try:
            found = min(found, int(path.read_text()))
        except (OSError, ValueError):  # no such limit; "max"
            continue
    return found


class PixelStore:
    """Keeps decoded arrays in memory up to a budget; what exceeds it lies in files on disk, as views on a memory map.

    A file has no name: the system takes it away with the last array that looks into it, however the process ends.

    Args:
        budget: bytes of memory that may be taken, over all calls of `keep`.
        folder: where the files go; made when one is needed.

    Attributes:
        mapped: bytes that went to files.
    """

    def __init__(self, budget: int, folder: Path) -> None:
        self.left = budget
        self.folder = Path(folder)
        self.mapped = 0

    def keep(self, rows: Iterable[Row], size: int) -> list[Row]:
        """The rows of arrays (or None), as they are or as read-only views of the same shape and dtype on a map.

        Args:
            rows: made one after the other while they are stored; mapped ones are never in memory together.
            size: bytes of all of them, as far as it is known beforehand.

        Raises:
            OutputError: the folder cannot be written, or the disk is full.
        """
        if size <= self.left:
            self.left -= size
            return list(rows)
        make_folder(self.folder)
        places: list[list[tuple[int, tuple[int, ...], np.dtype[Any]] | None]] = []
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                if hasattr(os, "posix_fallocate"):  # a full disk is found out now, not after hours of decoding
                    os.posix_fallocate(file.fileno(), 0, size)
                for row in rows:
                    places.append([None if a is None else (_append(file, a), a.shape, a.dtype) for a in row])
                file.flush()
                self.mapped += file.tell()
                pixels = mmap.mmap(file.fileno(), file.tell(), access=mmap.ACCESS_READ)
        except OSError as error:
            raise OutputError(
                f"cannot keep {size / 2**30:.2g} GB of decoded images in '{self.folder}': {error.strerror or error}: "
                "free space there, give another --out, or more memory with --set data.memory_share=..."
            ) from error
        return [tuple(None if place is None else _view(pixels, *place) for place in row) for row in places]


def _append(file: IO[bytes], array: NDArray[Any]) -> int:
    place = file.tell()
    file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return place


def _view(pixels: mmap.mmap, place: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.frombuffer(pixels, dtype, math.prod(shape), place).reshape(shape)
