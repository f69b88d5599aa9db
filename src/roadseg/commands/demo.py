"""`roadseg demo`: the whole job on made scenes, in minutes."""

import argparse
from pathlib import Path

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "make scenes, train on them, test, predict and write a submission, in minutes"
EXAMPLE = "roadseg demo --out demo --minutes 3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg demo`."""
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("demo"), help="the folder to write (demo)")
    parser.add_argument("--minutes", metavar="M", type=float, default=3.0, help="of training (3)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the scenes and the training (0)")


def run(args: argparse.Namespace) -> int | None:
    """Run the demo; say where everything is and what to type next."""
    from ..demo import run_demo
    from ..errors import ConfigError
    from .train import scores_line

    if not 0 <= args.seed < 2**32 - 1:  # the unseen scenes take the next one
        raise ConfigError(f"--seed {args.seed}: expected 0..{2**32 - 2}")
    made = run_demo(args.out, args.minutes, args.seed)
    print(f"\n{made['scores']['n_images']} unseen scenes: {scores_line(made['scores'])}\n")
    print("what was made:")
    for what, path in (
        ("pictures, probabilities and what was found", made["sheet"]),
        ("report with curves", made["run"] / "report.html"),
        ("trained model, plain Keras", made["run"] / "model.keras"),
        ("masks of the unseen scenes", made["masks"]),
        ("submission of 16x16 patches", made["submission"]),
        ("made scenes, a dataset folder as yours could be", made["scenes"]),
    ):
        print(f"  {path!s:<32} {what}")
    print("\nwith your own images (a folder with images/ and masks/, or the contest's own folder):")
    print("  roadseg inspect path/to/dataset --out sheet.png")
    print("  roadseg train path/to/dataset --out runs/first --minutes 20")
    print("  roadseg predict runs/first path/to/images --out masks")
    return 0
