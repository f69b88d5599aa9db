"""`roadseg predict`: images to masks."""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..inference.outputs import Progress, Step

__all__ = ["EXAMPLE", "HELP", "add_arguments", "add_engine", "run"]

HELP = "predict masks for images of any size with a trained model"
EXAMPLE = "roadseg predict RUN images/ --out masks/ --probabilities"

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
        "--tta", action="store_true", help="mean over the 8 rotations and reflections: 8 times the work"
    )
    parser.add_argument(
        "--threshold", metavar="T", type=float, help="road where the probability is above T (the model's own)"
    )
    add_engine(parser, "auto")
    parser.add_argument("--batch", metavar="N", type=int, help="windows at once (4); fewer need less memory")
    parser.add_argument(
        "--window", metavar="PX", type=int, help="largest side of a window (640); smaller needs less memory"
    )


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

    path = find_model(args.model)  # a wrong path is told before the images are looked at
    jobs = plan_outputs(args.inputs, args.out, args.probabilities)  # and wrong images before the model is loaded
    images = None
    if args.int8:
        from ..inference.int8 import ImageFiles
        from ..learning.runs import read_info

        images = ImageFiles([job.source for job in jobs], read_info(path))
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
    with _progress() as progress:
        summary = run_jobs(predictor, jobs, args.out, progress)
    count = "1 image" if summary.images == 1 else f"{summary.images} images"
    setup = predictor.setup_seconds
    seconds = max(summary.seconds - setup, 1e-9)
    chosen = f"; {setup:.1f} s went into comparing engines, once" if setup else ""
    print(
        f"{count}, {summary.pixels / 1e6:.2f} Mpx in {seconds:.1f} s "
        f"({summary.pixels / 1e6 / seconds:.2f} Mpx/s, {predictor.engine}{chosen}) -> {args.out}",
        flush=True,
    )
    return 0


@contextmanager
def _progress() -> "Iterator[Progress]":
    """A bar on a terminal; elsewhere one flushed line a minute."""
    if not sys.stderr.isatty():
        yield _log_lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def draw(step: "Step") -> None:
            name = f"{min(step.image + 1, step.images)}/{step.images} {step.source.name}"
            bar.update(task, description=name, completed=step.done, total=step.pixels)

        yield draw


def _log_lines() -> "Progress":
    began = last = time.monotonic()

    def tell(step: "Step") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < MINUTE:
            return
        last = now
        share = step.done / step.pixels
        speed = step.done / 1e6 / (now - began)
        print(f"{step.image + 1}/{step.images} images, {share:.0%}, {speed:.2f} Mpx/s, {step.source.name}", flush=True)

    return tell
