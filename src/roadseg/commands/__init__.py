"""The command line: one thin module per command. Parse, call one function, print. Nothing imports from here."""

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from ..errors import RoadsegError, RoadsegWarning

__all__ = ["main"]

COMMANDS = (
    "demo",
    "prepare",
    "inspect",
    "train",
    "evaluate",
    "compare",
    "crossval",
    "ablate",
    "models",
    "predict",
    "submit",
    "unsubmit",
    "vectorize",
    "score-graph",
    "compare-network",
    "export",
    "report",
    "bench",
    "config",
)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the examples' line breaks, and leaves room for long options."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=110)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line. Loads no heavy package."""
    from .. import __version__

    parser = argparse.ArgumentParser(
        prog="roadseg",
        description="From a handful of labelled aerial images to maps.",
        epilog="Start with `roadseg demo`, or with your own images: `roadseg train DATASET --out RUN`.",
        formatter_class=Formatter,
    )
    parser.add_argument("--version", action="version", version=f"roadseg {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f".{name.replace('-', '_')}", __package__)
        example = f"example:\n  {module.EXAMPLE}"
        sub = commands.add_parser(
            name, help=module.HELP, description=module.HELP + ".", epilog=example, formatter_class=Formatter
        )
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    if issubclass(category, RoadsegWarning):
        print(f"warning: {message}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 2 bad input or usage, 130 interrupted."""
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed help (0) or one message (2)
        return int(stop.code or 0)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up chatter
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", RoadsegWarning)
            warnings.showwarning = _show_warning
            code = int(args.run(args) or 0)
            sys.stdout.flush()  # here, where a reader that has gone is expected, and not at exit
            return code
    except KeyboardInterrupt as stop:
        print(f"\ninterrupted{': ' + str(stop) if str(stop) else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader (head, less) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except RoadsegError as error:
        if args.debug:
            raise
        print(f"roadseg {args.command}: {error}", file=sys.stderr)
        return 2
