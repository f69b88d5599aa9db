"""Finished bands put together: the files that a prediction leaves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

from ..errors import OutputError
from ..files import write_aside
from ..imagery.scaled import lay_back
from .blending import Mask, Pixels
from .decision import NO_CLASS, SPREAD_MAX, Planes
from .parts import FolderParts, Parts
from .plan import Plan, open_raw
from .strips import bands

__all__ = ["TIFFS", "assemble", "finish"]

TIFFS = (".tif", ".tiff")

Write = Callable[[Pixels, Mask | None], None]


def assemble(plan: Plan, parts: Parts, *, cog: bool = False) -> bool:
    """Join the strips and write the outputs, aside and renamed.

    Args:
        cog: make TIFFs cloud-optimised ones.

    Returns:
        whether any pixel has data.

    Raises:
        DamagedPart: a part is missing or damaged.
        OutputError: a file cannot be written.
    """
    found = False
    with ExitStack() as stack:
        asides = {name: stack.enter_context(_aside(path, parts)) for name, path in plan.targets.items()}
        with ExitStack() as files:  # all of them are closed, and checked, before the first one is renamed
            writes = {name: files.enter_context(_output(plan, name, path, cog)) for name, path in asides.items()}
            for planes, valid in _rows(plan, parts):
                found = found or valid is None or bool(valid.any())
                for name, write in writes.items():
                    write(planes[name], valid)
    return found


def finish(plan: Plan, parts: Parts, *, cog: bool = False) -> bool:
    """`assemble`, and remove the parts; where that fails they stay."""
    found = assemble(plan, parts, cog=cog)
    parts.remove()
    return found


@contextmanager
def _aside(path: Path, parts: Parts) -> Iterator[Path]:
    """A place to write what becomes `path` when the block ends well.

    Beside the parts, where there are any: what a kill leaves there goes with them.
    """
    if not isinstance(parts, FolderParts):
        with write_aside(path) as aside:
            yield aside
        return
    aside = parts.folder / f".{path.name}"
    try:
        yield aside
        with aside.open("rb") as file:  # on the disk before what it can be made of again has gone
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror or error}; the finished bands stay") from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def _rows(plan: Plan, parts: Parts) -> Iterator[tuple[Planes, Mask | None]]:
    """Finished rows on the raster's own grid, from top to bottom."""
    if not plan.scaled:
        for _, planes, valid in bands(plan, parts):
            yield planes, valid
        return
    levels = ((top, planes["levels"]) for top, planes, _ in bands(plan, parts))
    decision = plan.last_decision
    with open_raw(plan) as source:
        for top, rows in lay_back(levels, (plan.rows, plan.columns), (plan.height, plan.width)):
            planes = decision.empty(len(rows), plan.width)
            decision.put(planes, 0, 0, decision.answer(rows))
            yield planes, source.read(top, top + len(rows)).valid  # to the pixel, as the raster itself has it


@contextmanager
def _output(plan: Plan, name: str, aside: Path, cog: bool) -> Iterator[Write]:
    """Writes rows, and what of them is data, into a file of the kind that the plan says."""
    classes = name == "mask" and plan.classes > 2
    path = plan.targets[name]
    if path.suffix.lower() in TIFFS:
        from .tiff import TiffWriter

        with open_raw(plan) as source:
            placing = source.placing
        with TiffWriter(
            aside,
            plan.height,
            plan.width,
            placing,
            name=str(path),
            # A class map says "no data" by value, a road mask, whose values are all taken, by a mask band.
            nodata=NO_CLASS if classes else None,
            scale=SPREAD_MAX / 255 if name == "uncertainty" else 1.0,
            cog=("nearest" if name == "mask" else "average") if cog else None,
        ) as tiff:
            yield tiff.write
    else:
        from .png import PngWriter

        hole = np.uint8(NO_CLASS if classes else 0)  # all that a grey PNG can say
        with PngWriter(aside, plan.height, plan.width) as png:
            yield lambda rows, valid: png.write(rows if valid is None else np.where(valid, rows, hole))
