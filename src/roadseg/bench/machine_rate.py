"""What the machine could reach: the rate of a large matrix product in each framework, and of its memory."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import util
from typing import Any

import numpy as np

from ..machine import cores, describe_machine
from .workload import Workload

__all__ = ["FRAMEWORKS", "measure_matmul", "measure_memory", "present_frameworks"]

FRAMEWORKS = ("tensorflow", "torch", "jax")
KINDS = ("float32", "bfloat16")
SIZES = (512, 1024, 2048, 4096)  # side of the matrices; the largest that can be multiplied twice in the time
ARRAY_MB = 256  # of each array that is copied; far more than any cache
CHUNK = 1 << 16  # numbers of 4 bytes: three chunks lie in a core's own cache

Product = Callable[[int, str], Callable[[], object]]  # side and kind -> what multiplies two such matrices, and waits


def present_frameworks() -> list[str]:
    """The installed ones of `FRAMEWORKS`; none is imported."""
    return [name for name in FRAMEWORKS if (spec := util.find_spec(name)) is not None and spec.origin is not None]


def measure_matmul(framework: str, workload: Workload) -> dict[str, Any]:
    """GFLOP/s of a square matrix product in float32 and bfloat16, medians, and the `size` of each."""
    device, product = {"tensorflow": _tensorflow, "torch": _torch, "jax": _jax}[framework]()
    found: dict[str, Any] = {"device": device}
    for kind in KINDS:
        for size in SIZES:
            multiply = product(size, kind)
            multiply()  # compiles
            first = _seconds(multiply)
            if 2 * 8 * first > workload.seconds:  # two products of twice the size would take too long
                break
        times = [first]
        while sum(times) < workload.seconds / 2 or len(times) < 3:
            times.append(_seconds(multiply))
        found[kind] = {"gflop_s": round(2 * size**3 / statistics.median(times) / 1e9, 1), "size": size}
    return found


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _tensorflow() -> tuple[str, Product]:
    import tensorflow as tf

    def product(size: int, kind: str) -> Callable[[], object]:
        a = tf.cast(tf.random.uniform((size, size)), kind)
        b = tf.cast(tf.random.uniform((size, size)), kind)
        multiply = tf.function(lambda: tf.linalg.matmul(a, b)[0, 0])
        return lambda: float(multiply())

    return "gpu" if tf.config.list_physical_devices("GPU") else "cpu", product


def _torch() -> tuple[str, Product]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"

    def product(size: int, kind: str) -> Callable[[], object]:
        a = torch.rand(size, size, device=device).to(getattr(torch, kind))
        b = torch.rand(size, size, device=device).to(getattr(torch, kind))

        def multiply() -> None:
            with torch.inference_mode():
                float((a @ b)[0, 0])

        return multiply

    return "gpu" if device == "cuda" else "cpu", product


def _jax() -> tuple[str, Product]:
    import jax
    import jax.numpy as jnp

    def product(size: int, kind: str) -> Callable[[], object]:
        a, b = (jax.random.uniform(jax.random.key(k), (size, size)).astype(getattr(jnp, kind)) for k in (0, 1))
        multiply = jax.jit(jnp.matmul)
        return lambda: float(multiply(a, b)[0, 0])

    return "cpu" if jax.default_backend() == "cpu" else "gpu", product


def measure_memory(workload: Workload) -> dict[str, Any]:
    """GB/s of the memory under all cores: a copy (one array read, one written) and a triad a = b + s c (two, one)."""
    memory_gb = describe_machine()["memory_gb"] or 4
    megabytes = int(min(ARRAY_MB, memory_gb * 1024 / 16, 64 * workload.seconds))
    n = max(1, megabytes * 2**18 // CHUNK) * CHUNK
    a, b, c = (np.full(n, value, np.float32) for value in (0, 1, 2))
    threads = cores()
    bounds = [n // CHUNK * k // threads * CHUNK for k in range(threads + 1)]

    def copy(k: int) -> None:
        np.copyto(a[bounds[k] : bounds[k + 1]], b[bounds[k] : bounds[k + 1]])

    def triad(k: int) -> None:
        for start in range(bounds[k], bounds[k + 1], CHUNK):
            part = slice(start, start + CHUNK)
            np.multiply(c[part], np.float32(3), out=a[part])
            np.add(a[part], b[part], out=a[part])  # this `a` is still in the cache

    found: dict[str, Any] = {"array_mb": n * 4 // 2**20, "threads": threads}
    with ThreadPoolExecutor(threads) as pool:
        for name, work, arrays in (("copy", copy, 2), ("triad", triad, 3)):
            times: list[float] = []
            while sum(times) < workload.seconds / 4 or len(times) < 3:
                times.append(_seconds(partial(_everywhere, pool, work, threads)))
            found[f"{name}_gb_s"] = round(arrays * n * 4 / statistics.median(times) / 1e9, 2)
    return found


def _everywhere(pool: ThreadPoolExecutor, work: Callable[[int], None], threads: int) -> None:
    list(pool.map(work, range(threads)))
