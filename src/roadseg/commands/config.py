"""`roadseg config`: every knob with its value and what it does, as TOML to start from."""

import argparse
from pathlib import Path

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "print the configuration as TOML, each key with its range and what it does"
EXAMPLE = "roadseg config > my.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg config`."""
    add = parser.add_argument
    add("--section", metavar="NAME", help="one section: data, perturb, network, loss, train or predict (all)")
    add("--config", metavar="FILE", type=Path, help="the values of a TOML file; what it leaves out has its default")
    add("--set", metavar="KEY=VALUE", action="append", default=[], help="one setting over them, e.g. perturb=strong")


def run(args: argparse.Namespace) -> int | None:
    """Print."""
    from ..config import load_config
    from ..reports.reference import config_toml

    print(config_toml(load_config(args.config, args.set), args.section), end="", flush=True)
    return 0
