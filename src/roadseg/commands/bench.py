"""`roadseg bench`: the speeds of this machine, and of training and prediction on it."""

import argparse
import json

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "measure training and prediction here, as shares of what the machine could reach"
EXAMPLE = "roadseg bench all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg bench`."""
    add = parser.add_argument
    add(
        "what", metavar="train|predict|all", nargs="?", choices=("train", "predict", "all"), default="all", help="(all)"
    )
    add("--json", action="store_true", help="one line of JSON at the end, and nothing else")
    add("--seconds", metavar="S", type=float, help="measuring time of each figure (10)")
    add("--width", metavar="N", type=int, help="of the network: channels at full resolution (32)")
    add("--depth", metavar="N", type=int, help="of the network: poolings (4)")
    add("--batch", metavar="N", type=int, help="images at once (4)")
    add("--size", metavar="PX", type=int, help="side of the images (256)")
    add("--precision", choices=("auto", "float32", "mixed_bfloat16"), help="of training (auto: what training chooses)")
    add("--image", metavar="PX", type=int, help="side of the large image that is predicted (3000)")
    add("--set", metavar="KEY=VALUE", action="append", help="of the recipe, e.g. network.stem=patch; may be repeated")
    parts = "machine, step, fit, overheads, engines or predictor"
    add("--only", metavar="PART", action="append", default=[], help=f"{parts}; may be repeated")


def run(args: argparse.Namespace) -> int | None:
    """Measure and print."""
    import msgspec

    from ..bench import measure, table
    from ..bench.workload import Workload
    from ..config import read_config
    from ..errors import ConfigError

    parts = args.only or measure.WHATS[args.what]
    unknown = [part for part in parts if part not in measure.PARTS]
    if unknown:
        raise ConfigError(f"--only {unknown[0]}: choose from {', '.join(measure.PARTS)}")
    given = {name: getattr(args, name) for name in Workload.__struct_fields__ if getattr(args, name) is not None}
    try:
        workload = msgspec.convert(given, Workload)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$.")
        raise ConfigError(f"--{where.rstrip('`')} {given.get(where.rstrip('`'))}: {message}") from error
    multiple = read_config({}, workload.settings()).network.multiple
    if workload.size % multiple:
        raise ConfigError(f"--size {workload.size}: this network takes multiples of {multiple} pixels")
    if args.json:
        print(json.dumps(measure.measure(workload, parts)), flush=True)
        return 0
    print("\n".join(table.head(workload)), flush=True)
    result = measure.measure(
        workload, parts, lambda part, found: print("\n".join(table.lines(part, found)), flush=True)
    )
    print("\n".join(table.foot(result)), flush=True)
    return 0
