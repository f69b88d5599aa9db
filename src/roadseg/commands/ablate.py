"""`roadseg ablate`: what helps and what does not, paired over folds and seeds."""

import argparse
import json
from pathlib import Path

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "find out what helps: a study's factors against its baseline, paired over folds and seeds"
EXAMPLE = "roadseg ablate path/to/cil examples/studies/leaky_relu.toml --out studies/leaky"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg ablate`."""
    add = parser.add_argument
    add("dataset", metavar="DATASET", type=Path, help="a folder of images and masks; many layouts are known")
    add("study", metavar="STUDY.toml", type=Path, help="baseline, factors, folds, seeds, metric, length of a training")
    add("--out", metavar="DIR", type=Path, required=True, help="the folder to write, or to go on with")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workers", metavar="N", type=int, default=1, help="trainings at once on this machine (1)")
    where.add_argument("--dask", metavar="ADDRESS", help="of a Dask scheduler whose workers train")
    add(
        "--only",
        metavar="NAME",
        action="append",
        help="train this factor (and the baseline) now; may be repeated; the runs/ of several machines can be put "
        "together",
    )
    add("--keep-runs", action="store_true", help="keep the run folders with their models in DIR/work")
    add("--skip-bad", action="store_true", help="leave bad files out with a warning")
    add("--json", action="store_true", help="the answer as JSON at the end, as in DIR/ablation.json")
    add("--dry-run", action="store_true", help="list what is finished and what is to be trained, and do nothing")


def run(args: argparse.Namespace) -> int | None:
    """Train what is missing, then print the table."""
    from ..errors import ConfigError, RunError
    from ..studies.ablate import ablate, describe_ablation

    if args.workers < 1:
        raise ConfigError(f"--workers {args.workers}: at least 1")
    if args.dry_run:
        print(describe_ablation(args.dataset, args.study, args.out, only=args.only, skip_bad=args.skip_bad))
        return 0
    result = ablate(
        args.dataset,
        args.study,
        args.out,
        workers=args.workers,
        dask=args.dask,
        only=args.only,
        keep=args.keep_runs,
        skip_bad=args.skip_bad,
    )
    if args.json:
        print(json.dumps(result.tables), flush=True)
    else:
        print(f"\n{result.table()}\nstudy -> {result.path}  (ablation.md, ablation.json, report.html)", flush=True)
    if result.failed:
        count = f"{len(result.failed)} training" + ("s" if len(result.failed) > 1 else "")
        raise RunError(
            f"{count} failed, the others are kept: {'; '.join(result.failed[:3])}"
            f"{'; ...' if len(result.failed) > 3 else ''}. Give the same command again to try anew what failed"
        )
    return 0
