"""Whole-process times of `roadseg --help` and of `roadseg predict` for one image of 608x608, medians.

    python benchmarks/startup.py
    python benchmarks/startup.py --model runs/first

Without a model the default network is trained for a few steps on made scenes. The first prediction, which converts the
model and compares the engines, is timed by itself; the others find both in the cache, which is one of its own. Prints
one JSON line, seconds; `python` is what the bare interpreter takes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from paired import ROADSEG, say, train
from PIL import Image

from roadseg.imagery.scenes import make_scene, write_scenes


def seconds(command: list[object], variables: dict[str, str]) -> float:
    """Wall time of a process, from its start to its end; what it complained of when it fails."""
    start = time.perf_counter()
    done = subprocess.run([str(word) for word in command], env=variables, capture_output=True, text=True)
    spent = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nended with code {done.returncode}:\n{done.stderr[-3000:]}")
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a run folder or a model.keras")
    parser.add_argument("--times", type=int, default=7)
    args = parser.parse_args()
    script = Path(sys.executable).with_name("roadseg")
    roadseg: list[object] = [script] if script.is_file() else list(ROADSEG)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = args.model
        if model is None:
            model = folder / "run"
            scenes = write_scenes(folder / "scenes", 4)
            train(scenes, ["train.steps=4", "train.steps_per_epoch=4", "train.batch=2"], "--full", keep=model)
        picture = folder / "picture.png"
        Image.fromarray(make_scene(1, 608)[0]).save(picture)
        variables = {**os.environ, "ROADSEG_CACHE": str(folder / "cache")}
        predict = [*roadseg, "predict", model, picture, "--out", folder / "masks"]
        first = seconds(predict, variables)
        spent: dict[str, list[float]] = {"python": [], "help": [], "predict": []}
        for _ in range(args.times):
            for name, command in (
                ("python", [sys.executable, "-c", "pass"]),
                ("help", [*roadseg, "--help"]),
                ("predict", predict),
            ):
                spent[name].append(seconds(command, variables))
        say(
            **{f"{name}_s": round(statistics.median(values), 3) for name, values in spent.items()},
            predict_first_s=round(first, 2),
            slowest_s={name: round(max(values), 3) for name, values in spent.items()},
            times=args.times,
        )


if __name__ == "__main__":
    main()
