"""One training in a process of its own that may be done in pieces: begun, continued, or finished before."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import Config, save_config
from ..errors import RunError
from ..learning.runs import RunFolder

__all__ = ["Clock", "Roadseg", "run_roadseg", "train"]

Roadseg = Callable[[Sequence[str]], int]  # runs a command of roadseg, returns its exit code
INTERRUPTED = 130
SHORTEST = 1.0  # minutes left below which nothing is begun


@dataclass(frozen=True)
class Clock:
    """How much of the time that a piece of work may take is left.

    Args:
        minutes: of all of it; None: no limit.
        started: `time.perf_counter()` when it began.
    """

    minutes: float | None
    started: float

    @classmethod
    def start(cls, minutes: float | None) -> "Clock":
        return cls(minutes, time.perf_counter())

    @property
    def left(self) -> float | None:
        """Minutes; None: no limit."""
        if self.minutes is None:
            return None
        return self.minutes - (time.perf_counter() - self.started) / 60

    @property
    def is_over(self) -> bool:
        return self.left is not None and self.left < SHORTEST


def run_roadseg(words: Sequence[str]) -> int:
    """`python -m roadseg WORDS` in a process of its own; its exit code. Ctrl-C reaches it, and it keeps its epochs."""
    with subprocess.Popen([sys.executable, "-m", "roadseg", *words]) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # the child has it too
                continue


def train(
    data: Path,
    out: Path,
    config: Config,
    held_out: Path,
    *,
    asked: str,
    init: Path | None = None,
    clock: Clock | None = None,
    roadseg: Roadseg = run_roadseg,
) -> bool:
    """Train, go on with a training, or find it finished; whether it is finished now.

    Args:
        data: a dataset folder.
        out: the run folder.
        held_out: names of the images that validate.
        asked: what was asked for, as a hash; a run that was begun otherwise is refused.
        init: a model to start from.
        clock: how long it may take; the rest is left for the next call.

    Raises:
        RunError: the training failed, or the run that is there was asked otherwise.
        KeyboardInterrupt: interrupted; the same call goes on.
    """
    folder, note = RunFolder(out), out.with_name(f"{out.name}.asked")
    if folder.checkpoint.is_file() or (out / "metrics.json").is_file():
        if note.is_file() and note.read_text(encoding="utf-8").strip() != asked:
            raise RunError(f"'{out}' was begun by another recipe, length or data: remove it, or give another --work")
        if (out / "metrics.json").is_file() and folder.read_json("metrics.json").get("complete"):
            return True
    if clock is not None and clock.is_over:
        return False
    pause = [] if clock is None or clock.left is None else ["--pause", f"{clock.left:.2f}"]
    if folder.checkpoint.is_file():
        code = roadseg(["train", str(data), "--out", str(out), "--resume", *pause])
    else:
        folder.discard()  # nothing is learnt yet
        out.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(asked + "\n", encoding="utf-8")
        words = ["train", str(data), "--out", str(out), "--val-names", str(held_out), *pause]
        words += [] if init is None else ["--init", str(init)]
        with tempfile.TemporaryDirectory(prefix="roadseg-") as place:
            save_config(config, Path(place) / "recipe.toml")
            code = roadseg([*words, "--config", str(Path(place) / "recipe.toml")])
    if code == INTERRUPTED:
        if clock is not None and clock.left is not None:
            return False
        raise KeyboardInterrupt(f"'{out}' is kept as far as it got; the same command again goes on")
    if code:
        raise RunError(f"the training of '{out}' failed with code {code}: see what it said above")
    return True
