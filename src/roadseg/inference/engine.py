"""What computes a batch of windows: one call, `(N, H, W, C) uint8 -> (N, H, W, K) float32`, whatever runs behind it."""

from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from ..backend import is_out_of_memory
from ..errors import BackendError, ConfigError

__all__ = ["Engine", "EngineKind", "KerasEngine", "open_engine", "with_tta"]

EngineKind = Literal["auto", "keras"]


class Engine(Protocol):
    """Computes probabilities: windows (N, H, W, C) uint8 -> (N, H, W, K) float32 in [0, 1]."""

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]: ...


class KerasEngine:
    """A `keras.Model` on whatever backend Keras runs on.

    A last, smaller batch is filled up to a size that was computed before: each new size would be compiled anew.

    Raises:
        BackendError: on a call, when the device's memory does not hold the batch.
    """

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
        try:
            found = self.model.predict_on_batch(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            _, height, width, _ = batch.shape
            raise BackendError(
                f"out of memory with {full} windows of {width}x{height} pixels at once: "
                "use a smaller --batch or --window, or close other programs"
            ) from error
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


def open_engine(path: Path, kind: EngineKind = "auto") -> Engine:
    """The engine for the model at `path`, a `.keras` file; `auto` takes the fastest one there is for it.

    Raises:
        ConfigError: an engine that is not known.
        ModelError: the file is not a model.
        BackendError: no Keras backend is installed.
    """
    if kind not in get_args(EngineKind):
        raise ConfigError(f"--engine {kind}: choose from {', '.join(get_args(EngineKind))}")
    from ..learning.runs import load_model

    return KerasEngine(load_model(path))
