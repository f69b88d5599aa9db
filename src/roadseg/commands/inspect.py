"""`roadseg inspect`: what a dataset holds, and what the network will see of it."""

import argparse
import json
from pathlib import Path

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "say what is in a dataset, and show what the network will see"
EXAMPLE = "roadseg inspect path/to/cil --out sheet.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg inspect`."""
    add = parser.add_argument
    add("dataset", metavar="DATASET", type=Path, help="a folder of images and masks; many layouts are known")
    add("--out", metavar="FILE.png", type=Path, help="a sheet of images, masks and perturbed crops")
    add("--config", metavar="FILE", type=Path, help="a TOML file, for the perturbations")
    add(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="one setting, e.g. perturb.rotation.strength=10"
    )
    add("--rows", metavar="N", type=int, default=4, help="images on the sheet (4)")
    add("--skip-bad", action="store_true", help="leave bad files out with a warning")
    add("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int | None:
    """Inspect and print."""
    from ..config import load_config
    from ..errors import ConfigError
    from ..inspection import inspect

    if args.rows < 1:
        raise ConfigError(f"--rows {args.rows}: at least 1")
    if args.out is not None and args.out.suffix.lower() != ".png":
        raise ConfigError(f"--out '{args.out}': the sheet is a PNG, give a name that ends in .png")
    found = inspect(args.dataset, args.out, load_config(args.config, args.set), rows=args.rows, skip_bad=args.skip_bad)
    if args.json:
        print(json.dumps(found, indent=2), flush=True)
        return 0
    print(found["summary"])
    low, high = found["class_share_range"]
    print(f"share of {list(found['class_shares'])[-1]} in one image: {low:.1%} to {high:.1%}")
    if found["patch_road_share"] is not None:
        share = found["patch_road_share"]
        print(f"16x16 patches: {share:.1%} road, so calling everything background scores {1 - share:.4f}")
    for first, second, kind in found["duplicates"][:10]:
        print(f"{'the same' if kind == 'same' else 'nearly the same'} picture: {first}, {second}")
    if args.out is not None:
        print(f"sheet -> {args.out}")
    return 0
