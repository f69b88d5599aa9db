"""`roadseg report`: write a run's report.html anew."""

import argparse
from pathlib import Path

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "write the report.html of a run folder anew"
EXAMPLE = "roadseg report runs/first"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("folder", metavar="RUN", type=Path, help="run folder, as `roadseg train --out RUN` makes it")


def run(args: argparse.Namespace) -> None:
    """Write the report and print where it is."""
    from ..reports.html import write_report

    print(f"written to {write_report(args.folder)}", flush=True)
