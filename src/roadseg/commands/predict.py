"""`roadseg predict`: images to masks."""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..inference.outputs import Progress, Step, Summary
    from ..inference.planning import Wanted
    from ..inference.predictor import Predictor

__all__ = ["EXAMPLE", "HELP", "add_arguments", "add_engine", "run"]

HELP = "predict masks for images and rasters of any size with a trained model"
EXAMPLE = """roadseg predict RUN images/ --out masks/ --probabilities
  roadseg predict RUN city.tif --out masks/ --aoi district.gpkg --cog
  roadseg predict RUN tiles/ --mosaic country --out masks/ --workers 4 --resume"""

MINUTE = 60.0  # seconds between two lines in a log


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg predict`."""
    parser.add_argument("model", metavar="MODEL", help="a run folder or a model.keras")
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", type=Path, help="an image, or a folder of images (not recursive)"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="x.jpg becomes DIR/x.png, x.tif DIR/x.tif"
    )
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="also x_prob.png|tif: 255 where the road's probability is 1 (several classes: the chosen one's)",
    )
    parser.add_argument(
        "--uncertainty",
        action="store_true",
        help="also x_unc.png|tif: standard deviation over --tta's views or an ensemble's members, 255 where it is 0.5",
    )
    parser.add_argument(
        "--tta", action="store_true", help="mean over the 8 rotations and reflections: 8 times the work"
    )
    parser.add_argument(
        "--threshold", metavar="T", type=float, help="road where the probability is above T (the model's own)"
    )
    add_engine(parser, "auto")
    parser.add_argument("--batch", metavar="N", type=int, help="windows at once (2); fewer need less memory")
    parser.add_argument(
        "--window", metavar="PX", type=int, help="largest side of a window (1024); smaller needs less memory"
    )
    rasters = parser.add_argument_group("rasters")
    rasters.add_argument("--mosaic", metavar="NAME", help="all inputs are one raster, predicted to DIR/NAME.tif")
    rasters.add_argument(
        "--resolution", metavar="M", type=float, help="metres per pixel of the inputs (as their files say)"
    )
    rasters.add_argument("--aoi", metavar="FILE", type=Path, help="a vector file: predict within its polygons only")
    rasters.add_argument("--bands", metavar="4,3,2", help="bands that are read, counted from 1 (as in training)")
    rasters.add_argument(
        "--value-range", metavar="LO,HI", help="pixel values that become 0 and 255 (as in training); auto: as found"
    )
    rasters.add_argument("--cog", action="store_true", help="write cloud-optimised GeoTIFFs, with overviews")
    work = parser.add_argument_group("large jobs")
    work.add_argument("--resume", action="store_true", help="go on where the same command was interrupted")
    work.add_argument("--dry-run", action="store_true", help="say what it takes: time, memory, disk; write nothing")
    work.add_argument("--workers", metavar="N", type=int, help="processes that share a raster's strips")
    work.add_argument("--dask", metavar="ADDRESS", help="a Dask scheduler whose workers do (same folders there)")


def add_engine(parser: argparse.ArgumentParser, default: str | None) -> None:
    """`--engine` and `--int8`, for the commands that predict; without a default Keras computes, or OpenVINO in int8."""
    parser.add_argument(
        "--engine",
        choices=("auto", "keras", "openvino", "onnx"),
        default=default,
        help=f"what computes ({default or 'keras'}); auto: the fastest whose answer is Keras' own, tried once a model",
    )
    parser.add_argument(
        "--int8", action="store_true", help="compute in 8 bits (OpenVINO), quantised on the images; the change is told"
    )


def run(args: argparse.Namespace) -> int | None:
    """Check the inputs, load the model, predict, say how fast it went."""
    from ..config import PredictConfig, read_config
    from ..errors import ConfigError
    from ..inference.outputs import plan_outputs, run_jobs
    from ..inference.predictor import load_predictor
    from ..learning.runs import find_model

    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise ConfigError(f"--threshold {args.threshold}: give a probability from 0 to 1")
    tables = {key: getattr(args, key) for key in ("batch", "window") if getattr(args, key) is not None}
    if args.window is not None:  # the usual share of a small window would leave no step
        tables["overlap"] = max(0, min(PredictConfig().overlap, args.window // 2))
    config = read_config({"predict": tables}, source="options").predict
    wanted = _wanted(args)

    path = find_model(args.model)  # a wrong path is told before the images are looked at
    jobs = plan_outputs(args.inputs, args.out, wanted=wanted)  # and wrong images before the model is loaded
    images = None
    if args.int8:
        from ..inference.int8 import ImageFiles
        from ..learning.runs import read_info

        sources = [job.sources for job in jobs]
        images = ImageFiles(sources, read_info(path), bands=wanted.bands, value_range=wanted.value_range)
    predictor = load_predictor(
        args.model,
        config,
        args.tta,
        args.threshold,
        args.engine,
        int8=args.int8,
        calibrate=images,
        tell=partial(print, flush=True),
    )
    if predictor.int8 is not None:
        from ..inference.int8 import describe

        print(describe(predictor.int8), flush=True)
    if args.dry_run:
        from ..inference.estimate import estimate

        print(estimate(predictor, jobs, wanted).text(), flush=True)
        return 0
    with ExitStack() as stack:
        spread = None
        if args.workers is not None or args.dask is not None:
            from ..inference.cluster import open_cluster

            spread = stack.enter_context(open_cluster(args.workers, args.dask))
        progress, stop = stack.enter_context(_progress()), stack.enter_context(_stop_sign())
        summary = run_jobs(predictor, jobs, args.out, progress, wanted=wanted, stop=stop, spread=spread)
    print(_told(summary, predictor), flush=True)
    return 0


def _wanted(args: argparse.Namespace) -> "Wanted":
    from ..inference.planning import Wanted

    bands = _numbers("--bands", args.bands, int, "e.g. 4,3,2")
    values: tuple[float, float] | Literal["auto"] | None = None
    if args.value_range == "auto":
        values = "auto"
    elif (given := _numbers("--value-range", args.value_range, float, "e.g. 0,4095, or auto")) is not None:
        if len(given) != 2:
            raise _refused("--value-range", args.value_range, "two values, e.g. 0,4095, or auto")
        values = given[0], given[1]
    return Wanted(
        probabilities=args.probabilities,
        uncertainty=args.uncertainty,
        resolution_m=args.resolution,
        aoi=args.aoi,
        bands=None if bands is None else tuple(map(int, bands)),
        value_range=values,
        mosaic=args.mosaic,
        cog=args.cog,
        resume=args.resume,
    )


def _numbers(option: str, text: str | None, kind: type[int] | type[float], like: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(kind(word) for word in text.split(","))
    except ValueError:
        raise _refused(option, text, f"numbers with commas, {like}") from None


def _refused(option: str, text: str, expected: str) -> Exception:
    from ..errors import ConfigError

    return ConfigError(f"{option} {text}: expected {expected}")


def _told(summary: "Summary", predictor: "Predictor") -> str:
    count = "1 image" if summary.images == 1 else f"{summary.images} images"
    setup = predictor.setup_seconds
    seconds = max(summary.seconds - setup, 1e-9)
    chosen = f"; {setup:.1f} s went into comparing engines, once" if setup else ""
    before = f", {summary.kept / 1e6:.2f} of them before" if summary.kept else ""
    return (
        f"{count}, {summary.pixels / 1e6:.2f} Mpx{before} in {seconds:.1f} s "
        f"({(summary.pixels - summary.kept) / 1e6 / seconds:.2f} Mpx/s, {predictor.engine}{chosen}) -> {summary.folder}"
    )


@contextmanager
def _stop_sign() -> Iterator[Callable[[], bool]]:
    """A function that says whether the process was asked to end (SIGTERM: what a batch system sends before it kills).

    The band under way is finished then. Ctrl-C does not wait for it.
    """
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    try:
        before = signal.signal(signal.SIGTERM, ask)
    except ValueError:  # not in the main thread: whoever started this one sees to it
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress() -> "Iterator[Progress]":
    """A bar on a terminal; elsewhere one flushed line a minute."""
    if not sys.stderr.isatty():
        yield _log_lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TextColumn("{task.fields[speed]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None, speed="")

        def draw(step: "Step") -> None:
            name = f"{min(step.image + 1, step.images)}/{step.images} {step.source.name}"
            bar.update(task, description=name, completed=step.done, total=step.pixels, speed=_speed(step))

        yield draw


def _log_lines() -> "Progress":
    last = time.monotonic()

    def tell(step: "Step") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < MINUTE:
            return
        last = now
        share = step.done / step.pixels
        print(f"{step.image + 1}/{step.images} images, {share:.0%}, {_speed(step)}, {step.source.name}", flush=True)

    return tell


def _speed(step: "Step") -> str:
    from ..inference.estimate import duration

    left = step.seconds_left
    if left is None:
        return "resumed"
    return f"{step.megapixels_per_second:.2f} Mpx/s, {duration(left)} left"
