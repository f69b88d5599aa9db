"""`roadseg crossval`: a recipe trained on every fold of a dataset, and its honest scores."""

import argparse
import contextlib
import json
import sys
from pathlib import Path

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "train a recipe on every fold of a dataset, and score each image by a model that has not seen it"
EXAMPLE = "roadseg crossval path/to/cil --out runs/crossval --minutes 20"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg crossval`."""
    add = parser.add_argument
    add("dataset", metavar="DATASET", type=Path, help="a folder of images and masks; many layouts are known")
    add("--out", metavar="DIR", type=Path, required=True, help="the folder to write; the same command again goes on")
    add("--folds", metavar="N", type=int, default=5, help="number of folds (5)")
    add("--fold-seed", metavar="S", type=int, default=43, help="of the draw of the folds (43)")
    add("--seeds", metavar="N|A,B,..", default="1", help="trainings of each fold, or their seeds, e.g. 0,3,7 (1)")
    add("--config", metavar="FILE", type=Path, help="a TOML file; what it leaves out has its default")
    add(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="one setting, e.g. network.width=16; may be repeated",
    )
    length = parser.add_argument_group("how long, each training").add_mutually_exclusive_group()
    length.add_argument("--epochs", metavar="N", type=int, help="each shows about every training pixel once")
    length.add_argument(
        "--minutes", metavar="M", type=float, help="as many steps as fit, compiling and saving included"
    )
    add("--group", metavar="REGEX", help="images whose names match alike are in one fold, e.g. '^(site\\d+)_'")
    add("--init", metavar="WEIGHTS", type=Path, help="a run or model that each training starts from")
    add("--skip-bad", action="store_true", help="leave bad files out with a warning")
    where = parser.add_argument_group("where").add_mutually_exclusive_group()
    where.add_argument("--workers", metavar="N", type=int, default=1, help="trainings at once on this machine (1)")
    where.add_argument("--dask", metavar="ADDRESS", help="a Dask scheduler whose workers train")
    after = parser.add_argument_group("afterwards")
    after.add_argument("--tta", action="store_true", help="score the mean over 8 rotations and reflections too")
    after.add_argument("--ensemble", action="store_true", help="write all models as one, DIR/ensemble.keras")
    after.add_argument(
        "--road-share",
        metavar="S",
        type=float,
        help="share of patches that are road in the images to come, e.g. 0.16: thresholds are chosen for it",
    )
    add("--json", action="store_true", help="crossval.json on standard output, the display on standard error")
    add("--dry-run", action="store_true", help="say what would be done, and do nothing")


def run(args: argparse.Namespace) -> int | None:
    """Train, score, print the tables and what the thresholds are worth."""
    from ..config import load_config
    from ..studies.crossval import crossval, describe_crossval

    config = load_config(args.config, args.set)
    options = {
        "folds": args.folds, "fold_seed": args.fold_seed, "seeds": _seeds(args.seeds), "epochs": args.epochs,
        "minutes": args.minutes, "group": args.group, "init": args.init, "skip_bad": args.skip_bad,
        "road_share": args.road_share,
    }  # fmt: skip
    if args.dry_run:
        print(describe_crossval(args.dataset, args.out, config, **options))
        return 0
    with contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext():
        found = crossval(
            args.dataset,
            args.out,
            config,
            workers=args.workers,
            dask=args.dask,
            tta=args.tta,
            ensemble=args.ensemble,
            **options,
        )
        print(f"\n{found.table()}\n\n{found.advice()}", flush=True)
        print(f"cross-validation -> {found.path}  (report.html, out_of_fold/, calibration.json)", flush=True)
    if args.json:
        print(json.dumps(found.content, indent=2, ensure_ascii=False), flush=True)
    return 0


def _seeds(text: str) -> int | tuple[int, ...]:
    """`"3"` is three seeds, `"0,3,7"` are those.

    Raises:
        ConfigError: it is neither.
    """
    from ..errors import ConfigError

    try:
        found = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        found = ()
    if not found:
        raise ConfigError(f"--seeds {text}: give their number, or the seeds themselves with commas, e.g. 0,3,7")
    return found if "," in text else found[0]
