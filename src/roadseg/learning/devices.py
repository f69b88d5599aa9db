"""Several devices: each holds the whole network and computes an equal part of every batch.

The gradients and the batch normalisation's statistics are those of the whole batch, as on one device: the weights are
the same within rounding, whatever the number of devices. Keras 3 does this on JAX (`keras.distribution`).
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import choose_backend, load_keras
from ..errors import BackendError

__all__ = ["DataParallelEngine", "check_devices", "data_parallel", "one_device"]


def check_devices(count: int) -> None:
    """Refuse a number of devices that cannot be trained on. Loads Keras when there are several.

    Raises:
        BackendError: the backend is not JAX, or JAX sees fewer devices.
    """
    if count == 1:
        return
    backend = choose_backend()
    if backend != "jax":
        raise BackendError(
            f"{count} devices: Keras trains on several on JAX only, and this is {backend}: "
            "set KERAS_BACKEND=jax (pip install 'roadseg[jax]' or 'roadseg[gpu]'), or use --devices 1"
        )
    present = load_keras().distribution.list_devices()
    if len(present) < count:
        on_cpu = all(str(name).startswith("cpu") for name in present)
        more = f", or let a CPU count as several: XLA_FLAGS=--xla_force_host_platform_device_count={count}"
        raise BackendError(
            f"{count} devices: JAX sees {len(present)} ({', '.join(present)}): "
            f"use --devices {len(present)}{more if on_cpu else ''}"
        )


@contextlib.contextmanager
def data_parallel(count: int) -> Iterator[None]:
    """Models built and trained inside compute on the first `count` devices; afterwards all is as it was.

    With one device nothing is changed: a distribution that the caller has set stays.

    Raises:
        BackendError: see `check_devices`.
    """
    if count == 1:
        yield
        return
    check_devices(count)
    distribution = load_keras().distribution
    with distribution.DataParallel(devices=distribution.list_devices()[:count]).scope():
        yield


@contextlib.contextmanager
def one_device() -> Iterator[None]:
    """Inside, models are built and trained on one device even where `data_parallel` is in force."""
    distribution = load_keras().distribution
    before = distribution.distribution()
    distribution.set_distribution(None)
    try:
        yield
    finally:
        distribution.set_distribution(before)


class DataParallelEngine:
    """An engine whose batches are spread over the devices in force; where there is one, the engine as it is.

    A batch that does not divide is filled up with its last window, which is cut off again.

    Args:
        run: a Keras engine: windows (N, H, W, C) uint8 -> (N, H, W, K) float32.
    """

    def __init__(self, run: Callable[[Any], NDArray[np.float32]]) -> None:
        self.run = run
        self.distribution = load_keras().distribution.distribution()

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.distribution is None:
            return self.run(batch)
        n = len(batch)
        missing = -n % self.distribution.num_model_replicas
        if missing:
            batch = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
        layout = self.distribution.get_data_layout(batch.shape)
        return self.run(load_keras().distribution.distribute_tensor(batch, layout))[:n]
