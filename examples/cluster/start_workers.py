"""Start Dask workers as jobs of Slurm or LSF, and keep them until interrupted: `roadseg ... --dask FILE` uses them.

    pip install 'roadseg[dask]' dask-jobqueue
    python start_workers.py slurm --jobs 8 --cores 8 --memory 16GB --walltime 04:00:00 --file scheduler.json &
    roadseg predict runs/first country.vrt --out masks --resume --dask scheduler.json    # when the file is there

The file is there as soon as the first worker runs. A job whose time is over, or that is lost, is replaced by another
one. The scheduler is this process: it needs little memory, and a port that the workers' machines reach.
"""

import argparse
import json
import math
import signal
import threading
from pathlib import Path
from typing import Any

LATE = 10 * 60  # seconds before the end of a job from which its workers take no more tasks, and end
GIB = 2**30


def main(words: list[str] | None = None) -> int:
    args = read(words)
    with make_cluster(args) as cluster:
        if args.show:
            print(cluster.job_script())
            return 0
        done = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: done.set())
        cluster.adapt(minimum_jobs=args.jobs, maximum_jobs=args.jobs)  # unlike `scale` it replaces what is lost
        print(f"scheduler at {cluster.scheduler_address}; {args.jobs} jobs asked for", flush=True)
        try:
            while not cluster.scheduler_info["workers"] and not done.wait(1):
                pass
            aside = args.file.with_name(f"{args.file.name}.new")
            aside.write_text(json.dumps({"address": cluster.scheduler_address}), encoding="utf-8")
            aside.replace(args.file)
            print(f"the first worker is there -> {args.file}", flush=True)
            done.wait()
        finally:
            args.file.unlink(missing_ok=True)
    return 0


def read(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("system", choices=("slurm", "lsf"))
    add("--jobs", type=int, default=4, help="how many at once (4)")
    add("--workers", type=int, default=1, help="workers in each job, one strip or one training each (1)")
    add("--cores", type=int, default=8, help="of a job, shared by its workers (8)")
    add("--memory", default="16GB", help="of a job (16GB)")
    add("--walltime", default="04:00:00", help="of a job, HH:MM:SS (04:00:00)")
    add("--queue", help="the queue or partition")
    add("--interface", help="the network that the machines share, e.g. ib0")
    add("--option", action="append", default=[], help="one more option of sbatch or bsub, e.g. --option=--gres=gpu:1")
    add("--prologue", action="append", default=[], help="a line before the worker, e.g. 'source venv/bin/activate'")
    add("--file", type=Path, default=Path("scheduler.json"), help="on a disk that all machines see (scheduler.json)")
    add("--show", action="store_true", help="print the job file that would be handed in, and end")
    return parser.parse_args(words)


def make_cluster(args: argparse.Namespace) -> Any:
    """The cluster of dask-jobqueue, still without jobs."""
    from dask.utils import parse_bytes
    from dask_jobqueue import LSFCluster, SLURMCluster

    hours, minutes, seconds = (int(part) for part in args.walltime.split(":"))
    life = max(60, hours * 3600 + minutes * 60 + seconds - LATE)
    memory = parse_bytes(args.memory)
    options: dict[str, Any] = {
        "cores": args.workers,  # to dask-jobqueue these are threads: one a worker, the engine has the rest itself
        "processes": args.workers,
        "memory": args.memory,
        "queue": args.queue,
        "interface": args.interface,
        "job_extra_directives": args.option,
        "job_script_prologue": args.prologue,
        "worker_extra_args": ["--lifetime", f"{life}s", "--lifetime-stagger", "5m"],
        "scheduler_options": {"dashboard_address": ":0"},
    }
    if args.system == "slurm":
        return SLURMCluster(
            **options,
            walltime=args.walltime,
            job_cpu=args.cores,
            job_mem=f"{math.ceil(memory / GIB)}G",
        )
    return LSFCluster(
        **options,
        walltime=f"{hours}:{minutes:02d}",
        ncpus=args.cores,
        mem=memory,
        use_stdin=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
