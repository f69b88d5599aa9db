"""A prediction folder: rasters of any size to masks, in bounded memory, beside a record of how they were made."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..errors import ConfigError, DataError, ImageError, RoadsegWarning
from ..files import make_folder, write_json
from ..imagery.opening import open_source
from ..machine import versions
from .assemble import assemble
from .jobs import Job, plan_outputs
from .journal import RECORD, Journal
from .parts import DamagedPart, FolderParts, MemoryParts, unfinished
from .plan import Plan, with_views
from .planning import Wanted, check_bands, make_plan
from .predictor import Predictor
from .strips import never, predict_strips

__all__ = [
    "Job",
    "Progress",
    "Spread",
    "Step",
    "Summary",
    "Wanted",
    "plan_outputs",
    "predict_files",
    "run_jobs",
]


@dataclass(frozen=True)
class Step:
    """How far the work is: `image` (from 0) of `images` is in hand, `done` of `pixels` are predicted.

    `kept` of those done were so before, by an interrupted prediction; `seconds` have gone by with the others.
    """

    source: Path
    image: int
    images: int
    done: int
    pixels: int
    kept: int = 0
    seconds: float = 0.0

    @property
    def megapixels_per_second(self) -> float:
        return (self.done - self.kept) / 1e6 / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """None as long as nothing is known."""
        computed = self.done - self.kept
        return (self.pixels - self.done) * self.seconds / computed if computed else None


Progress = Callable[[Step], None]


class Spread(Protocol):
    """Computes strips elsewhere: `advance` is to be called with the pixels that are finished, in this process."""

    def __call__(
        self, plan: Plan, parts: FolderParts, numbers: Sequence[int], advance: Callable[[int], None]
    ) -> None: ...


@dataclass(frozen=True)
class Summary:
    """What was done: `seconds` from the first image's reading to the last mask's writing.

    Attributes:
        pixels: of all the images.
        kept: how many of these were predicted before, by what was interrupted.
        network_pixels: that went through the network in this process.
    """

    folder: Path
    images: int
    pixels: int
    seconds: float
    kept: int = 0
    network_pixels: int = 0

    @property
    def megapixels_per_second(self) -> float:
        return (self.pixels - self.kept) / 1e6 / max(self.seconds, 1e-9)


def predict_files(
    predictor: Predictor,
    inputs: Sequence[Path],
    out: Path,
    probabilities: bool = False,
    progress: Progress | None = None,
    *,
    wanted: Wanted | None = None,
) -> Summary:
    """Predict image files into a folder: masks, what else `wanted` asks for, and `predict.json`.

    Raises:
        DataError, OutputError: see `plan_outputs` and `run_jobs`.
        ModelError: the model does not fit the images.
    """
    return run_jobs(predictor, plan_outputs(inputs, out, probabilities, wanted=wanted), out, progress, wanted=wanted)


def run_jobs(
    predictor: Predictor,
    jobs: Sequence[Job],
    out: Path,
    progress: Progress | None = None,
    *,
    wanted: Wanted | None = None,
    stop: Callable[[], bool] = never,
    spread: Spread | None = None,
) -> Summary:
    """Do what `plan_outputs` planned. What is held at a time is a few rows of windows, whatever the raster's size.

    Finished bands of a large raster are kept in a folder beside its mask until the mask is written. An image that turns
    out damaged does not stop the others; it is named in an error at the end.

    Args:
        wanted: as it was given to `plan_outputs`.
        stop: asked after each band; when it says so, the work ends with a KeyboardInterrupt.
        spread: computes the strips of large rasters, else this process does.

    Raises:
        DataError: before any image is predicted, one whose bands the model does not take, or an interrupted prediction
            that was another one; at the end, damaged images.
        ConfigError: options that do not go together, or with this model.
        OutputError: the folder cannot be written, or the disk is full; finished bands stay.
        KeyboardInterrupt: with what is kept and how to go on.
    """
    wanted = wanted or Wanted()
    _check(predictor, jobs, wanted)
    make_folder(out)
    work = _Work(predictor, jobs, wanted, progress, stop, spread, Journal(out, resume=wanted.resume))
    began = time.perf_counter()
    for number, job in enumerate(jobs):
        try:
            work.do(number, job)
        except DamagedPart:
            raise
        except DataError as error:
            work.failed[job.source] = error
            work.done = sum(one.height * one.width for one in jobs[: number + 1])
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(work.interrupted(job, str(error))) from None
    seconds = time.perf_counter() - began
    if spread is not None and all(plan.small for plan in work.plans.values()):
        warnings.warn(
            "no image is large enough to be shared out: this process has predicted all of them; --mosaic NAME makes "
            "one raster of the files of one survey",
            RoadsegWarning,
            stacklevel=2,
        )
    write_json(out / RECORD, _record(work, seconds))
    work.journal.close()
    if work.failed:
        first = next(iter(work.failed.values()))
        more = f" (and {len(work.failed) - 1} more, listed in '{out / RECORD}')" if len(work.failed) > 1 else ""
        good = len(jobs) - len(work.failed)
        raise ImageError(f"{first}{more}; {good} of {len(jobs)} images are predicted in '{out}'") from first
    pixels = sum(job.height * job.width for job in jobs)
    return Summary(out, len(jobs), pixels, seconds, work.kept, work.network_pixels)


def _check(predictor: Predictor, jobs: Sequence[Job], wanted: Wanted) -> None:
    """What is not going to work is told before anything is predicted."""
    info = predictor.info
    select = wanted.bands if wanted.bands is not None else info.select
    for job in jobs:
        bands = job.bands
        if select is not None:
            with open_source(list(job.sources), bands=select) as source:
                bands = source.bands
        check_bands(str(job.source), bands, info.bands)
    if any(job.uncertainty for job in jobs) and not predictor.tta and not predictor.members:
        what = "a model in 8 bits answers once" if predictor.quantised else "the model is no ensemble"
        raise ConfigError(
            f"--uncertainty is the spread of several answers, and {what}: add --tta, or predict with an ensemble "
            "(roadseg.ensemble)"
        )


@dataclass
class _Work:
    """The images of one run, and how far it is."""

    predictor: Predictor
    jobs: Sequence[Job]
    wanted: Wanted
    progress: Progress | None
    stop: Callable[[], bool]
    spread: Spread | None
    journal: Journal
    done: int = 0
    kept: int = 0
    network_pixels: int = 0
    plans: dict[Path, Plan] = field(default_factory=dict)
    seconds: dict[Path, float] = field(default_factory=dict)
    failed: dict[Path, DataError] = field(default_factory=dict)

    def do(self, number: int, job: Job) -> None:
        """One image."""
        began = time.perf_counter()
        plan = make_plan(job.sources, (job.mask, job.probability, job.uncertainty), self.predictor, self.wanted)
        self.plans[job.source] = plan
        if self.journal.has(plan):
            FolderParts(plan.folder).remove()
            self._advance(number, job, began, job.height * job.width, kept=True)
            return
        parts = MemoryParts() if plan.small else FolderParts.start(plan, resume=self.wanted.resume)
        if isinstance(parts, FolderParts) and self.wanted.resume:
            parts.check()
        numbers = unfinished(plan, parts)
        kept = sum(plan.pixels(band) for strip in plan.strips for band in strip if parts.has(band, "band"))
        if kept:
            self._advance(number, job, began, kept, kept=True)

        def advance(pixels: int) -> None:
            self._advance(number, job, began, pixels)

        try:
            if self.spread is not None and isinstance(parts, FolderParts):
                self.spread(plan, parts, numbers, self._stoppable(advance))
            else:
                run = with_views(self.predictor.bare_for(plan), plan)
                self.network_pixels += predict_strips(plan, numbers, run, parts, stop=self.stop, progress=advance)
            found = assemble(plan, parts, cog=self.wanted.cog)
        except DataError as error:
            if isinstance(error, DamagedPart) or not isinstance(parts, FolderParts):
                raise
            raise type(error)(f"{error}; {_kept(parts)}") from error
        if not found:
            text = f"'{job.source}' has no data anywhere: nor has '{job.mask}'"
            warnings.warn(text, RoadsegWarning, stacklevel=4)
        self.seconds[job.source] = time.perf_counter() - began
        self.journal.add(plan)
        parts.remove()

    def _stoppable(self, advance: Callable[[int], None]) -> Callable[[int], None]:
        """`advance` for work that is done elsewhere: what it raises ends that."""

        def advance_or_stop(pixels: int) -> None:
            advance(pixels)
            if self.stop():
                raise KeyboardInterrupt

        return advance_or_stop

    def _advance(self, number: int, job: Job, began: float, pixels: int, *, kept: bool = False) -> None:
        self.done += pixels
        if kept:
            self.kept += pixels
        if self.progress is not None:
            whole = sum(one.height * one.width for one in self.jobs)
            seconds = sum(self.seconds.values()) + time.perf_counter() - began - self.predictor.setup_seconds
            self.progress(Step(job.source, number, len(self.jobs), self.done, whole, self.kept, seconds))

    def interrupted(self, job: Job, said: str) -> str:
        """How to go on."""
        images = f"{len(self.seconds)} of {len(self.jobs)} images are finished" if len(self.jobs) > 1 else ""
        plan = self.plans.get(job.source)
        bands = _kept(FolderParts(plan.folder)) if plan is not None and plan.folder.is_dir() else ""
        kept = "; ".join(part for part in (images, bands) if part) or "nothing was finished"
        return f"{kept}; the same command with --resume goes on{f' ({said})' if said else ''}"


def _kept(parts: FolderParts) -> str:
    count = len(list(parts.folder.glob("*.band")))
    return f"{count} finished band{'s are' if count != 1 else ' is'} kept in '{parts.folder}'"


def _record(work: _Work, seconds: float) -> dict[str, Any]:
    predictor, wanted = work.predictor, work.wanted
    info, config = predictor.info, predictor.config
    return {
        "model": predictor.name,
        "model_hash": info.hash,
        "classes": list(info.classes),
        "options": {
            "threshold": info.threshold if predictor.outputs == 1 else None,
            "tta": predictor.tta,
            "probabilities": any(job.probability for job in work.jobs),
            "uncertainty": any(job.uncertainty for job in work.jobs),
            "engine": predictor.engine,
            **({"int8": predictor.int8} if predictor.int8 is not None else {}),
            "scale": info.scale,
            "resolution_m": wanted.resolution_m,
            "aoi": str(wanted.aoi) if wanted.aoi is not None else None,
            "cog": wanted.cog,
            "window": config.window,
            "overlap": config.overlap,
            "batch": config.batch,
            **{key: getattr(work.spread, key) for key in ("workers", "threads") if hasattr(work.spread, key)},
        },
        "versions": versions(),
        "seconds": round(seconds, 3),
        "megapixels_per_second": round((work.done - work.kept) / 1e6 / max(seconds, 1e-9), 3),
        "images": [_entry(work, job) for job in work.jobs],
    }


def _entry(work: _Work, job: Job) -> dict[str, Any]:
    """One image in the record."""
    entry: dict[str, Any] = {"input": str(job.source), "width": job.width, "height": job.height}
    if len(job.sources) > 1:
        entry["mosaic"] = [str(path) for path in job.sources]
    if job.source in work.failed:
        return entry | {"error": str(work.failed[job.source])}
    entry["mask"] = job.mask.name
    entry |= {"probabilities": job.probability.name} if job.probability else {}
    entry |= {"uncertainty": job.uncertainty.name} if job.uncertainty else {}
    plan = work.plans[job.source]
    grid = plan.grid
    entry["grid"] = {
        "window": [grid.down.sizes[0], grid.across.sizes[0]],
        "overlap": grid.seam,
        "stride": grid.stride,
        "windows": [len(grid.down), len(grid.across)],
        "network_pixels": grid.network_pixels,
    }
    if plan.scaled:
        entry["resampled"] = {"factor": plan.factor, "width": plan.columns, "height": plan.rows}
    entry |= {"bands": list(plan.select)} if plan.select is not None else {}
    entry |= {"value_range": list(plan.value_range)} if plan.value_range is not None else {}
    entry |= {"seconds": round(work.seconds[job.source], 3)} if job.source in work.seconds else {}
    return entry | {"finished": Journal.entry(plan)}
