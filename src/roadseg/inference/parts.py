"""Finished bands of a raster, kept until all of them are there: in a folder, or for a small raster in memory.

    OUT/.x.parts/plan.json       what is predicted, and how
    OUT/.x.parts/000012.band     the planes of band 12, compressed
    OUT/.x.parts/000012.tail     its share in the seam with band 13, float32
    OUT/.x.parts/000012.head     the first of a strip: its share in the seam with band 11, float32

The folder is its own journal: a file has its name only once it is whole (written aside, renamed), the tail before the
band, so a band that is there can be gone on from. Each is a zip of `.npy` files, which `numpy.load` reads, with the
checksums that come with a zip. Tails that nothing needs any more are removed; those at the end of a strip stay.
"""

import contextlib
import errno
import json
import shutil
import uuid
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, OutputError, RoadsegWarning
from ..files import write_json

if TYPE_CHECKING:
    from .plan import Plan

__all__ = ["DamagedPart", "FolderParts", "Kind", "MemoryParts", "Parts", "unfinished"]

Kind = Literal["band", "tail", "head"]
Arrays = dict[str, NDArray[Any]]

PLAN = "plan.json"
LEVEL = 1  # of zlib: masks shrink to some hundredths at any level, and each higher one costs more time than it saves


class DamagedPart(DataError):
    """A part that cannot be read back as it was written."""


class Parts(Protocol):
    """Where finished bands are kept."""

    def has(self, band: int, kind: Kind) -> bool:
        """Whether it is there; it may be damaged."""

    def put(self, band: int, kind: Kind, arrays: Arrays) -> None:
        """Keep arrays; what was there is replaced."""

    def get(self, band: int, kind: Kind) -> Arrays:
        """The arrays.

        Raises:
            DamagedPart: it is not there, or not as it was written.
        """

    def drop(self, band: int, kind: Kind) -> None:
        """Forget it; it need not be there."""

    def remove(self) -> None:
        """Forget everything."""


class MemoryParts:
    """Parts of a raster so small that it is predicted again as soon as its parts are read."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, Kind], Arrays] = {}

    def has(self, band: int, kind: Kind) -> bool:
        return (band, kind) in self._kept

    def put(self, band: int, kind: Kind, arrays: Arrays) -> None:
        self._kept[band, kind] = arrays

    def get(self, band: int, kind: Kind) -> Arrays:
        return self._kept[band, kind]

    def drop(self, band: int, kind: Kind) -> None:
        self._kept.pop((band, kind), None)

    def remove(self) -> None:
        self._kept.clear()


@dataclass(frozen=True)
class FolderParts:
    """Parts in a folder that several processes may write to: each writes whole files, and the same ones.

    Can be pickled. `FolderParts.start` makes the folder.
    """

    folder: Path

    @classmethod
    def start(cls, plan: "Plan", *, resume: bool) -> "FolderParts":
        """The folder of a plan, empty, or with `resume` as it was left.

        A folder that is there and not to be resumed is begun anew, with a RoadsegWarning.

        Raises:
            DataError: the folder is of another plan: another model, other options, or another input.
            OutputError: it cannot be written.
        """
        folder = plan.folder
        if resume and (folder / PLAN).is_file():
            _check_plan(plan, folder)
            for stray in folder.glob(".*"):  # of a process that was killed
                with contextlib.suppress(OSError):
                    stray.unlink()
            return cls(folder)
        if folder.is_dir():
            kept = sum(1 for _ in folder.glob("*.band"))
            if kept:
                warnings.warn(
                    f"'{folder}' held {kept} finished bands of a prediction: begun anew (--resume goes on)",
                    RoadsegWarning,
                    stacklevel=3,
                )
            shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make '{folder}': {error.strerror or error}") from error
        write_json(folder / PLAN, plan.to_dict())
        return cls(folder)

    def has(self, band: int, kind: Kind) -> bool:
        return self._path(band, kind).is_file()

    def put(self, band: int, kind: Kind, arrays: Arrays) -> None:
        """Raises OutputError: the disk is full, or the folder has gone."""
        path = self._path(band, kind)
        aside = path.with_name(f".{path.name}-{uuid.uuid4().hex[:12]}")
        way = zipfile.ZIP_DEFLATED if kind == "band" else zipfile.ZIP_STORED  # floats do not shrink
        try:
            with zipfile.ZipFile(aside, "w", way, compresslevel=LEVEL) as archive:
                for name, array in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
            aside.replace(path)
        except OSError as error:
            raise OutputError(self._reason(error)) from error
        finally:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)

    def get(self, band: int, kind: Kind) -> Arrays:
        path = self._path(band, kind)
        try:
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise DamagedPart(f"'{path}' is missing or damaged: run the same command again with --resume") from error

    def drop(self, band: int, kind: Kind) -> None:
        with contextlib.suppress(OSError):
            self._path(band, kind).unlink(missing_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def check(self) -> int:
        """Read every part, and drop the damaged ones with a RoadsegWarning that counts them.

        Returns:
            how many were dropped.
        """
        damaged = []
        for path in sorted(self.folder.glob("[0-9]*.*")):
            try:
                with zipfile.ZipFile(path) as archive:
                    whole = archive.testzip() is None
            except (OSError, EOFError, zipfile.BadZipFile, zlib.error):
                whole = False
            if not whole:
                damaged.append(path.name)
                path.unlink(missing_ok=True)
        if damaged:
            warnings.warn(
                f"{len(damaged)} damaged parts in '{self.folder}' ({damaged[0]}): what they held is computed again",
                RoadsegWarning,
                stacklevel=2,
            )
        return len(damaged)

    def _path(self, band: int, kind: Kind) -> Path:
        return self.folder / f"{band:06d}.{kind}"

    def _reason(self, error: OSError) -> str:
        if not self.folder.is_dir():
            return f"the folder '{self.folder}' has been removed during the prediction: start it again"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return (
                f"the disk of '{self.folder}' is full: the finished bands stay there; make room and run the same "
                "command with --resume"
            )
        return f"cannot write to '{self.folder}' ({error.strerror or error}): mend that and go on with --resume"


def _check_plan(plan: "Plan", folder: Path) -> None:
    try:
        found = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"'{folder / PLAN}' is damaged: predict without --resume") from error
    ours, theirs = plan.shaping(), type(plan).shaping_of(found)
    if ours == theirs:
        return
    names = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    name = names[0]
    raise DataError(
        f"'{folder}' was begun with other settings: {name} was {theirs.get(name)!r} and is {ours.get(name)!r}"
        f"{f' (also {chr(44).join(names[1:])})' if names[1:] else ''}: "
        "give what it was begun with, or predict without --resume"
    )


def unfinished(plan: "Plan", parts: Parts) -> list[int]:
    """Numbers of the plan's strips that lack something."""
    return [number for number, strip in enumerate(plan.strips) if missing(plan, parts, strip)]


def missing(plan: "Plan", parts: Parts, strip: Iterable[int]) -> list[int]:
    """The bands of a strip that have to be computed, ascending."""
    bands = list(strip)
    gone = [band for band in bands if not parts.has(band, "band")]
    if bands[0] and not parts.has(bands[0], "head"):
        gone.append(bands[0])
    if bands[-1] + 1 < len(plan.grid.down) and not parts.has(bands[-1], "tail"):
        gone.append(bands[-1])
    return sorted(set(gone))
