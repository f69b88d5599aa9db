"""Trainings on the workers of a Dask cluster: one of this machine's own, or one that is there, by its address.

A worker does no arithmetic itself: it starts the process that trains and waits for it. When a worker is lost, Dask
gives its training to another one, up to three times (`distributed.scheduler.allowed-failures`); the process that the
lost worker has started ends by itself (its life line is cut), and the new one goes on from the last finished epoch.
"""

import contextlib
import json
import logging
import os
import platform
import queue
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import BackendError
from ..files import make_folder, write_text
from ..machine import cores
from .asked import Job, Outcome, from_order, to_order
from .child import GRACE_S
from .parent import train
from .seats import Seat, gpus, seats

__all__ = ["run_on_dask"]

CONNECT_S = 5.0
WORKERS_S = 10.0  # for the first worker to be there
SIGHT_S = 5.0  # for a new file to be seen over the network
CHECK_S = 5.0  # between two looks whether the cluster is still there
ALONE_S = 60.0  # without any worker: a lost one may be started again
PATIENCE_S = GRACE_S + 15  # for a training that has lost its worker to end and to leave its folder
PASSED = ("KERAS_BACKEND", "ROADSEG_")  # variables of the caller that its trainings get
GONE = (
    "the Dask cluster has no workers any more, or its scheduler is gone: finished runs are kept; start it again and "
    "call again to go on"
)

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
    try:
        import distributed
    except ImportError as error:
        raise BackendError(
            "several trainings at once need Dask: pip install 'roadseg[dask]', or train one after the other"
        ) from error

    for job in jobs.values():
        make_folder(job.out.parent)
    with _cluster(distributed, workers, address) as client:
        views = _look(client, list(jobs.values()))
        _Run(client, jobs, seats(views), command, done).to_the_end(sum(view["threads"] for view in views.values()))


class _Run:
    """Jobs on their way through a cluster: as many as it has places, so that no job waits at a worker that is lost."""

    def __init__(
        self, client: Any, jobs: Mapping[int, Job], plan: Mapping[str, Any], command: Sequence[str] | None, done: Done
    ) -> None:
        self.client = client
        self.jobs = jobs
        self.waiting = deque(jobs)
        self.done = done
        passed = {k: v for k, v in os.environ.items() if k.startswith(PASSED)}
        self.common = (PATIENCE_S, plan, passed, list(command) if command else None)
        self.call = uuid.uuid4().hex[:8]
        self.running: dict[int, Any] = {}
        self.ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.alone_since: float | None = None

    def to_the_end(self, places: int) -> None:
        """Submit and collect until all are done."""
        try:
            while self.waiting or self.running:
                while self.waiting and len(self.running) < places:
                    self._submit(self.waiting.popleft())
                try:
                    k = self.ended.get(timeout=CHECK_S)
                except queue.Empty:
                    places = self._places() or places
                    continue
                self.alone_since = None
                if self.running[k].status not in ("finished", "error"):  # cancelled, and not by us
                    raise BackendError(GONE)
                self.done(k, _outcome(self.jobs[k], self.running.pop(k)))
        except BaseException:
            with contextlib.suppress(Exception):  # the cluster may be gone
                self.client.cancel(list(self.running.values()), force=True)
            _await_end([self.jobs[k] for k in self.running])
            raise

    def _submit(self, k: int) -> None:
        future = self.client.submit(
            _train_there, to_order(self.jobs[k]), *self.common, key=f"roadseg-{self.call}-{k}", pure=False
        )
        self.running[k] = future
        future.add_done_callback(lambda _: self.ended.put(k))

    def _places(self) -> int:
        """How many trainings the cluster can do at once now: workers come and go.

        Raises:
            BackendError: it has gone, or has had no worker for a while.
        """
        try:
            threads = sum(self.client.nthreads().values()) if self.client.status == "running" else 0
        except Exception:  # whatever a broken connection raises
            threads = 0
        if threads:
            self.alone_since = None
            return threads
        self.alone_since = self.alone_since or time.monotonic()
        if self.client.status == "closed" or time.monotonic() - self.alone_since > ALONE_S:
            raise BackendError(GONE)
        return 0


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
    if type(error).__name__ == "KilledWorker":
        return Outcome(job, "failed", f"{error.allowed_failures + 1} workers were lost one after the other with it")
    return Outcome(job, "failed", f"the worker could not start it: {error!r}")


def _await_end(jobs: Iterable[Job]) -> None:
    """Wait until no training runs any more: cancelled ones keep their epoch first."""
    places = [job.lock_file for job in jobs]
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and (_taken or any(place.exists() for place in places)):
        time.sleep(0.2)


# === The cluster ===


@contextlib.contextmanager
def _cluster(distributed: Any, workers: int, address: str | None) -> Iterator[Any]:
    """A client of the scheduler at `address`, or of a cluster of this process."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        if address is None:
            # The workers are threads and their trainings processes: they talk without ports, and a script that calls
            # this needs no `if __name__ == "__main__"`. Dask's pages of information cannot be left out: here alone.
            cluster = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=False,
                    dashboard_address="127.0.0.1:0",
                    worker_dashboard_address="127.0.0.1:0",
                    memory_limit=0,
                    silence_logs=logging.CRITICAL,
                )
            )
            yield stack.enter_context(distributed.Client(cluster))
            return
        client = stack.enter_context(_connect(distributed, address))
        try:
            client.wait_for_workers(1, timeout=WORKERS_S)
        except TimeoutError as error:
            raise BackendError(
                f"the Dask scheduler at '{address}' has no workers: start some, e.g. `dask worker {address} "
                "--nthreads 1` on each machine"
            ) from error
        yield client


def _connect(distributed: Any, address: str) -> Any:
    options: dict[str, Any] = {"address": address}
    if "://" not in address:
        path = Path(address).absolute()
        try:
            json.loads(path.read_text(encoding="utf-8"))["address"]
        except FileNotFoundError as error:
            raise BackendError(
                f"no Dask scheduler file at '{path}': give that of `dask scheduler --scheduler-file FILE`, or an "
                "address like tcp://host:8786"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BackendError(f"'{path}' is not a Dask scheduler file: {error}") from error
        options = {"scheduler_file": str(path)}
    try:
        return distributed.Client(**options, timeout=CONNECT_S)
    except (OSError, TimeoutError, ValueError, ImportError) as error:
        raise BackendError(
            f"no Dask scheduler answers at '{address}': is it running, and does its port let this machine in? ({error})"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Dask's own log, of lost and closing connections, is not for the user; what matters is said here."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


# === What the workers see ===


def _look(client: Any, jobs: Sequence[Job]) -> dict[str, dict[str, Any]]:
    """What each worker has, by its address.

    Raises:
        BackendError: one does not see the folders, or has another roadseg.
    """
    from .. import __version__

    shared = Path(os.path.commonpath([job.out.parent for job in jobs]))
    places = {job.dataset for job in jobs} | {job.init for job in jobs if job.init is not None}
    marker, token = shared / f".roadseg-{uuid.uuid4().hex}", uuid.uuid4().hex
    write_text(marker, token)
    try:
        found = client.run(_seen, str(marker), token, sorted(str(p) for p in places), SIGHT_S, on_error="return")
    finally:
        marker.unlink(missing_ok=True)
    for address, view in found.items():
        if isinstance(view, BaseException):
            raise BackendError(
                f"Dask worker {address} cannot run roadseg ({view!r}): install the same version there, "
                f"{__version__}, with its extras"
            )
        where = f"Dask worker {address} on {view['host']}"
        if view["version"] != __version__:
            raise BackendError(f"{where} has roadseg {view['version']}, here it is {__version__}: install the same")
        if not view["sees"]:
            raise BackendError(
                f"{where} does not see '{shared}': all workers need the folder under this path; give an --out on a "
                "disk that they share"
            )
        if view["missing"]:
            raise BackendError(
                f"{where} does not see '{view['missing'][0]}': it must be there under the same path on every worker"
            )
    return dict(found)


def _seen(marker: str, token: str, places: Sequence[str], patience: float, dask_worker: Any) -> dict[str, Any]:
    """Runs on a worker: does it see the marker and the places; and what it has."""
    from .. import __version__

    until = time.monotonic() + patience
    while not (sees := _holds(Path(marker), token)) and time.monotonic() < until:
        time.sleep(0.2)
    return {
        "host": platform.node(),
        "version": __version__,
        "sees": sees,
        "missing": [place for place in places if not Path(place).exists()],
        "threads": dask_worker.state.nthreads,
        "cores": cores(),
        "gpus": gpus(),
    }


def _holds(marker: Path, token: str) -> bool:
    try:
        return marker.read_text(encoding="utf-8") == token
    except OSError:
        return False


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
    worker = get_worker()
    key = worker.get_current_task()

    def stopped() -> bool:  # the caller has cancelled it, or is gone; or the worker itself is ending
        task = worker.state.tasks.get(key)
        lost = task is None or task.state in ("cancelled", "released", "forgotten")
        return lost or worker.status.name in ("closing", "closed", "failed")

    with _sit(worker.address, plan.get(worker.address, ())) as seat:
        outcome, errors = train(
            job,
            command=command,
            environment={**seat, **passed},
            log=job.log_file,
            patience=patience,
            stopped=stopped,
        )
    return outcome.state, outcome.message, outcome.seconds, errors
