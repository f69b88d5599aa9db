"""`roadseg unsubmit`: the contest's CSV file back to masks."""

import argparse
from pathlib import Path

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "turn a submission CSV back into masks of whole 16x16 patches"
EXAMPLE = "roadseg unsubmit submission.csv --out masks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("csv", metavar="FILE.csv", type=Path, help="submission to read")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for mask_NNN.png")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> None:
    """Write the masks and print how many."""
    import json

    from ..roads.submission import unsubmit

    images = unsubmit(args.csv, args.out)
    if args.json:
        print(json.dumps({"images": images, "out": str(args.out)}), flush=True)
    else:
        print(f"{images} masks written to {args.out}", flush=True)
