"""Whether a raster is still the one that it was: by its files' size and time, and a little of what they hold."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ..errors import ImageError

__all__ = ["Identity", "identities"]

SAMPLE = 64 * 1024  # bytes
SAMPLES = 16  # of a raster, spread over its files
FILES = 10_000  # of a virtual raster, that are looked at

Identity = tuple[str, int, int, str]  # path, bytes, mtime_ns, digest of sampled bytes


def identities(sources: Sequence[Path], aoi: Path | None) -> tuple[Identity, ...]:
    """(path, bytes, mtime_ns, digest of sampled bytes) of every file that the raster is made of.

    The samples are the beginning, the end and places between, 1 MB together: a file of any size is identified in a
    moment, and one that was written anew differs in its time at least.
    """
    files = [file for path in sources for file in _files(path)]
    each = max(2, SAMPLES // max(1, len(files)))
    found = []
    for path in [*files, *([aoi] if aoi is not None else [])]:
        try:
            stat = path.stat()
            digest = hashlib.sha256()
            with path.open("rb") as file:
                for k in range(each):
                    file.seek(max(0, stat.st_size - SAMPLE) * k // (each - 1))
                    digest.update(file.read(SAMPLE))
        except OSError as error:
            raise ImageError(f"'{path}' cannot be read ({error.strerror or error}): check the path") from error
        found.append((str(path.absolute()), stat.st_size, stat.st_mtime_ns, digest.hexdigest()[:16]))
    return tuple(found)


def _files(path: Path) -> list[Path]:
    """The file, and those that a virtual raster points to."""
    if path.suffix.lower() != ".vrt":
        return [path]
    from ..imagery.formats import open_gdal, reasons

    with reasons(path), open_gdal(path, "VRT") as dataset:
        return [path, *sorted({Path(name) for name in dataset.files[:FILES]} - {path})]
