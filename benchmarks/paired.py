"""What the side-by-side programs share: running programs, their JSON, ratios of turns, results that survive a stop."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

SCORES = ("pixel_f1", "pixel_iou", "patch_accuracy", "patch_f1")
ROADSEG = (sys.executable, "-m", "roadseg")


def peer(name: str) -> Path:
    """A program of the folder that ROADSEG_PEERS names."""
    path = Path(os.environ.get("ROADSEG_PEERS", "")) / name
    if not os.environ.get("ROADSEG_PEERS") or not path.is_file():
        sys.exit(f"set ROADSEG_PEERS to the folder that holds {name}")
    return path


def json_lines(command: Sequence[object]) -> list[dict[str, Any]]:
    """Run a program and return the JSON lines that it prints; its complaints when it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nended with code {done.returncode}:\n{done.stderr[-3000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def say(**values: object) -> None:
    """One JSON line, at once."""
    print(json.dumps(values), flush=True)


def median_ratio(above: Iterable[float], below: Iterable[float]) -> float:
    """Median of the ratios of two rows of figures taken in turns: what slows one turn slows both."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


class Results:
    """A file of JSON lines, one a finished piece of work; what is in it already is not done again.

    A piece is known by its `key`, so a file must not be carried over to another machine or another state of the code.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def find(self, **key: object) -> dict[str, Any] | None:
        """The line whose key is this, if that piece is done."""
        wanted = json.loads(json.dumps(key))  # tuples as lists
        return next((line for line in self.lines if line["key"] == wanted), None)

    def add(self, values: dict[str, Any], **key: object) -> dict[str, Any]:
        """Append what a piece gave, print it, and give its line."""
        line = {"key": json.loads(json.dumps(key)), **values}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.lines.append(line)
        print(json.dumps(line), flush=True)
        return line


def train(data: Path, settings: Iterable[str], *options: object, keep: Path | None = None) -> dict[str, Any]:
    """`roadseg train` with `--set` for each setting: its metrics, and the rows of its history.

    The run folder is `keep`, or taken away.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = keep or Path(folder) / "run"
        words = [word for setting in settings for word in ("--set", setting)]
        json_lines([*ROADSEG, "train", data, "--out", out, *words, *options])
        metrics = json.loads((out / "metrics.json").read_text())
        names, *rows = [line.split(",") for line in (out / "history.csv").read_text().splitlines()]
        return {**metrics, "history": [dict(zip(names, row, strict=True)) for row in rows]}


def scored(run: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a run: steps, seconds, final scores."""
    return {
        "steps": run["steps"],
        "train_s": run["times"]["training_s"],
        "total_s": run["times"]["total_s"],
        **{score: round(run[score], 4) for score in SCORES},
    }


def step_seconds(data: Path, settings: Iterable[str], steps: int = 40) -> tuple[float, float]:
    """Seconds of a training step in a short run of `roadseg train`, feed included, and what the first one took beyond.

    Four epochs: the first compiles, the step is the median of the others.
    """
    each = max(1, steps // 4)
    short = [f"train.steps={4 * each}", f"train.steps_per_epoch={each}"]
    rows = train(data, [*settings, *short], "--full")["history"]
    seconds = [float(row["train_seconds"]) for row in rows]
    step = statistics.median(seconds[1:]) / each
    return step, max(0.0, seconds[0] - each * step)
