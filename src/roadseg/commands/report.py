"""`roadseg report`: write the report.html of a run or a study anew."""

import argparse
from pathlib import Path

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "write the report.html of a run, a cross-validation or an ablation anew"
EXAMPLE = "roadseg report runs/first"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="what `roadseg train`, `crossval` or `ablate` made with --out"
    )


def run(args: argparse.Namespace) -> None:
    """Write the report and print where it is."""
    from ..reports.html import write_report
    from ..reports.study import is_study, write_study_report

    write = write_study_report if is_study(args.folder) else write_report
    print(f"written to {write(args.folder)}", flush=True)
