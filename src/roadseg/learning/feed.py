"""How long training waits for its batches: what makes them, with a clock; a Keras callback that reads it."""

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import keras

__all__ = ["DataWait", "Feed"]

T = TypeVar("T")


class Feed(Generic[T]):
    """Makes batches as `make` does and notes when each of them was ready.

    Attributes:
        ready: batch number -> `time.perf_counter()`.
    """

    def __init__(self, make: Callable[[int], T]) -> None:
        self.make = make
        self.ready: dict[int, float] = {}

    def __call__(self, step: int) -> T:
        batch = self.make(step)
        self.ready[step] = time.perf_counter()
        return batch


class DataWait(keras.callbacks.Callback):
    """Adds `data_wait` to the logs of an epoch: the share of its training time in which no batch was ready.

    A step has waited from the end of the step before it (of the first: from the epoch's begin) until its batch was
    made. What happens in between is not asked: Keras on TensorFlow fetches batches ahead in a thread of its own, so
    that the time spent in the generator is not time lost.

    Args:
        feed: makes batch `epoch * steps_per_epoch + k` for step k of an epoch.

    Attributes:
        seconds: waited so far, in all epochs.
    """

    async_safe = True  # Keras then calls it when a step's result is there, without making the next step wait

    def __init__(self, feed: Feed[Any], steps_per_epoch: int) -> None:
        super().__init__()
        self.feed = feed
        self.steps_per_epoch = steps_per_epoch
        self.seconds = 0.0
        self._ends: dict[int, float] = {}  # of steps; -1: the begin of the epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._ends = {-1: time.perf_counter()}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._ends[batch] = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        first = epoch * self.steps_per_epoch
        waited = 0.0
        for batch in sorted(self._ends.keys() - {-1}):
            before = self._ends.get(batch - 1, self._ends[batch])
            waited += max(0.0, min(self.feed.ready.pop(first + batch, before), self._ends[batch]) - before)
        self.seconds += waited
        if logs is not None:
            logs["data_wait"] = waited / max(1e-9, max(self._ends.values()) - self._ends[-1])
