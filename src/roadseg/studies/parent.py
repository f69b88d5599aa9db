"""Starts the process of a training, passes on what it says, stops it, and judges how it ended."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..files import make_folder
from .asked import Job, Outcome, state_of, to_order
from .child import GRACE_S
from .locks import clear_lock

__all__ = ["Ended", "run_process", "train"]

POLL_S = 0.2
KEPT_LINES = 25  # the last ones of standard error
SHOWN_LINES = 3  # of them in a message where the training gave no reason of its own


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit code (negative: the signal that ended it), last lines of standard error, seconds."""

    code: int
    errors: tuple[str, ...]
    seconds: float

    @property
    def message(self) -> str:
        """Why it failed, in one line."""
        own = [line for line in self.errors if line.startswith("roadseg train: ")]
        if own and self.code == 2:
            return re.sub(r"^roadseg train: (error: )?", "", own[-1])
        if self.code < 0 or self.code == 137:  # 137: as a shell says it
            number = -self.code if self.code < 0 else int(signal.SIGKILL)
            try:
                name = signal.Signals(number).name
            except ValueError:
                name = f"signal {number}"
            return "killed (SIGKILL): out of memory?" if name == "SIGKILL" else f"ended by {name}{self._said()}"
        if self.code == 130:
            return "interrupted; the finished epochs are kept"
        return f"ended with exit code {self.code}{self._said()}"

    def _said(self) -> str:
        lines = [line.strip() for line in self.errors if line.strip()]
        if any(line.startswith("Traceback (most recent call last)") for line in lines):
            lines = lines[-1:]
        return f": {' / '.join(lines[-SHOWN_LINES:])}" if lines else ""


def train(
    job: Job,
    *,
    command: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
    patience: float = 0.0,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[Outcome, tuple[str, ...]]:
    """Do a job in a process of its own; what became of it, and the last lines of its standard error.

    Args:
        command: the process; None: `roadseg.studies.child` in this Python.
        environment, log, stopped: see `run_process`.
        patience: seconds to wait for another process that is about to leave the folder.
    """
    make_folder(job.out.parent)  # now: the caller may have cleared it since the job before
    command = command or [sys.executable, "-m", "roadseg.studies.child"]
    order = to_order(job) | {"patience": patience}
    ended = run_process(command, order, environment=environment, log=log, stopped=stopped)
    clear_lock(job.lock_file)  # of a process that was killed
    if ended.code:
        outcome = Outcome(job, "failed", ended.message, ended.seconds)
    elif state_of(job) != "finished":  # the folder has the last word
        outcome = Outcome(job, "failed", f"ended well, and yet '{job.out}' is not a finished run", ended.seconds)
    else:
        outcome = Outcome(job, "trained", "", ended.seconds)
    return outcome, ended.errors


def run_process(
    command: Sequence[str],
    order: Mapping[str, Any],
    *,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Ended:
    """Run one training to its end in a process of its own.

    Args:
        command: the process; it reads its order from standard input, see `roadseg.studies.child`.
        order: what to do, as JSON.
        environment: variables over those of this process.
        log: a file to which all that it prints is added; None: it prints where this process does.
        stopped: asked every moment; True: the training is interrupted.

    Raises:
        KeyboardInterrupt: this process was interrupted; the training has been, too, and has ended.
    """
    started = time.perf_counter()
    tail: deque[str] = deque(maxlen=KEPT_LINES)
    with _output(log) as (stdout, show):
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            start_new_session=log is not None,  # the terminal's Ctrl-C is for the one that shows its output there
        )
        assert process.stdin is not None and process.stderr is not None
        reader = threading.Thread(target=_forward, args=(process.stderr, show, tail), daemon=True)
        reader.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended at once: its exit code says more
                process.stdin.write(json.dumps(order).encode() + b"\n")
                process.stdin.flush()
            while process.poll() is None:
                if stopped():
                    _stop(process)
                    break
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
        except BaseException:
            _stop(process)
            raise
        finally:
            with contextlib.suppress(OSError):
                process.stdin.close()
            reader.join(5)
            if not reader.is_alive():  # else something that it has started still holds the other end
                process.stderr.close()
    return Ended(process.returncode, tuple(tail), time.perf_counter() - started)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Close the life line and wait for the training to keep what it has; a second Ctrl-C does not wait."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S + 5)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _output(log: Path | None) -> Iterator[tuple[Any, Callable[[str], None]]]:
    """Where standard output goes, and what shows a line of standard error."""
    if log is None:
        yield _screen(), _to_stderr
        return
    with log.open("ab", buffering=0) as file:
        yield file, lambda line: _add(file, line)


def _screen() -> Any:
    """Where this process prints: where its output was led elsewhere (`--json`), the training's goes there too."""
    try:
        sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # no file: a notebook
        return None
    return sys.stdout


def _to_stderr(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()


def _add(file: Any, line: str) -> None:
    file.write(line.encode())


def _forward(stream: IO[bytes], show: Callable[[str], None], tail: "deque[str]") -> None:
    for raw in stream:
        line = raw.decode("utf-8", "replace")
        tail.append(line.rstrip())
        with contextlib.suppress(OSError, ValueError):  # the log's disk is full, or the screen has gone
            show(line)
