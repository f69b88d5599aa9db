"""A Dask cluster, of this machine's own or one that is there by its address, whose workers see our folders.

What is done on it is elsewhere: `roadseg.dask_tasks` gives it work a bit at a time.
"""

import contextlib
import json
import logging
import platform
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import BackendError
from .files import write_text
from .machine import cores, gpus

__all__ = ["connect", "core_shares", "load_distributed", "local_cluster", "look", "patience"]

CONNECT_S = 5.0
WORKERS_S = 10.0  # for the first worker to be there
QUEUED = "distributed.scheduler.no-workers-timeout"  # of Dask's configuration: how long workers' jobs may be queued
DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"  # Ctrl-C is for the caller, which ends them
SIGHT_S = 5.0  # for a new file to be seen over the network


def load_distributed(needs: str, otherwise: str) -> Any:
    """The `distributed` package.

    Args:
        needs: what cannot be done without it, e.g. "several trainings at once".
        otherwise: what can, e.g. "train one after the other".

    Raises:
        BackendError: it is not installed.
    """
    try:
        import distributed
    except ImportError as error:
        raise BackendError(f"{needs} need Dask: pip install 'roadseg[dask]', or {otherwise}") from error
    return distributed


# === Connecting ===


@contextlib.contextmanager
def local_cluster(
    distributed: Any, workers: int, *, processes: bool = False, variables: Mapping[str, str] | None = None
) -> Iterator[Any]:
    """A client of a cluster of this process; it ends with the block, and with this process.

    Args:
        workers: each does one task at a time.
        processes: workers are processes, which are started again when they are lost; else threads, for tasks that only
            start and watch processes of their own: these talk without ports, and a script that calls this needs no
            `if __name__ == "__main__"`.
        variables: of the workers' processes, there before anything is imported.

    Raises:
        BackendError: the workers do not start.
    """
    options = {"env": dict(variables or {}), "preload": [DEAF]} if processes else {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        try:
            cluster = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=processes,
                    # Dask's pages of information cannot be left out: here alone.
                    dashboard_address="127.0.0.1:0",
                    worker_dashboard_address="127.0.0.1:0",
                    memory_limit=0,
                    silence_logs=logging.CRITICAL,
                    **options,
                )
            )
        except (OSError, RuntimeError, TimeoutError) as error:
            raise BackendError(
                f"{workers} Dask workers do not start on this machine ({error}): a script of your own must call this "
                "below `if __name__ == '__main__':`"
            ) from error
        yield stack.enter_context(distributed.Client(cluster))


@contextlib.contextmanager
def connect(distributed: Any, address: str) -> Iterator[Any]:
    """A client of the scheduler at `address`, with at least one worker.

    Args:
        address: `tcp://host:port`, or the path of a scheduler file.

    Raises:
        BackendError: no scheduler answers, its file is missing or damaged, or it has no workers.
    """
    with _quiet(), _client(distributed, address) as client:
        try:
            client.wait_for_workers(1, timeout=patience(WORKERS_S))
        except TimeoutError as error:
            raise BackendError(
                f"the Dask scheduler at '{address}' has no workers: start some, e.g. `dask worker {address} "
                "--nthreads 1` on each machine"
            ) from error
        yield client


def _client(distributed: Any, address: str) -> Any:
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


def patience(seconds: float) -> float:
    """Seconds to wait for workers: `seconds`, or longer where Dask's own configuration says so.

    On a batch cluster workers wait in a queue; DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT=24h has us wait, too.
    """
    import dask
    from dask.utils import parse_timedelta

    found = dask.config.get(QUEUED, default=None)
    return max(seconds, float(parse_timedelta(found))) if found else seconds


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


def look(client: Any, shared: Path | None = None, places: Iterable[Path] = ()) -> dict[str, dict[str, Any]]:
    """What each worker has, by its address: "host", "version", "threads", "cores", "gpus".

    Args:
        shared: a folder that is written by all; a file lies there for a moment.
        places: files and folders that are read by all.

    Raises:
        BackendError: a worker does not see one of them, or has another roadseg.
        OutputError: `shared` cannot be written here.
    """
    from . import __version__

    token = uuid.uuid4().hex
    marker = None if shared is None else shared / f".roadseg-{token}"
    if marker is not None:
        write_text(marker, token)
    try:
        names = sorted({str(place) for place in places})
        found = client.run(_seen, marker and str(marker), token, names, SIGHT_S, on_error="return")
    finally:
        if marker is not None:
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


def _seen(marker: str | None, token: str, places: Sequence[str], patience: float, dask_worker: Any) -> dict[str, Any]:
    """Runs on a worker: does it see the marker and the places; and what it has."""
    from . import __version__

    until = time.monotonic() + patience
    while not (sees := marker is None or _holds(Path(marker), token)) and time.monotonic() < until:
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


def core_shares(views: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Cores for each task of every worker, by its address: those of a host are shared equally by all its tasks.

    Args:
        views: by address: "host", "threads" (tasks at once) and "cores", as `look` finds them.
    """
    tasks: dict[str, int] = {}
    for view in views.values():
        tasks[view["host"]] = tasks.get(view["host"], 0) + view["threads"]
    return {address: max(1, view["cores"] // max(1, tasks[view["host"]])) for address, view in views.items()}
