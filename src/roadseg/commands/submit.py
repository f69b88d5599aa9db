"""`roadseg submit`: a folder of masks to the contest's CSV file."""

import argparse
from pathlib import Path

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "write the masks of a folder as a submission CSV of 16x16 patches"
EXAMPLE = "roadseg submit predictions --out submission.csv --sample sample_submission.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "masks", metavar="MASKS_DIR", type=Path, help="folder of masks, with the image number in each name"
    )
    parser.add_argument("--out", metavar="FILE.csv", type=Path, required=True, help="file to write")
    parser.add_argument(
        "--sample", metavar="FILE.csv", type=Path, help="sample submission: gives header, ids and order"
    )
    parser.add_argument(
        "--threshold", metavar="T", type=float, default=0.25, help="road above this share of road pixels (default 0.25)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> None:
    """Write the file and print what is in it."""
    import dataclasses
    import json

    from ..roads.submission import write_submission

    summary = write_submission(args.masks, args.out, args.sample, args.threshold)
    if args.json:
        print(json.dumps({**dataclasses.asdict(summary), "out": str(args.out)}), flush=True)
        return
    print(f"images {summary.images}, rows {summary.rows}, road patches {summary.road_share:.1%}", flush=True)
    print(f"written to {args.out}", flush=True)
