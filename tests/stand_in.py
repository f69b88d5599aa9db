"""Stands in for the process of a training: `roadseg.studies.child` with a training that takes no time.

What each run does is in `behaviour.json` beside its folder; what was started, with which arguments, in `starts.jsonl`.
Imported, it has what the tests of jobs share.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from roadseg.config import Config, save_config

COMMAND = [sys.executable, str(Path(__file__).resolve())]
VARIABLES = ("KERAS_BACKEND", "ROADSEG_NOTE", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "NPROC")


def plan(folder: Path, **behaviour: str) -> None:
    """Say what the runs in `folder` do, by name: see `train`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "behaviour.json").write_text(json.dumps(behaviour))


def starts(folder: Path, name: str | None = None) -> list[dict[str, Any]]:
    """What was started in `folder`, oldest first."""
    path = folder / "starts.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [start for start in map(json.loads, lines) if name in (None, start["name"])]


def wait_for(*paths: Path, seconds: float = 60) -> None:
    """Until all of the files are there."""
    until = time.monotonic() + seconds
    while not all(path.exists() for path in paths):
        assert time.monotonic() < until, f"none of {[str(p) for p in paths if not p.exists()]} after {seconds} s"
        time.sleep(0.05)


def epoch(out: Path) -> None:
    """One finished epoch."""
    (out / "state").mkdir(parents=True, exist_ok=True)
    save_config(Config(), out / "config.toml")
    (out / "state" / "checkpoint.npz").write_bytes(b"state")


def finish(out: Path) -> None:
    """A finished run."""
    epoch(out)
    (out / "model.keras").write_bytes(b"model")
    (out / "metrics.json").write_text('{"complete": true}')


def train(words: list[str]) -> int:
    """`roadseg train` as `behaviour.json` has it; what is not named there trains well."""
    out = Path(words[words.index("--out") + 1])
    folder = out.parent
    start = {
        "name": out.name,
        "words": words,
        "pid": os.getpid(),
        "variables": {k: os.environ.get(k) for k in VARIABLES},
    }
    with (folder / "starts.jsonl").open("a") as file:
        file.write(json.dumps(start) + "\n")
    plan = folder / "behaviour.json"
    what = json.loads(plan.read_text()).get(out.name, "well") if plan.exists() else "well"
    if what == "badly":
        print("epoch 1 went by")
        print("warning: the sky is falling", file=sys.stderr)
        print("roadseg train: no luck with 'this'", file=sys.stderr)
        return 2
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "crashes":
        raise ValueError("boom")
    if what == "forgets":
        return 0
    if what == "kills its worker":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if what == "with the others":  # as many as are named so must run at once
        (folder / f"{out.name}.here").touch()
        wait_for(*(folder / f"{k}.here" for k, v in json.loads(plan.read_text()).items() if v == what))
    if what == "swallows an interrupt":  # as TensorFlow may while it traces
        try:
            (folder / f"{out.name}.running").touch()
            time.sleep(60)
        except KeyboardInterrupt:
            what = "until interrupted"
    if what == "until interrupted" and "--resume" not in words:
        try:
            epoch(out)
            (folder / f"{out.name}.running").touch()
            time.sleep(60)
        except KeyboardInterrupt:
            (folder / f"{out.name}.interrupted").touch()
            return 130
    finish(out)
    print("trained", flush=True)
    return 0


if __name__ == "__main__":
    from roadseg.studies import child

    child.AGAIN_S = 1.0
    sys.exit(child.work(train))
