"""`roadseg train`: a dataset folder to a run folder, and on request to a submission."""

import argparse
import os
import time
from pathlib import Path

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run", "scores_line"]

HELP = "train a network on a folder of images and masks"
OWN = (  # what a resumed run has of its own
    "config", "set", "seed", "val", "val_names", "fold", "fold_seed", "full", "group", "epochs", "minutes", "init",
    "dry_run",
)  # fmt: skip
EXAMPLE = "roadseg train path/to/cil --out runs/first --minutes 20"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg train`."""
    add = parser.add_argument
    add("dataset", metavar="DATASET", type=Path, help="a folder of images and masks; many layouts are known")
    add("--out", metavar="RUN", type=Path, required=True, help="the run folder to write")
    add("--config", metavar="FILE", type=Path, help="a TOML file; what it leaves out has its default")
    add(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="one setting, e.g. network.width=16; may be repeated",
    )
    add("--seed", metavar="N", type=int, help="of weights, split, order and perturbations (0)")
    who = parser.add_argument_group("who validates").add_mutually_exclusive_group()
    who.add_argument("--val", metavar="SHARE", type=float, help="share of the images, drawn by the seed (0.1)")
    who.add_argument("--val-names", metavar="FILE", type=Path, help="a text file with one name a line")
    who.add_argument("--fold", metavar="K/N", help="block K (from 0) of N, drawn by --fold-seed")
    who.add_argument("--full", action="store_true", help="nobody: train on everything, for a submission")
    add("--fold-seed", metavar="S", type=int, help="of --fold (43)")
    add("--group", metavar="REGEX", help="images whose names match alike stay on one side, e.g. '^(site\\d+)_'")
    length = parser.add_argument_group("how long").add_mutually_exclusive_group()
    length.add_argument("--epochs", metavar="N", type=int, help="each shows about every training pixel once")
    length.add_argument(
        "--minutes", metavar="M", type=float, help="as many steps as fit, compiling and saving included"
    )
    add(
        "--devices",
        metavar="N",
        type=int,
        help="GPUs (or other devices) that share every batch, the same result as on one; more than 1 needs "
        "KERAS_BACKEND=jax and a train.batch that N divides (1)",
    )
    add(
        "--pause",
        metavar="M",
        type=float,
        help="stop after M minutes at the end of an epoch, to go on with --resume: where a job's time is limited",
    )
    add("--init", metavar="WEIGHTS", type=Path, help="a run or model to start from, or the name of one in the package")
    add("--resume", action="store_true", help="continue the run in --out, with its own settings")
    add("--skip-bad", action="store_true", help="leave bad files out with a warning")
    add("--dry-run", action="store_true", help="say what would be done, and do nothing")
    add("--test", metavar="IMAGES", type=Path, help="predict these images when trained, into RUN/test")
    add("--submission", metavar="FILE.csv", type=Path, help="and write their patches as a contest submission")
    add("--sample", metavar="FILE.csv", type=Path, help="the contest's sample: header and order of the submission")


def run(args: argparse.Namespace) -> int | None:
    """Train; then test and write the submission where asked for. An interruption says how to go on."""
    from ..studies.asked import IN_STUDY

    try:
        return _run(args)
    except KeyboardInterrupt as stop:
        if not str(stop) or os.environ.get(IN_STUDY):  # a study goes on by its own command
            raise
        raise KeyboardInterrupt(f"{stop}; go on with --resume") from None


def _run(args: argparse.Namespace) -> int | None:
    from .. import api
    from ..config import load_config
    from ..errors import ConfigError
    from ..imagery.splits import parse_fold

    started = time.perf_counter()
    _check_afterwards(args)
    fold = parse_fold(args.fold) if args.fold is not None else None
    if args.fold_seed is not None and fold is None:
        raise ConfigError("--fold-seed needs --fold K/N, the block that validates")
    if args.resume:
        values = {name: getattr(args, name) for name in OWN}
        given = [name for name, value in values.items() if value is not None and value is not False and value != []]
        if given:
            raise ConfigError(f"--resume goes on with the run's own settings: leave out --{given[0].replace('_', '-')}")
        result = api.resume(
            args.dataset, args.out, devices=args.devices, skip_bad=args.skip_bad, pause=args.pause, started=started
        )
    else:
        config = load_config(args.config, args.set)
        options = {
            "val": args.val, "val_names": args.val_names, "full": args.full, "group": args.group,
            "fold": fold, "fold_seed": 43 if args.fold_seed is None else args.fold_seed,
            "init": args.init, "skip_bad": args.skip_bad,
        }  # fmt: skip
        length = {"epochs": args.epochs, "minutes": args.minutes, "seed": args.seed, "devices": args.devices}
        if args.dry_run:
            print(api.describe_training(args.dataset, args.out, config, **length, **options))
            return 0
        result = api.train(args.dataset, args.out, config, pause=args.pause, started=started, **length, **options)
    _print_scores(result)
    if args.test is not None:
        masks = result.path / "test"
        summary = api.predict(result.path, args.test, masks, tta=result.config().predict.tta, engine="keras")
        print(f"{summary.images} test images -> {masks}", flush=True)
    if args.submission is not None:
        from ..roads.submission import write_submission

        patches = result.config().predict.patch_threshold
        written = write_submission(masks, args.submission, args.sample, patches)
        print(
            f"{written.rows} patches of {written.images} images, {written.road_share:.1%} road -> {args.submission}",
            flush=True,
        )
    return 0


def _check_afterwards(args: argparse.Namespace) -> None:
    """Refuse now what testing and the submission would stumble over after the training."""
    import tempfile

    import numpy as np

    from ..errors import ConfigError, OutputError
    from ..files import check_place
    from ..inference.outputs import plan_outputs
    from ..roads.submission import write_submission

    if args.submission is not None and args.test is None:
        raise ConfigError("--submission needs --test IMAGES, the images to predict")
    if args.sample is not None and args.submission is None:
        raise ConfigError("--sample needs --submission FILE.csv, the file to write")
    if args.sample is not None and not args.sample.is_file():
        raise ConfigError(f"--sample '{args.sample}': no such file")
    if args.test is None:
        return
    jobs = plan_outputs([args.test], args.out / "test")
    if args.submission is None:
        return
    check_place(args.submission)
    if args.submission.is_dir():
        raise OutputError(f"--submission '{args.submission}' is a folder: give a file to write")
    blank = ((str(job.source), np.zeros((job.height, job.width), np.uint8)) for job in jobs)
    with tempfile.TemporaryDirectory() as folder:  # names, numbers and sizes against the sample
        write_submission(blank, Path(folder) / "rehearsal.csv", args.sample)


def _print_scores(result: "api.Run") -> None:  # type: ignore[name-defined]  # noqa: F821
    m = result.metrics
    if m.get("n_images"):
        print(f"{m['n_images']} validation image{'s' if m['n_images'] != 1 else ''}: " + scores_line(m), flush=True)
    print(f"run -> {result.path}  (model.keras, report.html, validation/)", flush=True)


def scores_line(m: dict[str, object]) -> str:
    """The main scores in one line, the baseline beside the patch accuracy."""
    parts = [f"pixel F1 {m['pixel_f1']:.4f}", f"IoU {m['pixel_iou']:.4f}", f"accuracy {m['pixel_accuracy']:.4f}"]
    if m.get("patch_accuracy") is not None:
        parts += [
            f"patch accuracy {m['patch_accuracy']:.4f} (all background {m['all_background_patch_accuracy']:.4f})",
            f"patch F1 {m['patch_f1']:.4f}",
        ]
    return ", ".join(parts)
