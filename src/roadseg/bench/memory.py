"""Peak memory of a process and all of its descendants, sampled while they run; no package is needed on Linux."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["run_watched", "tree_memory_mb"]

EVERY_S = 0.5  # seldom: to look costs time that the measured program loses
PROC = Path("/proc")


def run_watched(
    command: Sequence[str], variables: Mapping[str, str] | None = None
) -> tuple["subprocess.CompletedProcess[str]", float | None]:
    """Run a program; what it printed, and the largest memory that its tree of processes held at one time, MB.

    The memory is None where the system does not tell (neither Linux nor psutil).
    """
    process = subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    peak: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(EVERY_S):
            found = tree_memory_mb(process.pid)
            if found is not None:
                peak[:] = [max([*peak, found])]

    thread = threading.Thread(target=watch, name="roadseg-memory", daemon=True)
    thread.start()
    try:
        out, err = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        over.set()
        thread.join()
    return subprocess.CompletedProcess(list(command), process.returncode, out, err), round(peak[0], 1) if peak else None


def tree_memory_mb(root: int) -> float | None:
    """Memory that process `root` and its descendants hold now, MB; None where the system does not tell.

    One process counts with its resident memory; of several, memory that they share counts once (PSS).
    """
    if not (PROC / "self" / "statm").is_file():
        return _psutil_mb(root)
    tree = _descendants(root)
    if len(tree) == 1:
        return _resident_mb(root)
    return sum(_proportional_mb(pid) for pid in tree)


def _descendants(root: int) -> list[int]:
    tree, new = [root], [root]
    while new:
        new = [child for parent in new for child in _children(parent)]
        tree += new
    return tree


def _children(pid: int) -> list[int]:
    """Of all of its threads; the kernel lists them, so that not every process of the machine has to be looked at."""
    found: list[int] = []
    for path in (PROC / str(pid) / "task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended
            found += map(int, path.read_text().split())
    return found


def _resident_mb(pid: int) -> float:
    try:
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _proportional_mb(pid: int) -> float:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:  # another user's, an old kernel, or ended
        return _resident_mb(pid)
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _psutil_mb(root: int) -> float | None:
    try:
        import psutil  # type: ignore[import-untyped]  # only where it is there already
    except ImportError:
        return None
    try:
        process = psutil.Process(root)
        return float(sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])) / 2**20
    except psutil.Error:
        return 0.0
