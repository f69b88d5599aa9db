"""What computes a batch of windows: one call, `(N, H, W, C) uint8 -> (N, H, W, K) float32`, whatever runs behind it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from ..backend import is_out_of_memory
from ..errors import BackendError, ConfigError, ModelError

__all__ = [
    "Engine",
    "EngineKind",
    "KerasEngine",
    "Tell",
    "engine_name",
    "engines_for",
    "open_engine",
    "reasons",
    "with_tta",
]

EngineKind = Literal["auto", "keras", "openvino", "onnx"]
Tell = Callable[[str], None]  # shows a line to the user who waits

# What C++ libraries say beside what `is_out_of_memory` knows from the frameworks.
MEMORY_SIGNS = ("bad_alloc", "bad allocation", "Failed to allocate memory", "could not create a memory object")


class Engine(Protocol):
    """Computes probabilities: windows (N, H, W, C) uint8 -> (N, H, W, K) float32 in [0, 1]."""

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]: ...


@contextmanager
def reasons(shape: tuple[int, ...], name: str = "") -> Iterator[None]:
    """Turn what an engine raises on windows of `shape` (N, H, W, C) into a `BackendError` that says what to do.

    Without a `name` only running out of memory is turned; Keras says by itself what else is wrong.
    """
    try:
        yield
    except Exception as error:
        n, height, width, _ = shape
        windows = f"{n} windows of {width}x{height} pixels"
        if is_out_of_memory(error) or any(sign in str(error) for sign in MEMORY_SIGNS):
            raise BackendError(
                f"out of memory with {windows} at once: use a smaller --batch or --window, or close other programs"
            ) from error
        if not name:
            raise
        lines = str(error).strip().splitlines()
        raise BackendError(
            f"{name} cannot compute {windows} ({lines[-1] if lines else error!r}): use another --engine"
        ) from error


class KerasEngine:
    """A `keras.Model` on whatever backend Keras runs on.

    A last, smaller batch is filled up to a size that was computed before: each new size would be compiled anew.

    Raises:
        BackendError: on a call, when the device's memory does not hold the batch.
    """

    name = "keras"

    def __init__(self, model: Any) -> None:
        self.model = model
        self._sizes: dict[tuple[int, ...], set[int]] = {}  # shape of a window -> numbers of windows seen

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        n = len(batch)
        sizes = self._sizes.setdefault(batch.shape[1:], set())
        full = min((s for s in sizes if s >= n), default=n)
        sizes.add(full)
        if full > n:
            batch = np.concatenate([batch, np.repeat(batch[-1:], full - n, axis=0)])
        with reasons(batch.shape):
            found = self.model.predict_on_batch(batch)
        return np.asarray(found, dtype=np.float32)[:n]


class _Tta:
    def __init__(self, run: Engine) -> None:
        self.run = run

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        total: NDArray[np.float32] | None = None
        for mirrored in (False, True):
            for turns in range(4):
                view = np.rot90(batch[:, :, ::-1] if mirrored else batch, turns, axes=(1, 2))
                found = np.rot90(self.run(np.ascontiguousarray(view)), -turns, axes=(1, 2))
                found = found[:, :, ::-1] if mirrored else found
                if total is None:
                    total = np.array(found, dtype=np.float32)
                else:
                    total += found
        assert total is not None
        total /= 8
        return total


def with_tta(run: Engine) -> Engine:
    """`run` averaged over the 8 rotations and reflections of each window; 8 times the work.

    Windows (N, H, W, C) that are not square are also given to `run` as (N, W, H, C).
    """
    return _Tta(run)


def engine_name(run: Engine) -> str:
    """What an engine is called in the records, e.g. `openvino bf16`; empty for a function without a name of its own."""
    return str(getattr(run, "name", ""))


def open_engine(
    path: Path,
    kind: EngineKind = "auto",
    *,
    digest: str = "",
    tell: Tell | None = None,
    threads: int | None = None,
) -> Engine:
    """The engine for the model at `path`, in floating point (a model that was exported in 8 bits: in those).

    `auto` compares the engines there are on the first windows and keeps the fastest (`choice.AutoEngine`); `openvino`
    does the same with its two precisions. Converted models and choices are kept in the user's cache folder.

    Args:
        digest: the model file's hash as `ModelInfo` has it; read from the file when empty.
        tell: is given a line before what takes long and happens once.
        threads: CPU threads of OpenVINO and ONNX Runtime; None: all cores. Keras' backends have one number a process,
            see `machine.thread_variables`.

    Raises:
        ConfigError: an engine that is not known.
        ModelError: the file is not a model, or one that the engine cannot take.
        BackendError: the engine, or for `keras` a backend, is not installed.
    """
    if kind not in get_args(EngineKind):
        raise ConfigError(f"--engine {kind}: choose from {', '.join(get_args(EngineKind))}")
    if kind != "auto" and kind not in engines_for(path):
        raise ModelError(f"--engine {kind}: '{path}' is an exported model, it runs on {' or '.join(engines_for(path))}")
    if kind == "keras":
        return _open_keras(path)
    from ..learning.exported import is_exported, read_export
    from .cache import open_cache
    from .choice import AutoEngine, build

    if not digest:
        from ..learning.runs import read_info

        digest = read_info(path).hash
    cache = open_cache(digest)
    if kind == "onnx":
        return build("onnx", path, cache, threads)
    if is_exported(path) and read_export(path).precision == "int8":
        from .openvino_engine import OpenVINOEngine

        return OpenVINOEngine(cache.openvino(path), "int8", cache.compiled, threads)
    return AutoEngine(path, cache, kind, tell, threads)


def engines_for(path: Path) -> tuple[EngineKind, ...]:
    """The engines that can take a model's file: all of them for Keras', fewer for an exported one.

    Raises:
        ModelError: an exported file that is none of ours.
    """
    from ..learning.exported import is_exported, read_export

    if not is_exported(path):
        return "keras", "openvino", "onnx"
    if path.suffix.lower() == ".xml" or read_export(path).purpose == "gis":
        return ("openvino",)  # a GIS file has one size of tiles, which OpenVINO can open again
    return "openvino", "onnx"


def _open_keras(path: Path, *, members: bool = False) -> KerasEngine:
    from ..learning.runs import load_model

    try:
        model = load_model(path)
        if members:
            from .members import every_answer

            model = every_answer(model)
        return KerasEngine(model)
    except BackendError as error:
        raise BackendError(f"{error}; --engine openvino needs none of them") from error
