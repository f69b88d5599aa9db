"""Strips of a raster predicted into parts, and the parts joined: reading, network and writing at the same time.

A thread reads the next row of windows while the network has this one, another makes 8 bits of the answers and writes
each finished band. What is ahead of the network, and behind it, is bounded: memory goes with the band, not the raster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import OutputError
from ..imagery.sources import surely_empty
from ..imagery.value_range import Prepared
from .blending import Blender, Mask, Piece, Pixels, Row, RowReader, join
from .decision import Planes
from .engine import Engine
from .parts import DamagedPart, FolderParts, Parts, missing
from .plan import Plan, open_input
from .tiling import Floats

__all__ = ["Progress", "Slabs", "bands", "predict_strip", "predict_strips"]

SLAB = 256  # rows that are read and made 8-bit at once; the usual height of a file's own blocks
CHUNK = 1024  # columns that are asked at once whether they have data
BEHIND = 8  # pieces that may wait for the writer

Progress = Callable[[int], None]  # is given the pixels of the raster just finished
Stop = Callable[[], bool]


def never() -> bool:
    return False


def predict_strip(
    plan: Plan,
    number: int,
    run: Engine,
    parts: FolderParts,
    *,
    stop: Stop = never,
    progress: Progress | None = None,
) -> None:
    """Compute what is missing of strip `number`, and leave it in `parts`: all that a worker has to do.

    It can be repeated, and done by two processes at once. Killed at any moment it loses the band under way at most.

    Args:
        run: as `plan.open_engine` gives it.
        stop: asked after each band; when it says so, the work ends with a KeyboardInterrupt.

    Raises:
        ImageError: the raster is truncated or damaged; the message names the rows.
        OutputError: the disk is full, or the folder has gone.
        BackendError: the memory does not hold the windows.
        KeyboardInterrupt: `stop` said so.
    """
    predict_strips(plan, [number], run, parts, stop=stop, progress=progress)


def predict_strips(
    plan: Plan,
    numbers: Sequence[int],
    run: Engine,
    parts: Parts,
    *,
    stop: Stop = never,
    progress: Progress | None = None,
    source: Prepared | None = None,
) -> int:
    """The same with several strips, one after another and without a pause between them.

    Args:
        source: the input of the plan, where it is open already.

    Returns:
        pixels that went through the network.
    """
    tasks = [task for number in numbers for task in _tasks(plan, parts, plan.strips[number])]
    if not tasks:
        return 0
    fill = plan.engine == "keras"
    blender = Blender(plan.grid, run, plan.decision.values, plan.batch, fill=fill)
    opened = open_input(plan) if source is None else source
    with opened, _Ahead(plan, opened, tasks) as rows, _Writer(plan, parts, progress) as writer:
        for task, row in zip(tasks, rows, strict=True):
            if task.tail == "none":
                blender.tail = None
            elif task.tail == "file":
                blender.tail = parts.get(task.band - 1, "tail")["tail"]
            writer.begin(task, row)
            for piece in blender.pieces(row):
                writer.add(piece)
            writer.end(blender.tail, blender.head)
            if stop():
                writer.flush()
                raise KeyboardInterrupt
    return blender.network_pixels


@dataclass(frozen=True)
class Task:
    """One row of windows.

    Attributes:
        band: its number.
        keep: whether the band is written; else it is computed for its share in the next one alone.
        tail: where the share of the row above comes from: "none" for the first of a strip, "last" where that row was
            computed just before, "file" where it is in the parts.
        last: whether its own tail has to stay, for the strip below.
    """

    band: int
    keep: bool
    tail: str
    last: bool


def _tasks(plan: Plan, parts: Parts, strip: range) -> Iterator[Task]:
    """What has to be computed of a strip."""
    before = -1
    for band in missing(plan, parts, strip):
        tail = "last" if before == band - 1 else "none"
        if band > strip[0] and tail == "none":
            if _has_tail(parts, band - 1):
                tail = "file"
            else:
                yield Task(band - 1, False, "none", False)
                tail = "last"
        yield Task(band, True, tail, band == strip[-1])
        before = band


def _has_tail(parts: Parts, band: int) -> bool:
    if not parts.has(band, "tail"):
        return False
    try:
        parts.get(band, "tail")
    except DamagedPart:
        parts.drop(band, "tail")
        return False
    return True


# --- reading ---------------------------------------------------------------------------------------------------------


class Slabs:
    """Reads rows of the input a slab at a time: what is larger than 8 bits is held of a slab alone.

    What certainly has no data (outside of the area of interest, between the files of a mosaic) is not read.
    """

    def __init__(self, source: Prepared) -> None:
        self.source = source

    def __call__(self, top: int, bottom: int) -> tuple[Pixels, Mask | None]:
        """Rows top..bottom-1: (rows, W, bands) uint8, and (rows, W) bool where they have data, None: everywhere."""
        source = self.source
        pixels = np.empty((bottom - top, source.width, source.bands), np.uint8)
        valid: Mask | None = None
        for begin in range(top - top % SLAB, bottom, SLAB):  # as a file's blocks lie
            rows = max(begin, top), min(begin + SLAB, bottom)
            here = slice(rows[0] - top, rows[1] - top)
            left, right = self._extent(*rows)
            pixels[here, :left] = pixels[here, right:] = 0
            known: Mask | None = None
            if left < right:
                pixels[here, left:right], known = source.read(*rows, left, right)
            if known is None and (left, right) == (0, source.width):
                continue
            if valid is None:
                valid = np.ones(pixels.shape[:2], bool)
            valid[here, :left] = valid[here, right:] = False
            if known is not None:
                valid[here, left:right] = known
        return pixels, valid

    def _extent(self, top: int, bottom: int) -> tuple[int, int]:
        """The columns that may have data, from the first to one after the last."""
        width = self.source.width
        full = [
            left
            for left in range(0, width, CHUNK)
            if not surely_empty(self.source.source, top, bottom, left, min(left + CHUNK, width))
        ]
        return (full[0], min(full[-1] + CHUNK, width)) if full else (0, 0)


class _Ahead:
    """The rows of windows of some tasks, in order, each read while the one before it is in use."""

    def __init__(self, plan: Plan, source: Prepared, tasks: Sequence[Task]) -> None:
        self._reader = RowReader(Slabs(source), plan.grid)
        self._tasks = tasks
        self._thread = ThreadPoolExecutor(1, "roadseg-read")
        self._next: Future[Row] | None = None

    def __enter__(self) -> _Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[Row]:
        ahead = self._submit(0)
        for k in range(len(self._tasks)):
            row = ahead.result()
            if k + 1 < len(self._tasks):
                ahead = self._submit(k + 1)
            yield row

    def _submit(self, k: int) -> Future[Row]:
        return self._thread.submit(self._reader.row, self._tasks[k].band)


# --- writing ---------------------------------------------------------------------------------------------------------


class _Writer:
    """Makes 8 bits of finished pixels and keeps finished bands, in a thread."""

    def __init__(self, plan: Plan, parts: Parts, progress: Progress | None) -> None:
        self.plan, self.parts, self.progress = plan, parts, progress
        self._thread = ThreadPoolExecutor(1, "roadseg-write")
        self._waiting: deque[Future[None]] = deque()
        self._task: Task | None = None
        self._band: _Band | None = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.flush()
        finally:  # bands that are computed are written, whatever ended the work
            self._thread.shutdown(wait=True, cancel_futures=kind is not None and issubclass(kind, OutputError))

    def begin(self, task: Task, row: Row) -> None:
        self._band = _Band(self.plan, task, row) if task.keep else None

    def add(self, piece: Piece) -> None:
        if self._band is not None:
            self._do(self._band.add, piece)

    def end(self, tail: Floats | None, head: Floats | None) -> None:
        if self._band is not None:
            self._do(self._band.keep, self.parts, tail, head, self.progress)

    def flush(self) -> None:
        """Until all is written."""
        while self._waiting:
            self._waiting.popleft().result()

    def _do(self, function: Callable[..., None], *words: Any) -> None:
        while len(self._waiting) >= BEHIND or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(function, *words))


class _Band:
    """The planes of a band that is being computed."""

    def __init__(self, plan: Plan, task: Task, row: Row) -> None:
        self.plan, self.task, self.valid = plan, task, row.valid
        self.nothing = not row.wanted
        lo, hi = plan.grid.down.own(task.band)
        self.top = lo
        if task.tail == "none" and task.band:  # the seam with the band above is finished elsewhere
            self.top += plan.grid.down.seam(task.band)
        self.planes = plan.decision.empty(hi - self.top, plan.columns)

    def add(self, piece: Piece) -> None:
        self.plan.decision.put(self.planes, piece.top - self.top, piece.left, piece.values)

    def keep(self, parts: Parts, tail: Floats | None, head: Floats | None, progress: Progress | None) -> None:
        band, down = self.task.band, self.plan.grid.down
        if tail is not None:
            parts.put(band, "tail", {"tail": tail})
        if head is not None:
            parts.put(band, "head", {"head": head})
        kept = dict(self.planes)
        if self.valid is not None or self.nothing:
            lo, hi = down.own(band)
            valid = np.zeros((hi - lo, self.plan.columns), bool) if self.valid is None else self.valid
            kept["valid"] = np.packbits(valid, axis=1)
        parts.put(band, "band", kept)
        if self.task.tail != "none":
            parts.drop(band - 1, "tail")
        if progress is not None:
            progress(self.plan.pixels(band))


# --- joining ---------------------------------------------------------------------------------------------------------


def bands(plan: Plan, parts: Parts) -> Iterator[tuple[int, Planes, Mask | None]]:
    """All bands of a raster from top to bottom, the seams between strips joined: (first row, planes, what has data).

    Raises:
        DamagedPart: a part is missing or damaged.
    """
    grid, decision = plan.grid, plan.decision
    firsts = {strip[0] for strip in plan.strips}
    for band in range(len(grid.down)):
        top, bottom = grid.down.own(band)
        planes = parts.get(band, "band")
        packed = planes.pop("valid", None)
        valid = None
        if packed is not None:
            valid = np.unpackbits(packed, axis=1, count=grid.width).astype(bool)
        if band and band in firsts:
            planes = _with_seam(plan, parts, band, planes)
        if any(len(plane) != bottom - top for plane in planes.values()) or set(planes) != set(decision.names):
            raise DamagedPart(f"band {band} of '{plan.mask}' is not as it was planned: predict without --resume")
        yield top, planes, valid


def _with_seam(plan: Plan, parts: Parts, band: int, planes: Planes) -> Planes:
    """The planes of the first band of a strip, below the seam with the strip above, with that seam."""
    rows = plan.grid.down.seam(band)
    tail, head = parts.get(band - 1, "tail")["tail"], parts.get(band, "head")["head"]
    seam = plan.decision.empty(rows, plan.columns)
    plan.decision.put(seam, 0, 0, join(tail[:rows], head[:rows]))
    return {name: np.concatenate([seam[name], plane]) for name, plane in planes.items()}
