"""`roadseg compare`: runs against each other, image by image."""

import argparse
import json
from pathlib import Path

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "compare runs image by image on the validation images they share"
EXAMPLE = "roadseg compare runs/first runs/second"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg compare`."""
    parser.add_argument(
        "runs",
        metavar="RUN",
        type=Path,
        nargs="+",
        help="run folders with the same validation images; the first is the reference",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int | None:
    """Print a table: mean over the images, paired difference to the first run."""
    from .. import evaluation

    result = evaluation.compare(args.runs)
    if args.json:
        print(json.dumps(result, indent=2), flush=True)
        return 0
    print(
        f"{result['images']} validation images in common; scores are means over images, differences to {args.runs[0]}"
    )
    width = max(len(str(r)) for r in args.runs)
    for run_name, scores in result["runs"].items():
        for score, v in scores.items():
            line = f"{run_name:<{width}}  {score:<15} {v['mean']:.4f}"
            if run_name != str(args.runs[0]):
                spread = f" ± {v['sd_of_difference']:.4f} sd" if v["sd_of_difference"] is not None else ""
                line += f"   {v['difference']:+.4f}{spread}   better on {v['better']}, worse on {v['worse']}"
            print(line)
    return 0
