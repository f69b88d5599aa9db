"""Tasks on their way through a Dask cluster: a few at a time, each again when its worker is lost, none when we leave.

Where a worker is lost, Dask gives its task to another one, up to three times
(`distributed.scheduler.allowed-failures`).
"""

import contextlib
import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from .dask_cluster import patience
from .errors import BackendError

__all__ = ["Tasks", "lost_workers", "stop_sign"]

CHECK_S = 5.0  # between two looks whether the cluster is still there, and how large it is
ALONE_S = 60.0  # without any worker: a lost one may be started again
GONE = (
    "the Dask cluster has no workers any more, or its scheduler is gone: what is finished is kept; start it again and "
    "call again to go on"
)


class Tasks:
    """Numbered tasks, as many on their way as the cluster can do at once.

    However many there are, the scheduler never has more than that to hold, and none waits at a worker that is lost.

    Args:
        client: a `distributed.Client`.
        function: runs on a worker: `function(*what(number))`, idempotent.
        what: the arguments of a task.
        done: called here, in the order in which tasks end, with a number and its future, "finished" or "error". What it
            raises ends the work.

    Attributes:
        running: the futures of those on their way, by number; after an error those that were cancelled.
    """

    def __init__(
        self,
        client: Any,
        function: Callable[..., Any],
        what: Callable[[int], tuple[Any, ...]],
        done: Callable[[int, Any], None],
    ) -> None:
        self.client = client
        self.running: dict[int, Any] = {}
        self.call = uuid.uuid4().hex[:8]
        self._function, self._what, self._done = function, what, done
        self._waiting: deque[int] = deque()
        self._news: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._alone_since: float | None = None
        self._begun = 0

    def to_the_end(self, numbers: Iterable[int], places: int) -> None:
        """Submit and collect until all are done; whatever ends it early, what is on its way is cancelled.

        Args:
            places: how many tasks the cluster does at once; looked at again as workers come and go.

        Raises:
            BackendError: the cluster is gone.
        """
        self._waiting.extend(numbers)
        looked = time.monotonic()
        try:
            while self._waiting or self.running:
                while self._waiting and len(self.running) < places:
                    self._submit(self._waiting.popleft())
                with contextlib.suppress(queue.Empty):
                    self._news.get(timeout=CHECK_S)()
                if time.monotonic() - looked >= CHECK_S:
                    places = self._places() or places
                    looked = time.monotonic()
        except BaseException:
            with contextlib.suppress(Exception):  # the cluster may be gone
                self.client.cancel(list(self.running.values()), force=True)
            raise

    def again(self, number: int) -> None:
        """Do a task once more, after the others; for `done`."""
        self._waiting.append(number)

    def post(self, call: Callable[[], None]) -> None:
        """From any thread: have something called by the one that waits in `to_the_end`."""
        self._news.put(call)

    def _submit(self, number: int) -> None:
        self._begun += 1
        future = self.client.submit(
            self._function, *self._what(number), key=f"roadseg-{self.call}-{number}-{self._begun}", pure=False
        )
        self.running[number] = future
        future.add_done_callback(lambda _: self.post(lambda: self._collect(number)))

    def _collect(self, number: int) -> None:
        self._alone_since = None
        future = self.running[number]
        if future.status not in ("finished", "error"):  # cancelled, and not by us
            raise BackendError(GONE)
        del self.running[number]
        self._done(number, future)

    def _places(self) -> int:
        """How many tasks the cluster can do at once now.

        Raises:
            BackendError: it has gone, or has had no worker for a while.
        """
        try:
            threads = sum(self.client.nthreads().values()) if self.client.status == "running" else 0
        except Exception:  # whatever a broken connection raises
            threads = 0
        if threads:
            self._alone_since = None
            return threads
        self._alone_since = self._alone_since or time.monotonic()
        if self.client.status == "closed" or time.monotonic() - self._alone_since > patience(ALONE_S):
            raise BackendError(GONE)
        return 0


def lost_workers(error: BaseException | None) -> int:
    """How many workers were lost one after the other with the task that ended so; 0 where that is not the reason."""
    return int(error.allowed_failures) + 1 if type(error).__name__ == "KilledWorker" else 0  # type: ignore[union-attr]


def stop_sign() -> Callable[[], bool]:
    """Within a task: whether it is to stop: its caller has cancelled it or is gone, or its worker is ending."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def stopped() -> bool:
        task = worker.state.tasks.get(key)
        lost = task is None or task.state in ("cancelled", "released", "forgotten")
        return lost or worker.status.name in ("closing", "closed", "failed")

    return stopped
