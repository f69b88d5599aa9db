"""Strips of rasters as tasks of a Dask cluster: processes of this machine, or workers that share its folders.

A task is the numbers of some strips and the folder of their plan, so that the scheduler has next to nothing to hold;
what comes of it are files in that folder. A task that is given to another worker goes on from its last finished band.
"""

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import errors
from ..dask_cluster import connect, core_shares, load_distributed, local_cluster, look
from ..dask_tasks import Tasks, lost_workers, stop_sign
from ..errors import BackendError, ConfigError, ModelError
from ..machine import cores, thread_variables, versions
from .engine import Engine
from .parts import PLAN, FolderParts, missing
from .plan import Plan

__all__ = ["Cluster", "open_cluster", "runs"]

SIGHT_S = 30.0  # for what a worker has written to be seen here over the network
PATIENCE_S = 120.0  # for cancelled strips to end: each finishes the band that it is in
POLL_S = 0.2
LONGEST = 8  # strips of a task

Advance = Callable[[int], None]


@contextlib.contextmanager
def open_cluster(workers: int | None = None, dask: str | None = None) -> Iterator["Cluster"]:
    """The workers that compute strips; those of this machine end with the block.

    Args:
        workers: processes on this machine, each with its share of the cores.
        dask: instead, the address of a Dask scheduler, or the path of its scheduler file. A worker's threads are the
            strips it computes at once, each with an engine of its own.

    Raises:
        ConfigError: both are given, or neither, or less than one worker.
        BackendError: `distributed` is not installed, no scheduler answers, it has no workers, or they have another
            roadseg.
    """
    if (workers is None) == (dask is None):
        raise ConfigError("give either --workers N (on this machine) or --dask ADDRESS (of a Dask scheduler)")
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers {workers}: 1 or more are needed")
    distributed = load_distributed("several workers", "leave out --workers and --dask")
    if dask is not None:
        with connect(distributed, dask) as client:
            views = look(client)
            tasks = sum(view["threads"] for view in views.values())
            # One number for all: the threads are a part of how sums are rounded.
            yield Cluster(client, tasks, min(core_shares(views).values()), remote=True)
        return
    assert workers is not None
    share = max(1, cores() // workers)
    with local_cluster(distributed, workers, processes=True, variables=thread_variables(share)) as client:
        yield Cluster(client, workers, share)


class Cluster:
    """Computes strips of a plan, wherever its workers are.

    Attributes:
        workers: tasks at once.
        threads: CPU threads of the engine in each.
    """

    def __init__(self, client: Any, workers: int, threads: int, *, remote: bool = False) -> None:
        self.workers, self.threads = workers, threads
        self._client, self._remote = client, remote

    def __call__(self, plan: Plan, parts: FolderParts, numbers: Sequence[int], advance: Advance) -> None:
        """Compute strips into `parts`; when this returns, all of them are there to be seen.

        A task whose worker is lost is given to another one; any other failure ends the work, and what is finished
        stays.

        Args:
            numbers: of the strips, in the order in which they are begun.
            advance: called in this thread with the pixels of the raster that were finished.

        Raises:
            BackendError: a worker does not see the files, or has other libraries; workers were lost again and again;
                the cluster is gone.
            RoadsegError: what `predict_strip` raises on a worker.
            KeyboardInterrupt: interrupted; no strip is being computed any more.
        """
        inputs = [Path(place) for place in (*plan.sources, plan.model, plan.quantised, plan.aoi or "") if place]
        look(self._client, parts.folder, inputs)
        tasks_of = runs(numbers, self.workers)
        shown = _Shown(plan, parts, tasks_of, advance)
        call = f"roadseg-{uuid.uuid4().hex[:8]}"
        common = (plan.key, self.threads, _backend(plan), call)
        tasks = Tasks(
            self._client,
            _predict_there,
            lambda k: (str(parts.folder), k, tasks_of[k], *common),
            lambda k, future: tasks.again(k) if _stopped(tasks_of[k], future) else shown.finish(k),
        )
        self._client.subscribe_topic(call, lambda event: tasks.post(lambda: shown.add(*event[1])))
        try:
            tasks.to_the_end(range(len(tasks_of)), self.workers)
        except BaseException:
            if self._remote:  # else they end with the cluster
                _await_end(self._client, call)
            raise
        finally:
            with contextlib.suppress(Exception):  # the cluster may be gone
                self._client.unsubscribe_topic(call)
        _await_sight(plan, parts, numbers)


def runs(numbers: Sequence[int], workers: int) -> list[list[int]]:
    """Strips in runs, each a task: within a run reading, network and writing never pause.

    The longest come first, the last are single strips, so that no worker has nothing to do while another one has much:
    each takes its share of a quarter of what is left (guided self-scheduling: Polychronopoulos and Kuck 1987).
    """
    found: list[list[int]] = []
    begin = 0
    while begin < len(numbers):
        count = min(LONGEST, max(1, (len(numbers) - begin) // (4 * workers)))
        found.append(list(numbers[begin : begin + count]))
        begin += count
    return found


class _Shown:
    """What of each task has been told to the user: each pixel once, also where a task was begun twice."""

    def __init__(self, plan: Plan, parts: FolderParts, tasks: Sequence[Sequence[int]], advance: Advance) -> None:
        self._left = [
            sum(plan.pixels(band) for number in task for band in plan.strips[number] if not parts.has(band, "band"))
            for task in tasks
        ]
        self._advance = advance

    def add(self, task: int, pixels: int) -> None:
        told = min(pixels, self._left[task])
        if told:
            self._left[task] -= told
            self._advance(told)

    def finish(self, task: int) -> None:
        self.add(task, self._left[task])


def _stopped(task: Sequence[int], future: Any) -> bool:
    """Whether strips have ended because their worker did, and are to be done again; raises where they failed."""
    if future.status == "finished":
        how, message = future.result()
        if how in errors.__all__:
            raise getattr(errors, how)(message)
        return bool(how == "stopped")
    error = future.exception()
    strips = f"strip {task[0]}" if len(task) == 1 else f"strips {task[0]} to {task[-1]}"
    if lost := lost_workers(error):
        raise BackendError(
            f"{lost} workers were lost one after the other with {strips}: too little memory? Use fewer workers, or a "
            "smaller --batch or --window; finished bands are kept, --resume goes on"
        ) from error
    raise BackendError(f"{strips} failed ({error!r}): finished bands are kept, --resume goes on") from error


def _backend(plan: Plan) -> str:
    """The Keras backend of this process, where the plan's engine runs on it."""
    if plan.engine != "keras":
        return ""
    from ..backend import choose_backend

    return choose_backend()


def _await_end(client: Any, call: str) -> None:
    """Until no worker computes for this call any more: what it wrote later could be in a new prediction's way."""
    until = time.monotonic() + PATIENCE_S
    quiet = 0
    with contextlib.suppress(Exception):  # the cluster may be gone
        while time.monotonic() < until and quiet < 2:  # one that was about to begin is seen the second time
            quiet = 0 if any(client.run(_works_for, call).values()) else quiet + 1
            time.sleep(POLL_S)


def _await_sight(plan: Plan, parts: FolderParts, numbers: Sequence[int]) -> None:
    """Until this machine sees what the workers have written; a network disk may show it later."""
    until = time.monotonic() + SIGHT_S
    for number in numbers:
        while missing(plan, parts, plan.strips[number]):
            if time.monotonic() > until:
                raise BackendError(
                    f"strip {number} is finished, and yet not in '{parts.folder}': do all workers share this folder?"
                )
            time.sleep(POLL_S)
            with contextlib.suppress(OSError):
                os.listdir(parts.folder)  # noqa: PTH208  # makes a network disk look again


# === On a worker ===


def _predict_there(
    folder: str, task: int, numbers: Sequence[int], key: str, threads: int, backend: str, call: str
) -> tuple[str, str]:
    """Runs on a worker: some strips; ("done" or "stopped", "") or one of our errors: its name and message.

    Errors are values, for what has caused them does not always travel.
    """
    from distributed import get_worker

    from .strips import predict_strips

    worker, stop = get_worker(), stop_sign()
    parts = FolderParts(Path(folder))
    try:
        with _working(call):
            if stop():
                return "stopped", ""
            plan = _plan(folder, key)
            if backend and "KERAS_BACKEND" not in os.environ:
                os.environ.update(thread_variables(threads), KERAS_BACKEND=backend)
            with _engines.lend(plan, threads) as run:
                predict_strips(
                    plan,
                    numbers,
                    run,
                    parts,
                    stop=stop,
                    progress=lambda pixels: worker.log_event(call, (task, pixels)),
                )
    except KeyboardInterrupt:  # its own answer to the stop sign; to Dask it would mean the end of the worker
        return "stopped", ""
    except errors.RoadsegError as error:
        return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__), str(error)
    return "done", ""


@lru_cache(maxsize=2)
def _plan(folder: str, key: str) -> Plan:
    """The plan in a folder of parts.

    Raises:
        BackendError: it is another one, or the libraries here are not those that it was made with.
    """
    path = Path(folder) / PLAN
    try:
        plan = Plan.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise BackendError(f"worker on {platform.node()} cannot read '{path}': {error}") from error
    if plan.key != key:
        raise BackendError(f"'{path}' is of another prediction: do two write to the same --out?")
    here = versions()
    for name, version in plan.libraries.items():
        if here.get(name) != version:
            raise BackendError(
                f"worker on {platform.node()} has {name} {here.get(name, 'not installed')}, the prediction was begun "
                f"with {version}: install the same"
            )
    return plan


class _Engines:
    """Engines of this process that nobody uses at the moment: for one model at a time, at most one a thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kind: tuple[Any, ...] = ()
        self._idle: list[Engine] = []

    @contextlib.contextmanager
    def lend(self, plan: Plan, threads: int) -> Iterator[Engine]:
        """An engine for the plan, to be used by one thread."""
        kind = (plan.model_hash, plan.engine, plan.quantised, plan.tta, plan.members, plan.uncertainty is None, threads)
        with self._lock:
            if kind != self._kind:
                self._kind = kind
                self._idle.clear()
            run = self._idle.pop() if self._idle else None
        if run is None:
            run = _open(plan, threads)
        yield run  # one that has failed is not kept
        with self._lock:
            if kind == self._kind:
                self._idle.append(run)


def _open(plan: Plan, threads: int) -> Engine:
    from ..learning.runs import find_model, read_info
    from .plan import open_engine

    if read_info(find_model(plan.model)).hash != plan.model_hash:
        raise ModelError(
            f"'{plan.model}' is not the model that the prediction was begun with: predict without --resume"
        )
    return open_engine(plan, threads)


_engines = _Engines()
_works: dict[str, int] = {}
_counting = threading.Lock()


@contextlib.contextmanager
def _working(call: str) -> Iterator[None]:
    with _counting:
        _works[call] = _works.get(call, 0) + 1
    try:
        yield
    finally:
        with _counting:
            _works[call] -= 1
            if not _works[call]:
                del _works[call]


def _works_for(call: str) -> bool:
    return call in _works
