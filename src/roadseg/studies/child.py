"""The process of one training: `python -m roadseg.studies.child`, started by `roadseg.studies.parent`.

Standard input is its order (one line of JSON) and its life line: when that closes, whether the parent asks so or has
died, the training is interrupted and keeps its last finished epoch. It takes the folder's lock, looks at what is there
and then is `python -m roadseg train ...`: it prints the same, and ends with the same exit code.
"""

import json
import os
import runpy
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from ..config import save_config
from ..errors import RoadsegError
from .asked import IN_STUDY, Job, check_job, drop_state, from_order, state_of, write_asked
from .locks import training_lock

__all__ = ["GRACE_S", "work"]

GRACE_S = 60.0  # for an interrupted training to score and save what it has; the epoch itself is on disk already
AGAIN_S = 10.0  # an interrupt can be lost: while TensorFlow traces a function it may be swallowed


class LifeLine:
    """Interrupts this process: by SIGINT (Ctrl-C in the terminal), or when standard input closes."""

    def __init__(self, handle: int = 0) -> None:
        self.handle = handle
        self.cut = False
        self.at_the_end: Callable[[], None] = lambda: None
        signal.signal(signal.SIGINT, self._interrupt)  # a parent in the background may have had it ignored

    def order(self) -> bytes:
        """The line that says what to do; what follows it is not read here."""
        line = bytearray()
        while not line.endswith(b"\n"):
            more = os.read(self.handle, 1)
            if not more:
                break
            line += more
        return bytes(line)

    def watch(self) -> None:
        """Begin to watch for the end of standard input."""
        threading.Thread(target=self._watch, name="roadseg-life-line", daemon=True).start()

    def _watch(self) -> None:
        # Not through sys.stdin: a thread that waits in it would hold its lock when Python ends.
        while os.read(self.handle, 4096):
            pass
        until = time.monotonic() + GRACE_S
        while (left := until - time.monotonic()) > 0:
            if not self.cut:  # Ctrl-C came to parent and child: once is enough, twice would break off the saving
                _interrupt_main_thread()
            time.sleep(min(left, AGAIN_S))
            self.cut = False
        self.at_the_end()
        os._exit(130)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.cut = True
        raise KeyboardInterrupt


def _interrupt_main_thread() -> None:
    if hasattr(signal, "pthread_kill"):  # it wakes up a thread that sleeps; the other does not
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)


def work(train: Callable[[list[str]], int] | None = None) -> int:
    """Do the training that standard input orders; return its exit code.

    Args:
        train: what trains, given the arguments of `roadseg train`; the command itself when None.
    """
    line = LifeLine()
    try:
        asked = line.order()
        if not asked.strip():  # the parent has gone already
            return 130
        order = json.loads(asked)
        line.watch()
        job = from_order(order)
        with training_lock(job.lock_file, order.get("patience", 0.0)) as lock:
            line.at_the_end = lock.release
            code = _train(job, train or _roadseg)
            drop_state(job)
            return code
    except KeyboardInterrupt:
        return 130
    except RoadsegError as error:
        print(f"roadseg train: {error}", file=sys.stderr)
        return 2


def _train(job: Job, train: Callable[[list[str]], int]) -> int:
    """Train anew or go on, whatever the folder holds. Its lock is held: nobody else changes it."""
    check_job(job)
    state = state_of(job)
    if state == "finished":  # by another, while this one waited
        return 0
    words = ["train", str(job.dataset), "--out", str(job.out), *(["--skip-bad"] if job.skip_bad else [])]
    if state == "begun":
        return train([*words, "--resume"])
    from ..learning.runs import RunFolder

    RunFolder(job.out).discard()  # it holds no finished epoch
    write_asked(job)
    k, n = job.fold
    words += ["--fold", f"{k}/{n}", f"--fold-seed={job.fold_seed}"]
    if job.group is not None:
        words.append(f"--group={job.group}")
    if job.init is not None:
        words.append(f"--init={job.init}")
    with tempfile.TemporaryDirectory(prefix="roadseg-") as folder:
        recipe = Path(folder) / "recipe.toml"
        save_config(job.config, recipe)
        return train([*words, "--config", str(recipe)])


def _roadseg(words: list[str]) -> int:
    """`python -m roadseg WORDS` in this process."""
    sys.argv = ["roadseg", *words]
    os.environ[IN_STUDY] = "1"
    try:
        runpy.run_module("roadseg", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    code = work()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # all is written: a thread of the backend that does not end cannot hold this up, nor spoil the code
