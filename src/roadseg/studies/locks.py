"""A lock beside a run folder: one process trains in it at a time, on whichever machine that shares the disk."""

import contextlib
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import OutputError, RunError
from ..files import make_folder

try:
    import fcntl
except ImportError:  # Windows: what a process left behind when it was killed has to be removed by hand there
    fcntl = None  # type: ignore[assignment]

__all__ = ["Lock", "clear_lock", "lock_beside", "training_lock"]

SIGN_OF_LIFE_S = 30.0  # the lock's time of change is never older while its process lives
POLL_S = 0.5


class Lock:
    """A lock that is held: a file with host, process and start, whose time of change is the last sign of life.

    The system lets go of it with the process, however that ends: a lock that a process of this host has left behind is
    taken over, and a number that another process has by now does not matter.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle: int | None = handle
        self._released = threading.Event()
        me = {"host": platform.node(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps(me).encode())
        threading.Thread(target=self._live, name="roadseg-lock", daemon=True).start()

    def _live(self) -> None:
        while not self._released.wait(SIGN_OF_LIFE_S):
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def release(self) -> None:
        """Let go; a second call does nothing."""
        self._released.set()
        handle, self._handle = self._handle, None
        if handle is None:
            return
        if fcntl is None:
            os.close(handle)  # an open file cannot be removed there
            handle = None
        self.path.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


def lock_beside(folder: Path) -> Path:
    """The lock file of a run or a study: beside its folder."""
    return folder.absolute().with_name(f"{folder.absolute().name}.lock")


@contextlib.contextmanager
def training_lock(path: Path, patience: float = 0.0) -> Iterator[Lock]:
    """Hold the lock file `path` while the block runs.

    Args:
        path: beside the run folder, on the disk that all share.
        patience: seconds to wait for a process that holds it and may be about to end.

    Raises:
        RunError: another process holds it, or one of another host may: how to go on is said.
        OutputError: it cannot be written.
    """
    make_folder(path.parent)
    until = time.monotonic() + patience
    while True:
        taken = _take(path)
        if isinstance(taken, Lock):
            break
        if time.monotonic() >= until:
            raise RunError(taken)
        time.sleep(POLL_S)
    try:
        yield taken
    finally:
        taken.release()


def clear_lock(path: Path) -> None:
    """Remove a lock that a process of this host has left behind; one that is held stays."""
    with contextlib.suppress(OutputError):
        taken = _take(path) if path.exists() else None
        if isinstance(taken, Lock):
            taken.release()


def _take(path: Path) -> Lock | str:
    """The lock, or why it cannot be had."""
    try:
        try:
            handle, new = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        except FileExistsError:
            handle, new = os.open(path, os.O_RDWR), False
    except FileNotFoundError:  # it went away in between
        return f"'{path}' is being taken by another process: try again"
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror or error}") from error
    reason = _refused(path, handle, new)
    if reason is None:
        return Lock(path, handle)
    os.close(handle)
    return reason


def _refused(path: Path, handle: int, new: bool) -> str | None:
    locked = _lock_file(handle)
    holder = _holder(path)
    folder = path.with_suffix("")
    where = f"process {holder.get('pid', '?')} on {holder.get('host', 'another host')}"
    if locked is False:
        since = holder.get("since", "just now")
        return f"'{folder}' is being trained by {where} since {since}: wait for it, or stop it"
    try:
        there, mine = path.stat(), os.fstat(handle)
    except OSError:
        return f"'{path}' is being taken by another process: try again"
    if (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):  # its holder has removed it meanwhile
        return f"'{path}' is being taken by another process: try again"
    if new or (locked and (not holder or holder.get("host") == platform.node())):
        return None  # ours, or left behind by a process of this host that is gone
    # Another host, or a disk without such locks: only its signs of life tell.
    silent = max(0.0, time.time() - there.st_mtime)
    return (
        f"'{folder}' is being trained by {where}, its last sign of life {silent:.0f} s ago: wait for it, or stop it; "
        f"if nothing runs there any more, remove '{path}'"
    )


def _lock_file(handle: int) -> bool | None:
    """Whether the system gave the lock; None where the disk or the system has no such locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _holder(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # just made, and not yet written
        return {}
