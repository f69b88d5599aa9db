"""`roadseg inspect`: what a dataset holds, what is wrong with it, and what the network will see of it."""

import argparse
import json
from pathlib import Path

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "say what is in a dataset and what is wrong with it, and show what the network will see"
EXAMPLE = "roadseg inspect path/to/cil --out sheet.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg inspect`."""
    add = parser.add_argument
    add("dataset", metavar="DATASET", type=Path, help="a folder of images and masks; many layouts are known")
    add("--out", metavar="FILE.png", type=Path, help="a page of numbers, images, masks, perturbed crops and figures")
    add("--config", metavar="FILE", type=Path, help="a TOML file, for the perturbations")
    add(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="one setting, e.g. perturb.rotation.strength=10"
    )
    add("--rows", metavar="N", type=int, default=4, help="images on the page (4)")
    add("--json", action="store_true", help="as JSON")
    add("--skip-bad", action="store_true", help=argparse.SUPPRESS)  # what it does anyway: bad files are named


def run(args: argparse.Namespace) -> int | None:
    """Inspect and print."""
    from ..config import load_config
    from ..errors import ConfigError
    from ..inspection import describe, inspect

    if args.rows < 1:
        raise ConfigError(f"--rows {args.rows}: at least 1")
    if args.out is not None and args.out.suffix.lower() != ".png":
        raise ConfigError(f"--out '{args.out}': the page is a PNG, give a name that ends in .png")
    found = inspect(args.dataset, args.out, load_config(args.config, args.set), rows=args.rows)
    if args.json:
        print(json.dumps(found, indent=2), flush=True)
        return 0
    print("\n".join(describe(found)))
    if args.out is not None:
        print(f"page -> {args.out}")
    return 0
