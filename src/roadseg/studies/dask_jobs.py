"""Trainings on the workers of a Dask cluster: one of this machine's own, or one that is there, by its address.

A worker does no arithmetic itself: it starts the process that trains and waits for it. When a worker is lost, Dask
gives its training to another one, up to three times (`distributed.scheduler.allowed-failures`); the process that the
lost worker has started ends by itself (its life line is cut), and the new one goes on from the last finished epoch.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..dask_cluster import connect, load_distributed, local_cluster, look
from ..dask_tasks import Tasks, lost_workers, stop_sign
from ..files import make_folder
from .asked import Job, Outcome, from_order, to_order
from .child import GRACE_S
from .parent import train
from .seats import Seat, seats

__all__ = ["run_on_dask"]

PATIENCE_S = GRACE_S + 15  # for a training that has lost its worker to end and to leave its folder
PASSED = ("KERAS_BACKEND", "ROADSEG_")  # variables of the caller that its trainings get

Done = Callable[[int, Outcome], None]


def run_on_dask(
    jobs: Mapping[int, Job], *, workers: int, address: str | None, command: Sequence[str] | None, done: Done
) -> None:
    """Do the jobs, several at once; `done` is called with the number of each and what became of it.

    Args:
        jobs: with absolute paths.
        workers: of a cluster on this machine, when there is no `address`.
        address: `tcp://host:port` of a scheduler, or the path of its scheduler file.

    Raises:
        BackendError: `distributed` is not installed, or the cluster cannot be reached or does not see the folders.
        KeyboardInterrupt: interrupted; no training is left running.
    """
    distributed = load_distributed("several trainings at once", "train one after the other")
    for job in jobs.values():
        make_folder(job.out.parent)
    passed = {k: v for k, v in os.environ.items() if k.startswith(PASSED)}
    opened = local_cluster(distributed, workers) if address is None else connect(distributed, address)
    with opened as client:
        views = look(client, *_folders(list(jobs.values())))
        common = (PATIENCE_S, seats(views), passed, list(command) if command else None)
        tasks = Tasks(
            client,
            _train_there,
            lambda k: (to_order(jobs[k]), *common),
            lambda k, future: done(k, _outcome(jobs[k], future)),
        )
        try:
            tasks.to_the_end(jobs, sum(view["threads"] for view in views.values()))
        except BaseException:
            _await_end([jobs[k] for k in tasks.running])
            raise


def _folders(jobs: Sequence[Job]) -> tuple[Path, set[Path]]:
    """The folder that all workers write to, and what they read."""
    places = {job.dataset for job in jobs} | {job.init for job in jobs if job.init is not None}
    return Path(os.path.commonpath([job.out.parent for job in jobs])), places


def _outcome(job: Job, future: Any) -> Outcome:
    """What a future says; its last lines of standard error are shown where the training failed."""
    if future.status == "finished":
        state, message, seconds, errors = future.result()
        if state == "failed":
            for line in errors:
                print(f"  {line}", file=sys.stderr, flush=True)
            message = f"{message} (see '{job.log_file}')"
        return Outcome(job, state, message, seconds)
    error = future.exception()
    if lost := lost_workers(error):
        return Outcome(job, "failed", f"{lost} workers were lost one after the other with it")
    return Outcome(job, "failed", f"the worker could not start it: {error!r}")


def _await_end(jobs: Iterable[Job]) -> None:
    """Wait until no training runs any more: cancelled ones keep their epoch first."""
    places = [job.lock_file for job in jobs]
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and (_taken or any(place.exists() for place in places)):
        time.sleep(0.2)


# === On a worker ===

_taken: set[tuple[str, int]] = set()
_taking = threading.Lock()


@contextlib.contextmanager
def _sit(address: str, free: Sequence[Seat]) -> Iterator[Seat]:
    """A free seat of this worker; one that joined later than the plan was made has none of its own."""
    with _taking:
        number = next((n for n in range(len(free)) if (address, n) not in _taken), None)
        if number is not None:
            _taken.add((address, number))
    try:
        yield free[number] if number is not None else {}
    finally:
        with _taking:
            _taken.discard((address, number if number is not None else -1))


def _train_there(
    order: dict[str, Any],
    patience: float,
    plan: Mapping[str, Sequence[Seat]],
    passed: Mapping[str, str],
    command: Sequence[str] | None,
) -> tuple[str, str, float, tuple[str, ...]]:
    """Runs on a worker: one training in a process; (state, message, seconds, last lines of standard error)."""
    from distributed import get_worker

    job = from_order(order)
    address = get_worker().address
    with _sit(address, plan.get(address, ())) as seat:
        outcome, errors = train(
            job,
            command=command,
            environment={**seat, **passed},
            log=job.log_file,
            patience=patience,
            stopped=stop_sign(),
        )
    return outcome.state, outcome.message, outcome.seconds, errors
