"""How many tasks a Dask scheduler bears: empty ones through the same code that gives it the strips of a raster.

    python benchmarks/scheduler_load.py --tasks 1000 10000 100000 --workers 16

A scheduler in a process of its own, workers as threads of a few others, tasks that do nothing. For each number of tasks
one JSON line: tasks per second, time of the scheduler's process per task, its memory before and at its most. As many
tasks are on their way as there are workers, as `roadseg predict --dask` does it; with `--at-once` all of them are
handed over at the start, as a graph would do it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

MB = 2**20
SAMPLE_S = 0.05


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--workers", type=int, default=16, help="tasks at once (16)")
    parser.add_argument("--processes", type=int, default=2, help="that the workers are threads of (2)")
    parser.add_argument("--sleep", type=float, default=0.0, help="seconds that a task takes (0)")
    parser.add_argument("--at-once", action="store_true", help="hand all tasks over at the start")
    args = parser.parse_args(words)
    for count in args.tasks:
        print(json.dumps(measure(count, args.workers, args.processes, args.sleep, args.at_once)), flush=True)
    return 0


def measure(count: int, workers: int, processes: int, sleep: float, at_once: bool) -> dict[str, Any]:
    """Send `count` tasks through a scheduler that was started for them."""
    import distributed
    import psutil

    with cluster(workers, processes) as (address, scheduler), distributed.Client(address) as client:
        client.wait_for_workers(processes, timeout=60)
        process = psutil.Process(scheduler)
        before = process.memory_info().rss
        with watch(process) as seen:
            spent = sum(process.cpu_times()[:2])
            began = time.perf_counter()
            gaps = hand_over(client, count, sleep) if at_once else stream(client, count, workers, sleep)
            seconds = time.perf_counter() - began
            spent = sum(process.cpu_times()[:2]) - spent
    return {
        "tasks": count,
        "at_once": at_once,
        "workers": workers,
        "sleep_s": sleep,
        "seconds": round(seconds, 2),
        "tasks_s": round(count / seconds, 1),
        "scheduler_ms_per_task": round(1000 * spent / count, 3),
        "scheduler_mb_before": round(before / MB, 1),
        "scheduler_mb_most": round(max(seen) / MB, 1),
        "median_gap_ms": round(1000 * statistics.median(gaps), 2) if gaps else None,
    }


def stream(client: Any, count: int, workers: int, sleep: float) -> list[float]:
    """As strips are done; the seconds between one task's end and the next's."""
    from roadseg.dask_tasks import Tasks

    ends: list[float] = []
    tasks = Tasks(client, time.sleep, lambda _: (sleep,), lambda *_: ends.append(time.perf_counter()))
    tasks.to_the_end(range(count), workers)
    return [b - a for a, b in pairwise(ends)]


def hand_over(client: Any, count: int, sleep: float) -> list[float]:
    import distributed

    distributed.wait(client.map(time.sleep, [sleep] * count, pure=False))
    return []


@contextmanager
def cluster(workers: int, processes: int) -> Iterator[tuple[str, int]]:
    """The scheduler's address and process."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        log = (Path(folder) / "log").open("wb")
        started: list[subprocess.Popen[bytes]] = []

        def start(program: str, *options: object) -> None:
            command = [sys.executable, "-m", f"distributed.cli.{program}", "--host", "127.0.0.1", "--no-dashboard"]
            started.append(
                subprocess.Popen([*command, *map(str, options)], stdout=log, stderr=subprocess.STDOUT, cwd=folder)
            )

        try:
            start("dask_scheduler", "--port", 0, "--scheduler-file", file)
            address = ""
            while not address:
                time.sleep(0.1)
                with suppress(OSError, ValueError):  # not there, or not whole yet
                    address = json.loads(file.read_text())["address"]
            for k in range(processes):
                threads = workers // processes + (k < workers % processes)
                start("dask_worker", address, "--no-nanny", "--nthreads", threads)
            yield address, started[0].pid
        finally:
            for one in started:
                one.kill()
                one.wait()
            log.close()


@contextmanager
def watch(process: Any) -> Iterator[list[int]]:
    """The resident memory of a process, bytes, every moment."""
    seen = [process.memory_info().rss]
    done = threading.Event()

    def look() -> None:
        while not done.wait(SAMPLE_S):
            seen.append(process.memory_info().rss)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    raise SystemExit(main())
