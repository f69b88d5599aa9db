"""Peak memory of training, and what it costs in speed to keep half of the images in a file.

    python benchmarks/memory.py path/to/cil

Trains a network of width 32 and depth 4 with batches of 8 for a few steps, validation and saving included: the largest
memory that the tree of processes holds, MB. Then the same with `data.memory_share` set so that half of the decoded
images fit. The ratio is that of step times taken in turns, above 1: the capped run is faster. Prints one JSON line.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from paired import ROADSEG, median_ratio, say, step_seconds

from roadseg.bench.memory import run_watched
from roadseg.imagery.dataset import open_dataset
from roadseg.imagery.store import memory_bytes


def peak_mb(data: Path, settings: list[str], steps: int) -> tuple[float | None, bool]:
    """Peak memory of a short run, and whether its images lay in a file."""
    words = [word for setting in [*settings, f"train.steps={steps}"] for word in ("--set", setting)]
    with tempfile.TemporaryDirectory() as folder:
        done, peak = run_watched([*ROADSEG, "train", str(data), "--out", f"{folder}/run", *words])
    if done.returncode:
        sys.exit(f"training ended with code {done.returncode}:\n{done.stderr[-3000:]}")
    return peak, "decoded images in a file" in done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a dataset folder")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe; may be repeated"
    )
    parser.add_argument("--steps", type=int, default=24, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    plain = [
        "network.width=32",
        "network.depth=4",
        "network.stem=none",
        "network.stem=none",
        "train.batch=8",
        *args.set,
    ]
    dataset = open_dataset(args.data)
    decoded = sum(
        height * width * (dataset.bands + 1) for height, width in dataset.sizes
    )  # image and mask, a byte each
    capped = [*plain, f"data.memory_share={decoded / 2 / memory_bytes():.3e}"]
    peak, _ = peak_mb(args.data, plain, args.steps)
    peak_capped, mapped = peak_mb(args.data, capped, args.steps)
    seconds: dict[str, list[float]] = {"plain": [], "capped": []}
    for _ in range(args.rounds):
        for name, settings in (("plain", plain), ("capped", capped)):
            seconds[name].append(step_seconds(args.data, settings, args.steps)[0])
    say(
        decoded_mb=round(decoded / 2**20, 1),
        peak_mb=peak,
        peak_capped_mb=peak_capped,
        mapped=mapped,
        step_s={name: [round(s, 4) for s in values] for name, values in seconds.items()},
        speed_ratio=round(median_ratio(seconds["plain"], seconds["capped"]), 3),
    )


if __name__ == "__main__":
    main()
